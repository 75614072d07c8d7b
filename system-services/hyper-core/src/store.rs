//! Many cores in one folder.
//!
//! An index (a database with the heads, tree nodes and all else but the bytes of blocks), block files that are only ever appended to, and a log through which every
//! change goes (`docs/decisions/0016-core-store.md`). Every change is whole: it survives what [`Durability`] says when the call returns, or it never
//! happened. The store opens in constant time, after a power cut too, without reading what is stored.
//!
//! One writer at a time (the others wait, and share the flush of the disk), any number of readers, each of which sees one state.

mod audit;
mod change;
mod checked_file;
mod chunk;
mod cores;
mod directory;
mod engine;
mod error;
mod head;
mod index;
mod late_file;
mod log;
mod medium;
mod memory;
mod op;
mod reclaim;
mod replay;
mod segments;
mod snapshot;
mod tables;
mod write;

pub use checked_file::CheckedFile;
pub(crate) use cores::CoreRecord;
pub use error::{DamagedPart, StoreError};
pub use head::Head;
pub use log::LostChanges;
pub use medium::{Medium, MediumFile};
pub use snapshot::Snapshot;
pub(crate) use write::Writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use redb::WriteTransaction;

use self::change::Change;
use self::engine::{Engine, View};
use self::index::Index;
use self::medium::Folder;
use self::memory::Memory;
use self::snapshot::Stored;

/// The format of the index, the log and the block files.
pub const FORMAT: u64 = 3;

/// What a change survives once its call returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A power cut: the disk is flushed, once for all changes that wait at the same time.
    #[default]
    PowerCut,
    /// The end of the process, but not of the machine: the changes are with the kernel, which writes them when it likes. After a
    /// power cut the last ones may be missing; what is there is whole, and is what the store was at some time before.
    ProcessCrash,
}

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// What a change survives.
    pub durability: Durability,
    /// Bytes that the log may have before the index is brought up to date. They are read, and four times as many bytes of blocks
    /// are checked, when the store is opened after a power cut; a small log writes the index often.
    pub log_bytes: u64,
    /// Bytes of a block file. A smaller file is sooner gone when its blocks are cleared; many files are slower.
    pub block_file_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            durability: Durability::PowerCut,
            log_bytes: 16 << 20,
            block_file_bytes: 1 << 30,
        }
    }
}

/// A store of cores. Clones are the same store.
#[derive(Clone)]
pub struct Store(Arc<Engine>);

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// How a change ended: only one that changed something is worth flushing the disk.
pub(crate) enum Changed<T> {
    Yes(T),
    No(T),
}

impl Store {
    /// Opens the store in this folder, or makes a new one; the folder above must be there. Changes survive power cuts.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, StoreOptions::default())
    }

    /// Opens the store in this folder, or makes a new one; the folder above must be there. No other process, and nobody else in this
    /// one, may have it open.
    pub fn open_with(folder: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let medium = Folder::open(folder)?;
        Self::with_medium(Arc::new(medium), options).map_err(|source| StoreError::Open {
            path: folder.into(),
            source: Box::new(source),
        })
    }

    /// A store in memory, gone when it is dropped.
    pub fn in_memory() -> Result<Self, StoreError> {
        let options = StoreOptions {
            durability: Durability::ProcessCrash,
            log_bytes: 1 << 20,
            ..StoreOptions::default()
        };
        Self::with_medium(Arc::new(Memory::default()), options)
    }

    /// A store in files of any kind.
    pub fn with_medium(medium: Arc<dyn Medium>, options: StoreOptions) -> Result<Self, StoreError> {
        let index = Index::open(&*medium)?;
        let engine = Engine::open(index, medium, options)?;
        Ok(Self(Arc::new(engine)))
    }

    /// Whether a change may wait for the disk, milliseconds or more: not to be made where others wait.
    pub fn waits_for_disk(&self) -> bool {
        self.0.durability() == Durability::PowerCut
    }

    /// Changes that were durable and are gone: found when the store was opened, by what follows them in its log. What was before them can
    /// be read. Until [`Store::give_up_lost_changes`] nothing can be changed: a core of ours could be signed anew where its peers
    /// have other blocks already.
    pub fn lost_changes(&self) -> Result<Option<LostChanges>, StoreError> {
        self.0.lost_changes()
    }

    /// Goes on without [`Store::lost_changes`], for good.
    pub fn give_up_lost_changes(&self) -> Result<(), StoreError> {
        self.0.give_up_lost_changes()
    }

    fn begin_read(&self) -> Arc<View> {
        self.0.view()
    }

    /// Runs a change. An error leaves everything as it was.
    fn transaction<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&WriteTransaction, &mut Change) -> Result<Changed<T>, E>,
    ) -> Result<T, E> {
        self.0.change(change)
    }

    /// Changes a core.
    pub(crate) fn write<T, E: From<StoreError>>(
        &self,
        core: u64,
        change: impl FnOnce(&mut Writer<'_>) -> Result<Changed<T>, E>,
    ) -> Result<T, E> {
        self.transaction(|txn, record| {
            let mut writer = Writer::new(txn, record, core)?;
            let out = change(&mut writer)?;
            writer.finish()?;
            Ok(out)
        })
    }

    /// The core's state as it is now.
    pub(crate) fn snapshot(&self, core: u64) -> Result<Snapshot, StoreError> {
        Snapshot::new(&self.0, core)
    }

    /// What is stored of a core now, without its head.
    pub(crate) fn stored(&self, core: u64) -> Stored {
        Stored::new(&self.0, core)
    }
}
