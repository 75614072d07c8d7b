//! What can go wrong with a store, and what of it is damaged.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::FORMAT;
use super::checked_file::DamagedPage;
use super::chunk::CHUNK_BLOCKS;
use super::log::LostChanges;
use crate::flat_tree::Position;

/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be opened.
    #[error("the core store {path} cannot be opened")]
    Open {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
    /// Another process has it open, or somebody else in this one.
    #[error(
        "the core store {path} is in use by another program: end that one first, or choose another folder"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Another program's database, or an empty file.
    #[error("the index is not that of a core store: choose another folder")]
    Foreign,
    /// The files of another version.
    #[error(
        "the core store has format {0}, this program reads format {FORMAT}: update the program that opens it"
    )]
    Format(u64),
    /// There is an index without a log.
    #[error("the core store's log is missing: restore the whole folder from a backup")]
    NoLog,
    /// The index does not say where the log goes on.
    #[error(
        "the core store's index does not say what its log continues: restore the whole folder from a backup"
    )]
    NoState,
    /// Changes that were durable are gone. What was before them can be read; a change in their place might contradict what peers were
    /// given. [`super::Store::give_up_lost_changes`] goes on without them.
    #[error(
        "the core store takes no changes: its log is damaged at byte {}, and its disk has lost at least {} changes that it had said it kept. What was before them can be read; restore the whole folder from a backup, or go on without them", .0.offset, .0.at_least
    )]
    LostChanges(LostChanges),
    /// A record that is whole, but has steps that are unknown.
    #[error(
        "the record at byte {offset} of the core store's log has unknown steps: update the program that opens it"
    )]
    Record {
        /// Where the record lies.
        offset: u64,
    },
    /// No room is left. Nothing of the step is kept.
    #[error(
        "the disk was full when the core store was to {step}: make room (nothing that was acknowledged is lost)"
    )]
    Full {
        /// What was to be done.
        step: &'static str,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// The disk failed, or the index on it. Nothing of the step is kept.
    #[error(
        "the core store failed when it was to {step}: check the disk, then open the store again (nothing that was acknowledged is lost)"
    )]
    Database {
        /// What was to be done.
        step: &'static str,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// A page of the index is not what was written. Whatever needs it cannot be read; the rest can once the store is opened again.
    #[error(
        "page {page} of the core store's index is damaged (byte {offset} of the file): restore the whole folder from a backup, or open it again for what does not need that page"
    )]
    DamagedIndex {
        /// The page, of 4 KiB.
        page: u64,
        /// Where it lies in the file.
        offset: u64,
    },
    /// The disk failed before, and what is on it is only known when it is read again.
    #[error(
        "the core store takes no changes since its disk failed: check the disk, then open the store again (nothing that was acknowledged is lost)"
    )]
    Failed,
    /// What is stored cannot be right. Other cores, and other parts of this core, are not touched by it.
    #[error("core number {core} of the store is damaged: {part}")]
    Damaged {
        /// The core's number in this store.
        core: u64,
        /// What is damaged.
        part: DamagedPart,
    },
    /// The name stands for another core.
    #[error("the name {0:?} already stands for another core: choose another name")]
    NameTaken(String),
    /// The primary key is not 32 bytes.
    #[error(
        "the primary key of the core store cannot be read: its own cores can only be written with a copy of the key"
    )]
    DamagedPrimaryKey,
    /// Another core has the same discovery key; only a damaged store can say so.
    #[error("core number {0} of the store is entered under the discovery key of another core")]
    WrongDiscoveryKey(u64),
}

/// What of a core is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamagedPart {
    /// Its key is missing.
    Key,
    /// Its length, fork or signature cannot be read.
    Head,
    /// The roots of its tree are missing, or do not hash to what was stored.
    Roots {
        /// Blocks of the tree.
        length: u64,
    },
    /// The tree nodes of sixteen blocks, and where the blocks are, cannot be read.
    Nodes {
        /// The first of the blocks.
        first_block: u64,
    },
    /// A tree node that is not the hash of its children, or one of them that is not what was hashed.
    Node(Position),
    /// A block whose bytes are not those that were stored; in an audit also one whose hash is not that of its leaf, or that has none.
    Block(u64),
    /// A block that is marked as stored but is not there.
    MissingBlock(u64),
    /// Which of these blocks are stored.
    Bitfield {
        /// The page.
        page: u64,
    },
    /// The manifest.
    Manifest,
    /// The key pair.
    KeyPair,
}

impl fmt::Display for DamagedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("its key is missing"),
            Self::Head => f.write_str("its length, fork and signature cannot be read"),
            Self::Roots { length } => {
                write!(
                    f,
                    "the roots of its tree of {length} blocks are missing or changed"
                )
            }
            Self::Nodes { first_block } => {
                let last = first_block + CHUNK_BLOCKS - 1;
                write!(
                    f,
                    "the tree nodes of blocks {first_block} to {last} cannot be read"
                )
            }
            Self::Node(at) => write!(f, "tree node {at} is not the hash of those below it"),
            Self::Block(block) => {
                write!(
                    f,
                    "block {block} is not what was stored: clear it and fetch it again"
                )
            }
            Self::MissingBlock(block) => {
                write!(f, "block {block} is gone: clear it and fetch it again")
            }
            Self::Bitfield { page } => write!(f, "page {page} of the list of stored blocks cannot be read"),
            Self::Manifest => f.write_str("its manifest cannot be read or is not that of its key"),
            Self::KeyPair => f.write_str("its key pair cannot be read"),
        }
    }
}

/// Names the step at which the disk or the index failed.
pub(super) fn failed<E: Into<redb::Error>>(step: &'static str) -> impl FnOnce(E) -> StoreError {
    move |source| {
        let source = Box::new(source.into());
        match &*source {
            redb::Error::Io(error) if is_full(error.kind()) => StoreError::Full { step, source },
            redb::Error::Io(error) if let Some(&DamagedPage { page, offset }) = DamagedPage::of(error) => {
                StoreError::DamagedIndex { page, offset }
            }
            redb::Error::PreviousIo => StoreError::Failed,
            _ => StoreError::Database { step, source },
        }
    }
}

fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
