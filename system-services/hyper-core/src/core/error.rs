//! Why a core refuses.

use super::End;
use crate::manifest::{SignError, SignatureError, WrongManifest};
use crate::merkle::{ProofRequestError, SeekError, TreeError};
use crate::store::StoreError;

/// Something a core does not do. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The store failed or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Blocks do not fit the core.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A place that is not there.
    #[error(transparent)]
    Seek(#[from] SeekError),
    /// A proof that cannot be made.
    #[error(transparent)]
    Request(#[from] ProofRequestError),
    /// A manifest of another core.
    #[error(transparent)]
    WrongManifest(#[from] WrongManifest),
    /// Nobody here can sign.
    #[error("the core cannot be written here: its key pair is not at hand")]
    NotWritable,
    /// The key pair is not the core's.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// One signature is not enough.
    #[error("the core demands several signatures: gather them, then append with the joined signature")]
    NeedsMoreSigners,
    /// A signature that was given does not hold.
    #[error("the tree of {length} blocks is not signed as the core's manifest demands")]
    Signature {
        /// Blocks of the tree.
        length: u64,
        /// What is wrong.
        #[source]
        source: SignatureError,
    },
    /// Nobody gave the manifest yet.
    #[error("the core's manifest is not known yet: it comes with the first proof of a peer")]
    NoManifest,
    /// The prologue is fixed.
    #[error("a truncation to {to} blocks would break the prologue of {prologue} blocks")]
    Prologue {
        /// Blocks that should stay.
        to: u64,
        /// Blocks of the prologue.
        prologue: u64,
    },
    /// Forks only go up.
    #[error("the core is at fork {ours}: a truncation cannot lead to fork {asked}")]
    ForkNotNewer {
        /// Fork of the core.
        ours: u64,
        /// Fork that should be.
        asked: u64,
    },
    /// The core does not end where who appends thinks.
    #[error(
        "the core has {} blocks at fork {}, and not {} at fork {}: nothing was appended",
        now.length, now.fork, expected.length, expected.fork
    )]
    Moved {
        /// Where it ends.
        now: End,
        /// Where it should end.
        expected: End,
    },
    /// The core changed between preparing and doing.
    #[error("the core changed since the move to another fork was prepared: prepare it again")]
    Changed,
    /// The nodes of a fork do not make its tree.
    #[error("the nodes of the fork do not lead to its signed tree of {length} blocks")]
    IncompleteFork {
        /// Blocks of the fork.
        length: u64,
    },
}
