//! How far a mirror is.

use std::sync::{Mutex, PoisonError};

/// How far a mirror is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files that are done.
    pub files: u64,
    /// Bytes that are copied or compared.
    pub bytes: u64,
    /// Files to be done.
    pub total_files: u64,
    /// Bytes to be copied or compared.
    pub total_bytes: u64,
}

/// Counts, and tells.
pub(super) struct Meter {
    progress: Mutex<Progress>,
    tell: Box<dyn Fn(&Progress) + Send + Sync>,
}

impl Meter {
    pub(super) fn new(tell: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        Self {
            progress: Mutex::default(),
            tell: Box::new(tell),
        }
    }

    fn add(&self, change: impl FnOnce(&mut Progress)) {
        let now = {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut progress);
            *progress
        };
        (self.tell)(&now);
    }

    pub(super) fn expect(&self, files: u64, bytes: u64) {
        self.add(|progress| (progress.total_files, progress.total_bytes) = (files, bytes));
    }

    pub(super) fn bytes(&self, bytes: u64) {
        self.add(|progress| progress.bytes += bytes);
    }

    pub(super) fn file(&self) {
        self.add(|progress| progress.files += 1);
    }
}
