//! What is asked of whom.

use std::time::{Duration, Instant};

use super::bits::Bits;
use super::types::Action;
use super::wishes::SeekWish;
use super::{InFlight, MOST_WORK_BYTES, PeerId, Replicator, WaiterId};
use crate::flat_tree::Position;
use crate::messages::{Cancel, Message, Priority, Request, RequestNode, RequestSeek, RequestUpgrade};

/// Blocks that are wanted singly and looked through at a time for one that a peer has.
const MOST_LOOKED: usize = 512;

/// Ranges of [`super::wants::BATCH`] blocks in which a peer's blocks are looked for ahead of what is asked.
const BATCHES_AHEAD: u64 = 3;

/// A block that was asked for longer ago is asked for of another peer too.
const SLOW_ANSWER: Duration = Duration::from_millis(1000);

/// Blocks that are asked for in a row of one of several peers. Endless runs end up behind each other: who follows another peer's reader at a
/// distance of less than what is under way asks for the same blocks for ever.
const RUN: u64 = 32;

/// A request is not taken over from a peer with fewer under way than these and twice as many as the other has.
const LEAST_BUSY: usize = 8;

/// Requests that are taken over when a peer says that it has got blocks.
const MOST_TAKEN_OVER: usize = 64;

/// Peers that are asked for the same block at a time.
const MOST_ASKED_FOR_ONE: usize = 3;

impl Replicator {
    /// Asks a peer for as much as it may be asked for.
    pub(super) fn fill(&mut self, id: PeerId, now: Instant) {
        while self.ask_one(id, now) {}
    }

    /// Asks all peers, which take turns; a peer chosen by chance is first.
    pub(super) fn fill_all(&mut self, now: Instant) {
        let mut ids = self.ids();
        if ids.len() > 1 {
            let first = self.random_below(ids.len() as u64) as usize;
            ids.rotate_left(first);
        }
        while !ids.is_empty() {
            ids.retain(|id| self.ask_one(*id, now));
        }
        self.settle_updates();
    }

    fn ask_one(&mut self, id: PeerId, now: Instant) -> bool {
        if self.conflict.is_some() || self.suspended_until.is_some() || self.work_bytes >= MOST_WORK_BYTES {
            return false;
        }
        match self.peers.get(&id) {
            Some(peer) if peer.may_ask() => {}
            _ => return false,
        }
        self.ask_seek(id, now)
            || self.ask_wished(id, now)
            || self.ask_range(id, now)
            || self.ask_fork_node(id, now)
            || self.ask_upgrade(id, now)
    }

    /// Whether the peer can be asked for a longer tree now: one such request is under way at a time.
    fn should_upgrade(&self, id: PeerId) -> bool {
        let Some((peer, sync)) = self.peers.get(&id).and_then(|peer| Some((peer, peer.sync?))) else {
            return false;
        };
        let state = self.at.state;
        self.upgrade.is_none()
            && sync.can_upgrade
            && sync.fork == state.fork
            && sync.length > state.length
            && peer.acked == state.length
            && !peer.refused_upgrade
    }

    /// A request to a peer, with an upgrade whenever it has one for us.
    fn request(&mut self, id: PeerId) -> Request {
        let state = self.at.state;
        let upgrade = self.should_upgrade(id);
        let number = self.number();
        let peer = self.peers.get(&id);
        let remote_length = peer.map_or(0, |peer| peer.remote_length());
        let theirs = peer
            .and_then(|peer| peer.sync)
            .is_some_and(|sync| sync.has_manifest);
        Request {
            id: number,
            fork: peer.map_or(0, |peer| peer.remote_fork()),
            block: None,
            hash: None,
            seek: None,
            upgrade: upgrade.then(|| RequestUpgrade {
                start: state.length,
                length: remote_length - state.length,
            }),
            manifest: !self.at.has_manifest && theirs,
            priority: Priority::NORMAL,
        }
    }

    fn ask(&mut self, id: PeerId, request: Request, fork: bool, seek: Option<WaiterId>, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.began(now);
        if let Some(RequestNode { index, .. }) = request.block {
            self.busy.set(index..index + 1, true);
            self.attempts.entry(index).or_default().requests.push(request.id);
        }
        if request.upgrade.is_some() && !fork {
            self.upgrade = Some(request.id);
        }
        let flying = InFlight {
            peer: id,
            sent: now,
            request,
            fork,
            seek,
        };
        let first = !self.is_downloading();
        self.requests.insert(request.id, flying);
        if first {
            self.signal_all();
        }
        self.act(id, Action::Ask(request));
    }

    fn ask_block(&mut self, id: PeerId, block: u64, priority: Priority, now: Instant) -> bool {
        let needs_upgrade = block >= self.at.state.length;
        if needs_upgrade && !self.should_upgrade(id) {
            return false;
        }
        let mut request = self.request(id);
        // The levels above are filled in when it is sent.
        request.block = Some(RequestNode {
            index: block,
            nodes: 0,
        });
        request.priority = priority;
        self.ask(id, request, false, None, now);
        true
    }

    /// Whether the peer's tree surely is part of ours or ours of its, so that its proof of a block fits.
    fn fits(&self, id: PeerId, block: u64) -> bool {
        let state = self.at.state;
        self.peers.get(&id).is_some_and(|peer| {
            peer.remote_fork() == state.fork
                && block < peer.remote_length()
                && (peer.remote_length() >= state.length
                    || (peer.can_upgrade && !peer.checking)
                    || (peer.upgradable.0 == state.fork && block < peer.upgradable.1))
        })
    }

    fn ask_wished(&mut self, id: PeerId, now: Instant) -> bool {
        for _ in 0..self.wishes.queue.len().min(MOST_LOOKED) {
            let Some(block) = self.wishes.queue.pop_front() else {
                break;
            };
            if !self.wishes.blocks.contains_key(&block) || self.attempts.contains_key(&block) {
                continue;
            }
            let has = self.peers.get(&id).is_some_and(|peer| peer.has.get(block));
            if has && self.fits(id, block) && self.ask_block(id, block, Priority::HIGH, now) {
                return true;
            }
            self.wishes.queue.push_back(block);
            if !has {
                self.want(id, block, now);
            }
        }
        false
    }

    /// Lets the peer tell us which blocks it has around this one.
    fn want(&mut self, id: PeerId, block: u64, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if block >= peer.remote_length() {
            return;
        }
        let Some(new) = peer.wants.add(block, now) else {
            return;
        };
        if let Some(old) = new.instead_of {
            peer.has.set(old.start..old.start + old.length, false);
            self.send(id, Message::Unwant(old));
        }
        self.send(id, Message::Want(new.want));
    }

    fn ask_range(&mut self, id: PeerId, now: Instant) -> bool {
        let count = self.wishes.ranges.len();
        if count == 0 {
            return false;
        }
        let first = if count > 1 {
            self.random_below(count as u64) as usize
        } else {
            0
        };
        (0..count).any(|at| self.ask_within(id, (first + at) % count, now))
    }

    fn ask_within(&mut self, id: PeerId, range: usize, now: Instant) -> bool {
        let length = self.at.state.length;
        let Some(wish) = self.wishes.ranges.get(range) else {
            return false;
        };
        let (start, end, linear) = (wish.start, wish.end, wish.linear);
        let Some(peer) = self.peers.get(&id) else {
            return false;
        };
        let mut end = end.unwrap_or(length).min(peer.remote_length()).min(length);
        if start >= end {
            return false;
        }
        if !self.fits(id, end - 1) {
            // Only what was sure at its last length.
            end = end.min(peer.upgradable.1);
            if start >= end || !self.fits(id, end - 1) {
                return false;
            }
        }
        let from = if linear {
            start
        } else {
            self.cursor(id, start..end).clamp(start, end)
        };
        let Some(peer) = self.peers.get(&id) else {
            return false;
        };
        let found = Bits::next_wanted(&peer.has, &self.local, &self.busy, from..end)
            .or_else(|| Bits::next_wanted(&peer.has, &self.local, &self.busy, start..from));
        let Some(block) = found else {
            self.want_ahead(id, start..end, now);
            return false;
        };
        self.move_cursor(id, block, start..end);
        self.ask_block(id, block, Priority::NORMAL, now)
    }

    /// Where blocks of a peer are looked for: at first from the start on if it is the only one, and else anywhere.
    fn cursor(&mut self, id: PeerId, blocks: std::ops::Range<u64>) -> u64 {
        let begin = match self.peers.len() {
            0 | 1 => blocks.start,
            _ => self.anywhere(blocks),
        };
        let peer = self.peers.get_mut(&id);
        peer.map_or(begin, |peer| *peer.cursor.get_or_insert(begin))
    }

    /// Where a run may begin: not at multiples of its length, or too many begin at the same.
    fn anywhere(&mut self, blocks: std::ops::Range<u64>) -> u64 {
        blocks.start + self.random_below(blocks.end - blocks.start)
    }

    /// Peers fetch runs of blocks, each from a place of its own, so that they have different ones to give to each other.
    fn move_cursor(&mut self, id: PeerId, block: u64, blocks: std::ops::Range<u64>) {
        let many = self.peers.len() > 1;
        let jump = many.then(|| self.anywhere(blocks));
        if let Some(peer) = self.peers.get_mut(&id) {
            let goes_on = peer.cursor == Some(block) && !(block + 1).is_multiple_of(RUN);
            peer.cursor = match jump {
                Some(place) if !goes_on => Some(place),
                _ => Some(block + 1),
            };
        }
    }

    fn want_ahead(&mut self, id: PeerId, blocks: std::ops::Range<u64>, now: Instant) {
        let mut at = blocks.start;
        for _ in 0..BATCHES_AHEAD {
            let Some(peer) = self.peers.get(&id) else { return };
            // The first that is missing here and not known to be there.
            at = self.local.next_unset(at);
            while at < blocks.end && peer.has.get(at) {
                at = self.local.next_unset(peer.has.next_unset(at));
            }
            if at >= blocks.end {
                return;
            }
            self.want(id, at, now);
            at = (at / super::wants::BATCH + 1) * super::wants::BATCH;
        }
    }

    fn ask_seek(&mut self, id: PeerId, now: Instant) -> bool {
        let open = self.wishes.seeks.iter().position(|seek| !seek.asked);
        let Some(at) = open else { return false };
        let SeekWish {
            waiter,
            ref blocks,
            seek,
            ..
        } = self.wishes.seeks[at];
        let blocks = blocks.clone();
        let Some(peer) = self.peers.get(&id) else {
            return false;
        };
        let Some(block) = peer
            .has
            .next_set(blocks.start)
            .filter(|block| blocks.contains(block))
        else {
            self.want(id, blocks.start, now);
            return false;
        };
        if !self.fits(id, block) {
            return false;
        }
        let mut request = self.request(id);
        request.hash = Some(RequestNode {
            index: 2 * block,
            nodes: levels(&blocks),
        });
        request.seek = Some(RequestSeek {
            bytes: seek.bytes,
            padding: seek.padding,
        });
        request.upgrade = None;
        self.wishes.seeks[at].asked = true;
        self.ask(id, request, false, Some(waiter), now);
        true
    }

    fn ask_upgrade(&mut self, id: PeerId, now: Instant) -> bool {
        if !self.should_upgrade(id) {
            return false;
        }
        let request = self.request(id);
        self.ask(id, request, false, None, now);
        true
    }

    /// Asks for the signed tree of a newer fork.
    pub(super) fn ask_for_fork(&mut self, id: PeerId, now: Instant) {
        let Some(sync) = self.peers.get(&id).and_then(|peer| peer.sync) else {
            return;
        };
        let known = self.fork.as_ref().is_some_and(|fork| fork.fork >= sync.fork);
        // One at a time, whatever forks the peer claims.
        let asked = self
            .requests
            .values()
            .any(|flying| flying.fork && flying.peer == id);
        let frozen = self.conflict.is_some();
        if frozen || sync.fork <= self.at.state.fork || sync.length == 0 || known || asked || !sync.uploading
        {
            return;
        }
        let mut request = self.request(id);
        request.upgrade = Some(RequestUpgrade {
            start: 0,
            length: sync.length,
        });
        request.manifest = !self.at.has_manifest;
        self.ask(id, request, true, None, now);
    }

    fn ask_fork_node(&mut self, id: PeerId, now: Instant) -> bool {
        let Some(fork) = self.fork.as_ref().filter(|fork| fork.request.is_none()) else {
            return false;
        };
        let (number, want) = (fork.fork, fork.want.clone());
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.remote_fork() == number) else {
            return false;
        };
        let blocks = want.blocks.start..want.blocks.end.min(peer.remote_length());
        let Some(block) = peer
            .has
            .next_set(blocks.start)
            .filter(|block| blocks.contains(block))
        else {
            self.want(id, blocks.start, now);
            return false;
        };
        let mut request = self.request(id);
        request.upgrade = None;
        request.hash = Some(RequestNode {
            index: 2 * block,
            nodes: want.nodes,
        });
        if let Some(fork) = &mut self.fork {
            fork.request = Some(request.id);
        }
        self.ask(id, request, true, None, now);
        true
    }

    /// Asks a peer for blocks that it has just got, instead of others of whom much more is wanted: these have time for other blocks then.
    pub(super) fn take_over(&mut self, id: PeerId, blocks: std::ops::Range<u64>, now: Instant) {
        for block in blocks.take(MOST_TAKEN_OVER) {
            if let Some(request) = self.to_take_over(id, block) {
                self.take_back(request.id);
                self.ask_block(id, block, request.priority, now);
            }
        }
    }

    fn to_take_over(&self, id: PeerId, block: u64) -> Option<Request> {
        let peer = self.peers.get(&id).filter(|peer| peer.may_ask())?;
        let [request] = self.attempts.get(&block)?.requests[..] else {
            return None;
        };
        let flying = self.requests.get(&request)?;
        let other = self.peers.get(&flying.peer)?;
        let busier = other.in_flight > 2 * peer.in_flight + LEAST_BUSY;
        let for_it_alone = flying.request.upgrade.is_none();
        (busier && for_it_alone && self.fits(id, block)).then_some(flying.request)
    }

    /// Asks other peers for blocks for which one lets us wait; the first answer counts.
    pub(super) fn repeat_slow(&mut self, now: Instant) {
        if self.peers.len() < 2 || self.suspended_until.is_some() {
            return;
        }
        let slow = self.requests.values().filter_map(|flying| {
            let block = flying.request.block?.index;
            let late = now.saturating_duration_since(flying.sent) >= SLOW_ANSWER;
            late.then_some((flying.sent, block))
        });
        let mut slow: Vec<_> = slow.collect();
        slow.sort_unstable();
        for (_, block) in slow {
            let asked = self
                .attempts
                .get(&block)
                .map(|all| all.requests.clone())
                .unwrap_or_default();
            if asked.len() >= MOST_ASKED_FOR_ONE {
                continue;
            }
            let askable = |id: &PeerId| {
                let peer = self.peers.get(id);
                let asked = asked
                    .iter()
                    .any(|request| self.requests.get(request).is_some_and(|f| f.peer == *id));
                !asked
                    && peer.is_some_and(|peer| peer.may_repeat() && peer.has.get(block))
                    && self.fits(*id, block)
            };
            if let Some(id) = self.ids().into_iter().find(askable) {
                self.ask_block(id, block, Priority::HIGH, now);
            }
        }
    }

    // The end of a request

    /// The peer answered: the request is under way no more.
    pub(super) fn answered(&mut self, request: u64, now: Instant) -> Option<InFlight> {
        let flying = self.remove_request(request)?;
        if let Some(peer) = self.peers.get_mut(&flying.peer) {
            peer.answered(now, flying.sent);
        }
        Some(flying)
    }

    fn remove_request(&mut self, request: u64) -> Option<InFlight> {
        let flying = self.requests.remove(&request)?;
        if let Some(block) = flying.request.block
            && let Some(attempts) = self.attempts.get_mut(&block.index)
        {
            attempts.requests.retain(|other| *other != request);
        }
        Some(flying)
    }

    /// A request came to nothing: what it was for is to be asked again.
    pub(super) fn release(&mut self, flying: &InFlight, _now: Instant) {
        self.free_upgrade(flying.request.id);
        if let Some(block) = flying.request.block {
            self.free_block(block.index);
        }
        if let Some(fork) = &mut self.fork
            && fork.request == Some(flying.request.id)
        {
            fork.request = None;
        }
        self.end_seek(flying.seek);
    }

    pub(super) fn free_upgrade(&mut self, request: u64) {
        if self.upgrade == Some(request) {
            self.upgrade = None;
        }
    }

    pub(super) fn end_seek(&mut self, seek: Option<WaiterId>) {
        let Some(waiter) = seek else { return };
        let before = self.wishes.seeks.len();
        self.wishes.seeks.retain(|seek| seek.waiter != waiter);
        if self.wishes.seeks.len() < before {
            self.outcomes.push((waiter, super::Outcome::Seek));
        }
    }

    /// Nothing is under way for a block any more: it can be asked for again.
    pub(super) fn free_block(&mut self, block: u64) {
        let idle = |all: &super::Attempts| all.requests.is_empty() && all.storing == 0;
        if self.attempts.get(&block).is_some_and(idle) {
            self.attempts.remove(&block);
            self.busy.set(block..block + 1, false);
            if self.wishes.blocks.contains_key(&block) {
                self.wishes.queue.push_back(block);
            }
        }
    }

    /// Takes a request back.
    pub(super) fn take_back(&mut self, request: u64) {
        if let Some(flying) = self.remove_request(request) {
            if let Some(peer) = self.peers.get_mut(&flying.peer) {
                peer.in_flight = peer.in_flight.saturating_sub(1);
            }
            self.release(&flying, flying.sent);
            self.send(flying.peer, Message::Cancel(Cancel { request }));
        }
    }

    pub(super) fn take_back_all(&mut self, id: PeerId) {
        let theirs = self.requests.iter().filter(|(_, flying)| flying.peer == id);
        let theirs: Vec<u64> = theirs.map(|(request, _)| *request).collect();
        theirs.into_iter().for_each(|request| self.take_back(request));
    }

    /// The peer is gone.
    pub(super) fn forget_request(&mut self, request: u64) {
        if let Some(flying) = self.remove_request(request) {
            self.release(&flying, flying.sent);
        }
    }
}

/// Levels between a block and the node over all of `blocks`.
fn levels(blocks: &std::ops::Range<u64>) -> u64 {
    // The blocks of a node are 2 to the power of its depth.
    let count = (blocks.end - blocks.start).max(1);
    let depth = u64::from(count.next_power_of_two().trailing_zeros());
    debug_assert!(Position::of_block(blocks.start).is_some());
    depth
}
