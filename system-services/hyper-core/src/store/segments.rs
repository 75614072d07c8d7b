//! The block files: bytes of blocks, one behind the other, written once and never moved.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, PoisonError};

use super::chunk::Extent;
use super::medium::{Medium, MediumFile};

/// The most files that are kept open.
const MOST_OPEN: usize = 64;

/// Blocks of more bytes than this are looked for in the file before memory is taken for them.
const LARGE_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Segments {
    medium: Arc<dyn Medium>,
    /// Bytes of a file, unless one block has more.
    pub(super) file_bytes: u64,
    open: Mutex<HashMap<u32, Arc<dyn MediumFile>>>,
}

fn name(segment: u32) -> String {
    format!("blocks-{segment:08}")
}

impl Segments {
    pub(super) fn new(medium: Arc<dyn Medium>, file_bytes: u64) -> Self {
        Self {
            medium,
            file_bytes,
            open: Mutex::default(),
        }
    }

    fn with_open<T>(&self, step: impl FnOnce(&mut HashMap<u32, Arc<dyn MediumFile>>) -> T) -> T {
        step(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, segment: u32, file: Box<dyn MediumFile>) -> Arc<dyn MediumFile> {
        self.with_open(|open| {
            if open.len() >= MOST_OPEN {
                open.clear();
            }
            Arc::clone(open.entry(segment).or_insert_with(|| file.into()))
        })
    }

    /// A file that is there.
    fn file(&self, segment: u32) -> Result<Option<Arc<dyn MediumFile>>> {
        if let Some(file) = self.with_open(|open| open.get(&segment).cloned()) {
            return Ok(Some(file));
        }
        let file = self.medium.open(&name(segment))?;
        Ok(file.map(|file| self.keep(segment, file)))
    }

    fn file_or_new(&self, segment: u32) -> Result<Arc<dyn MediumFile>> {
        match self.file(segment)? {
            Some(file) => Ok(file),
            None => Ok(self.keep(segment, self.medium.create(&name(segment))?)),
        }
    }

    /// Reads bytes that were written. [`ErrorKind::NotFound`] and [`ErrorKind::UnexpectedEof`] say that they are gone.
    pub(super) fn read(&self, extent: &Extent) -> Result<Vec<u8>> {
        if extent.bytes == 0 {
            return Ok(Vec::new());
        }
        let file = self.file(extent.at.segment)?.ok_or(ErrorKind::NotFound)?;
        if extent.bytes > LARGE_BYTES && extent.end() > file.size()? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(extent.bytes).map_err(|_| Error::from(ErrorKind::UnexpectedEof))?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, extent.at.offset)?;
        Ok(bytes)
    }

    pub(super) fn write(&self, at: super::chunk::Place, bytes: &[u8]) -> Result<()> {
        self.file_or_new(at.segment)?.write_all_at(bytes, at.offset)
    }

    pub(super) fn flush(&self, segment: u32) -> Result<()> {
        match self.file(segment)? {
            Some(file) => file.flush(),
            None => Ok(()),
        }
    }

    /// Gives the room of bytes back that nobody needs.
    pub(super) fn punch(&self, extent: &Extent) -> Result<()> {
        let Some(file) = self.file(extent.at.segment)? else {
            return Ok(());
        };
        let bytes = extent.at.offset..extent.end().min(file.size()?);
        match bytes.is_empty() {
            true => Ok(()),
            false => file.punch(bytes),
        }
    }

    pub(super) fn remove(&self, segment: u32) -> Result<()> {
        self.with_open(|open| open.remove(&segment));
        self.medium.remove(&name(segment))
    }
}
