//! When a box asks, downloads, installs and restarts.
//!
//! Polls go by the seconds since boot (`CLOCK_BOOTTIME`), which no set clock moves: nothing is asked a thousand times, or
//! never again, because the clock jumped. Only the quiet hours go by the clock on the wall.

mod poll;
mod quiet;
#[cfg(test)]
mod tests;

use bundle::cms::UnixTime;
pub use ipc::settings::UpdatePolicy;

pub use poll::PollState;
pub use quiet::{QuietHours, QuietHoursError};

/// Ask again after so many seconds at the latest: the clock may have been set, the network may have changed.
pub const MAX_WAIT_S: u64 = 900;
const BUSY_WAIT_S: u64 = 60;

/// Both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The clock on the wall.
    pub unix: UnixTime,
    /// Seconds since boot, with those in suspend.
    pub since_boot_s: u64,
}

/// How far the box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// When it asks next.
    pub poll: PollState,
    /// What is in hand.
    pub update: Update,
}

/// What is in hand. An updater that writes to the slot while it downloads goes from `Available` to `Staged` at once, and
/// takes [`Action::Download`] as the order to do that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Nothing, or nothing that this box may have now.
    None,
    /// A release is offered ([`Decision::Offered`](crate::Decision)).
    Available {
        /// It should not wait.
        critical: bool,
    },
    /// It was downloaded.
    Downloaded {
        /// It should not wait.
        critical: bool,
    },
    /// It is in the other slot; a restart starts it.
    Staged,
    /// It is being fetched or written. One that is stopped meanwhile is not started.
    Installing,
    /// A new system has to prove itself: what the server says changes nothing.
    Busy,
}

/// What a person asked for, until it is done. The caller takes `Check` back once the poll was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// Nothing.
    #[default]
    None,
    /// Look for updates.
    Check,
    /// Everything now, with the restart.
    Now,
    /// Download, then install and restart in the quiet hours.
    Tonight,
}

/// What is so at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// When the box may restart by itself.
    pub quiet: QuietHours,
    /// Seconds that the local time is ahead of UTC now, with summer time.
    pub utc_offset_s: i32,
    /// The connection costs by the byte.
    pub metered: bool,
    /// A person allowed downloads in spite of that.
    pub allow_metered: bool,
    /// What a person asked for.
    pub wish: Wish,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fetch the index and decide; then [`PollState::polled`].
    Poll,
    /// Fetch the bundle.
    Download,
    /// Write it into the other slot and make that the next to start.
    InstallAndStage,
    /// Restart at this time; now, when it has come. A plan, to be asked again: a person may change their mind.
    RestartAt(UnixTime),
    /// There is something, but it waits.
    Wait(Why),
    /// There is nothing.
    Nothing,
}

/// What something waits for; a sentence for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A person's word.
    #[error("An update is there. It is installed when you say so.")]
    Person,
    /// Another connection, or a person's word.
    #[error(
        "An update is there, but this connection is metered. Allow the download, or connect to another network."
    )]
    Metered,
    /// The quiet hours, which begin at this time.
    #[error("An update was downloaded. It is installed in the quiet hours.")]
    QuietHours(UnixTime),
    /// The updater.
    #[error("The updater is at work.")]
    Busy,
}

/// What to do, and when to ask again at the latest. To be asked again too after every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// What to do.
    pub action: Action,
    /// Seconds; 1 to [`MAX_WAIT_S`].
    pub again_in_s: u64,
}

/// What to do now. Rules:
///
/// - A poll that is due comes first, also in the middle of an installation, so that a release that was stopped is not
///   started any more; but not while a new system proves itself.
/// - `Automatic` downloads at any time but never on a metered connection, installs in the quiet hours (what is critical
///   at once), and restarts in the quiet hours only. `Notify` asks the server, nothing else. `Manual` not even that.
/// - A person's wish counts whatever the policy; `Now` does not wait for the night. A metered connection is used only
///   when a person allowed that by [`Conditions::allow_metered`]. The index itself is a few kilobytes and always fetched.
pub fn what_now(state: &State, policy: UpdatePolicy, conditions: &Conditions, now: Now) -> Next {
    if state.update == Update::Busy {
        return Next {
            action: Action::Wait(Why::Busy),
            again_in_s: BUSY_WAIT_S,
        };
    }
    let until_poll = match policy {
        UpdatePolicy::Manual => u64::MAX,
        UpdatePolicy::Automatic | UpdatePolicy::Notify => state.poll.due_in(now.since_boot_s),
    };
    let action = if conditions.wish == Wish::Check || until_poll == 0 {
        Action::Poll
    } else {
        with_update(state.update, policy, conditions, now.unix)
    };
    let until_action = match action {
        Action::RestartAt(at) | Action::Wait(Why::QuietHours(at)) => at.0.saturating_sub(now.unix.0),
        _ => u64::MAX,
    };
    Next {
        action,
        again_in_s: until_poll.min(until_action).clamp(1, MAX_WAIT_S),
    }
}

fn with_update(update: Update, policy: UpdatePolicy, conditions: &Conditions, now: UnixTime) -> Action {
    let wish = conditions.wish;
    let wanted = policy == UpdatePolicy::Automatic || matches!(wish, Wish::Now | Wish::Tonight);
    let quiet_from = conditions.quiet.next(now, conditions.utc_offset_s);
    match update {
        Update::None => Action::Nothing,
        Update::Installing | Update::Busy => Action::Wait(Why::Busy),
        Update::Available { .. } | Update::Downloaded { .. } | Update::Staged if !wanted => {
            Action::Wait(Why::Person)
        }
        Update::Available { .. } if conditions.metered && !conditions.allow_metered => {
            Action::Wait(Why::Metered)
        }
        Update::Available { .. } => Action::Download,
        Update::Downloaded { critical } if critical || wish == Wish::Now || quiet_from == now => {
            Action::InstallAndStage
        }
        Update::Downloaded { .. } => Action::Wait(Why::QuietHours(quiet_from)),
        Update::Staged if wish == Wish::Now => Action::RestartAt(now),
        Update::Staged => Action::RestartAt(quiet_from),
    }
}
