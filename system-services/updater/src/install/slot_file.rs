//! One partition of the inactive slot, while an image is brought onto it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bundle::chunks::Target;
use bundle::source::ReadAt;
use os_io::block;
use ring::digest::{Context, SHA256};

use crate::engine::{EngineError, EngineErrorKind};

/// Unflushed bytes are kept below this, so that memory stays free on a small box and progress is true.
const FLUSH_BYTES: u64 = 8 << 20;
/// Read back at once.
const PIECE: usize = 1 << 20;
/// What direct reads want.
const ALIGNMENT: usize = 4096;

/// A partition that is written.
pub struct SlotFile {
    file: File,
    unflushed: u64,
}

impl SlotFile {
    /// Takes an open partition.
    pub fn new(file: File) -> Self {
        Self { file, unflushed: 0 }
    }

    /// Returns once the medium has everything.
    pub fn flush(&mut self) -> io::Result<()> {
        self.unflushed = 0;
        self.file.sync_data()
    }
}

impl Target for SlotFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.unflushed += bytes.len() as u64;
        if self.unflushed >= FLUSH_BYTES {
            self.flush()?;
        }
        Ok(())
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

/// SHA-256 of the first `size` bytes as the medium itself has them, past the page cache.
pub fn hash_medium(
    path: &Path,
    size: u64,
    progress: &mut dyn FnMut(u64) -> Result<(), EngineError>,
) -> Result<[u8; 32], EngineError> {
    let mut context = Context::new(&SHA256);
    let mut at = 0;
    while at < size {
        let want = usize::try_from(size - at).map_or(PIECE, |left| left.min(PIECE));
        let bytes = block::read_uncached(path, at, want.next_multiple_of(ALIGNMENT)).map_err(|error| {
            EngineError {
                kind: EngineErrorKind::Storage,
                sentence: "What was written to the disk cannot be read back; the disk may be worn out."
                    .into(),
                source: Some(Box::new(error)),
            }
        })?;
        context.update(&bytes[..want]);
        at += want as u64;
        progress(at)?;
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}
