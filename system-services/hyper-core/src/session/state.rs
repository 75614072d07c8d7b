//! Where a core stands, and how a block is asked for.

use std::time::Duration;

/// Where a core stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CoreState {
    /// Blocks.
    pub length: u64,
    /// How often it was truncated.
    pub fork: u64,
    /// Bytes of all blocks, stored or not.
    pub byte_length: u64,
    /// Blocks from the start without a gap that are stored.
    pub contiguous_length: u64,
}

/// How a block is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetOptions {
    /// Wait until the block is there.
    pub wait: bool,
    /// How long at most.
    pub timeout: Option<Duration>,
}

impl Default for GetOptions {
    fn default() -> Self {
        Self {
            wait: true,
            timeout: None,
        }
    }
}
