//! The updater's one machine: pure, no I/O, no clock.
//!
//! [`Record::step`] takes an event and what is known from outside ([`Surroundings`]), and answers with the next record and
//! what to do for it, or refuses. Rules that hold for every transition:
//!
//! - `Persist` is the first action whenever the record changes. What comes after it may be lost by a cut, or be done
//!   twice: every action is idempotent, and [`Event::BootObserved`] asks again for what is still to be done.
//! - What booted is what the boot manager says ([`Surroundings::running`]); the record is a note.
//! - A slot becomes complete (`FinishInstall`) only after it was read back, and is activated only when it is complete.

mod boot;
mod hand;
mod install;
mod resting;
#[cfg(test)]
mod tests;
mod words;

use boot_state::Running;
use ipc::boot_facts::Slot;
use ipc::updater::{HistoryEntry, Outcome, Phase, When};
use ipc::updater_version::Version;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::{BundleInfo, EngineErrorKind, ManifestHash, Source, Written};
use crate::health::data::NoRoom;

pub use resting::Resting;
pub use words::Mark;

/// Bundles that failed, at most; the oldest is forgotten first.
const MAX_FAILED: usize = 32;
/// Times that an installation is taken up again when its source does not answer.
pub const MAX_ATTEMPTS: u32 = 8;

/// What is known from outside at the moment of a step.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The clock, in seconds since 1970.
    pub now_unix_s: u64,
    /// The next quiet hour.
    pub tonight_unix_s: u64,
    /// Tells one boot from another.
    pub boot_id: String,
    /// The slot that runs.
    pub running: Running,
    /// Exhausted counters were renewed in this boot.
    pub healed: bool,
    /// The boot state, as it is on the disk.
    pub boot: boot_state::State,
    /// Version of the system that runs.
    pub version: String,
    /// Rollback index of the system that runs.
    pub rollback_index: u32,
    /// What a bundle must be made for.
    pub compatible: String,
    /// The network now.
    pub network: Network,
    /// Whether `data` has the room that a new version's health gate asks for.
    pub room: Result<(), NoRoom>,
}

/// How much network there is; the health gate asks for no less than there was before the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Network {
    /// Some network card has a carrier.
    pub carrier: bool,
    /// There is a default route.
    pub default_route: bool,
}

/// What a person or a program asks of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InstallOptions {
    /// Also a bundle that failed before.
    pub force: bool,
    /// Also an older version, and one with a lower rollback index.
    pub allow_downgrade: bool,
    /// When to start it.
    pub when: When,
    /// Only this bundle.
    pub require_manifest_hash: Option<ManifestHash>,
    /// Name of this installation.
    pub transaction: Option<String>,
}

/// The bundle that a state is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bundle {
    /// For what it is made.
    pub compatible: String,
    /// Version, empty when it names none.
    pub version: String,
    /// What changed.
    pub description: String,
    /// Build.
    pub build: String,
    /// Which one.
    pub manifest_hash: ManifestHash,
    /// Bytes of the bundle.
    pub size_bytes: u64,
}

impl From<&BundleInfo> for Bundle {
    fn from(info: &BundleInfo) -> Self {
        Self {
            compatible: info.compatible.clone(),
            version: info.version.clone().unwrap_or_default(),
            description: info.description.clone().unwrap_or_default(),
            build: info.build.clone().unwrap_or_default(),
            manifest_hash: info.manifest_hash,
            size_bytes: info.size_bytes,
        }
    }
}

/// How things were when a slot was made the one to try: what the next boot is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Arming {
    /// The boot in which it was done.
    pub boot_id: String,
    /// Rollbacks that the boot manager had counted.
    pub rollbacks: u32,
    /// The network then.
    pub network: Network,
}

/// A slot that has to prove itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The slot.
    pub target: Slot,
    /// What is in it.
    pub bundle: Bundle,
    /// How things were before.
    pub arming: Arming,
    /// A person goes back to a system that was good before.
    pub going_back: bool,
}

/// When a staged system is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// The next boot tries it: the boot state says so already, or will in a moment.
    AtReboot(Arming),
    /// Not before this time (seconds since 1970).
    At(u64),
}

/// What is going on. Resting: `Idle`, `Good`, `RolledBack`, `Unhealthy`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing.
    #[default]
    Idle,
    /// A bundle is checked (`bundle` is none), then fetched and written.
    Downloading {
        /// From where.
        source: Source,
        /// How.
        options: InstallOptions,
        /// Into which slot.
        target: Slot,
        /// Which bundle, once it was checked and accepted.
        bundle: Option<Bundle>,
        /// Times that the source did not answer.
        attempts: u32,
        /// Where it began: a bundle that is not taken leads back there, with the reason of a rollback.
        #[serde(default)]
        before: Resting,
    },
    /// What was written is read back.
    Verifying {
        /// From where.
        source: Source,
        /// How.
        options: InstallOptions,
        /// In which slot.
        target: Slot,
        /// Which bundle.
        bundle: Bundle,
        /// What must be there.
        written: Written,
    },
    /// Complete; waits for its start.
    Staged {
        /// Which slot.
        target: Slot,
        /// What is in it.
        bundle: Bundle,
        /// When.
        activation: Activation,
        /// A person goes back to a system that was good before.
        going_back: bool,
    },
    /// Activated: the box restarts, or the new system runs and its health is watched.
    Trying(Trial),
    /// The new system proved itself.
    Good {
        /// Which slot.
        slot: Slot,
        /// What is in it.
        bundle: Bundle,
    },
    /// The new system did not prove itself: the old one runs, or is about to.
    RolledBack {
        /// What failed, and where.
        trial: Trial,
        /// A sentence for a person.
        reason: String,
    },
    /// The new system did not prove itself, and there is nothing to go back to.
    Unhealthy {
        /// What has to prove itself.
        trial: Trial,
        /// A sentence for a person.
        reason: String,
    },
}

impl State {
    /// Its name for other programs.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Idle => Phase::Idle,
            Self::Downloading { .. } => Phase::Downloading,
            Self::Verifying { .. } => Phase::Verifying,
            Self::Staged { .. } => Phase::Staged,
            Self::Trying(_) => Phase::Trying,
            Self::Good { .. } => Phase::Good,
            Self::RolledBack { .. } => Phase::RolledBack,
            Self::Unhealthy { .. } => Phase::Unhealthy,
        }
    }
}

/// A bundle that is not tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedBundle {
    /// Which.
    pub manifest_hash: ManifestHash,
    /// A sentence.
    pub reason: String,
}

/// What the updater put into a slot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SlotNote {
    /// Which bundle; none for a slot of the factory image.
    pub bundle: Option<Bundle>,
    /// Its rollback index: as its bundle says, then as it said itself when it was good; 0 while neither is known.
    pub rollback_index: u32,
    /// It proved itself.
    pub proved: bool,
    /// Its images, once they were read back.
    pub written: Option<Written>,
    /// Name of the installation.
    pub transaction: Option<String>,
    /// When it was installed (seconds since 1970); none while that is under way.
    pub installed_unix_s: Option<u64>,
    /// Installations so far.
    pub installed_count: u32,
    /// When it was activated last.
    pub activated_unix_s: Option<u64>,
    /// Activations so far.
    pub activated_count: u32,
}

/// Everything that survives a restart.
///
/// A newer system writes it too, and is then rolled back to this one, which must not forget what failed: keys that are not
/// known are passed over; for a state that is not known see [`Record::without_its_state`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// What is going on.
    pub state: State,
    /// The newest version that was good here: nothing older is installed unless that is asked for. Only ever raised.
    pub floor: Option<Version>,
    /// The highest rollback index that was good here: nothing lower is installed or gone back to by hand unless that is
    /// asked for. Only ever raised.
    pub rollback_index: u32,
    /// Bundles that failed, oldest first, at most [`MAX_FAILED`].
    pub failed: Vec<FailedBundle>,
    /// Slot a and slot b.
    pub slots: [SlotNote; 2],
    /// Why the last installation came to nothing: a sentence.
    pub last_error: Option<String>,
}

impl Record {
    /// Of a record whose state is one of another version: what runs is for the boot manager to say, and what had not proved
    /// itself then counts as failed, since it may be what brought the box back to this version.
    pub fn without_its_state(mut self) -> Self {
        self.state = State::Idle;
        let tried = self.slots.iter().filter(|note| !note.proved);
        let hashes: Vec<_> = tried
            .filter_map(|note| note.bundle.as_ref().map(|bundle| bundle.manifest_hash))
            .collect();
        for manifest_hash in hashes {
            self.failed.retain(|failed| failed.manifest_hash != manifest_hash);
            self.failed.push(FailedBundle {
                manifest_hash,
                reason: "It had not proved itself when the box came back to this version.".into(),
            });
        }
        let too_many = self.failed.len().saturating_sub(MAX_FAILED);
        self.failed.drain(..too_many);
        self
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The service started: after a boot, or again in the same one.
    BootObserved,
    /// Somebody wants a bundle.
    InstallRequested {
        /// From where.
        source: Source,
        /// How.
        options: InstallOptions,
    },
    /// The bundle's signature is right.
    BundleChecked(BundleInfo),
    /// Every image is on its partition.
    ImagesWritten(Written),
    /// … and was read back from there.
    ReadBackPassed,
    /// The engine failed.
    Interrupted {
        /// What kind of failure.
        kind: EngineErrorKind,
        /// A sentence.
        sentence: String,
    },
    /// The time for another attempt has come.
    RetryDue,
    /// The clock went on.
    TimePassed,
    /// The system that runs is well.
    HealthPassed,
    /// It is not.
    HealthFailed {
        /// A sentence.
        reason: String,
    },
    /// Somebody gives the installation up.
    Cancelled,
    /// The publisher takes back what is being installed, or waits for its start.
    TakenBack,
    /// Somebody says when the staged system is started.
    ActivationRequested(When),
    /// Somebody wants the other slot back.
    RollbackRequested {
        /// Also when its rollback index is too low.
        allow_downgrade: bool,
    },
    /// Somebody marks a slot.
    MarkRequested(Mark, Slot),
}

/// What is to be done, in the order of the list. Each may be done twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the record and these lines of the history, in one transaction.
    Persist(Vec<HistoryEntry>),
    /// Have the engine inspect the bundle of the state; then [`Event::BundleChecked`] or [`Event::Interrupted`].
    CheckBundle,
    /// Boot state: this slot, which does not run, is incomplete from here on.
    BeginInstall(Slot),
    /// Have the engine write the images; then [`Event::ImagesWritten`] or [`Event::Interrupted`].
    StreamImages,
    /// Have the engine read them back; then [`Event::ReadBackPassed`] or [`Event::Interrupted`].
    ReadBack,
    /// Boot state: this slot is complete.
    FinishInstall(Slot),
    /// Boot state: the next boot tries this slot first.
    Activate(Slot),
    /// Boot state: it does not; the running slot is first again. The other stays a fallback if it was good.
    Withdraw(Slot),
    /// Boot state: the running slot works.
    MarkGood,
    /// Boot state: this slot does not work.
    MarkBad(Slot),
    /// Restart the box.
    Reboot,
    /// Look whether the running system is well; then [`Event::HealthPassed`] or [`Event::HealthFailed`].
    StartHealthGate(Gate),
    /// Let the engine stop.
    StopEngine,
    /// Say [`Event::RetryDue`] in so many seconds.
    RetryAfter(u64),
    /// Tell who waits that the installation ended.
    Finish {
        /// It succeeded.
        ok: bool,
        /// A sentence.
        sentence: String,
    },
}

/// How much health is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// No update is pending: the page answers and root is intact.
    Ordinary,
    /// A new system: everything, over the soak time, and no less network than there was.
    Trial(Network),
}

/// Why an event is not for this state. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// One operation at a time.
    #[error("version {version} is being installed; wait for it, or cancel it")]
    Installing {
        /// What.
        version: String,
    },
    /// The next restart belongs to an installed version.
    #[error("version {version} is installed and waits for its start; restart the box, or cancel it first")]
    Waiting {
        /// What.
        version: String,
    },
    /// A new system is being tried.
    #[error("version {version} is being started and has to prove itself first; wait a few minutes")]
    Proving {
        /// What.
        version: String,
    },
    /// The fallback must not be written over.
    #[error(
        "slot {slot}, which runs, is not marked good yet, and the other slot is its fallback; wait until it is, or mark it \
         good by hand"
    )]
    RunningNotGood {
        /// The slot that runs.
        slot: boot_state::Slot,
    },
    /// Nothing to give up.
    #[error("nothing is being installed and nothing waits for its start")]
    NothingToCancel,
    /// Nothing is staged.
    #[error("no installed version waits for its start; install one first")]
    NothingStaged,
    /// No second system that works.
    #[error("there is no version to go back to: slot {slot} {problem}")]
    NoFallback {
        /// The other slot.
        slot: boot_state::Slot,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What is in the other slot was withdrawn.
    #[error(
        "the version in slot {slot} has the rollback index {index}, and {needed} was good here: what came before must not \
         come back, for instance because of a hole in it. If you want it all the same: hearth-update rollback \
         --allow-downgrade"
    )]
    Withdrawn {
        /// The other slot.
        slot: boot_state::Slot,
        /// What it has.
        index: u32,
        /// What is needed.
        needed: u32,
    },
    /// A slot proves itself by running.
    #[error(
        "slot {slot} does not run: only the running slot can be marked good. Activate it and restart instead"
    )]
    NotRunning {
        /// The slot.
        slot: boot_state::Slot,
    },
    /// An answer that nobody waits for any more.
    #[error("this came too late: the state is {}", phase.name())]
    TooLate {
        /// The state now.
        phase: Phase,
    },
}

/// The next record and what to do.
pub type Stepped = Result<(Record, Vec<Action>), Refused>;

impl Record {
    /// The one transition function.
    pub fn step(&self, event: Event, around: &Surroundings) -> Stepped {
        match event {
            Event::BootObserved => Ok(self.boot_observed(around)),
            Event::InstallRequested { source, options } => self.install_requested(source, options, around),
            Event::BundleChecked(info) => self.bundle_checked(&info, around),
            Event::ImagesWritten(written) => self.images_written(written),
            Event::ReadBackPassed => self.read_back_passed(around),
            Event::Interrupted { kind, sentence } => self.interrupted(kind, sentence, around),
            Event::RetryDue => self.retry_due(around),
            Event::TimePassed => Ok(self.time_passed(around)),
            Event::HealthPassed => self.health_passed(around),
            Event::HealthFailed { reason } => self.health_failed(reason, around),
            Event::Cancelled => self.cancelled(around),
            Event::TakenBack => self.taken_back(around),
            Event::ActivationRequested(when) => self.activation_requested(when, around),
            Event::RollbackRequested { allow_downgrade } => self.rollback_requested(allow_downgrade, around),
            Event::MarkRequested(mark, slot) => self.mark_requested(mark, slot, around),
        }
    }

    /// What is in a slot.
    pub fn note(&self, slot: Slot) -> &SlotNote {
        &self.slots[index(slot)]
    }

    fn note_mut(&mut self, slot: Slot) -> &mut SlotNote {
        &mut self.slots[index(slot)]
    }

    fn too_late(&self) -> Refused {
        Refused::TooLate {
            phase: self.state.phase(),
        }
    }

    /// Never tried again by itself.
    fn remember_failed(&mut self, hash: ManifestHash, reason: &str) {
        // A slot of the factory image has no bundle.
        if hash == ManifestHash::default() {
            return;
        }
        self.failed.retain(|failed| failed.manifest_hash != hash);
        if self.failed.len() >= MAX_FAILED {
            self.failed.remove(0);
        }
        self.failed.push(FailedBundle {
            manifest_hash: hash,
            reason: reason.into(),
        });
    }
}
fn index(slot: Slot) -> usize {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

/// The record's slot as the boot state has it.
pub fn slot_of_boot(slot: Slot) -> boot_state::Slot {
    match slot {
        Slot::A => boot_state::Slot::A,
        Slot::B => boot_state::Slot::B,
    }
}

/// The boot state's slot as the record has it.
pub fn slot_of_record(slot: boot_state::Slot) -> Slot {
    match slot {
        boot_state::Slot::A => Slot::A,
        boot_state::Slot::B => Slot::B,
    }
}

impl Surroundings {
    /// The slot that runs.
    pub fn running_slot(&self) -> Slot {
        slot_of_record(self.running.slot())
    }

    /// The slot that does not.
    pub fn other_slot(&self) -> Slot {
        slot_of_record(self.running.inactive().slot())
    }

    fn arming(&self) -> Arming {
        Arming {
            boot_id: self.boot_id.clone(),
            rollbacks: self.boot.rollbacks(),
            network: self.network,
        }
    }

    /// May the box be sent back to the other slot, and come up there?
    ///
    /// Not after a heal in this very boot: then the other slot was tried, and did not start.
    fn fallback_works(&self) -> bool {
        let other = self.boot.slot(self.running.inactive().slot());
        other.complete() && other.good() && other.tries_left() > 0 && !self.healed
    }

    fn entry(
        &self,
        outcome: Outcome,
        bundle: Option<&Bundle>,
        slot: Option<Slot>,
        sentence: String,
    ) -> HistoryEntry {
        HistoryEntry {
            unix_s: self.now_unix_s,
            outcome,
            version: bundle.map(|bundle| bundle.version.clone()).unwrap_or_default(),
            slot: slot
                .map(|slot| slot_of_boot(slot).letter().into())
                .unwrap_or_default(),
            sentence,
        }
    }
}
