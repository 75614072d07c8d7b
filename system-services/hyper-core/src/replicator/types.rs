//! What goes in and out of a replicator.

use crate::core::Conflict;
use crate::crypto::Hash;
use crate::manifest::WrongManifest;
use crate::merkle::{NoSuchNode, ReorgRequest, VerifyError};
use crate::messages::{Data, Message, Request, Want};
use crate::session::CoreState;

/// A peer of a core: one channel of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerId(pub(super) u64);

/// Somebody here who waits for an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WaiterId(pub(super) u64);

/// What a waiter waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This block is stored by now.
    Block(u64),
    /// More of the tree is stored, or the peer that was asked gave nothing: look again.
    Seek,
    /// All blocks of the range are stored.
    Range,
    /// Whether the core grew.
    Update(bool),
}

/// What is to be done for a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send it.
    Send(Message),
    /// Send it, with the levels that are missing above its block filled in.
    Ask(Request),
    /// Look whether all roots of the tree of `remote_length` blocks are stored, and say it with `Replicator::checked`.
    Check(Check),
    /// Prove this, unasked, and send it.
    Show(Request),
    /// There are messages of extensions for it: see `Replicator::next_said`.
    Say,
    /// Neither end wants anything: close the channel.
    Close,
    /// End the connection.
    Drop(Fault),
}

/// Can a peer with a shorter tree be brought up to ours?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    /// Blocks of the peer.
    pub(crate) remote_length: u64,
    /// Fork of both.
    pub(crate) fork: u64,
    /// Blocks that we have.
    pub(crate) length: u64,
}

/// What a peer asks of us, answered as fast as its connection takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A proof.
    Proof(Request),
    /// Which blocks we have.
    Have(Want),
}

/// A proof that came and is to be checked and stored.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) peer: PeerId,
    pub(crate) request: u64,
    pub(crate) data: Data,
    pub(crate) purpose: Purpose,
}

/// What a proof that came is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be stored.
    Store,
    /// It belongs to a newer fork.
    Fork,
    /// To be compared with our tree.
    Compare,
}

/// How a piece of [`Work`] ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) peer: PeerId,
    pub(crate) request: u64,
    /// The block that it was for.
    pub(crate) block: Option<u64>,
    pub(crate) end: End,
}

/// See [`Done`].
#[derive(Debug)]
pub(crate) enum End {
    /// It is stored.
    Stored,
    /// It is of the same tree as ours.
    Same,
    /// It is of another tree, as well signed as ours.
    Conflict(Conflict),
    /// It holds no longer, through no fault of the peer: ask again.
    Stale,
    /// The store failed.
    Unstored,
    /// The peer lies.
    Refused(Fault),
    /// More is to be asked for before the core can move to this fork.
    Fork {
        /// The fork.
        fork: u64,
        /// What.
        want: ReorgRequest,
    },
    /// The core is now on another fork, of which so many blocks were there before.
    Moved {
        /// Blocks that are the same.
        ancestors: u64,
    },
}

/// Where the core stands after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: CoreState,
    /// The manifest is known.
    pub(crate) has_manifest: bool,
    /// A core of hypercore 10: peers need no manifest.
    pub(crate) compat: bool,
}

/// Why the connection to a peer is ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It claims to know the core's key, but does not.
    #[error("the peer did not prove that it knows the core's key")]
    Capability,
    /// The proof of a block does not hold.
    #[error("the peer's proof of block {block} is wrong: {reason}")]
    Block {
        /// The block.
        block: u64,
        /// What is wrong.
        reason: String,
    },
    /// A proof without a block does not hold.
    #[error("the peer's proof of the core's tree is wrong: {0}")]
    Tree(String),
    /// It answers what was not asked.
    #[error("the peer answered request {request} with something else than was asked for")]
    OtherAnswer {
        /// The request.
        request: u64,
    },
    /// It asks faster than it takes answers.
    #[error("the peer has more than {limit} requests waiting for an answer")]
    TooManyRequests {
        /// The limit.
        limit: usize,
    },
    /// It asks for what nobody can answer.
    #[error("the peer sent {0} requests that no proof can answer")]
    InvalidRequests(u32),
    /// A length or fork that no core can have.
    #[error("the peer claims {0} blocks, more than a core can hold")]
    Length(u64),
}

impl Fault {
    pub(super) fn refused(block: Option<u64>, reason: String) -> Self {
        match block {
            Some(block) => Self::Block { block, reason },
            None => Self::Tree(reason),
        }
    }
}

impl End {
    /// What a proof that does not hold says of the peer.
    pub(crate) fn of_error(block: Option<u64>, error: &VerifyError) -> Self {
        match error {
            VerifyError::OtherFork { .. } | VerifyError::NotStored(_) | VerifyError::Read(_) => Self::Stale,
            error => Self::Refused(Fault::refused(block, with_sources(error))),
        }
    }

    pub(crate) fn of_manifest(error: &WrongManifest) -> Self {
        Self::Refused(Fault::Tree(with_sources(error)))
    }

    pub(crate) fn of_node(block: Option<u64>, error: &NoSuchNode) -> Self {
        Self::Refused(Fault::refused(block, error.to_string()))
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// What a new replicator is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) standing: Standing,
    /// The core is frozen.
    pub(crate) conflict: Option<Conflict>,
    /// Any number: what peers cannot foresee.
    pub(crate) seed: u64,
}

/// Names a core in messages to people.
pub(crate) fn short(key: &Hash) -> String {
    key[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}
