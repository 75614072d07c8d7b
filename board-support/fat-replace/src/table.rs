//! The file allocation table in memory: which cluster follows which.

use std::collections::BTreeSet;

use crate::error::{FatError, Result};
use crate::geometry::{Geometry, Kind};

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Not in use.
    Free,
    /// The chain goes on.
    Cluster(u32),
    /// Last of its chain.
    End,
    /// The medium is bad there.
    Bad,
    /// Reserved, or outside of the volume.
    Outside(u32),
}

/// The table, and which of its sectors are to be written.
#[derive(Debug)]
pub(crate) struct Table {
    geometry: Geometry,
    bytes: Vec<u8>,
    dirty: BTreeSet<u32>,
}

impl Table {
    /// From the bytes of one copy: `table_sectors` sectors.
    pub fn new(geometry: Geometry, bytes: Vec<u8>) -> Self {
        let dirty = BTreeSet::new();
        Self {
            geometry,
            bytes,
            dirty,
        }
    }

    /// The bytes of a sector of the table.
    pub fn sector(&self, sector: u32) -> &[u8] {
        let size = self.geometry.sector_bytes as usize;
        &self.bytes[sector as usize * size..][..size]
    }

    /// Sectors changed since the last call, in rising order.
    pub fn take_dirty(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.dirty).into_iter().collect()
    }

    fn at(&self, cluster: u32) -> usize {
        let cluster = cluster as usize;
        match self.geometry.kind {
            Kind::Fat12 => cluster + cluster / 2,
            Kind::Fat16 => cluster * 2,
            Kind::Fat32 => cluster * 4,
        }
    }

    /// The entry of a cluster of the volume.
    pub fn next(&self, cluster: u32) -> Next {
        let at = self.at(cluster);
        let low = u32::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]));
        let (value, top) = match self.geometry.kind {
            Kind::Fat12 if cluster.is_multiple_of(2) => (low & 0xfff, 0xfff),
            Kind::Fat12 => (low >> 4, 0xfff),
            Kind::Fat16 => (low, 0xffff),
            Kind::Fat32 => {
                let high = u32::from(u16::from_le_bytes([self.bytes[at + 2], self.bytes[at + 3]]));
                ((high << 16 | low) & 0x0fff_ffff, 0x0fff_ffff)
            }
        };
        match value {
            0 => Next::Free,
            v if v >= top - 7 => Next::End,
            v if v == top - 8 => Next::Bad,
            v if self.geometry.holds(v) => Next::Cluster(v),
            v => Next::Outside(v),
        }
    }

    /// Changes the entry of a cluster of the volume; the four top bits of FAT32 are reserved and stay.
    pub fn set(&mut self, cluster: u32, next: Next) {
        let value: u32 = match next {
            Next::Free => 0,
            Next::Cluster(v) | Next::Outside(v) => v,
            Next::End => 0x0fff_ffff,
            Next::Bad => 0x0fff_fff7,
        };
        let at = self.at(cluster);
        let bytes = &mut self.bytes;
        match self.geometry.kind {
            Kind::Fat12 if cluster.is_multiple_of(2) => {
                bytes[at] = value as u8;
                bytes[at + 1] = bytes[at + 1] & 0xf0 | (value >> 8) as u8 & 0x0f;
            }
            Kind::Fat12 => {
                bytes[at] = bytes[at] & 0x0f | (value << 4) as u8;
                bytes[at + 1] = (value >> 4) as u8;
            }
            Kind::Fat16 => bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes()),
            Kind::Fat32 => {
                let kept = u32::from(bytes[at + 3] & 0xf0) << 24;
                bytes[at..at + 4].copy_from_slice(&(value & 0x0fff_ffff | kept).to_le_bytes());
            }
        }
        let (first, last) = self.sectors_of(cluster);
        self.dirty.extend([first, last]);
    }

    /// Makes a chain of these clusters, in this order, that ends with the last.
    pub fn set_chain(&mut self, clusters: &[u32]) {
        for (i, cluster) in clusters.iter().enumerate() {
            let next = clusters.get(i + 1).map_or(Next::End, |n| Next::Cluster(*n));
            self.set(*cluster, next);
        }
    }

    /// The sectors of the table that hold a cluster's entry: two different ones for some entries of FAT12.
    fn sectors_of(&self, cluster: u32) -> (u32, u32) {
        let size = self.geometry.sector_bytes as usize;
        let at = self.at(cluster);
        let last = if self.geometry.kind == Kind::Fat12 {
            at + 1
        } else {
            at
        };
        ((at / size) as u32, (last / size) as u32)
    }

    /// Whether the end of a chain may become a link to `next` without a moment in which the entry is neither.
    ///
    /// An entry of FAT12 that lies in two sectors is written in two steps, low bits first; in between it must still
    /// say that the chain ends there.
    pub fn links_atomically(&self, last: u32, next: u32) -> bool {
        let (first, second) = self.sectors_of(last);
        let low_bits_say_end = if last.is_multiple_of(2) {
            next & 0xff >= 0xf8
        } else {
            next & 0x0f >= 0x08
        };
        first == second || low_bits_say_end
    }

    /// The clusters of a chain, each marked in `used`.
    ///
    /// # Errors
    /// A chain that leaves the volume, meets a free or bad cluster, or one that is already used: by itself (a loop)
    /// or by another file (a cross-link).
    pub fn walk(&self, first: u32, used: &mut [bool], place: &str) -> Result<Vec<u32>> {
        let mut chain = Vec::new();
        let mut cluster = first;
        loop {
            if !self.geometry.holds(cluster) {
                return Err(FatError::damaged(
                    place,
                    format!("its chain goes to cluster {cluster}, which is outside"),
                ));
            }
            if std::mem::replace(&mut used[cluster as usize], true) {
                return Err(FatError::damaged(
                    place,
                    format!(
                        "cluster {cluster} of its chain is used twice (a loop, or shared with another file)"
                    ),
                ));
            }
            chain.push(cluster);
            cluster = match self.next(cluster) {
                Next::Cluster(next) | Next::Outside(next) => next,
                Next::End => return Ok(chain),
                Next::Free | Next::Bad => {
                    return Err(FatError::damaged(
                        place,
                        format!("its chain breaks off at cluster {cluster}"),
                    ));
                }
            };
        }
    }
}
