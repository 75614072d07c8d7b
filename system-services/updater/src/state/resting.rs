//! Where an installation begins, and where one that touched nothing leads back to.

use ipc::boot_facts::Slot;
use serde::{Deserialize, Serialize};

use super::{Bundle, State, Trial};

/// A state in which nothing is under way; see [`State`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resting {
    /// [`State::Idle`].
    #[default]
    Idle,
    /// [`State::Good`].
    Good {
        /// Which slot.
        slot: Slot,
        /// What is in it.
        bundle: Bundle,
    },
    /// [`State::RolledBack`].
    RolledBack {
        /// What failed, and where.
        trial: Trial,
        /// A sentence for a person.
        reason: String,
    },
    /// [`State::Unhealthy`].
    Unhealthy {
        /// What has to prove itself.
        trial: Trial,
        /// A sentence for a person.
        reason: String,
    },
}

impl From<&State> for Resting {
    /// A system that waits for the night is given up for the new one: that leads back to `Idle`, as what is under way does.
    fn from(state: &State) -> Self {
        match state.clone() {
            State::Good { slot, bundle } => Self::Good { slot, bundle },
            State::RolledBack { trial, reason } => Self::RolledBack { trial, reason },
            State::Unhealthy { trial, reason } => Self::Unhealthy { trial, reason },
            State::Idle
            | State::Downloading { .. }
            | State::Verifying { .. }
            | State::Staged { .. }
            | State::Trying(_) => Self::Idle,
        }
    }
}

impl From<Resting> for State {
    fn from(resting: Resting) -> Self {
        match resting {
            Resting::Idle => Self::Idle,
            Resting::Good { slot, bundle } => Self::Good { slot, bundle },
            Resting::RolledBack { trial, reason } => Self::RolledBack { trial, reason },
            Resting::Unhealthy { trial, reason } => Self::Unhealthy { trial, reason },
        }
    }
}
