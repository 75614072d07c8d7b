//! What both slots hold of a wanted image, found without writing anything.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bundle::chunks::{ChunkIndex, Plan, Seeds};
use bundle::source::Sequential;

use super::devices::{Active, Target};
use super::slot_file::Region;
use super::{device, no_partition, storage};
use crate::engine::{EngineError, Observer};

/// A slot is scanned this far behind the end of the wanted image: older images may have been longer.
const SCAN_MORE: u64 = 16 << 20;
/// A gentle scan rests after so many bytes …
const GENTLE_BYTES: usize = 1 << 20;
/// … so many times as long as they took …
const REST: u32 = 3;
/// … but never so long that it would not stop soon.
const MAX_REST: Duration = Duration::from_millis(250);

/// Whether anybody waits for a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// A person does.
    Swift,
    /// Nobody does: three quarters of the time belong to others.
    Gentle,
}

/// What to keep, copy and fetch, and the slot that runs, to copy from.
pub(super) struct AtHand {
    pub(super) plan: Plan,
    pub(super) running: Region,
}

/// Scans both slots for the chunks of an image.
pub(super) fn scan(
    wanted: &ChunkIndex,
    class: &str,
    (target, active): (&Target, &Active),
    pace: Pace,
    observer: &dyn Observer,
) -> Result<AtHand, EngineError> {
    let limit = wanted.image_size() + SCAN_MORE;
    let unreadable = |e: io::Error| storage("the slots cannot be read", Some(e.into()));
    let old = target.open_for_reading(class).ok_or_else(no_partition)?;
    let old = Region::new(old.map_err(device)?, limit).map_err(unreadable)?;
    let running = active.open(class).ok_or_else(no_partition)?;
    let running = Region::new(running.map_err(device)?, limit).map_err(unreadable)?;
    let watched = |slot| Watched {
        inner: Sequential::new(slot),
        observer,
        pace,
        began: Instant::now(),
        read: 0,
    };
    let mut seeds = Seeds::new(wanted);
    // Damaged blocks of a slot are no reason to give up: what is found before them is still of use.
    let scanned = seeds
        .scan_seed(wanted, 0, watched(&running))
        .and_then(|()| seeds.scan_target(wanted, watched(&old)));
    if observer.should_stop() {
        return Err(EngineError::stopped());
    }
    if let Err(error) = scanned {
        tracing::warn!(%error, class, "a slot cannot be read whole; more is downloaded");
    }
    let plan = Plan::new(wanted, &seeds);
    Ok(AtHand { plan, running })
}

/// Ends when it is told to, and takes its time when it is told to.
struct Watched<'a> {
    inner: Sequential<&'a Region>,
    observer: &'a dyn Observer,
    pace: Pace,
    began: Instant,
    read: usize,
}

impl Read for Watched<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.observer.should_stop() {
            // Not `Interrupted`, after which a scan would go on.
            return Err(io::Error::other("the scan was stopped"));
        }
        if self.pace == Pace::Gentle && self.read >= GENTLE_BYTES {
            std::thread::sleep((self.began.elapsed() * REST).min(MAX_REST));
            (self.began, self.read) = (Instant::now(), 0);
        }
        let read = self.inner.read(buf)?;
        self.read += read;
        Ok(read)
    }
}
