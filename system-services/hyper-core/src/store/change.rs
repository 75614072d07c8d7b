//! A change in progress: its steps for the log, and the bytes of its blocks on their way into the block files.
//!
//! Few bytes go into the log with the steps, and into the block file without waiting for the disk: the log brings them back after
//! a power cut. Many bytes go into the block file alone, which is then flushed with the log.

use std::io::Result;
use std::sync::Arc;

use super::chunk::{Extent, Place, StoredBlock, checksum};
use super::op::{Op, put_extent, read_extent};
use super::reclaim::SEALED;
use super::segments::Segments;
use crate::messages::codec::{Reader, put_uint};

/// The most bytes of blocks that a record of the log holds. A second file to flush costs more than writing so much twice.
const MOST_IN_LOG: usize = 256 * 1024;

/// A block of so many bytes is not gathered with others, when bytes go into the block file alone anyway.
const LARGE_BYTES: usize = 32 * 1024;

/// The most bytes that a place in a block file and a checksum take in a record.
const MOST_PLACE_BYTES: usize = 5 + 9 + 9 + 4;

/// What a change did. It counts once its record is in the log.
#[derive(Debug)]
pub(super) struct Change {
    segments: Arc<Segments>,
    steps: Vec<u8>,
    /// Where the next block goes.
    tail: Place,
    /// Bytes of blocks that are in no file yet, and where they belong.
    waiting: Vec<u8>,
    waiting_at: Place,
    /// What was written to block files directly, and its checksum.
    written: Vec<(Extent, u32)>,
    freed: Vec<Extent>,
}

/// A change that is in the block files, and its record for the log.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) tail: Place,
    /// Steps and bytes, behind room for a header.
    pub(super) record: Vec<u8>,
    /// Block files that have bytes which the log lacks.
    pub(super) direct: Vec<Extent>,
    /// Block files that have bytes at all.
    pub(super) touched: Vec<u32>,
    pub(super) freed: Vec<Extent>,
}

impl Change {
    pub(super) fn new(segments: Arc<Segments>, tail: Place) -> Self {
        Self {
            segments,
            steps: Vec::new(),
            tail,
            waiting: Vec::new(),
            waiting_at: tail,
            written: Vec::new(),
            freed: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, step: &Op<'_>) {
        step.encode(&mut self.steps);
    }

    /// Room that nobody needs once the change counts.
    pub(super) fn free(&mut self, extent: Extent) {
        if extent.bytes > 0 {
            self.freed.push(extent);
        }
    }

    /// Takes the bytes of a block, and says where they will lie.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) -> Result<StoredBlock> {
        let length = bytes.len() as u64;
        if self.tail.offset > 0 && self.tail.offset + length > self.segments.file_bytes {
            self.write_waiting()?;
            self.move_to(self.tail.segment + 1);
        }
        let extent = Extent {
            at: self.tail,
            bytes: length,
        };
        if self.waiting.len() + bytes.len() > MOST_IN_LOG {
            self.write_waiting()?;
        }
        let checksum = checksum(bytes);
        let outside = bytes.len() > MOST_IN_LOG || (!self.written.is_empty() && bytes.len() >= LARGE_BYTES);
        if outside {
            self.write_waiting()?;
            self.write(extent, bytes, checksum)?;
            self.waiting_at.offset += length;
        } else {
            self.waiting.extend_from_slice(bytes);
        }
        self.tail.offset += length;
        Ok(StoredBlock { extent, checksum })
    }

    /// Goes on in another block file; what could still come in the last one is taken for removed, so that it can go as a whole.
    fn move_to(&mut self, segment: u32) {
        self.free(Extent {
            at: self.tail,
            bytes: SEALED.saturating_sub(self.tail.offset),
        });
        self.tail = Place { segment, offset: 0 };
        self.waiting_at = self.tail;
    }

    /// What the log says of a block that was stored: the files go on behind it.
    pub(super) fn follow(&mut self, extent: &Extent) {
        if extent.at.segment > self.tail.segment {
            self.move_to(extent.at.segment);
        }
        self.tail.offset = self.tail.offset.max(extent.end());
    }

    fn write_waiting(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.waiting);
        let extent = Extent {
            at: self.waiting_at,
            bytes: bytes.len() as u64,
        };
        if extent.bytes > 0 {
            self.write(extent, &bytes, checksum(&bytes))?;
        }
        self.waiting_at.offset += extent.bytes;
        self.waiting = bytes;
        self.waiting.clear();
        Ok(())
    }

    fn write(&mut self, extent: Extent, bytes: &[u8], checksum: u32) -> Result<()> {
        self.segments.write(extent.at, bytes)?;
        self.written.push((extent, checksum));
        Ok(())
    }

    /// Where the next block goes, and what is freed, of a change that is in the log.
    pub(super) fn into_followed(self) -> (Place, Vec<Extent>) {
        (self.tail, self.freed)
    }

    /// Writes what is left to the block files, and makes the record. `header_bytes` are left free at its start.
    pub(super) fn finish(mut self, header_bytes: usize) -> Result<Finished> {
        if !self.written.is_empty() {
            self.write_waiting()?;
        }
        let inside = Extent {
            at: self.waiting_at,
            bytes: self.waiting.len() as u64,
        };
        let mut touched: Vec<u32> = self.written.iter().map(|(extent, _)| extent.at.segment).collect();
        if inside.bytes > 0 {
            self.segments.write(inside.at, &self.waiting)?;
            touched.push(inside.at.segment);
        }
        let places = (self.written.len() + 1) * MOST_PLACE_BYTES;
        let mut record = Vec::with_capacity(header_bytes + places + self.steps.len() + self.waiting.len());
        record.resize(header_bytes, 0);
        put_uint(&mut record, self.written.len() as u64);
        for (extent, checksum) in &self.written {
            put_extent(&mut record, extent);
            record.extend_from_slice(&checksum.to_le_bytes());
        }
        put_extent(&mut record, &inside);
        record.extend_from_slice(&self.waiting);
        record.extend_from_slice(&self.steps);
        Ok(Finished {
            tail: self.tail,
            record,
            direct: self.written.into_iter().map(|(extent, _)| extent).collect(),
            touched,
            freed: self.freed,
        })
    }
}

/// A record of the log, read again.
#[derive(Debug)]
pub(super) struct Record<'a> {
    direct: Vec<(Extent, u32)>,
    inside: Extent,
    bytes: &'a [u8],
    pub(super) steps: Reader<'a>,
}

impl<'a> Record<'a> {
    /// Reads a record without its header, `None` if it is not one.
    pub(super) fn decode(record: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new("record", record);
        let entry = |reader: &mut Reader<'a>| {
            let extent = read_extent(reader)?;
            let checksum = u32::from_le_bytes(reader.array("checksum").ok()?);
            Some((extent, checksum))
        };
        let count = reader.uint("files").ok()?;
        let direct = (0..count).map(|_| entry(&mut reader)).collect::<Option<_>>()?;
        let inside = read_extent(&mut reader)?;
        let rest = reader.take_rest();
        let (bytes, steps) = rest.split_at_checked(usize::try_from(inside.bytes).ok()?)?;
        Some(Self {
            direct,
            inside,
            bytes,
            steps: Reader::new("steps", steps),
        })
    }

    /// Whether the bytes that went into block files alone are there as they were written.
    pub(super) fn is_whole(&self, segments: &Segments) -> Result<bool> {
        for (extent, expected) in &self.direct {
            match segments.read(extent) {
                Ok(bytes) if checksum(&bytes) == *expected => {}
                Ok(_) => return Ok(false),
                Err(error) if is_gone(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// The bytes that are in block files alone.
    pub(super) fn direct(&self) -> impl Iterator<Item = Extent> {
        self.direct.iter().map(|(extent, _)| *extent)
    }

    /// Brings the bytes that it holds into the block files, and says which files have bytes of it.
    pub(super) fn restore(&self, segments: &Segments) -> Result<Vec<u32>> {
        let mut touched: Vec<u32> = self.direct.iter().map(|(extent, _)| extent.at.segment).collect();
        if self.inside.bytes > 0 {
            segments.write(self.inside.at, self.bytes)?;
            touched.push(self.inside.at.segment);
        }
        Ok(touched)
    }
}

/// Whether bytes are not where they should be, rather than the disk failing.
pub(super) fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof)
}
