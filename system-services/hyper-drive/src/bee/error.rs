//! Why a bee gives nothing.

use std::fmt;

use hyper_core::crypto::Hash;
use hyper_core::key;
use hyper_core::session::SessionError;

use super::block::BlockFault;

/// Something a bee does not do.
#[derive(Debug, thiserror::Error)]
pub enum BeeError {
    /// The core under the bee gave no block, or took none.
    #[error("the core {core} of a bee failed at {step}")]
    Core {
        /// The core.
        core: CoreKey,
        /// What was to be done.
        step: Step,
        /// Why.
        #[source]
        source: SessionError,
    },
    /// A block is not what it should be: its writer, or the storage, is at fault.
    #[error("block {seq} of the bee {core} is damaged or lies: {fault}")]
    Damaged {
        /// The core.
        core: CoreKey,
        /// The block.
        seq: u64,
        /// What is wrong with it.
        fault: BlockFault,
    },
    /// A block is not stored here, and was not to be waited for.
    #[error("block {seq} of the bee {core} is not stored here: ask a peer for it")]
    NotStored {
        /// The core.
        core: CoreKey,
        /// The block.
        seq: u64,
    },
    /// Nobody here can sign, or it is a version.
    #[error("the bee {0} cannot be written here: it is another's, or an old version of ours")]
    ReadOnly(CoreKey),
    /// Somebody who is no bee appended to the core meanwhile, or truncated it.
    #[error(
        "the core {core} of the bee had {length} blocks when a write began, and was changed by something else since: nothing was written, do it again"
    )]
    Interleaved {
        /// The core.
        core: CoreKey,
        /// Blocks that it had.
        length: u64,
    },
    /// A step of a batch failed halfway.
    #[error("a step of this batch failed: nothing of it is kept, begin it anew")]
    BatchFailed,
    /// A key is not text.
    #[error("the key of entry {seq} is not UTF-8")]
    NotText {
        /// The entry.
        seq: u64,
    },
    /// A value is not JSON, or not of the type that is expected.
    #[error("the value of entry {seq} is not the JSON that is expected")]
    NotJson {
        /// The entry.
        seq: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Something cannot be said in JSON.
    #[error("the value for the key {key:?} cannot be said in JSON")]
    NoJson {
        /// The key, as text.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// The key of a core, as people read it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CoreKey(pub Hash);

impl fmt::Display for CoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key::to_hex(&self.0))
    }
}

impl fmt::Debug for CoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a bee wants of its core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A block.
    Get(u64),
    /// New blocks, from this one on.
    Append(u64),
    /// Blocks removed.
    Clear(u64),
    /// The core as it is now.
    Snapshot,
    /// News of the core.
    Update,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(block) => write!(f, "block {block}"),
            Self::Append(block) => write!(f, "appending block {block}"),
            Self::Clear(block) => write!(f, "clearing block {block}"),
            Self::Snapshot => f.write_str("a snapshot"),
            Self::Update => f.write_str("news of its length"),
        }
    }
}
