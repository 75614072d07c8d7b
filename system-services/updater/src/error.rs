//! What can go wrong on behalf of a caller, and which wire error that is.

use ipc::updater::WireError;
use thiserror::Error;

use crate::engine::{EngineError, EngineErrorKind};
use crate::health::data::NoRoom;
use crate::journal::JournalError;
use crate::slots::SlotError;
use crate::state::Refused;
use crate::state_disk::StateDiskError;

/// Why a call was not done. The text goes to the caller; causes go to the journal.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// Not in this state.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The boot state does not allow it.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// An argument is not acceptable.
    #[error("{argument}: {problem}")]
    Invalid {
        /// Which argument.
        argument: String,
        /// A sentence for the person who gave it.
        problem: String,
    },
    /// `data` is damaged: an update could not be watched over a restart.
    #[error(
        "the data partition is damaged ({reason}), so nothing is installed. Restart the box once; if this stays, save what \
         you need from it and flash it anew"
    )]
    DataDamaged {
        /// What early-boot found.
        reason: String,
    },
    /// `data` is nearly full: a new version would be rolled back.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The engine could not read the bundle.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The updater's journal takes no more.
    #[error(
        "the updater's notes cannot be written; free some space on the data partition or restart the box, then try again"
    )]
    Journal(#[from] JournalError),
    /// The boot state cannot be read or written.
    #[error(
        "the boot state cannot be read or written; the storage may be at its end: save what you need from it"
    )]
    BootState(#[from] StateDiskError),
    /// Anything else.
    #[error("{what} did not work; details are in the journal")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ServiceError {
    /// Anything that has no name of its own on the wire.
    pub fn failed(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed {
            what,
            source: source.into(),
        }
    }

    /// A wrong argument.
    pub fn invalid(argument: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            argument: argument.into(),
            problem: problem.into(),
        }
    }

    /// What callers branch on.
    pub fn wire(&self) -> WireError {
        match self {
            Self::Refused(Refused::Installing { .. } | Refused::Waiting { .. } | Refused::Proving { .. }) => {
                WireError::Busy
            }
            Self::Refused(_) | Self::Slot(_) | Self::NoRoom(_) => WireError::NotNow,
            Self::Invalid { .. } => WireError::InvalidArgument,
            Self::DataDamaged { .. } | Self::Journal(_) | Self::BootState(_) => WireError::StorageUnavailable,
            Self::Engine(error) => match error.kind {
                EngineErrorKind::Refused => WireError::BundleRefused,
                EngineErrorKind::Unreachable => WireError::SourceUnavailable,
                EngineErrorKind::Storage => WireError::StorageUnavailable,
                EngineErrorKind::Stopped => WireError::Failed,
            },
            Self::Failed { .. } => WireError::Failed,
        }
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
