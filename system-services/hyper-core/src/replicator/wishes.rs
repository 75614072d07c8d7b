//! What is wanted here.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Instant;

use super::types::Outcome;
use super::{Replicator, WaiterId};
use crate::messages::RequestSeek;

/// All wishes.
#[derive(Default)]
pub(super) struct Wishes {
    /// Who waits for which block.
    pub(super) blocks: BTreeMap<u64, Vec<WaiterId>>,
    /// Blocks of these that nobody was asked for yet. Some may be there by now.
    pub(super) queue: VecDeque<u64>,
    pub(super) ranges: Vec<RangeWish>,
    pub(super) seeks: Vec<SeekWish>,
    /// Seeks whose proof is being stored, by request.
    pub(super) storing_seeks: BTreeMap<u64, WaiterId>,
    pub(super) updates: Vec<WaiterId>,
}

/// Blocks to be fetched.
#[derive(Debug)]
pub(super) struct RangeWish {
    waiter: WaiterId,
    /// The first block that is missing.
    pub(super) start: u64,
    /// The block after the last; `None`: whatever there is.
    pub(super) end: Option<u64>,
    pub(super) linear: bool,
    /// As it was wished.
    wished_start: u64,
}

/// Tree nodes to be fetched, below which a byte is.
#[derive(Debug)]
pub(super) struct SeekWish {
    pub(super) waiter: WaiterId,
    pub(super) blocks: Range<u64>,
    pub(super) seek: RequestSeek,
    pub(super) asked: bool,
}

impl Wishes {
    /// There is nothing to be asked for in a core of so many blocks.
    pub(super) fn are_met(&self, length: u64) -> bool {
        self.blocks.is_empty()
            && self.seeks.is_empty()
            && self.updates.is_empty()
            && self.ranges.iter().all(|range| range.start >= length)
    }

    /// After a move to another fork what was there may be missing again.
    pub(super) fn restart_ranges(&mut self) {
        for range in &mut self.ranges {
            range.start = range.wished_start;
        }
    }
}

impl Replicator {
    /// Waits for a block.
    pub(crate) fn want_block(&mut self, block: u64, now: Instant) -> WaiterId {
        let waiter = WaiterId(self.number());
        let waiters = self.wishes.blocks.entry(block).or_default();
        waiters.push(waiter);
        if waiters.len() == 1 && !self.attempts.contains_key(&block) {
            self.wishes.queue.push_back(block);
        }
        if self.local.get(block) {
            self.block_is_there(block);
        } else {
            self.fill_all(now);
        }
        waiter
    }

    /// Fetches blocks, as long as nobody cancels it.
    pub(crate) fn want_range(
        &mut self,
        start: u64,
        end: Option<u64>,
        linear: bool,
        now: Instant,
    ) -> WaiterId {
        let waiter = WaiterId(self.number());
        self.wishes.ranges.push(RangeWish {
            waiter,
            start,
            end,
            linear,
            wished_start: start,
        });
        self.check_ranges();
        self.fill_all(now);
        waiter
    }

    /// Fetches tree nodes that say where in these blocks a byte is. They are below one node, which is stored.
    pub(crate) fn want_seek(&mut self, blocks: Range<u64>, seek: RequestSeek, now: Instant) -> WaiterId {
        let waiter = WaiterId(self.number());
        self.wishes.seeks.push(SeekWish {
            waiter,
            blocks,
            seek,
            asked: false,
        });
        self.fill_all(now);
        waiter
    }

    /// Waits until the core is longer, or no peer can make it so.
    pub(crate) fn want_update(&mut self, now: Instant) -> WaiterId {
        let waiter = WaiterId(self.number());
        self.wishes.updates.push(waiter);
        self.fill_all(now);
        waiter
    }

    /// Nobody waits any more. What was asked for only because of it is taken back.
    pub(crate) fn cancel(&mut self, waiter: WaiterId, now: Instant) {
        let wishes = &mut self.wishes;
        wishes.updates.retain(|known| *known != waiter);
        wishes.seeks.retain(|seek| seek.waiter != waiter);
        wishes.ranges.retain(|range| range.waiter != waiter);
        wishes.blocks.retain(|_, waiters| {
            waiters.retain(|known| *known != waiter);
            !waiters.is_empty()
        });
        let unwanted = self.requests.iter().filter(|(_, flying)| {
            let block = flying.request.block.map(|block| block.index);
            flying.request.upgrade.is_none() && block.is_some_and(|block| !self.is_wanted(block))
        });
        let unwanted: Vec<u64> = unwanted.map(|(request, _)| *request).collect();
        if !unwanted.is_empty() {
            unwanted.into_iter().for_each(|request| self.take_back(request));
            self.fill_all(now);
        }
    }

    /// Somebody looks for peers: until there was one, [`Outcome::Update`] waits.
    pub(crate) fn finding(&mut self, began: bool) {
        self.finding = if began {
            self.finding + 1
        } else {
            self.finding.saturating_sub(1)
        };
        self.settle_updates();
    }

    /// A channel waits for its peer to open it: [`Outcome::Update`] waits too, unless there are peers enough.
    pub(crate) fn opening(&mut self, began: bool) {
        self.opening = if began {
            self.opening + 1
        } else {
            self.opening.saturating_sub(1)
        };
        self.settle_updates();
    }

    pub(super) fn is_wanted(&self, block: u64) -> bool {
        let within = |range: &RangeWish| block >= range.start && range.end.is_none_or(|end| block < end);
        self.wishes.blocks.contains_key(&block) || self.wishes.ranges.iter().any(within)
    }

    pub(super) fn wished_within(&self, blocks: &Range<u64>) -> Vec<u64> {
        let blocks = blocks.start..blocks.end.max(blocks.start);
        let within = self.wishes.blocks.range(blocks);
        within.map(|(block, _)| *block).collect()
    }

    /// A block is stored: nobody need wait for it or be asked for it.
    pub(super) fn block_is_there(&mut self, block: u64) {
        for waiter in self.wishes.blocks.remove(&block).unwrap_or_default() {
            self.outcomes.push((waiter, Outcome::Block(block)));
        }
        let others = self.attempts.get(&block).map(|all| all.requests.clone());
        for request in others.unwrap_or_default() {
            let upgrades = self
                .requests
                .get(&request)
                .is_some_and(|flying| flying.request.upgrade.is_some());
            if !upgrades {
                self.take_back(request);
            }
        }
    }

    /// Moves the starts of ranges on, and ends those that are complete.
    pub(super) fn check_ranges(&mut self) {
        let local = &self.local;
        let mut complete = Vec::new();
        self.wishes.ranges.retain_mut(|range| {
            range.start = local.next_unset(range.start);
            let done = range.end.is_some_and(|end| range.start >= end);
            if done {
                complete.push((range.waiter, Outcome::Range));
            }
            !done
        });
        self.outcomes.extend(complete);
    }

    /// Who need wait no longer.
    pub(crate) fn take_outcomes(&mut self) -> Vec<(WaiterId, Outcome)> {
        std::mem::take(&mut self.outcomes)
    }
}
