//! What is shown of the service.

use boot_state::Slot;
use ipc::updater::{BundleStatus, Progress, SlotStatus, Status, When};

use super::{Service, ServiceError, blocking, lock};
use crate::channel::View;
use crate::state::{Activation, Bundle, Record, Refused, State, Surroundings, slot_of_record};

/// Record and surroundings of one moment, for both bus interfaces.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The machine's record.
    pub record: Record,
    /// What is known from outside.
    pub around: Surroundings,
    /// How far an installation is.
    pub progress: Option<Progress>,
    /// What is known of the channel.
    pub channel: View,
}

impl Service {
    /// Everything that is known, at one moment.
    pub async fn snapshot(&self) -> Result<Snapshot, ServiceError> {
        let record = self.shared.record.lock().await.clone();
        let this = self.clone();
        let around = blocking("looking at the boot state", move || this.look_around()).await??;
        let channel = self.channel_view(&record);
        Ok(Snapshot {
            record,
            around,
            progress: self.progress(),
            channel,
        })
    }

    /// How far the installation is, if one is under way.
    pub fn progress(&self) -> Option<Progress> {
        *lock(&self.shared.progress)
    }

    /// Everything at a glance.
    pub async fn status(&self) -> Result<Status, ServiceError> {
        Ok(self.snapshot().await?.status())
    }
}

impl Snapshot {
    /// For people and programs.
    pub fn status(&self) -> Status {
        let (record, around) = (&self.record, &self.around);
        let (bundle, source, reason) = match &record.state {
            State::Idle => (None, None, None),
            State::Downloading { bundle, source, .. } => (bundle.as_ref(), Some(source), None),
            State::Verifying { bundle, source, .. } => (Some(bundle), Some(source), None),
            State::Staged { bundle, .. } | State::Good { bundle, .. } => (Some(bundle), None, None),
            State::Trying(trial) => (Some(&trial.bundle), None, None),
            State::RolledBack { trial, reason } | State::Unhealthy { trial, reason } => {
                (Some(&trial.bundle), None, Some(reason.clone()))
            }
        };
        let (starts, starts_unix_s) = match &record.state {
            State::Staged {
                activation: Activation::AtReboot(_),
                ..
            } => (Some(When::Reboot), None),
            State::Staged {
                activation: Activation::At(at),
                ..
            } => (Some(When::Tonight), Some(*at)),
            _ => (None, None),
        };
        let resting = matches!(
            record.state,
            State::Idle | State::Good { .. } | State::RolledBack { .. } | State::Unhealthy { .. }
        );
        let no_way_back = record.no_way_back(around);
        Status {
            phase: record.state.phase(),
            version: around.version.clone(),
            compatible: around.compatible.clone(),
            bundle: bundle.map(bundle_status),
            source: source.map(ToString::to_string),
            progress: self.progress,
            starts,
            starts_unix_s,
            reason,
            last_error: record.last_error.clone(),
            minimum_version: record.floor.as_ref().map(ToString::to_string),
            can_roll_back: resting && no_way_back.is_none(),
            withdrawn: matches!(no_way_back, Some(Refused::Withdrawn { .. })),
            slots: Slot::ALL.map(|slot| self.slot(slot)).into(),
            available: self.channel.available.clone(),
            checked_unix_s: self.channel.checked_unix_s,
            check_error: self.channel.error.clone(),
            waits_for: self.channel.waits_for.clone(),
        }
    }

    fn slot(&self, slot: Slot) -> SlotStatus {
        let known = self.around.boot.slot(slot);
        let note = self.record.note(slot_of_record(slot));
        SlotStatus {
            slot: slot.letter().into(),
            running: slot == self.around.running.slot(),
            primary: slot == self.around.boot.primary(),
            tries_left: known.tries_left(),
            good: known.good(),
            complete: known.complete(),
            bundle: note.bundle.as_ref().map(bundle_status),
            installed_unix_s: note.installed_unix_s,
        }
    }
}

fn bundle_status(bundle: &Bundle) -> BundleStatus {
    BundleStatus {
        version: bundle.version.clone(),
        description: bundle.description.clone(),
        build: bundle.build.clone(),
        manifest_hash: bundle.manifest_hash.to_string(),
        size_bytes: bundle.size_bytes,
    }
}
