//! One partition of the inactive slot, while an image is brought onto it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bundle::chunks::Target;
use bundle::source::ReadAt;
use os_io::block;
use ring::digest::{Context, SHA256};

use crate::engine::{EngineError, EngineErrorKind};

/// Unflushed bytes are kept below this, so that memory stays free on a small box and progress is true.
const FLUSH_BYTES: u64 = 8 << 20;
/// Nor are they kept longer than this: from a slow server megabytes take a while, and a cut loses what is not flushed.
const FLUSH_AFTER: Duration = Duration::from_secs(2);
/// Read back at once.
const PIECE: usize = 1 << 20;
/// What direct reads want.
const ALIGNMENT: usize = 4096;

/// Bytes of the header of a boot payload (`boot_payload::HEADER_LEN`): without it nothing of a slot starts.
const HEADER: usize = 4096;

/// A partition that is written.
pub struct SlotFile {
    file: File,
    unflushed: u64,
    flushed: Instant,
    /// The header that is kept back, once it was written.
    header: Option<Box<[u8; HEADER]>>,
}

impl SlotFile {
    /// Takes an open partition.
    pub fn new(file: File) -> Self {
        Self {
            file,
            unflushed: 0,
            flushed: Instant::now(),
            header: None,
        }
    }

    /// Takes the partition of a boot payload: makes its header invalid at once, and keeps the new one back until
    /// [`SlotFile::release_header`]. So a slot that is not whole does not even start, whatever else is lost.
    pub fn without_header(file: File) -> io::Result<Self> {
        let mut slot = Self::new(file);
        slot.write_through(&[0; HEADER], 0)?;
        slot.flush()?;
        slot.header = Some(Box::new([0; HEADER]));
        Ok(slot)
    }

    /// Writes the header that was kept back, and returns once the medium has everything.
    pub fn release_header(&mut self) -> io::Result<()> {
        self.flush()?;
        if let Some(header) = self.header.take() {
            self.write_through(&header[..], 0)?;
            self.flush()?;
        }
        Ok(())
    }

    fn write_through(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.unflushed += bytes.len() as u64;
        if self.unflushed >= FLUSH_BYTES || self.flushed.elapsed() >= FLUSH_AFTER {
            self.flush()?;
        }
        Ok(())
    }

    /// Returns once the medium has everything.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.unflushed = 0;
        self.flushed = Instant::now();
        Ok(())
    }
}

impl Target for SlotFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)?;
        if let (Some(header), Ok(start)) = (&self.header, usize::try_from(offset))
            && start < HEADER
        {
            let length = buf.len().min(HEADER - start);
            buf[..length].copy_from_slice(&header[start..start + length]);
        }
        Ok(())
    }

    fn write_all_at(&mut self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        if let (Some(header), Ok(start)) = (&mut self.header, usize::try_from(offset))
            && start < HEADER
        {
            let (kept, rest) = bytes.split_at(bytes.len().min(HEADER - start));
            header[start..start + kept.len()].copy_from_slice(kept);
            bytes = rest;
            offset += kept.len() as u64;
        }
        self.write_through(bytes, offset)
    }
}

/// The first bytes of a partition, as something to read from.
pub struct Region {
    file: File,
    size: u64,
}

impl Region {
    /// At most `limit` bytes, fewer when the partition is smaller.
    pub fn new(file: File, limit: u64) -> io::Result<Self> {
        use io::{Seek, SeekFrom};
        let size = (&file).seek(SeekFrom::End(0))?.min(limit);
        Ok(Self { file, size })
    }
}

impl ReadAt for Region {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match offset.checked_add(buf.len() as u64) {
            Some(end) if end <= self.size => self.file.read_exact_at(buf, offset),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The first bytes of a partition as the medium itself has them, past the page cache, in order.
pub struct Medium<'a> {
    path: &'a Path,
    size: u64,
    /// Where the next piece is.
    next: u64,
    piece: Vec<u8>,
    /// Bytes of the piece that were handed out.
    used: usize,
}

impl<'a> Medium<'a> {
    /// Reads `size` bytes from the beginning on.
    pub fn new(path: &'a Path, size: u64) -> Self {
        Self {
            path,
            size,
            next: 0,
            piece: Vec::new(),
            used: 0,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        let want = usize::try_from(self.size - self.next).map_or(PIECE, |left| left.min(PIECE));
        self.piece = block::read_uncached(self.path, self.next, want.next_multiple_of(ALIGNMENT))
            .map_err(io::Error::other)?;
        self.piece.truncate(want);
        self.next += want as u64;
        self.used = 0;
        Ok(())
    }
}

impl io::Read for Medium<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() && self.next < self.size {
            self.refill()?;
        }
        let length = buf.len().min(self.piece.len() - self.used);
        buf[..length].copy_from_slice(&self.piece[self.used..self.used + length]);
        self.used += length;
        Ok(length)
    }
}

/// SHA-256 of what a medium has; `progress` gets the bytes so far.
pub fn hash_medium(
    medium: &mut Medium<'_>,
    progress: &mut dyn FnMut(u64) -> Result<(), EngineError>,
) -> Result<[u8; 32], EngineError> {
    let mut context = Context::new(&SHA256);
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let length = medium.read(&mut piece).map_err(|error| EngineError {
            kind: EngineErrorKind::Storage,
            sentence: "What was written to the disk cannot be read back; the disk may be worn out.".into(),
            source: Some(Box::new(error)),
        })?;
        if length == 0 {
            break;
        }
        context.update(&piece[..length]);
        at += length as u64;
        progress(at)?;
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}
