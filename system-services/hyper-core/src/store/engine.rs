//! How changes become durable: one writer at a time, a record in the log for each change, a flush for all that wait.
//!
//! A change is made in the index, in a transaction that nobody flushes, and written to the log. Then it waits until the log is
//! flushed: the first that waits flushes for all. Readers see it from then on and not before, as what was shown must not be taken
//! back by a power cut: a peer would hold our signature under blocks that we then sign differently. A checkpoint makes the index
//! itself durable, and the log starts over.

mod ahead;
mod checkpoint;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, WriteTransaction};

use self::ahead::{Ahead, Flushed};
use super::change::{Change, Finished};
use super::chunk::{Extent, Place};
use super::error::failed;
use super::index::Index;
use super::log::{HEADER_BYTES, Log, LostChanges};
use super::medium::{Medium, MediumFile};
use super::reclaim::{Epoch, Reclaim};
use super::segments::Segments;
use super::tables::{CHUNKS, Key, STATE};
use super::{Changed, Durability, StoreError, StoreOptions};

/// Name of the log.
pub(super) const LOG_FILE: &str = "log";

/// One state of the index, as readers see it.
pub(super) struct View {
    index: ReadTransaction,
    /// Opened by the first who reads it: finding a table is a look-up of its own, and reading a block is hardly more.
    chunks: OnceLock<ReadOnlyTable<Key, &'static [u8]>>,
    _epoch: Arc<Epoch>,
}

impl View {
    /// The tree nodes of all cores, and where their blocks lie.
    pub(super) fn chunks(&self) -> Result<&ReadOnlyTable<Key, &'static [u8]>, StoreError> {
        match self.chunks.get() {
            Some(table) => Ok(table),
            None => {
                let table = self.index.open_table(CHUNKS).map_err(failed("open a core"))?;
                Ok(self.chunks.get_or_init(|| table))
            }
        }
    }
}

impl Deref for View {
    type Target = ReadTransaction;

    fn deref(&self) -> &ReadTransaction {
        &self.index
    }
}

pub(super) struct Engine {
    index: Database,
    /// Stops the index from writing. What it has since the last checkpoint must never be durable without the log.
    frozen: Arc<AtomicBool>,
    pub(super) segments: Arc<Segments>,
    options: StoreOptions,
    log_file: Arc<dyn MediumFile>,
    writing: Mutex<Writing>,
    waiting: Mutex<Waiting>,
    shown: Condvar,
    /// Up to where the bytes in block files are flushed.
    flushed: Arc<Flushed>,
    view: RwLock<Arc<View>>,
}

/// What the one who writes has.
struct Writing {
    log: Log,
    /// What the log had when the store was opened and cannot give. Nothing is written behind it.
    lost: Option<LostChanges>,
    /// Where the next block goes.
    tail: Place,
    /// Changes since the store was opened.
    changes: u64,
    /// Block files that were written since the last checkpoint.
    touched: BTreeSet<u32>,
    /// Block files with bytes that the log lacks and nobody flushed, and how many bytes that are.
    ahead: Ahead,
    freed: Vec<Extent>,
    freed_bytes: u64,
    reclaim: Reclaim,
    epoch: Arc<Epoch>,
}

/// Changes that are written but not flushed.
struct Waiting {
    /// Changes that are flushed.
    flushed: u64,
    /// Whether someone flushes.
    running: bool,
    /// Changes that are written, and the state after them.
    written: u64,
    latest: Arc<View>,
    /// Where the log is then.
    place: (u64, u64),
    /// Block files to flush with the log.
    files: BTreeSet<u32>,
}

impl Engine {
    /// Opens the engine on an index that is open, and does again what the log has.
    pub(super) fn open(
        index: Index,
        medium: Arc<dyn Medium>,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let step = "open its log";
        let Index { database, frozen } = index;
        let epoch = Arc::new(Epoch);
        let view = view(&database, &epoch)?;
        let state = view.open_table(STATE).map_err(failed(step))?;
        let state = state.get(()).map_err(failed(step))?;
        let (generation, segment, offset) = state.ok_or(StoreError::NoState)?.value();
        let file = medium.open(LOG_FILE).map_err(failed(step))?;
        let log_file: Arc<dyn MediumFile> = file.ok_or(StoreError::NoLog)?.into();
        let reclaim = Reclaim::load(&view).map_err(failed(step))?;
        let flushes = options.durability == Durability::PowerCut;
        let log = Log::new(Arc::clone(&log_file), generation, random()?, flushes);
        let engine = Self {
            index: database,
            frozen,
            segments: Arc::new(Segments::new(medium, options.block_file_bytes)),
            options,
            writing: Mutex::new(Writing {
                log,
                lost: None,
                tail: Place { segment, offset },
                changes: 0,
                touched: BTreeSet::new(),
                ahead: Ahead::default(),
                freed: Vec::new(),
                freed_bytes: 0,
                reclaim,
                epoch,
            }),
            waiting: Mutex::new(Waiting {
                flushed: 0,
                running: false,
                written: 0,
                latest: Arc::clone(&view),
                place: (generation, 0),
                files: BTreeSet::new(),
            }),
            shown: Condvar::new(),
            flushed: Arc::default(),
            log_file,
            view: RwLock::new(view),
        };
        engine.recover()?;
        Ok(engine)
    }

    /// The state that readers see.
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a change. An error leaves everything as it was, unless it is the disk that failed.
    pub(super) fn change<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&WriteTransaction, &mut Change) -> Result<Changed<T>, E>,
    ) -> Result<T, E> {
        let mut writing = self.writing()?;
        let txn = self.begin()?;
        let mut record = Change::new(Arc::clone(&self.segments), writing.tail);
        let out = match change(&txn, &mut record)? {
            Changed::Yes(out) => out,
            Changed::No(out) => {
                txn.abort().map_err(failed("end a step without a change"))?;
                return Ok(out);
            }
        };
        let number = self.write(&mut writing, txn, record)?;
        drop(writing);
        self.wait_for(number)?;
        Ok(out)
    }

    fn writing(&self) -> Result<MutexGuard<'_, Writing>, StoreError> {
        let writing = self.writing.lock().map_err(|_| StoreError::Failed)?;
        if self.frozen.load(Ordering::Acquire) {
            return Err(StoreError::Failed);
        }
        Ok(writing)
    }

    /// A transaction that is durable with the next checkpoint only.
    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let step = "begin to write";
        let mut txn = self.index.begin_write().map_err(failed(step))?;
        txn.set_durability(redb::Durability::None).map_err(failed(step))?;
        Ok(txn)
    }

    /// No change is taken any more, and none that is not flushed yet counts.
    fn freeze(&self) {
        let _waiting = self.waiting();
        self.frozen.store(true, Ordering::Release);
        self.shown.notify_all();
    }

    /// Does `step`; if it fails, nobody knows what is on the disk.
    fn must<T>(&self, step: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        step().inspect_err(|_| self.freeze())
    }

    /// Writes a change to the log and into the index, and says its number.
    fn write(&self, writing: &mut Writing, txn: WriteTransaction, change: Change) -> Result<u64, StoreError> {
        if let Some(lost) = writing.lost {
            return Err(StoreError::LostChanges(lost));
        }
        let finished = change.finish(HEADER_BYTES).map_err(failed("store blocks"))?;
        let Finished { mut record, .. } = finished;
        let flushed = self.flushed.records_of(&writing.log);
        writing
            .log
            .append(&mut record, flushed)
            .map_err(failed("write its log"))?;
        let view = self.must(|| {
            txn.commit().map_err(failed("commit"))?;
            view(&self.index, &writing.epoch)
        })?;
        writing.tail = finished.tail;
        writing.changes += 1;
        writing.freed_bytes += sum(&finished.freed);
        writing.freed.extend(finished.freed);
        writing.touched.extend(finished.touched);
        writing.ahead.add(&finished.direct);
        let mut waiting = self.waiting();
        (waiting.written, waiting.latest) = (writing.changes, view);
        waiting.place = writing.log.place();
        if self.options.durability == Durability::ProcessCrash {
            self.show(&mut waiting);
        } else {
            waiting.files.append(&mut writing.ahead.take().files);
        }
        drop(waiting);
        self.flush_ahead(writing)?;
        if self.is_checkpoint_due(writing) {
            self.checkpoint(writing)?;
        }
        Ok(writing.changes)
    }

    pub(super) fn lost_changes(&self) -> Result<Option<LostChanges>, StoreError> {
        Ok(self.writing()?.lost)
    }

    /// Takes changes again: the log starts over, and what it could not give is gone for good.
    pub(super) fn give_up_lost_changes(&self) -> Result<(), StoreError> {
        let mut writing = self.writing()?;
        if writing.lost.is_some() {
            self.checkpoint(&mut writing)?;
            writing.lost = None;
        }
        Ok(())
    }

    pub(super) fn durability(&self) -> Durability {
        self.options.durability
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is written counts from now on.
    fn show(&self, waiting: &mut Waiting) {
        waiting.flushed = waiting.written;
        self.show_view(Arc::clone(&waiting.latest));
    }

    fn show_view(&self, view: Arc<View>) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        self.shown.notify_all();
    }

    /// Waits until a change is durable; the first that waits flushes for all that are written.
    fn wait_for(&self, number: u64) -> Result<(), StoreError> {
        let mut waiting = self.waiting();
        loop {
            if waiting.flushed >= number {
                return Ok(());
            }
            if self.frozen.load(Ordering::Acquire) {
                return Err(StoreError::Failed);
            }
            if waiting.running {
                waiting = self.shown.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            waiting.running = true;
            let (written, latest, place) = (waiting.written, Arc::clone(&waiting.latest), waiting.place);
            let files = std::mem::take(&mut waiting.files);
            drop(waiting);
            let result = self.must(|| self.flush(&files));
            waiting = self.waiting();
            waiting.running = false;
            result?;
            self.flushed.reached(place);
            // A checkpoint may have been faster.
            if written > waiting.flushed {
                waiting.flushed = written;
                self.show_view(latest);
            } else {
                self.shown.notify_all();
            }
        }
    }

    /// Makes what is in the log durable, and at the same time the block files that it refers to.
    fn flush(&self, files: &BTreeSet<u32>) -> Result<(), StoreError> {
        let flush_files = || files.iter().try_for_each(|file| self.segments.flush(*file));
        let done = if files.is_empty() {
            self.log_file.flush()
        } else {
            std::thread::scope(|scope| {
                let thread = std::thread::Builder::new().spawn_scoped(scope, flush_files)?;
                let log = self.log_file.flush();
                let files = thread.join();
                log.and(files.unwrap_or_else(|_| Err(ErrorKind::Other.into())))
            })
        };
        done.map_err(failed("flush what was written"))
    }
}

fn view(index: &Database, epoch: &Arc<Epoch>) -> Result<Arc<View>, StoreError> {
    Ok(Arc::new(View {
        index: index.begin_read().map_err(failed("begin to read"))?,
        chunks: OnceLock::new(),
        _epoch: Arc::clone(epoch),
    }))
}

fn sum(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.bytes).sum()
}

pub(super) fn random() -> Result<u64, StoreError> {
    getrandom::u64().map_err(|error| failed("draw a random number")(std::io::Error::other(error)))
}
