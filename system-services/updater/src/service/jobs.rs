//! What runs beside the machine: calls of the engine, the health gate, waiting. Each ends with an event.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipc::updater::Progress;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, mpsc};

use super::{Notice, Service, blocking, lock};
use crate::engine::{EngineError, EngineErrorKind, EngineProgress, Job, Observer, Source, Written};
use crate::error::{ServiceError, chain};
use crate::slots;
use crate::state::{Action, Event, Gate, Record, State};

/// Progress is told at most so often.
const EVERY: Duration = Duration::from_millis(250);
/// Time left is told after so long: before, it would jump.
const WARM_UP: Duration = Duration::from_secs(3);

/// The number of the health gate's answers: it is no job of an installation, and a new one does not replace it.
const HEALTH: u64 = u64::MAX;

/// At most one call of the engine at a time; what an abandoned one says is not heard.
pub(super) struct Jobs {
    current: AtomicU64,
    stop: Mutex<Arc<AtomicBool>>,
    engine: Arc<AsyncMutex<()>>,
    gate_runs: Arc<AtomicBool>,
    inbox: mpsc::UnboundedSender<(u64, Event)>,
}

impl Jobs {
    pub(super) fn new(inbox: mpsc::UnboundedSender<(u64, Event)>) -> Self {
        Self {
            current: AtomicU64::new(0),
            stop: Mutex::default(),
            engine: Arc::default(),
            gate_runs: Arc::default(),
            inbox,
        }
    }

    pub(super) fn is_current(&self, job: u64) -> bool {
        job == HEALTH || job == self.current.load(Ordering::SeqCst)
    }

    /// Whatever runs is asked to stop, and not heard any more.
    pub(super) fn stop(&self) {
        self.begin();
    }

    fn begin(&self) -> (u64, Arc<AtomicBool>) {
        let fresh = Arc::new(AtomicBool::new(false));
        let old = std::mem::replace(&mut *lock(&self.stop), Arc::clone(&fresh));
        old.store(true, Ordering::SeqCst);
        (self.current.fetch_add(1, Ordering::SeqCst) + 1, fresh)
    }

    /// The engine, when it is idle.
    pub(super) fn try_engine(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.engine).try_lock_owned().ok()
    }

    pub(super) fn say_after(&self, seconds: u64, event: Event) {
        let (job, _) = self.begin();
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let _ = inbox.send((job, event));
        });
    }

    /// An order of an installation could not be carried out.
    pub(super) fn say_failed(&self, error: &ServiceError) {
        let (job, _) = self.begin();
        let event = Event::Interrupted {
            kind: EngineErrorKind::Storage,
            sentence: format!("The installation stopped: {error}."),
        };
        let _ = self.inbox.send((job, event));
    }
}

impl Service {
    /// Starts the engine for what the state says.
    pub(super) fn start_job(&self, action: &Action, record: &Record) -> Result<(), ServiceError> {
        let shared = &self.shared;
        let access = lock(&shared.access).clone();
        let (source, target, hash, written) = match &record.state {
            State::Downloading {
                source,
                target,
                bundle,
                ..
            } => (
                source.clone(),
                *target,
                bundle.as_ref().map(|b| b.manifest_hash),
                None,
            ),
            State::Verifying {
                source,
                target,
                bundle,
                written,
                ..
            } => (
                source.clone(),
                *target,
                Some(bundle.manifest_hash),
                Some(written.clone()),
            ),
            _ => return Ok(()),
        };
        let work = match (action, hash) {
            (Action::CheckBundle, _) | (_, None) => Work::Check(source, access),
            (_, Some(manifest_hash)) => {
                let job = Job {
                    source,
                    access,
                    manifest_hash,
                    target: slots::inactive(target, shared.running)?,
                };
                match written.filter(|_| *action == Action::ReadBack) {
                    Some(written) => Work::ReadBack(job, written),
                    None => Work::Stream(job),
                }
            }
        };
        shared.channel.estimates.stop();
        let (number, stop) = shared.jobs.begin();
        *lock(&shared.progress) = Some(Progress::default());
        let this = self.clone();
        tokio::spawn(async move {
            let _one_at_a_time = Arc::clone(&this.shared.jobs.engine).lock_owned().await;
            let observer = Listener::new(this.clone(), stop);
            let engine = Arc::clone(&this.shared.engine);
            let said = blocking("installing", move || match work {
                Work::Check(source, access) => engine.inspect(&source, &access).map(Event::BundleChecked),
                Work::Stream(job) => engine.stream(&job, &observer).map(Event::ImagesWritten),
                Work::ReadBack(job, written) => engine
                    .read_back(&job, &written, &observer)
                    .map(|()| Event::ReadBackPassed),
            })
            .await;
            let event = match said {
                Ok(Ok(event)) => event,
                Ok(Err(error)) => interrupted(&error),
                Err(error) => {
                    tracing::error!("{}", chain(&error));
                    interrupted(&EngineError::new(
                        EngineErrorKind::Storage,
                        "The installation ended without an answer.",
                    ))
                }
            };
            let _ = this.shared.jobs.inbox.send((number, event));
        });
        Ok(())
    }

    /// Watches the running system's health; one gate at a time.
    pub(super) fn start_health_gate(&self, gate: Gate) {
        let runs = Arc::clone(&self.shared.jobs.gate_runs);
        if runs.swap(true, Ordering::SeqCst) {
            return;
        }
        let (checks, inbox) = (self.checks(), self.shared.jobs.inbox.clone());
        tokio::spawn(async move {
            let event = match checks.pass(gate).await {
                Ok(()) => Event::HealthPassed,
                Err(reason) => {
                    tracing::error!("the slot is not marked good: {reason}");
                    Event::HealthFailed { reason }
                }
            };
            runs.store(false, Ordering::SeqCst);
            let _ = inbox.send((HEALTH, event));
        });
    }
}

enum Work {
    Check(Source, crate::engine::Access),
    Stream(Job),
    ReadBack(Job, Written),
}

fn interrupted(error: &EngineError) -> Event {
    if error.kind != EngineErrorKind::Stopped {
        tracing::error!("{}", chain(error));
    }
    Event::Interrupted {
        kind: error.kind,
        sentence: error.sentence.clone(),
    }
}

/// Thins the engine's reports out and reckons the time left.
struct Listener {
    service: Service,
    stop: Arc<AtomicBool>,
    began: Instant,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    first: Option<EngineProgress>,
    at: Option<Instant>,
}

impl Listener {
    fn new(service: Service, stop: Arc<AtomicBool>) -> Self {
        Self {
            service,
            stop,
            began: Instant::now(),
            told: Mutex::default(),
        }
    }
}

impl Observer for Listener {
    fn progressed(&self, now: EngineProgress) {
        let mut told = lock(&self.told);
        let first = *told.first.get_or_insert(now);
        let complete = now.done_bytes >= now.total_bytes;
        if told.at.is_some_and(|at| at.elapsed() < EVERY) && !complete {
            return;
        }
        told.at = Some(Instant::now());
        drop(told);
        *lock(&self.service.shared.progress) = Some(Progress {
            done_bytes: now.done_bytes,
            total_bytes: now.total_bytes,
            fetched_bytes: now.fetched_bytes,
            seconds_left: seconds_left(first, now, self.began.elapsed()),
        });
        self.service.notify(Notice::Progress);
    }

    fn should_stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// As long as the rest takes at the pace so far. What was there already when it began says nothing about the pace.
fn seconds_left(first: EngineProgress, now: EngineProgress, elapsed: Duration) -> Option<u64> {
    let done = now
        .done_bytes
        .checked_sub(first.done_bytes)
        .filter(|done| *done > 0)?;
    let left = now.total_bytes.checked_sub(now.done_bytes)?;
    if elapsed < WARM_UP && left > 0 {
        return None;
    }
    let millis = u128::from(left) * elapsed.as_millis() / u128::from(done);
    u64::try_from(millis.div_ceil(1000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_reckoned_from_the_pace_of_this_run() {
        let at = |done_bytes| EngineProgress {
            done_bytes,
            total_bytes: 1000,
            fetched_bytes: 0,
        };
        let ten = Duration::from_secs(10);
        assert_eq!(seconds_left(at(500), at(600), ten), Some(40));
        assert_eq!(seconds_left(at(0), at(1000), ten), Some(0));
        assert_eq!(seconds_left(at(500), at(500), ten), None, "no pace yet");
        assert_eq!(seconds_left(at(0), at(10), Duration::from_secs(1)), None);
        assert_eq!(seconds_left(at(500), at(400), ten), None);
    }
}
