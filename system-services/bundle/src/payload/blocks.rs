//! The blocks of a file: where each is, and its bytes.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::PoisonError;

use super::inode::Entry;
use super::metadata::Metadata;
use super::superblock::Superblock;
use super::{Payload, PayloadError};
use crate::source::ReadAt;

/// In a stored length: the block is stored as it is.
const PLAIN: u32 = 1 << 24;
/// Every so many blocks the position is kept, so that finding a block adds up few lengths.
const STRIDE: usize = 64;
/// Unpacked blocks that are kept: the one that is read and a shared one of file ends.
const UNPACKED: usize = 2;

/// One block as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    /// Where it begins.
    pub start: u64,
    /// Bytes it takes there; 0 is a block of zeros.
    pub length: u32,
    /// Bytes it has unpacked at most.
    pub unpacked: u32,
    /// Stored as it is.
    pub plain: bool,
}

impl Packed {
    /// Checks a stored length against what the block may have.
    pub(super) fn new(
        start: u64,
        stored: u32,
        unpacked: u32,
        superblock: &Superblock,
    ) -> Result<Self, PayloadError> {
        let (length, plain) = (stored & !PLAIN, stored & PLAIN != 0);
        let end = start
            .checked_add(u64::from(length))
            .filter(|end| *end <= superblock.used);
        if length > superblock.block_size || end.is_none() {
            return Err(PayloadError::Malformed {
                what: "a block is not where it can be",
            });
        }
        Ok(Self {
            start,
            length,
            unpacked,
            plain,
        })
    }
}

/// Stored lengths of a file's blocks, one behind the other.
pub(super) struct BlockList {
    stored: Vec<u32>,
    /// Position of every [`STRIDE`]th block.
    starts: Vec<u64>,
}

impl BlockList {
    /// Reads `count` lengths and checks that every block is in the file system.
    pub(super) fn read<R: ReadAt>(
        metadata: &mut Metadata<'_, R>,
        superblock: &Superblock,
        start: u64,
        size: u64,
        count: usize,
    ) -> Result<Self, PayloadError> {
        // Grows with what is really there, not with what is said to be.
        let mut list = Self {
            stored: Vec::new(),
            starts: Vec::new(),
        };
        let mut at = start;
        for index in 0..count {
            let stored = u32::from_le_bytes(metadata.array()?);
            let unpacked = unpacked_length(index, size, superblock.block_size);
            let block = Packed::new(at, stored, unpacked, superblock)?;
            if block.plain && block.length != block.unpacked {
                return Err(PayloadError::Malformed {
                    what: "a block that is not packed has another length",
                });
            }
            if index.is_multiple_of(STRIDE) {
                list.starts.push(at);
            }
            list.stored.push(stored);
            at += u64::from(block.length);
        }
        Ok(list)
    }

    fn get(&self, index: usize, size: u64, block_size: u32) -> Option<Packed> {
        let stored = *self.stored.get(index)?;
        let first = index / STRIDE * STRIDE;
        let before: u64 = self.stored[first..index]
            .iter()
            .map(|stored| u64::from(stored & !PLAIN))
            .sum();
        Some(Packed {
            start: self.starts[index / STRIDE] + before,
            length: stored & !PLAIN,
            unpacked: unpacked_length(index, size, block_size),
            plain: stored & PLAIN != 0,
        })
    }
}

/// The last block has what is left.
fn unpacked_length(index: usize, size: u64, block_size: u32) -> u32 {
    let left = size.saturating_sub(index as u64 * u64::from(block_size));
    u32::try_from(left).map_or(block_size, |left| left.min(block_size))
}

/// A part of a file that is stored in one way.
pub(super) enum Extent {
    /// Zeros that are not stored.
    Hole { length: u64 },
    /// Stored as it is, in one piece.
    Plain { at: u64, length: u64 },
    /// In a packed block, behind `skip` unpacked bytes.
    Packed { block: Packed, skip: usize, length: u64 },
}

impl Extent {
    /// Bytes of the file it covers.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Hole { length } | Self::Plain { length, .. } | Self::Packed { length, .. } => *length,
        }
    }

    /// Bytes of the payload that are read for it.
    pub(super) fn stored(&self) -> Option<Range<u64>> {
        match self {
            Self::Hole { .. } => None,
            Self::Plain { at, length } => Some(*at..at + length),
            Self::Packed { block, .. } => Some(block.start..block.start + u64::from(block.length)),
        }
    }
}

impl Entry {
    /// How the bytes from `offset` on are stored: at most `wanted`, at least one; `offset` is inside the file.
    pub(super) fn extent(&self, offset: u64, wanted: u64, superblock: &Superblock) -> Extent {
        let block_size = superblock.block_size;
        let (index, skip) = (
            (offset / u64::from(block_size)) as usize,
            (offset % u64::from(block_size)) as u32,
        );
        let wanted = wanted.min(self.size - offset);
        match (self.blocks.get(index, self.size, block_size), &self.tail) {
            (Some(block), _) if block.length == 0 => Extent::Hole {
                length: wanted.min(u64::from(block.unpacked - skip)),
            },
            (Some(block), _) if block.plain => {
                let mut length = u64::from(block.unpacked - skip);
                let following = self.blocks.stored[index + 1..].iter();
                for stored in following.take_while(|stored| **stored & PLAIN != 0) {
                    if length >= wanted {
                        break;
                    }
                    length += u64::from(stored & !PLAIN);
                }
                Extent::Plain {
                    at: block.start + u64::from(skip),
                    length: length.min(wanted),
                }
            }
            (Some(block), _) => Extent::Packed {
                block,
                skip: skip as usize,
                length: wanted.min(u64::from(block.unpacked - skip)),
            },
            (None, Some((block, start))) if block.plain => Extent::Plain {
                at: block.start + u64::from(start + skip),
                length: wanted,
            },
            (None, Some((block, start))) => Extent::Packed {
                block: *block,
                skip: (start + skip) as usize,
                length: wanted,
            },
            // Block list and tail cover the whole file by construction.
            (None, None) => Extent::Hole { length: wanted },
        }
    }
}

/// Unpacked blocks with the place each came from.
pub(super) type UnpackedCache = VecDeque<(Packed, Vec<u8>)>;

impl<R: ReadAt> Payload<R> {
    /// Copies from a packed block. One block is unpacked at a time, which bounds the memory for any number of threads.
    pub(super) fn read_packed(&self, out: &mut [u8], block: &Packed, skip: usize) -> io::Result<()> {
        let mut cache = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if !cache.iter().any(|(at, _)| at == block) {
            let reused = (cache.len() >= UNPACKED).then(|| cache.pop_front()).flatten();
            let mut unpacked = reused.map(|(_, bytes)| bytes).unwrap_or_default();
            let mut stored = vec![0; block.length as usize];
            self.data.read_exact_at(&mut stored, block.start)?;
            unpacked.resize(block.unpacked as usize, 0);
            let length = self.superblock.compression.unpack(&stored, &mut unpacked)?;
            unpacked.truncate(length);
            cache.push_back((*block, unpacked));
        }
        let bytes = cache.iter().find(|(at, _)| at == block);
        let part = bytes.and_then(|(_, bytes)| bytes.get(skip..)?.get(..out.len()));
        out.copy_from_slice(part.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a packed block is shorter than the file needs",
            )
        })?);
        Ok(())
    }
}
