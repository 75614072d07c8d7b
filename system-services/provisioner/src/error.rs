//! What can go wrong on behalf of a caller, and which wire error that is.

use std::time::Duration;

use ipc::provisioner::WireError;
use thiserror::Error;

use crate::state::Refused;
use crate::store::StoreError;

/// Why a call was not done. The text goes to the caller; causes go to the journal.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// Not in this state of setup.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// An argument is not acceptable.
    #[error("{argument}: {problem}")]
    Invalid {
        /// Which argument.
        argument: &'static str,
        /// A sentence for the person who typed it.
        problem: String,
    },
    /// Too many wrong passwords.
    #[error("too many wrong passwords; wait {} seconds", seconds(wait))]
    TooManyAttempts {
        /// How long until the next try.
        wait: Duration,
    },
    /// `data` is damaged: nothing may be written to it.
    #[error(
        "the data partition is damaged ({reason}). Restart the box once; if this stays, save what you need \
         from the card with another computer and flash it anew"
    )]
    DataDamaged {
        /// What early-boot found.
        reason: String,
    },
    /// `data` took no more.
    #[error("the data partition cannot be written; free some space or restart the box, then try again")]
    NotStored(#[source] StoreError),
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

/// Whole seconds, rounded up: who waits as long as told must not be told again.
fn seconds(wait: &Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl ServiceError {
    /// Anything that has no name of its own on the wire.
    pub fn failed(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed {
            what,
            source: source.into(),
        }
    }

    /// What callers branch on.
    pub fn wire(&self) -> WireError {
        match self {
            Self::Refused(Refused::AlreadyProvisioned) => WireError::AlreadyProvisioned,
            Self::Refused(Refused::NotProvisioned) => WireError::NotProvisioned,
            Self::Refused(Refused::NoAdministrator) => WireError::NoAdministrator,
            Self::Refused(Refused::WrongConfirmation { .. }) | Self::Invalid { .. } => {
                WireError::InvalidArgument
            }
            Self::TooManyAttempts { .. } => WireError::TooManyAttempts,
            Self::Refused(Refused::Unreadable { .. }) | Self::DataDamaged { .. } | Self::NotStored(_) => {
                WireError::StorageUnavailable
            }
            Self::Failed { .. } => WireError::Failed,
        }
    }
}
