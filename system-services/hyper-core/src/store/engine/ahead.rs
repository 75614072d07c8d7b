//! Flushing block files while more is written, and knowing what is flushed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Engine, Writing, sum};
use crate::store::StoreError;
use crate::store::chunk::Extent;
use crate::store::log::Log;

/// So many bytes are flushed at a time while more are written.
const AHEAD_BYTES: u64 = 8 << 20;

/// When so many bytes wait, who writes waits for the disk: they are checked when the store is opened after a power cut.
const MOST_BYTES: u64 = 64 << 20;

/// Bytes in block files that the log lacks and that nobody flushed.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub(super) files: BTreeSet<u32>,
    bytes: u64,
}

impl Ahead {
    pub(super) fn add(&mut self, extents: &[Extent]) {
        self.files.extend(extents.iter().map(|extent| extent.at.segment));
        self.bytes += sum(extents);
    }

    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// The generation of the log and the number of its first records whose bytes in block files are flushed.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    place: Mutex<(u64, u64)>,
    /// Whether a thread flushes ahead.
    running: AtomicBool,
}

impl Flushed {
    /// All records before this place were written before a flush that is done.
    pub(super) fn reached(&self, (generation, sequence): (u64, u64)) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.0 != generation || place.1 < sequence {
            *place = (generation, sequence);
        }
    }

    /// How many records of the log it is. A flush that began before a checkpoint says nothing of the log after it.
    pub(super) fn records_of(&self, log: &Log) -> u64 {
        let place = *self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.0 == log.place().0 { place.1 } else { 0 }
    }
}

impl Engine {
    /// Lets the disk begin with what no change waits for, so that a checkpoint finds little left.
    pub(super) fn flush_ahead(&self, writing: &mut Writing) -> Result<(), StoreError> {
        if writing.ahead.bytes < AHEAD_BYTES {
            return Ok(());
        }
        let busy = self.flushed.running.swap(true, Ordering::AcqRel);
        if busy && writing.ahead.bytes < MOST_BYTES {
            return Ok(());
        }
        let (files, place) = (writing.ahead.take().files, writing.log.place());
        if !busy && self.spawn_flush(files.clone(), place).is_ok() {
            return Ok(());
        }
        self.must(|| self.flush(&files))
    }

    fn spawn_flush(&self, files: BTreeSet<u32>, place: (u64, u64)) -> std::io::Result<()> {
        let (segments, flushed) = (Arc::clone(&self.segments), Arc::clone(&self.flushed));
        let frozen = Arc::clone(&self.frozen);
        let work = move || {
            let done = files.iter().try_for_each(|file| segments.flush(*file));
            match done {
                Ok(()) => flushed.reached(place),
                // The disk tells of a failure once: a checkpoint that asks again would not hear of it.
                Err(_) => frozen.store(true, Ordering::Release),
            }
            flushed.running.store(false, Ordering::Release);
        };
        let thread = std::thread::Builder::new().name("flush".into()).spawn(work);
        thread.map(drop).inspect_err(|_| {
            self.flushed.running.store(false, Ordering::Release);
        })
    }
}
