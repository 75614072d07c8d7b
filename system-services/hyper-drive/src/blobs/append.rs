//! Appending many blocks, some at a time, to a core that others may want to write too.

use std::sync::Arc;

use hyper_core::session::{CoreState, Session, SessionError};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;

use super::error::short;
use super::{BLOCK_BYTES, BlobError};

/// Bytes that are joined in one commit: a flush of the disk for each MiB. Twice as many are in memory, the others being written.
const COMMIT_BYTES: usize = 16 * BLOCK_BYTES;
/// Blocks that are joined in one commit at most: empty ones too take memory.
const COMMIT_BLOCKS: usize = 4096;

/// A place relative to the first block of an [`Appender`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
}

/// Appends blocks in a row. Nobody else who shares the lock appends between the first commit and the end; who has not filled a
/// commit yet keeps nobody waiting. While one commit is written, the next is gathered.
///
/// Dropped before its end, it clears what it has appended: nobody knows of it.
pub(crate) struct Appender {
    core: Session,
    lock: Arc<Mutex<()>>,
    guard: Option<OwnedMutexGuard<()>>,
    /// Where the core stood before the first commit.
    start: Option<CoreState>,
    /// Blocks handed to the core.
    appended: u64,
    queue: Vec<Vec<u8>>,
    queued_bytes: usize,
    total: Position,
    in_flight: Option<JoinHandle<Result<u64, SessionError>>>,
}

impl Appender {
    pub(super) fn new(core: Session, lock: Arc<Mutex<()>>) -> Self {
        Self {
            core,
            lock,
            guard: None,
            start: None,
            appended: 0,
            queue: Vec::new(),
            queued_bytes: 0,
            total: Position::default(),
            in_flight: None,
        }
    }

    /// Where the next block goes.
    pub(crate) fn position(&self) -> Position {
        self.total
    }

    /// Adds a block.
    pub(crate) async fn push(&mut self, block: Vec<u8>) -> Result<(), BlobError> {
        if self.queue.len() >= COMMIT_BLOCKS || self.queued_bytes + block.len() > COMMIT_BYTES {
            self.commit().await?;
        }
        self.total.blocks += 1;
        self.total.bytes += block.len() as u64;
        self.queued_bytes += block.len();
        self.queue.push(block);
        Ok(())
    }

    /// Begins to write what is queued.
    async fn commit(&mut self) -> Result<(), BlobError> {
        self.landed().await?;
        if self.queue.is_empty() {
            return Ok(());
        }
        if self.guard.is_none() {
            self.guard = Some(Arc::clone(&self.lock).lock_owned().await);
            self.start = Some(self.core.state());
        }
        let blocks = std::mem::take(&mut self.queue);
        self.queued_bytes = 0;
        self.appended += blocks.len() as u64;
        let core = self.core.clone();
        self.in_flight = Some(tokio::spawn(async move { core.append_owned(blocks).await }));
        Ok(())
    }

    /// Waits for the commit that is being written.
    async fn landed(&mut self) -> Result<(), BlobError> {
        let Some(commit) = self.in_flight.as_mut() else {
            return Ok(());
        };
        let length = commit.await.unwrap_or(Err(SessionError::Interrupted));
        self.in_flight = None;
        let length = length.map_err(BlobError::core(&self.core))?;
        let start = self.start.unwrap_or_default().length;
        if length == start + self.appended {
            return Ok(());
        }
        // What lies between is not ours to clear.
        self.start = None;
        Err(BlobError::OtherWriter {
            core: short(self.core.key()),
        })
    }

    /// Writes everything, and says where the core stood before the first block. Later blocks start anew.
    pub(crate) async fn finish(&mut self) -> Result<CoreState, BlobError> {
        self.commit().await?;
        self.landed().await?;
        let start = self.start.take().unwrap_or_else(|| self.core.state());
        self.guard = None;
        self.appended = 0;
        self.total = Position::default();
        Ok(start)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let (Some(start), Ok(runtime)) = (self.start, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (core, guard, in_flight) = (self.core.clone(), self.guard.take(), self.in_flight.take());
        let orphans = start.length..start.length + self.appended;
        runtime.spawn(async move {
            if let Some(commit) = in_flight {
                let _ = commit.await;
            }
            if let Err(error) = core.clear(orphans).await {
                tracing::debug!(%error, "the blocks of a blob that was given up stay");
            }
            drop(guard);
        });
    }
}
