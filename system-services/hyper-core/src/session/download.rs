//! Fetching many blocks.

use std::ops::Range;
use std::sync::Arc;

use super::SessionError;
use crate::live::{Live, Waiting};

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
pub struct Download(Wish);

enum Wish {
    Waiting(Waiting),
    Done,
    Failed(Option<SessionError>),
}

impl Download {
    pub(super) fn new(live: &Arc<Live>, range: DownloadRange) -> Self {
        Self(match live.wait_for_range(range.start, range.end, range.linear) {
            Ok(waiting) => Wish::Waiting(waiting),
            Err(error) => Wish::Failed(Some(error)),
        })
    }

    /// Waits until all blocks are stored; of a range without an end, as long as this lives.
    pub async fn done(&mut self) -> Result<(), SessionError> {
        match &mut self.0 {
            Wish::Waiting(waiting) => {
                waiting.answer().await?;
                self.0 = Wish::Done;
                Ok(())
            }
            Wish::Done => Ok(()),
            Wish::Failed(error) => Err(error.take().unwrap_or(SessionError::Interrupted)),
        }
    }
}
