//! The machine's orders for the boot state, as transitions of `boot-state`.

use boot_state::{Inactive, Running, State};
use ipc::boot_facts::Slot;
use thiserror::Error;

use crate::state::{Action, slot_of_boot};

/// Why an order was not carried out; the boot state is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SlotError {
    /// The slot that runs is never written, finished or activated.
    #[error("slot {0} runs and stays as it is")]
    Runs(boot_state::Slot),
    /// The boot state does not allow it.
    #[error(transparent)]
    Refused(#[from] boot_state::Refused),
}

/// The boot state after an action; none when the action is not about it. Doing it twice is as doing it once.
pub fn transition(action: &Action, running: Running, state: State) -> Option<Result<State, SlotError>> {
    Some(match action {
        Action::BeginInstall(slot) => {
            inactive(*slot, running).and_then(|slot| Ok(state.begin_install(slot)?))
        }
        Action::FinishInstall(slot) => inactive(*slot, running).and_then(|slot| {
            if state.slot(slot.slot()).complete() {
                return Ok(state);
            }
            Ok(state.finish_install(slot)?)
        }),
        Action::Activate(slot) => inactive(*slot, running).and_then(|slot| Ok(state.activate(slot)?)),
        Action::Withdraw(slot) => inactive(*slot, running).map(|slot| {
            let known = state.slot(slot.slot());
            let state = state.deactivate(running);
            // A system that was good stays the fallback that it was; a new one that never ran is none.
            if known.complete() && known.good() {
                state
            } else {
                state.mark_bad(slot.slot())
            }
        }),
        Action::MarkGood => Ok(state.mark_good(running)),
        Action::MarkBad(slot) => Ok(state.mark_bad(slot_of_boot(*slot))),
        Action::Persist(_)
        | Action::CheckBundle
        | Action::StreamImages
        | Action::ReadBack
        | Action::Reboot
        | Action::StartHealthGate(_)
        | Action::StopEngine
        | Action::RetryAfter(_)
        | Action::Finish { .. } => return None,
    })
}

/// The slot as one that may be written: only the one that does not run is.
pub fn inactive(slot: Slot, running: Running) -> Result<Inactive, SlotError> {
    let inactive = running.inactive();
    if inactive.slot() == slot_of_boot(slot) {
        Ok(inactive)
    } else {
        Err(SlotError::Runs(running.slot()))
    }
}
