//! What a node does from time to time: pings, refreshes, forgets; and becomes persistent when it is stable.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::super::address::{NodeId, node_id};
use super::super::command::Command;
use super::super::random::Random;
use super::super::requests::SendOptions;
use super::super::table::{K, Known};
use super::incoming::{DRAINS_PER_SECRET, DelayedPing, MAX_DELAYED_PINGS};
use super::{Answer, Event, Node, Outgoing, Purpose, RequestError, TICK};

/// A tick that is so late means that the machine slept.
const SLEEPING: Duration = Duration::from_secs(15);

/// Nothing bad happened for 20 minutes: the node is stable.
const STABLE_TICKS: u64 = 240;

/// The same network is not looked at again for an hour.
const MORE_STABLE_TICKS: u64 = 3 * STABLE_TICKS;

/// An idle node looks around every 5 minutes.
const REFRESH_TICKS: u64 = 60;

/// Something was heard of a node less than a minute ago.
const RECENT_TICKS: u64 = 12;

/// A node has been there for more than half an hour.
const OLD_TICKS: u64 = 360;

/// Nodes that are pinged at once because somebody said that they do not answer.
const MAX_CHECKS: u32 = 10;

/// Nodes that are pinged at once because their bucket is full.
const MAX_SWAPS: u32 = 3;

/// Times and counters. Ticks count from the start.
#[derive(Debug)]
pub(super) struct Upkeep {
    tick: u64,
    last: Instant,
    is_adaptive: bool,
    refresh_ticks: u64,
    stable_ticks: u64,
    checked_host: Option<Ipv4Addr>,
    checks: u32,
    swaps: u32,
    hints: u32,
    delayed: Vec<DelayedPing>,
}

impl Upkeep {
    pub(super) fn new(is_adaptive: bool, random: &mut Random, now: Instant) -> Self {
        // Nodes that began together shall not do everything at the same time.
        let mut offset = |ticks: u64| ticks - random.below(ticks as usize / 2) as u64;
        Self {
            tick: offset(100),
            last: now,
            is_adaptive,
            refresh_ticks: offset(REFRESH_TICKS),
            stable_ticks: STABLE_TICKS,
            checked_host: None,
            checks: 0,
            swaps: 0,
            hints: 0,
            delayed: Vec::new(),
        }
    }

    pub(super) fn tick(&self) -> u64 {
        self.tick
    }

    pub(super) fn due(&self) -> Instant {
        let pings = self.delayed.iter().map(|ping| ping.due);
        pings
            .min()
            .map_or(self.last + TICK, |due| due.min(self.last + TICK))
    }

    /// A query shows what a refresh would.
    pub(super) fn was_used(&mut self) {
        self.refresh_ticks = REFRESH_TICKS;
    }

    pub(super) fn is_sample_old(&self, sampled: Option<u64>) -> bool {
        sampled.is_none_or(|sampled| self.tick - sampled.min(self.tick) >= OLD_TICKS)
    }

    pub(super) fn may_hint(&mut self, most: u32) -> bool {
        self.hints += 1;
        self.hints <= most
    }

    pub(super) fn checked_network(&mut self, host: Option<Ipv4Addr>) {
        self.stable_ticks = MORE_STABLE_TICKS;
        self.checked_host = host;
    }

    /// Pings that wait for their answer.
    pub(super) fn held(&self) -> usize {
        self.delayed.len()
    }

    pub(super) fn delay(&mut self, ping: DelayedPing) {
        if self.delayed.len() < MAX_DELAYED_PINGS {
            self.delayed.push(ping);
        }
    }
}

impl Node {
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.suspended {
            self.upkeep.last = now;
            return;
        }
        let mut overdue = Vec::new();
        let transmits = &mut self.transmits;
        let send = |transmit| transmits.push_back(transmit);
        if self
            .requests
            .handle_timeout(now, send, |event| overdue.push(event))
        {
            self.drains_to_rotation -= 1;
            if self.drains_to_rotation == 0 {
                self.drains_to_rotation = DRAINS_PER_SECRET;
                self.tokens.rotate();
            }
        }
        for event in overdue {
            self.overdue(event, now);
        }
        for ping in self
            .upkeep
            .delayed
            .extract_if(.., |ping| ping.due <= now)
            .collect::<Vec<_>>()
        {
            self.respond(&ping.incoming, Answer::done());
        }
        if now >= self.upkeep.last + TICK {
            self.tick(now);
        }
    }

    fn tick(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.upkeep.last);
        self.upkeep.last = now;
        if elapsed > SLEEPING {
            self.woke_up();
        } else {
            self.upkeep.tick += 1;
        }
        if !self.bootstrapped {
            return;
        }
        if self.upkeep.is_adaptive && self.ephemeral {
            self.become_persistent_maybe(now);
        }
        if self.upkeep.tick & 7 == 0 {
            self.ping_some(now);
        }
        self.upkeep.refresh_ticks = self.upkeep.refresh_ticks.saturating_sub(1);
        let is_lonely = self.upkeep.tick & 63 == 0 && self.table.len() < K;
        if is_lonely || self.upkeep.refresh_ticks == 0 {
            self.refresh(now);
        }
        self.upkeep.hints = 0;
        self.health.update(self.requests.counts());
    }

    fn become_persistent_maybe(&mut self, now: Instant) {
        self.upkeep.stable_ticks = self.upkeep.stable_ticks.saturating_sub(1);
        if self.upkeep.stable_ticks > 0 {
            return;
        }
        if self.upkeep.checked_host.is_some() && self.upkeep.checked_host == self.nat.host() {
            self.upkeep.stable_ticks = MORE_STABLE_TICKS;
        } else {
            self.update_network_state(false, false, now);
        }
    }

    /// Whatever was known is old, and the network may be another.
    fn woke_up(&mut self) {
        let upkeep = &mut self.upkeep;
        upkeep.tick += 2 * OLD_TICKS;
        // Pings in two ticks, a refresh in one: networks need a moment too.
        upkeep.tick = (upkeep.tick | 7) - 1;
        upkeep.stable_ticks = MORE_STABLE_TICKS;
        upkeep.refresh_ticks = 1;
        upkeep.checked_host = None;
        self.health.reset();
        if self.upkeep.is_adaptive {
            self.ephemeral = true;
        }
        self.events.push_back(Event::WokeUp);
    }

    /// Stops: everything under way fails, datagrams are not looked at, until [`resume`](Self::resume).
    pub fn suspend(&mut self) {
        self.suspended = true;
        self.queries.retain(|id, running| {
            if running.owner == super::Owner::Program {
                self.events.push_back(Event::QueryFinished(*id, Vec::new()));
            }
            false
        });
        self.probe = None;
        (self.upkeep.checks, self.upkeep.swaps) = (0, 0);
        self.upkeep.delayed.clear();
        for (purpose, to) in self.requests.clear() {
            if let Purpose::Program(id) = purpose {
                let closed = RequestError::Closed(to);
                self.events.push_back(Event::Response(id, Err(closed)));
            }
        }
    }

    /// Goes on after [`suspend`](Self::suspend).
    pub fn resume(&mut self, now: Instant) {
        if std::mem::replace(&mut self.suspended, false) {
            self.upkeep.last = now;
            self.woke_up();
            if self.bootstrapped {
                self.refresh(now);
            } else {
                self.start(self.server_port, now);
            }
        }
    }

    fn ping_some(&mut self, now: Instant) {
        let Some(oldest) = self.table.oldest().next() else {
            // A tiny DHT: the bootstrap nodes are asked again.
            return self.refresh(now);
        };
        let count = if self.upkeep.tick.saturating_sub(oldest.pinged) < RECENT_TICKS {
            2
        } else if self.requests.len() > 2 {
            3
        } else {
            5
        };
        let tick = self.upkeep.tick;
        let old = self.table.oldest().filter(|known| known.pinged != tick);
        let old: Vec<_> = old.take(count).map(|known| known.id).collect();
        for id in old {
            self.check(&id, now);
        }
    }

    /// Pings a known node: it is forgotten if it does not answer.
    fn check(&mut self, id: &NodeId, now: Instant) {
        let tick = self.upkeep.tick;
        let Some(known) = self.table.get_mut(id) else {
            return;
        };
        known.pinged = tick;
        let purpose = Purpose::Check {
            node: *id,
            seen: known.seen,
        };
        let ping = Outgoing::new(known.address, Command::Ping);
        if self.send(ping, purpose, &SendOptions::default(), now) {
            self.upkeep.checks += 1;
        }
    }

    /// Whoever answered at that address may be another node by now, without an id.
    pub(super) fn check_answered(&mut self, id: &NodeId, seen_before: u64) {
        self.upkeep.checks = self.upkeep.checks.saturating_sub(1);
        if self.table.get(id).is_some_and(|known| known.seen <= seen_before) {
            self.table.remove(id);
        }
    }

    pub(super) fn check_failed(&mut self, id: &NodeId) {
        self.upkeep.checks = self.upkeep.checks.saturating_sub(1);
        self.table.remove(id);
    }

    /// Somebody says that a node does not answer.
    pub(super) fn hinted(&mut self, node: SocketAddrV4, now: Instant) {
        let id = node_id(node);
        let tick = self.upkeep.tick;
        if self.upkeep.checks >= MAX_CHECKS {
            return;
        }
        if let Some(known) = self.table.get_mut(&id)
            && (known.pinged < tick || known.down_hints == 0)
        {
            known.down_hints += 1;
            self.check(&id, now);
        }
    }

    /// A bucket is full: its oldest node has to show that it is still there, or gives its place to the new one.
    pub(super) fn bucket_is_full(&mut self, oldest: Option<NodeId>, new: SocketAddrV4, now: Instant) {
        let tick = self.upkeep.tick;
        if !self.bootstrapped || self.upkeep.swaps >= MAX_SWAPS {
            return;
        }
        let Some(old) = oldest.and_then(|id| self.table.get_mut(&id)) else {
            return;
        };
        let is_proven = tick - old.pinged.min(tick) < RECENT_TICKS && tick - old.added.min(tick) > OLD_TICKS;
        if is_proven {
            return;
        }
        old.pinged = tick;
        let ping = Outgoing::new(old.address, Command::Ping);
        let purpose = Purpose::Swap {
            old: old.id,
            seen: old.seen,
            new,
        };
        if self.send(ping, purpose, &SendOptions::default(), now) {
            self.upkeep.swaps += 1;
        }
    }

    pub(super) fn swap_answered(&mut self, old: &NodeId, seen_before: u64, new: SocketAddrV4) {
        if self.table.get(old).is_some_and(|known| known.seen <= seen_before) {
            self.swap(old, new);
        } else {
            self.upkeep.swaps = self.upkeep.swaps.saturating_sub(1);
        }
    }

    pub(super) fn swap(&mut self, old: &NodeId, new: SocketAddrV4) {
        self.upkeep.swaps = self.upkeep.swaps.saturating_sub(1);
        self.table.remove(old);
        let tick = self.upkeep.tick;
        self.table.add(Known::new(new, tick), tick);
    }
}
