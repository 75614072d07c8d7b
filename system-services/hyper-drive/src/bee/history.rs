//! The changes of a bee, in the order in which they were made, or backwards.

use std::ops::{Bound, Range, RangeBounds};

use tokio::sync::watch;

use bytes::Bytes;
use hyper_core::session::{CoreState, Download, DownloadRange, SessionError};

use super::error::{BeeError, Step};
use super::view::View;
use super::{Bee, Entry};

/// Blocks that are asked for before they are read.
const AHEAD: u64 = 512;

/// What was done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was put.
    Put,
    /// It was removed.
    Del,
}

/// One change of a bee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// What was done.
    pub change: Change,
    /// The key, and what it was put with.
    pub entry: Entry,
}

/// The changes of a bee; those of a sub-database only, if it is one.
pub struct History {
    bee: Bee,
    view: View,
    prefix: Bytes,
    next: u64,
    end: u64,
    reverse: bool,
    left: u64,
    live: Option<watch::Receiver<CoreState>>,
    /// Blocks that peers were asked for.
    asked: Option<(Range<u64>, Download)>,
}

impl Bee {
    /// The changes that these blocks made; no block is asked for beyond the version. The header, block 0, is no change.
    pub fn history(&self, blocks: impl RangeBounds<u64>) -> Result<History, BeeError> {
        let view = self.view()?;
        let start = match blocks.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 1,
        };
        let end = match blocks.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => view.version,
        };
        Ok(History {
            bee: self.clone(),
            prefix: self.prefix.clone(),
            next: start.max(1),
            end: end.min(view.version),
            view,
            reverse: false,
            left: u64::MAX,
            live: None,
            asked: None,
        })
    }

    /// The changes from a block on, and those that are still to be made: they are waited for, for ever.
    pub fn live_history(&self, start: u64) -> Result<History, BeeError> {
        Ok(History {
            live: Some(self.session.changes()),
            ..self.history(start..)?
        })
    }
}

impl History {
    /// The newest change first. To be said before the first one is asked for; a live history stays as it is.
    pub fn reversed(self) -> Self {
        Self {
            reverse: self.live.is_none(),
            ..self
        }
    }

    /// At most this many changes.
    pub fn limit(self, changes: u64) -> Self {
        Self {
            left: changes,
            ..self
        }
    }

    /// The next change. A call whose caller went away can be made again.
    pub async fn next(&mut self) -> Result<Option<HistoryEntry>, BeeError> {
        while self.left > 0 {
            if self.next >= self.end && !self.wait_for_more().await? {
                break;
            }
            let seq = if self.reverse { self.end - 1 } else { self.next };
            let block = match self.view.stored(seq)? {
                Some(block) => block,
                None => {
                    self.ask_ahead(seq);
                    self.view.block(seq).await?
                }
            };
            match self.reverse {
                true => self.end = seq,
                false => self.next = seq + 1,
            }
            if !block.key().starts_with(&self.prefix) {
                continue;
            }
            let deleted = block.is_deletion().map_err(self.view.damaged(seq))?;
            self.left -= 1;
            return Ok(Some(HistoryEntry {
                change: if deleted { Change::Del } else { Change::Put },
                entry: Entry::new(&block, &self.prefix),
            }));
        }
        Ok(None)
    }

    /// Asks peers for the blocks from one on, in the order of the reader.
    fn ask_ahead(&mut self, seq: u64) {
        let asked = self.asked.as_ref().is_some_and(|(asked, _)| asked.contains(&seq));
        if asked || !self.view.options.wait {
            return;
        }
        let blocks = match self.reverse {
            true => self.next.max(seq.saturating_sub(AHEAD))..seq + 1,
            false => seq..self.end.min(seq.saturating_add(AHEAD)),
        };
        let download = DownloadRange::from(blocks.clone());
        let download = if self.reverse { download } else { download.linear() };
        self.asked = Some((blocks, self.view.session.download(download)));
    }

    /// Waits until the bee has more blocks, if this is live.
    async fn wait_for_more(&mut self) -> Result<bool, BeeError> {
        let Some(changes) = &mut self.live else {
            return Ok(false);
        };
        loop {
            let state = *changes.borrow_and_update();
            if state.length > self.next {
                self.view = self.bee.view()?;
                self.end = self.view.version;
                return Ok(true);
            }
            let changed = changes.changed().await;
            changed.map_err(|_| self.view.failed(Step::Update)(SessionError::Interrupted))?;
        }
    }
}
