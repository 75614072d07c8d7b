//! Why a session gives nothing.

use std::time::Duration;

use crate::core::{Conflict, CoreError};
use crate::crypto::Hash;
use crate::encryption::NotEncrypted;
use crate::key;
use crate::store::StoreError;

/// Something a session does not do.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The core refuses.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The core is not encrypted, or not all of it.
    #[error(transparent)]
    NotEncrypted(#[from] NotEncrypted),
    /// Nobody gave the block in time.
    #[error("block {block} did not come within {} ms", after.as_millis())]
    TimedOut {
        /// The block.
        block: u64,
        /// The time.
        after: Duration,
    },
    /// A snapshot does not change.
    #[error("a snapshot of a core is not written: write the core itself")]
    IsSnapshot,
    /// What was appended later is not in the snapshot.
    #[error("block {block} is beyond the {length} blocks of the snapshot")]
    BeyondSnapshot {
        /// The block.
        block: u64,
        /// Blocks of the snapshot.
        length: u64,
    },
    /// The core was truncated below the block since.
    #[error("block {block} of the snapshot is gone: the core was truncated since")]
    Truncated {
        /// The block.
        block: u64,
    },
    /// There are two signed trees of the core.
    #[error("core {} is frozen", key::to_hex(key))]
    Frozen {
        /// The core's key.
        key: Hash,
        /// What is signed twice.
        #[source]
        conflict: Conflict,
    },
    /// The runtime ended, or a panic ended the work.
    #[error("the work on the core was cut off; whether it was stored shows when the core is opened again")]
    Interrupted,
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        Self::Core(error.into())
    }
}
