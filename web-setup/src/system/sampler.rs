//! Takes snapshots. Files are read each time; what goes over D-Bus is asked again only when it is a few seconds old, however
//! many dashboards are open. Nothing runs while nobody looks but one small sample each half minute.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipc::provisioner::{Growth, StorageStatus};

use super::history::{self, History};
use super::services::{ServiceManager, Unit};
use super::{Reading, Root, Snapshot, kernel, network};
use crate::lock;
use crate::provisioner::Provisioner;

/// Age at which storage and services are asked for again.
const STALE: Duration = Duration::from_secs(6);
/// The same while `data` grows.
const STALE_GROWING: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Slow {
    at: Instant,
    storage: Reading<StorageStatus>,
    services: Reading<Vec<Unit>>,
}

/// Takes snapshots.
pub struct Sampler {
    root: Root,
    provisioner: Arc<dyn Provisioner>,
    services: Arc<dyn ServiceManager>,
    slow: tokio::sync::Mutex<Option<Slow>>,
    history: Mutex<History>,
}

impl Sampler {
    /// Nothing is asked yet.
    pub fn new(root: Root, provisioner: Arc<dyn Provisioner>, services: Arc<dyn ServiceManager>) -> Self {
        Self {
            root,
            provisioner,
            services,
            slow: tokio::sync::Mutex::default(),
            history: Mutex::default(),
        }
    }

    /// Everything at this moment.
    pub async fn snapshot(&self) -> Snapshot {
        let slow = self.slow().await;
        Snapshot {
            facts: lock::boot_facts(&self.root),
            uptime_seconds: kernel::uptime_seconds(&self.root),
            memory: kernel::memory(&self.root),
            celsius: kernel::celsius(&self.root),
            clock: kernel::clock(&self.root),
            network: network::interfaces(&self.root),
            storage: slow.storage,
            services: slow.services,
            history: self
                .history
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// Forgets what was asked over D-Bus, after a change.
    pub async fn refresh(&self) {
        *self.slow.lock().await = None;
    }

    /// One point of the half-hour charts.
    pub fn sample_history(&self) {
        let memory = kernel::memory(&self.root).ok().map(kernel::Memory::used_percent);
        let celsius = kernel::celsius(&self.root).ok();
        self.history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(memory, celsius);
    }

    /// Takes a point of the charts every half minute, for ever.
    pub async fn keep_history(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(history::INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sample_history();
        }
    }

    async fn slow(&self) -> Slow {
        let mut known = self.slow.lock().await;
        if let Some(slow) = known.as_ref() {
            let growing = slow
                .storage
                .as_ref()
                .is_ok_and(|s| matches!(s.growth, Growth::Growing { .. }));
            if slow.at.elapsed() < if growing { STALE_GROWING } else { STALE } {
                return slow.clone();
            }
        }
        let (storage, services) = tokio::join!(self.provisioner.storage_status(), self.services.units());
        let slow = Slow {
            at: Instant::now(),
            storage: storage.map_err(|e| e.to_string()),
            services,
        };
        *known = Some(slow.clone());
        slow
    }
}
