//! Is the running system well?
//!
//! An ordinary start is asked for what it always was: the page answers and root is intact. A system on trial must also have
//! its units, a `data` that takes writes and no less network than before, and keep all that for a while.

pub mod basic;
pub mod data;
pub mod network;
pub mod units;

use std::path::PathBuf;
use std::time::Duration;

use os_io::root::Root;
use tokio::time::{Instant, sleep};
use zbus::Connection;

use crate::config::HealthConfig;
use crate::state::{Gate, Network};

pub use basic::{Health, HealthError, check_root, wait_for_page};

/// How long one question to the page may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Where to look, and what is asked for.
#[derive(Debug, Clone)]
pub struct Checks {
    /// What is asked for.
    pub config: HealthConfig,
    /// Where `/` is.
    pub root: Root,
    /// The service's own folder on `data`; none when `data` is damaged: the other slot would meet the same.
    pub state_folder: Option<PathBuf>,
    /// The system bus, when there is one.
    pub bus: Option<Connection>,
}

impl Checks {
    /// Passes the gate, or says in a sentence why not.
    pub async fn pass(&self, gate: Gate) -> Result<(), String> {
        match gate {
            Gate::Ordinary => {
                let health = self.page(self.config.patience);
                blocking(move || wait_for_page(&health)).await.map_err(sentence)?;
                self.check_root().await
            }
            Gate::Trial(before) => self.trial(before).await,
        }
    }

    async fn trial(&self, before: Network) -> Result<(), String> {
        let started = Instant::now();
        while let Err(reason) = self.look(before).await {
            if started.elapsed() >= self.config.patience {
                return Err(reason);
            }
            sleep(self.config.interval.min(Duration::from_secs(1))).await;
        }
        self.check_root().await?;
        tracing::info!(
            "the new system is well; it has to stay so for {} s",
            self.config.soak.as_secs()
        );
        let began = Instant::now();
        let mut well_at = began;
        loop {
            match self.look(before).await {
                Ok(()) => well_at = Instant::now(),
                Err(reason) if well_at.elapsed() > self.config.hiccup => return Err(reason),
                Err(reason) => tracing::warn!("{reason}"),
            }
            if well_at.duration_since(began) >= self.config.soak {
                return Ok(());
            }
            sleep(self.config.interval).await;
        }
    }

    /// One look at everything but root, which is read once.
    async fn look(&self, before: Network) -> Result<(), String> {
        let health = self.page(Duration::ZERO);
        blocking(move || wait_for_page(&health))
            .await
            .map_err(|e| format!("The web page does not answer ({e})."))?;
        units::active(self.bus.as_ref(), &self.config.units).await?;
        let (root, folder, floor) = (
            self.root.clone(),
            self.state_folder.clone(),
            self.config.data_free_bytes,
        );
        blocking(move || {
            if let Some(folder) = folder {
                data::writable(&folder, floor)?;
            }
            network::no_worse(before, network::observe(&root))
        })
        .await
    }

    async fn check_root(&self) -> Result<(), String> {
        let root = self.root.clone();
        let checked = blocking(move || check_root(&root)).await.map_err(sentence)?;
        // A line that people and tests know.
        println!(
            "the page answers; {} MiB of the verified root are intact",
            checked >> 20
        );
        Ok(())
    }

    fn page(&self, patience: Duration) -> Health {
        Health {
            addresses: self.config.page.clone(),
            patience,
            attempt: ATTEMPT,
            pause: Duration::from_millis(500),
        }
    }
}

fn sentence(error: HealthError) -> String {
    match std::error::Error::source(&error) {
        Some(cause) => format!("The running system is not well: {error}: {cause}."),
        None => format!("The running system is not well: {error}."),
    }
}

/// On a thread that may block. A panic there is a check that did not pass.
async fn blocking<T: Send + 'static, E: From<Lost> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Lost.into()),
    }
}

/// A check ended without an answer.
struct Lost;

impl From<Lost> for String {
    fn from(_: Lost) -> Self {
        "A check of the running system ended without an answer.".into()
    }
}

impl From<Lost> for HealthError {
    fn from(_: Lost) -> Self {
        Self::NoRoot
    }
}
