//! The service between bus, disk and engine: asks the machine, carries out its orders, answers.

mod channel;
mod estimate;
mod jobs;
mod status;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use boot_state::Running;
use ipc::boot_facts::BootFacts;
use ipc::updater::{HistoryEntry, Phase, Progress, When};
use os_io::root::Root;
use tokio::sync::{Mutex as AsyncMutex, broadcast, mpsc};
use zbus::Connection;

use crate::config::Config;
use crate::engine::{Access, BundleInfo, Engine, Source};
use crate::error::{ServiceError, chain};
use crate::health::data::NoRoom;
use crate::health::{Checks, data, network};
use crate::journal::Journal;
use crate::slots;
use crate::state::{Action, Activation, Event, InstallOptions, Mark, Record, Refused, State, Surroundings};
use crate::state_disk::StateDisk;
use crate::{access, facts, firmware, mark_good, night, power};

use self::channel::Desk;
use jobs::Jobs;
pub use status::Snapshot;

/// The service's folder on `data`.
pub const STATE_FOLDER: &str = "/var/lib/hearth-updater";
/// There while the journal is being opened; gone after a boot.
const OPENING: &str = "/run/hearth-updater/opening-journal";
/// How often the clock is told to the machine.
const TICK: Duration = Duration::from_secs(30);

/// Enough for a restart to be shown on every open page: nothing can be told once services end.
pub const LAST_WORDS: Duration = Duration::from_secs(2);

/// What listeners hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The record or the boot state changed.
    Changed,
    /// An installation went on.
    Progress,
    /// An installation ended.
    Completed {
        /// It succeeded.
        ok: bool,
        /// A sentence.
        sentence: String,
    },
}

/// What a service is made of.
pub struct Parts {
    /// Where `/` is.
    pub root: Root,
    /// The configuration.
    pub config: Config,
    /// Reads bundles, writes slots.
    pub engine: Arc<dyn Engine>,
    /// The system bus, when there is one.
    pub bus: Option<Connection>,
    /// Between the announcement of a restart and the restart: [`LAST_WORDS`].
    pub last_words: Duration,
}

/// Everything behind the bus interfaces.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    root: Root,
    config: Config,
    engine: Arc<dyn Engine>,
    bus: Option<Connection>,
    last_words: Duration,
    facts: BootFacts,
    running: Running,
    boot_id: String,
    disk: StateDisk,
    journal: Journal,
    record: AsyncMutex<Record>,
    /// Of the installation under way.
    access: Mutex<Access>,
    progress: Mutex<Option<Progress>>,
    jobs: Jobs,
    channel: Desk,
    notices: broadcast::Sender<Notice>,
}

/// What the running jobs have to say; [`Service::run`] hears it.
pub struct Inbox(mpsc::UnboundedReceiver<(u64, Event)>);

impl Service {
    /// Reads boot facts and journal. Fails only without boot facts: then nothing is known about slots.
    pub fn start(parts: Parts) -> Result<(Self, Inbox), ServiceError> {
        let Parts {
            root,
            config,
            engine,
            bus,
            last_words,
        } = parts;
        let facts =
            facts::read(&root).map_err(|e| ServiceError::failed("reading the facts of this boot", e))?;
        let (journal, record) = open_journal(&root)?;
        let access = recall_access(&root, &record.state);
        let boot_id = std::fs::read_to_string(root.path("/proc/sys/kernel/random/boot_id"))
            // Then this start counts as a boot of its own.
            .unwrap_or_else(|_| format!("start at {} s", now_unix_s()));
        let (sender, receiver) = mpsc::unbounded_channel();
        let shared = Shared {
            disk: StateDisk::at(root.path(&facts.bootstate_device)),
            running: facts::running(&facts),
            channel: Desk::new(&root, boot_id.trim()),
            boot_id: boot_id.trim().into(),
            root,
            config,
            engine,
            bus,
            last_words,
            facts,
            journal,
            record: AsyncMutex::new(record),
            access: Mutex::new(access),
            progress: Mutex::default(),
            jobs: Jobs::new(sender),
            notices: broadcast::channel(256).0,
        };
        let service = Self {
            shared: Arc::new(shared),
        };
        Ok((service, Inbox(receiver)))
    }

    /// Goes on from what the last run left, then hears jobs and clock, and watches the channel. Never ends.
    pub async fn run(&self, inbox: Inbox) {
        self.tell(Event::BootObserved).await;
        tokio::select! {
            () = self.hear(inbox) => {}
            () = self.watch_channel() => {}
        }
    }

    async fn hear(&self, mut inbox: Inbox) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                said = inbox.0.recv() => match said {
                    Some((job, event)) if self.shared.jobs.is_current(job) => {
                        let installed = matches!(event, Event::ReadBackPassed);
                        self.tell(event).await;
                        if installed {
                            // Who asked for a start at once hears at once what it waits for.
                            self.time_may_pass().await;
                        }
                    }
                    Some(_) => {}
                    None => return,
                },
                _ = ticks.tick() => if self.time_may_pass().await {
                    self.tell(Event::TimePassed).await;
                },
            }
        }
    }

    /// An event that nobody waits for.
    async fn tell(&self, event: Event) {
        match self.advance(event).await {
            Ok(()) | Err(ServiceError::Refused(Refused::TooLate { .. })) => {}
            Err(error) => tracing::error!("{}", chain(&error)),
        }
    }

    /// A planned start waits for room on `data`, and a person sees what it waits for, also while there is time to make some.
    async fn time_may_pass(&self) -> bool {
        let planned = matches!(
            self.shared.record.lock().await.state,
            State::Staged {
                activation: Activation::At(_),
                ..
            }
        );
        let room = if planned {
            self.room_for_a_new_version().await
        } else {
            Ok(())
        };
        let problem = match room {
            Err(ServiceError::NoRoom(problem)) => Some(problem),
            _ => None,
        };
        self.start_waits(problem);
        problem.is_none()
    }

    /// Hears what happens from now on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.shared.notices.subscribe()
    }

    /// Begins an installation.
    pub async fn install(
        &self,
        source: Source,
        options: InstallOptions,
        access: Access,
    ) -> Result<(), ServiceError> {
        if let Some(reason) = facts::data_problem(&self.shared.facts) {
            return Err(ServiceError::DataDamaged {
                reason: reason.into(),
            });
        }
        // Held over both: nobody comes between the question and the change.
        let mut record = self.shared.record.lock().await;
        let event = Event::InstallRequested {
            source: source.clone(),
            options,
        };
        record.step(event.clone(), &self.surroundings().await?)?;
        self.room_for_a_new_version().await?;
        self.keep_access(source, access).await?;
        self.advance_locked(&mut record, event).await
    }

    /// For this installation, also when it goes on after a restart. Where it cannot be kept, only that is lost.
    async fn keep_access(&self, source: Source, access: Access) -> Result<(), ServiceError> {
        *lock(&self.shared.access) = access.clone();
        let root = self.shared.root.clone();
        let kept = blocking("keeping the headers of an installation", move || {
            access::keep(&root, &source, &access)
        });
        if let Err(error) = kept.await? {
            tracing::warn!(
                "after a restart the installation would go on without it: {}",
                chain(&error)
            );
        }
        Ok(())
    }

    /// The installation ended.
    async fn forget_access(&self) {
        if std::mem::take(&mut *lock(&self.shared.access)) == Access::default() {
            return;
        }
        let root = self.shared.root.clone();
        let forgotten = blocking("removing the headers of an installation", move || {
            access::forget(&root)
        });
        match forgotten.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("{}", chain(&error)),
            Err(error) => tracing::error!("{}", chain(&error)),
        }
    }

    /// Looks at a bundle without installing it.
    pub async fn inspect(&self, source: Source, access: Access) -> Result<BundleInfo, ServiceError> {
        self.shared.channel.estimates.stop();
        let Some(_one_at_a_time) = self.shared.jobs.try_engine() else {
            return Err(Refused::Installing {
                version: String::new(),
            }
            .into());
        };
        let engine = Arc::clone(&self.shared.engine);
        Ok(blocking("reading the bundle", move || engine.inspect(&source, &access)).await??)
    }

    /// Gives up an installation, or one that waits.
    pub async fn cancel(&self) -> Result<(), ServiceError> {
        let mut record = self.shared.record.lock().await;
        let given_up = crate::channel::look::under_way_by_itself(&record);
        self.advance_locked(&mut record, Event::Cancelled).await?;
        if let Some(hash) = given_up {
            self.leave_alone(hash);
        }
        Ok(())
    }

    /// Says when the staged system is started.
    pub async fn activate(&self, when: When) -> Result<(), ServiceError> {
        let mut record = self.shared.record.lock().await;
        let event = Event::ActivationRequested(when);
        record.step(event.clone(), &self.surroundings().await?)?;
        if when != When::Tonight {
            self.room_for_a_new_version().await?;
        }
        self.advance_locked(&mut record, event).await
    }

    /// With less room on `data` than the health gate asks for, a new version would be rolled back: said before.
    async fn room_for_a_new_version(&self) -> Result<(), ServiceError> {
        let this = self.clone();
        Ok(blocking("looking at the data partition", move || this.room()).await??)
    }

    fn room(&self) -> Result<(), NoRoom> {
        let folder = self.shared.root.path(STATE_FOLDER);
        data::room(&folder, self.shared.config.health.data_free_bytes)
    }

    /// Goes back to the other slot; with `allow_downgrade` also when its rollback index is too low.
    pub async fn roll_back(&self, allow_downgrade: bool) -> Result<(), ServiceError> {
        self.advance(Event::RollbackRequested { allow_downgrade }).await
    }

    /// Marks a slot.
    pub async fn mark(&self, mark: Mark, slot: boot_state::Slot) -> Result<(), ServiceError> {
        let event = Event::MarkRequested(mark, crate::state::slot_of_record(slot));
        let mut record = self.shared.record.lock().await;
        let (next, _) = record.step(event.clone(), &self.surroundings().await?)?;
        if mark == Mark::Active && starts_a_new_version(&next.state) {
            self.room_for_a_new_version().await?;
        }
        self.advance_locked(&mut record, event).await
    }

    /// The slot that runs.
    pub fn running(&self) -> Running {
        self.shared.running
    }

    /// Every line of the history, oldest first.
    pub async fn history(&self) -> Result<Vec<HistoryEntry>, ServiceError> {
        let this = self.clone();
        Ok(blocking("reading the history", move || this.shared.journal.history()).await??)
    }

    async fn advance(&self, event: Event) -> Result<(), ServiceError> {
        let mut record = self.shared.record.lock().await;
        self.advance_locked(&mut record, event).await
    }

    async fn advance_locked(&self, record: &mut Record, event: Event) -> Result<(), ServiceError> {
        let (next, actions) = record.step(event, &self.surroundings().await?)?;
        tracing::debug!(from = ?record.state, to = ?next.state, ?actions);
        if next.state.phase() != record.state.phase() {
            tracing::info!("{} -> {}", record.state.phase().name(), next.state.phase().name());
        }
        let mut failure = None;
        for action in actions {
            let noted = matches!(action, Action::Persist(_));
            if let Err(error) = self.carry_out(record, &next, action).await {
                // The way back does not wait for the notes: it may be the notes' disk that fails.
                if noted && goes_back(record, &next) {
                    tracing::error!("{}; the box goes back all the same", chain(&error));
                    *record = next.clone();
                    continue;
                }
                failure = Some(error);
                break;
            }
        }
        // Without a `Persist` nothing changed.
        if let Some(error) = &failure
            && installing(&record.state)
        {
            self.shared.jobs.say_failed(error);
        }
        if !installing(&record.state) {
            self.forget_access().await;
        }
        self.notify(Notice::Changed);
        failure.map_or(Ok(()), Err)
    }

    async fn carry_out(
        &self,
        record: &mut Record,
        next: &Record,
        action: Action,
    ) -> Result<(), ServiceError> {
        match action {
            Action::Persist(entries) => {
                let (this, value) = (self.clone(), next.clone());
                blocking("writing the journal", move || {
                    this.shared.journal.persist(&value, &entries)
                })
                .await??;
                *record = next.clone();
            }
            Action::CheckBundle | Action::StreamImages | Action::ReadBack => self.start_job(&action, next)?,
            Action::StopEngine => {
                self.shared.jobs.stop();
                *lock(&self.shared.progress) = None;
            }
            Action::RetryAfter(seconds) => self.shared.jobs.say_after(seconds, Event::RetryDue),
            Action::StartHealthGate(gate) => self.start_health_gate(gate),
            Action::Reboot => self.restart_soon(),
            Action::Finish { ok, sentence } => {
                if ok {
                    tracing::info!("{sentence}");
                } else {
                    tracing::error!("{sentence}");
                }
                *lock(&self.shared.progress) = None;
                self.notify(Notice::Completed { ok, sentence });
            }
            Action::MarkGood => {
                let this = self.clone();
                let outcome = blocking("marking the slot good", move || {
                    mark_good::mark_good(&this.shared.disk, this.shared.running)
                })
                .await??;
                // A line that people and tests know.
                println!("{outcome}");
                self.renew_firmware();
            }
            Action::BeginInstall(_)
            | Action::FinishInstall(_)
            | Action::Activate(_)
            | Action::Withdraw(_)
            | Action::MarkBad(_) => {
                if let Action::BeginInstall(_) = action {
                    self.slots_change();
                }
                let this = self.clone();
                blocking("writing the boot state", move || this.write_boot_state(&action)).await??;
            }
        }
        Ok(())
    }

    /// Only a system that was just marked good gets here. Nobody waits for it, and a cut does no harm: at the next start
    /// it goes on.
    fn renew_firmware(&self) {
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            match firmware::renew(&this.shared.root, Path::new(&this.shared.facts.disk)) {
                Ok(changes) => {
                    for change in changes {
                        tracing::info!("boot partition: {} {:?}", change.path, change.kind);
                    }
                }
                // The box runs, and started with what is there.
                Err(error) => tracing::error!("the boot partition stays as it is: {}", chain(&error)),
            }
        });
    }

    /// Who watches hears of the restart first, and who asked for it has an answer.
    fn restart_soon(&self) {
        self.notify(Notice::Changed);
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(this.shared.last_words).await;
            if let Err(error) = this.restart().await {
                tracing::error!("{}; switch the box off and on", chain(&error));
            }
        });
    }

    async fn restart(&self) -> Result<(), ServiceError> {
        const WHAT: &str = "asking systemd to restart";
        let asked = match &self.shared.bus {
            Some(bus) => power::restart(bus).await,
            None => Err(zbus::Error::Failure("there is no system bus".into())),
        };
        match asked {
            Err(error) if self.shared.root == Root::system() => {
                tracing::warn!("{error}; asking systemd without the bus");
                blocking(WHAT, power::restart_without_bus)
                    .await?
                    .map_err(|e| ServiceError::failed(WHAT, e))
            }
            asked => asked.map_err(|e| ServiceError::failed(WHAT, e)),
        }
    }

    /// One order for the boot state; no write when nothing changes, which spares the card.
    fn write_boot_state(&self, action: &Action) -> Result<(), ServiceError> {
        let store = self.shared.disk.load()?;
        let Some(next) = slots::transition(action, self.shared.running, store.state()) else {
            return Ok(());
        };
        let next = next?;
        if next != store.state() || store.is_default() {
            self.shared.disk.write(&store.prepare(next))?;
            tracing::info!("boot state: {action:?}");
        }
        Ok(())
    }

    async fn surroundings(&self) -> Result<Surroundings, ServiceError> {
        let this = self.clone();
        blocking("looking at the boot state", move || this.look_around()).await?
    }

    fn look_around(&self) -> Result<Surroundings, ServiceError> {
        let shared = &self.shared;
        let now_unix_s = now_unix_s();
        let offset = night::utc_offset_s(&shared.root, now_unix_s);
        Ok(Surroundings {
            now_unix_s,
            tonight_unix_s: self.tonight(now_unix_s, offset),
            boot_id: shared.boot_id.clone(),
            running: shared.running,
            healed: shared.facts.healed,
            boot: shared.disk.load()?.state(),
            version: shared.facts.version.clone(),
            rollback_index: shared.facts.rollback_index,
            compatible: self.compatible(),
            network: network::observe(&shared.root),
            room: self.room(),
        })
    }

    /// What a bundle must be made for: as in the board's file.
    pub fn compatible(&self) -> String {
        format!("hearth-{}", self.shared.facts.board)
    }

    fn checks(&self) -> Checks {
        let damaged = facts::data_problem(&self.shared.facts).is_some();
        Checks {
            config: self.shared.config.health.clone(),
            root: self.shared.root.clone(),
            state_folder: (!damaged).then(|| self.shared.root.path(STATE_FOLDER)),
            bus: self.shared.bus.clone(),
        }
    }

    fn notify(&self, notice: Notice) {
        // Nobody listening is fine.
        let _ = self.shared.notices.send(notice);
    }
}

fn open_journal(root: &Root) -> Result<(Journal, Record), ServiceError> {
    let (folder, opening): (PathBuf, PathBuf) = (root.path(STATE_FOLDER), root.path(OPENING));
    if let Some(parent) = Path::new(&opening).parent() {
        // systemd makes it (RuntimeDirectory=); without it the journal opens all the same.
        let _ = std::fs::create_dir_all(parent);
    }
    match Journal::open(&folder, &opening, now_unix_s()) {
        Ok(opened) => Ok(opened),
        Err(error) => {
            tracing::error!("{}; nothing is remembered over a restart", chain(&error));
            Ok((Journal::in_memory()?, Record::default()))
        }
    }
}

/// A new system is left for the old one.
fn goes_back(record: &Record, next: &Record) -> bool {
    record.state.phase() != Phase::RolledBack && next.state.phase() == Phase::RolledBack
}

fn installing(state: &State) -> bool {
    matches!(state, State::Downloading { .. } | State::Verifying { .. })
}

/// The next start tries what was not good here so far; a good one is gone back to without being asked for room.
fn starts_a_new_version(state: &State) -> bool {
    matches!(
        state,
        State::Staged {
            going_back: false,
            activation: Activation::AtReboot(_),
            ..
        }
    )
}

/// What was kept for an installation that goes on now; what is left of any other goes.
fn recall_access(root: &Root, state: &State) -> Access {
    let recalled = match state {
        State::Downloading { source, .. } | State::Verifying { source, .. } => access::recall(root, source),
        _ => access::forget(root).map(|()| Access::default()),
    };
    recalled.unwrap_or_else(|error| {
        tracing::error!("{}", chain(&error));
        // Nobody will ask for it any more, and it may hold a secret.
        if let Err(error) = access::forget(root) {
            tracing::error!("{}", chain(&error));
        }
        Access::default()
    })
}

fn now_unix_s() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// A thread that panicked leaves a value that is still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs on a thread where it may block.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| ServiceError::failed(what, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Arming, Bundle, Trial};

    #[test]
    fn only_the_way_back_from_a_new_system_goes_without_notes() {
        let trial = Trial {
            target: ipc::boot_facts::Slot::B,
            bundle: Bundle::default(),
            arming: Arming::default(),
            going_back: false,
        };
        let record = |state| Record {
            state,
            ..Record::default()
        };
        let tried = record(State::Trying(trial.clone()));
        let back = record(State::RolledBack {
            trial,
            reason: "No.".into(),
        });
        assert!(goes_back(&tried, &back));
        assert!(!goes_back(&back, &back) && !goes_back(&back, &tried));
        assert!(!goes_back(&tried, &Record::default()));
    }
}
