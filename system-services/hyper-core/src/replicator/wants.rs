//! Of which blocks a peer tells us, and of which it wants to be told.
//!
//! A peer tells of its blocks unasked when it has all of them, and of its last 256; of others only in ranges that were wanted.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::messages::Want;

/// Blocks of a range that we want to be told of: the peer's figure, and the most that it answers at a time.
pub(super) const BATCH: u64 = 1 << 21;

/// Ranges that one peer tells us of at a time: as many as its remembered pages have room for.
const MOST_LOCAL: usize = 8;

/// A range is kept for so long before another one takes its place.
const KEPT: Duration = Duration::from_secs(10);

/// Ranges that are remembered of a peer (its own figure); one that wants more is told of everything.
const MOST_REMOTE: usize = 512;

/// The ranges that we want one peer to tell us of.
#[derive(Default)]
pub(super) struct LocalWants(VecDeque<(u64, Instant)>);

/// What to say to the peer so that it tells us of a range.
pub(super) struct NewWant {
    pub(super) want: Want,
    pub(super) instead_of: Option<Want>,
}

impl LocalWants {
    /// Adds the range that holds a block. `None` if it is there, or if there is no room yet.
    pub(super) fn add(&mut self, block: u64, now: Instant) -> Option<NewWant> {
        let batch = block / BATCH;
        if self.0.iter().any(|(known, _)| *known == batch) {
            return None;
        }
        let mut instead_of = None;
        if self.0.len() >= MOST_LOCAL {
            let (_, since) = self.0.front()?;
            if now.saturating_duration_since(*since) < KEPT {
                return None;
            }
            instead_of = self.0.pop_front().map(|(batch, _)| want(batch));
        }
        self.0.push_back((batch, now));
        Some(NewWant {
            want: want(batch),
            instead_of,
        })
    }
}

fn want(batch: u64) -> Want {
    Want {
        start: batch * BATCH,
        length: BATCH,
        any: false,
    }
}

/// The ranges that a peer wants to be told of.
#[derive(Default)]
pub(super) struct RemoteWants {
    ranges: Vec<Want>,
    all: bool,
}

impl RemoteWants {
    pub(super) fn add(&mut self, want: Want) {
        if self.ranges.contains(&want) {
            return;
        }
        if self.ranges.len() >= MOST_REMOTE {
            self.all = true;
        } else {
            self.ranges.push(want);
        }
    }

    pub(super) fn remove(&mut self, want: Want) {
        self.ranges.retain(|known| *known != want);
    }

    pub(super) fn overlaps(&self, blocks: &Range<u64>) -> bool {
        let overlaps = |want: &Want| want.start < blocks.end && blocks.start < want.start + want.length;
        self.all || self.ranges.iter().any(overlaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_wanted_once_and_makes_room_only_after_a_while() {
        let (mut wants, start) = (LocalWants::default(), Instant::now());
        for batch in 0..MOST_LOCAL as u64 {
            let new = wants.add(batch * BATCH + 5, start).unwrap();
            assert_eq!((new.want.start, new.instead_of), (batch * BATCH, None));
            assert!(wants.add(batch * BATCH, start).is_none());
        }
        let next = MOST_LOCAL as u64 * BATCH;
        assert!(wants.add(next, start).is_none());
        let new = wants.add(next, start + KEPT).unwrap();
        assert_eq!(new.instead_of.unwrap().start, 0);
    }

    #[test]
    fn a_peer_that_wants_too_much_is_told_of_everything() {
        let mut wants = RemoteWants::default();
        let want = |start| Want {
            start,
            length: 32,
            any: false,
        };
        wants.add(want(64));
        assert!(wants.overlaps(&(0..65)) && !wants.overlaps(&(0..64)) && !wants.overlaps(&(96..99)));
        wants.remove(want(64));
        assert!(!wants.overlaps(&(0..1000)));
        (0..MOST_REMOTE as u64 + 1).for_each(|at| wants.add(want(32 * at)));
        assert!(wants.overlaps(&(1 << 50..(1 << 50) + 1)));
    }
}
