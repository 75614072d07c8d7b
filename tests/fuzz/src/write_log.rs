//! The record of a disk's writes that the tests of power cuts replay.

use crate::accept;
use log::{Event, Log};

// The module alone: the crate it belongs to brings machines and browsers along.
#[path = "../../src/write_log.rs"]
mod log;

const DISK: u64 = 1 << 20;

/// A log: it ends, every event is on the disk, and no byte is told of that is not in the log.
pub fn write_log(bytes: &[u8]) {
    let Ok(mut log) = Log::open(bytes, DISK) else {
        return;
    };
    let most = log.superblock().entries.saturating_mul(2);
    let (mut events, mut written) = (0_u64, 0_u64);
    let whole = loop {
        match log.next_event() {
            Ok(None) => break true,
            Err(_) => break false,
            Ok(Some(event)) => {
                events += 1;
                let (offset, len) = match event {
                    Event::Write { offset, bytes, .. } => {
                        written += bytes.len() as u64;
                        (offset, bytes.len() as u64)
                    }
                    Event::Discard { offset, len } => (offset, len),
                    Event::Flush => (0, 0),
                };
                assert!(offset + len <= DISK && len.is_multiple_of(512));
            }
        }
    };
    assert!(events <= most && written <= bytes.len() as u64 && log.position() <= bytes.len() as u64);
    if whole {
        accept();
    }
}
