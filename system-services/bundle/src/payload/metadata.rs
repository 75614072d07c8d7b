//! Tables: a chain of blocks of at most 8 KiB, each packed for itself.

use super::PayloadError;
use super::superblock::Superblock;
use crate::source::ReadAt;

const BLOCK: usize = 8192;
/// In a block's length: the block is stored as it is.
const PLAIN: u16 = 1 << 15;

/// Reads a table from some place on.
pub(super) struct Metadata<'a, R> {
    data: &'a R,
    superblock: &'a Superblock,
    /// Where the next block begins.
    next: u64,
    block: Vec<u8>,
    /// What was read of `block`.
    at: usize,
}

impl<'a, R: ReadAt> Metadata<'a, R> {
    /// The table at `start`, from `offset` within the block there.
    pub(super) fn new(
        data: &'a R,
        superblock: &'a Superblock,
        start: u64,
        offset: u16,
    ) -> Result<Self, PayloadError> {
        let mut metadata = Self {
            data,
            superblock,
            next: start,
            block: Vec::new(),
            at: 0,
        };
        metadata.load()?;
        metadata.at = usize::from(offset);
        if metadata.at >= metadata.block.len() {
            return Err(PayloadError::Malformed {
                what: "a reference points behind its block",
            });
        }
        Ok(metadata)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PayloadError> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    pub(super) fn fill(&mut self, mut out: &mut [u8]) -> Result<(), PayloadError> {
        while !out.is_empty() {
            if self.at == self.block.len() {
                self.load()?;
            }
            let length = out.len().min(self.block.len() - self.at);
            let (now, rest) = out.split_at_mut(length);
            now.copy_from_slice(&self.block[self.at..self.at + length]);
            self.at += length;
            out = rest;
        }
        Ok(())
    }

    /// Unpacks the next block; an empty one is refused, so that reading always comes forward.
    fn load(&mut self) -> Result<(), PayloadError> {
        let body = self
            .next
            .checked_add(2)
            .filter(|body| *body <= self.superblock.used)
            .ok_or(END)?;
        let mut header = [0; 2];
        self.data.read_exact_at(&mut header, self.next)?;
        let header = u16::from_le_bytes(header);
        let length = usize::from(header & !PLAIN);
        let end = body + length as u64;
        if length == 0 || length > BLOCK || end > self.superblock.used {
            return Err(END);
        }
        let mut stored = vec![0; length];
        self.data.read_exact_at(&mut stored, body)?;
        if header & PLAIN != 0 {
            self.block = stored;
        } else {
            self.block.resize(BLOCK, 0);
            let length = self.superblock.compression.unpack(&stored, &mut self.block)?;
            self.block.truncate(length);
            if length == 0 {
                return Err(END);
            }
        }
        self.next = end;
        self.at = 0;
        Ok(())
    }
}

const END: PayloadError = PayloadError::Malformed {
    what: "a table does not end where it should",
};
