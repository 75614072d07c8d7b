//! The disk, and memory that it can be read into.

use alloc::vec::Vec;
use thiserror::Error;

/// The disk could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("disk error at sector {lba}")]
pub struct DiskError {
    /// First sector of the request.
    pub lba: u64,
}

/// A disk with sectors of 512 bytes. Buffers are whole sectors.
pub trait Disk {
    /// Number of sectors.
    fn sectors(&self) -> u64;
    /// Fills the buffer from sector `lba` on.
    fn read(&mut self, lba: u64, into: &mut [u8]) -> Result<(), DiskError>;
    /// Writes the buffer to sector `lba` and the following.
    fn write(&mut self, lba: u64, from: &[u8]) -> Result<(), DiskError>;
    /// Returns when everything written is on the medium.
    fn flush(&mut self) -> Result<(), DiskError>;
}

/// No memory for a buffer of so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no memory for {0} bytes")]
pub struct OutOfMemory(pub usize);

const PAGE: usize = 4096;

/// Bytes that begin at a multiple of 4096: what firmware asks of buffers (`IoAlign`), and more.
#[derive(Debug)]
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// So many zero bytes.
    pub fn zeroed(len: usize) -> Result<Self, OutOfMemory> {
        let mut bytes = Vec::new();
        let whole = len.checked_add(PAGE).ok_or(OutOfMemory(len))?;
        bytes.try_reserve_exact(whole).map_err(|_| OutOfMemory(len))?;
        bytes.resize(whole, 0);
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        Ok(Self { bytes, start, len })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    /// The bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    /// Forgets what is behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}
