//! Fetching many blocks.

use std::ops::Range;
use std::sync::Arc;

use super::SessionError;
use crate::live::Live;

/// Which blocks to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadRange {
    /// The first block.
    pub start: u64,
    /// The block after the last; `None`: to the end, and whatever is appended later.
    pub end: Option<u64>,
    /// Fetch them in their order.
    pub linear: bool,
}

impl DownloadRange {
    /// All blocks, and those that are appended later.
    pub const LIVE: Self = Self {
        start: 0,
        end: None,
        linear: false,
    };

    /// The same blocks, fetched in their order.
    pub fn linear(self) -> Self {
        Self { linear: true, ..self }
    }
}

impl From<Range<u64>> for DownloadRange {
    fn from(blocks: Range<u64>) -> Self {
        Self {
            start: blocks.start,
            end: Some(blocks.end),
            linear: false,
        }
    }
}

/// Blocks that are being fetched, as long as this lives.
pub struct Download {
    live: Arc<Live>,
    range: DownloadRange,
}

impl Download {
    pub(super) fn new(live: Arc<Live>, range: DownloadRange) -> Self {
        Self { live, range }
    }

    /// Waits until all blocks are stored; for a range without an end, as long as this lives.
    pub async fn done(&mut self) -> Result<(), SessionError> {
        let mut changes = self.live.changes();
        loop {
            changes.borrow_and_update();
            if let Some(end) = self.range.end {
                let snapshot = self.live.core().snapshot()?;
                let whole = end.min(snapshot.tree().length()) == end;
                if self.range.start >= end || (whole && snapshot.next_missing(self.range.start)? >= end) {
                    return Ok(());
                }
            }
            changes.changed().await.map_err(|_| SessionError::Interrupted)?;
        }
    }
}
