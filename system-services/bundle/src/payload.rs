//! The files of a bundle: a squashfs (version 4.0) whose root folder holds them.
//!
//! Only what a bundle needs is read: regular files in the root folder, at any offset, without unpacking what lies
//! before. Sub-folders, links and devices are known by name only and cannot be opened. What is read of the file
//! system's tables is bounded by [`PayloadLimits`]; a file costs four bytes of memory per block, and two unpacked
//! blocks (at most 1 MiB each) are kept.
//!
//! Format: kernel documentation, filesystems/squashfs; field offsets as in the kernel's `squashfs_fs.h`.

mod blocks;
mod bytes;
mod compression;
mod error;
mod inode;
mod metadata;
mod superblock;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Mutex;

use blocks::{Extent, UnpackedCache};
use inode::{Entry, Node};
use superblock::Superblock;

pub use error::PayloadError;

use crate::manifest::FileName;
use crate::source::ReadAt;

/// How much of a file system's tables is taken into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Names in the root folder.
    pub names: usize,
    /// Blocks of all files together: four bytes of memory each. With blocks of 128 KiB the default is 32 GiB of files.
    pub blocks: usize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self {
            names: 256,
            blocks: 256 * 1024,
        }
    }
}

/// The files in the root folder of a squashfs.
pub struct Payload<R> {
    data: R,
    superblock: Superblock,
    names: BTreeMap<FileName, Node>,
    unpacked: Mutex<UnpackedCache>,
}

impl<R: ReadAt> Payload<R> {
    /// Reads the tables: the root folder and the block lists of its files.
    pub fn open(data: R, limits: &PayloadLimits) -> Result<Self, PayloadError> {
        let superblock = Superblock::read(&data)?;
        let names = inode::root_folder(&data, &superblock, limits)?;
        Ok(Self {
            data,
            superblock,
            names,
            unpacked: Mutex::default(),
        })
    }

    /// Names and sizes in bytes of the regular files, sorted by name.
    pub fn files(&self) -> impl Iterator<Item = (&FileName, u64)> {
        self.names.iter().filter_map(|(name, node)| match node {
            Node::File(entry) => Some((name, entry.size)),
            Node::Other(_) => None,
        })
    }

    /// A regular file in the root folder.
    pub fn file(&self, name: &FileName) -> Result<File<'_, R>, PayloadError> {
        match self.names.get(name) {
            Some(Node::File(entry)) => Ok(File { payload: self, entry }),
            Some(Node::Other(kind)) => Err(PayloadError::NotAFile {
                name: name.clone(),
                kind,
            }),
            None => Err(PayloadError::Missing { name: name.clone() }),
        }
    }

    /// What the file system is read from.
    pub fn data(&self) -> &R {
        &self.data
    }
}

/// A file of a bundle, read at any offset.
pub struct File<'a, R> {
    payload: &'a Payload<R>,
    entry: &'a Entry,
}

impl<R: ReadAt> ReadAt for File<'_, R> {
    fn size(&self) -> u64 {
        self.entry.size
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        if offset
            .checked_add(buf.len() as u64)
            .is_none_or(|end| end > self.entry.size)
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !buf.is_empty() {
            let extent = self
                .entry
                .extent(offset, buf.len() as u64, &self.payload.superblock);
            let length = usize::try_from(extent.length()).map_or(buf.len(), |length| length.min(buf.len()));
            let (now, rest) = buf.split_at_mut(length);
            match extent {
                Extent::Hole { .. } => now.fill(0),
                Extent::Plain { at, .. } => self.payload.data.read_exact_at(now, at)?,
                Extent::Packed { block, skip, .. } => self.payload.read_packed(now, &block, skip)?,
            }
            offset += length as u64;
            buf = rest;
        }
        Ok(())
    }

    fn will_read(&self, ranges: &[Range<u64>]) {
        let mut wanted: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            let end = range.end.min(self.entry.size);
            let mut offset = range.start;
            while offset < end {
                let extent = self.entry.extent(offset, end - offset, &self.payload.superblock);
                offset += extent.length();
                match (extent.stored(), wanted.last_mut()) {
                    (Some(stored), Some(last)) if last.start <= stored.start && stored.start <= last.end => {
                        last.end = last.end.max(stored.end);
                    }
                    (Some(stored), _) => wanted.push(stored),
                    (None, _) => {}
                }
            }
        }
        wanted.sort_by_key(|range| range.start);
        self.payload.data.will_read(&wanted);
    }
}
