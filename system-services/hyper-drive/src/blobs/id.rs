//! Where a blob lies in its core.

use std::ops::Range;

/// The greatest number that a JavaScript peer can hold: 2^53 - 1.
const MAX_UINT: u64 = (1 << 53) - 1;

/// A place that no core has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBlobId {
    /// Beyond what any core holds.
    #[error("its content ends beyond 2^53 - 1, where no core reaches")]
    BeyondAnyCore,
    /// Bytes need blocks.
    #[error("its content has {0} bytes but no block")]
    BytesWithoutBlocks(u64),
}

/// Where a blob lies in its core. Whoever knows the id, and the core, has the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobId {
    /// Its first block.
    pub block_offset: u64,
    /// Its blocks.
    pub block_length: u64,
    /// Bytes of all blocks before it.
    pub byte_offset: u64,
    /// Its bytes; those of the map if it has one.
    pub byte_length: u64,
    /// The blocks hold no content but a list of the blocks that do ([`BlockMap`](super::BlockMap)): they may lie anywhere, and
    /// blobs may share them.
    pub block_map: bool,
}

impl BlobId {
    /// Whether there can be such a blob at all. Ids from peers go through this before anything is reckoned with them.
    pub fn check(&self) -> Result<(), InvalidBlobId> {
        let ends = [
            self.block_offset.checked_add(self.block_length),
            self.byte_offset.checked_add(self.byte_length),
        ];
        if ends.iter().any(|end| end.is_none_or(|end| end > MAX_UINT)) {
            return Err(InvalidBlobId::BeyondAnyCore);
        }
        if self.block_length == 0 && self.byte_length > 0 {
            return Err(InvalidBlobId::BytesWithoutBlocks(self.byte_length));
        }
        Ok(())
    }

    /// Its blocks.
    pub fn blocks(&self) -> Range<u64> {
        self.block_offset..self.block_offset.saturating_add(self.block_length)
    }

    /// Its bytes within all bytes of the core.
    pub fn bytes(&self) -> Range<u64> {
        self.byte_offset..self.byte_offset.saturating_add(self.byte_length)
    }
}
