//! What is true of the running appliance, from the kernel's and systemd's own mouths. What cannot be known is said so, with
//! the reason; nothing is guessed.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ipc::boot_facts::BootFacts;
use ipc::provisioner::StorageStatus;

pub mod boots;
pub mod history;
pub mod kernel;
pub mod network;
pub mod sampler;
pub mod services;
pub mod zones;

#[cfg(any(test, feature = "demo"))]
pub mod sample;

/// Largest file that is read whole: tzdata.zi is the largest we know, 110 KiB.
const MAX_FILE_BYTES: u64 = 512 * 1024;

/// The folder that stands for `/`, so that a test passes a temporary one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// `folder` is taken for `/`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// An absolute path of the appliance, below this root.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A small text file. These live in memory (proc, sys, run) or in the page cache, so reading them on the one thread is
    /// cheaper than handing them to another.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(self.join(path))?
            .take(MAX_FILE_BYTES)
            .read_to_string(&mut text)?;
        Ok(text)
    }

    /// A small binary file, at most `limit` bytes of it.
    pub fn read_bytes(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(self.join(path))?
            .take(limit)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The names in a folder, sorted; empty when there is no such folder.
    pub fn list(&self, path: impl AsRef<Path>) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.join(path))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

/// A value, or one sentence on why it is not available.
pub type Reading<T> = Result<T, String>;

/// Whether network time was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockState {
    /// Set from the network since this start.
    Synchronised,
    /// The service runs and has reached no server yet.
    Waiting,
}

/// Everything the dashboard shows, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Facts of this boot.
    pub facts: Reading<BootFacts>,
    /// Seconds since the kernel started.
    pub uptime_seconds: Reading<u64>,
    /// Memory.
    pub memory: Reading<kernel::Memory>,
    /// The processor's temperature in degrees Celsius.
    pub celsius: Reading<f64>,
    /// Network time.
    pub clock: Reading<ClockState>,
    /// Network interfaces.
    pub network: Reading<Vec<network::Interface>>,
    /// The disk and `data`.
    pub storage: Reading<StorageStatus>,
    /// State of our services and those they stand on.
    pub services: Reading<Vec<services::Unit>>,
    /// Memory and temperature of the last half hour.
    pub history: history::History,
}
