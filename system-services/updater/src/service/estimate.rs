//! How much of an available release would be downloaded: measured once, in the background, while nothing else goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use boot_state::MAX_TRIES;

use super::{Notice, Service, blocking, lock};
use crate::channel::Chosen;
use crate::engine::{Access, EngineErrorKind, EngineProgress, Observer, Source};
use crate::error::chain;
use crate::state::State;

/// At most one at a time; it gives way to whatever a person or the channel begins.
#[derive(Default)]
pub(super) struct Estimates {
    stop: Mutex<Arc<AtomicBool>>,
    runs: Arc<AtomicBool>,
}

impl Estimates {
    /// What runs ends soon, and nothing is made of it. It writes nothing, so that nobody has to wait for its end.
    pub(super) fn stop(&self) {
        lock(&self.stop).store(true, Ordering::SeqCst);
    }

    fn begin(&self) -> Option<Running> {
        if self.runs.swap(true, Ordering::SeqCst) {
            return None;
        }
        let stop = Arc::new(AtomicBool::new(false));
        *lock(&self.stop) = Arc::clone(&stop);
        Some(Running {
            stop,
            runs: Arc::clone(&self.runs),
        })
    }
}

/// One that runs; another may begin when it is gone.
struct Running {
    stop: Arc<AtomicBool>,
    runs: Arc<AtomicBool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.runs.store(false, Ordering::SeqCst);
    }
}

/// Tells nobody how far it is.
struct Quiet(Arc<AtomicBool>);

impl Observer for Quiet {
    fn progressed(&self, _: EngineProgress) {}

    fn should_stop(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Service {
    /// Begins to measure what is available, if that is wanted and nothing else goes on. Not on a metered connection: the
    /// tables of a bundle are some hundred kilobytes.
    pub(super) async fn measure_available(&self, chosen: &Chosen, since_boot_s: u64) {
        if chosen.choice.metered {
            return;
        }
        // Held until it is begun: an installation that begins meanwhile finds it, and stops it.
        let record = self.shared.record.lock().await;
        let at_rest = match &record.state {
            State::Idle | State::Good { .. } | State::Unhealthy { .. } => true,
            State::RolledBack { trial, .. } => {
                crate::state::slot_of_boot(trial.target) != self.running().slot()
            }
            State::Downloading { .. } | State::Verifying { .. } | State::Staged { .. } | State::Trying(_) => {
                false
            }
        };
        let wanted = self.unmeasured(&record, since_boot_s).filter(|_| at_rest);
        let Some(wanted) = wanted else { return };
        if self.shared.jobs.try_engine().is_none() || !self.running_was_marked_good().await {
            return;
        }
        let Some(running) = self.shared.channel.estimates.begin() else {
            return;
        };
        let this = self.clone();
        tokio::spawn(async move {
            let engine = Arc::clone(&this.shared.engine);
            let observer = Quiet(Arc::clone(&running.stop));
            let hash = wanted.hash;
            let measured = blocking("measuring an update", move || {
                engine.estimate(&Source::Https(wanted.source), &Access::default(), hash, &observer)
            })
            .await;
            let bytes = match measured {
                // What it says was so before whatever stopped it.
                _ if running.stop.load(Ordering::SeqCst) => return,
                Ok(Err(error)) if error.kind == EngineErrorKind::Stopped => return,
                Ok(Ok(bytes)) => Some(bytes),
                Ok(Err(error)) => {
                    tracing::warn!(
                        "how much of the update is downloaded is not known: {}",
                        chain(&error)
                    );
                    None
                }
                Err(error) => {
                    tracing::error!("{}", chain(&error));
                    None
                }
            };
            this.measured(hash, bytes).await;
            drop(running);
            this.notify(Notice::Changed);
        });
    }

    /// In this boot: then nothing urgent is left to do.
    async fn running_was_marked_good(&self) -> bool {
        let around = self.surroundings().await;
        around.is_ok_and(|around| {
            let slot = around.boot.slot(self.running().slot());
            slot.good() && slot.tries_left() == MAX_TRIES
        })
    }
}
