//! What is known of one peer, how soon it is worth another attempt, and how long to wait before that (hyperswarm's `lib/peer-info.js`
//! and `lib/retry-timer.js`).

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::{MAX_TOPICS_PER_PEER, Topic};

/// A connection that lasted so long shows that the peer is well: the next attempt counts as the first.
const LASTING: Duration = Duration::from_secs(15);

/// Pauses before another attempt.
const SHORT: Duration = Duration::from_secs(1);
const MEDIUM: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(15);
/// For a peer that a person asked for by its key: it is never given up.
const EXPLICIT: Duration = Duration::from_secs(600);
/// At most a fifth of a pause is added at random, so that peers do not meet again and again at the same moment.
const JITTER_PART: u32 = 5;

/// Attempts without a lasting connection before a peer is given up.
const MAX_ATTEMPTS: u32 = 3;

/// How soon a peer has its turn. The least comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    Low,
    Normal,
    High,
    VeryHigh,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) relay_addresses: Vec<SocketAddrV4>,
    pub(super) topics: BTreeSet<Topic>,
    pub(super) attempts: u32,
    /// A connection to it was there once.
    pub(super) proven: bool,
    pub(super) priority: Priority,
    /// It was asked for by its key.
    pub(super) explicit: bool,
    pub(super) banned: bool,
    pub(super) queued: bool,
    /// Holes could not be punched: only a relay helps.
    pub(super) force_relay: bool,
    /// The last connection was ours.
    pub(super) by_us: bool,
    connected_at: Option<Instant>,
    pub(super) retry_at: Option<Instant>,
}

impl Peer {
    pub(super) fn new() -> Self {
        Self {
            relay_addresses: Vec::new(),
            topics: BTreeSet::new(),
            attempts: 0,
            proven: false,
            priority: Priority::Normal,
            explicit: false,
            banned: false,
            queued: false,
            force_relay: false,
            by_us: false,
            connected_at: None,
            retry_at: None,
        }
    }

    pub(super) fn seen_on(&mut self, topic: Topic) {
        if self.topics.len() < MAX_TOPICS_PER_PEER {
            self.topics.insert(topic);
        }
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.proven = true;
        self.connected_at = Some(now);
    }

    pub(super) fn disconnected(&mut self, now: Instant) {
        let lasted = self
            .connected_at
            .take()
            .map(|at| now.saturating_duration_since(at));
        if lasted.is_some_and(|lasted| lasted >= LASTING) {
            self.attempts = 0;
        }
        self.attempts = self.attempts.saturating_add(1);
    }

    /// It was found again: what went wrong before is forgotten, unless it has its turn soon anyway.
    pub(super) fn found_again(&mut self) {
        if self.priority < Priority::Normal || !self.by_us {
            self.by_us = false;
            self.proven = false;
            self.attempts = 0;
        }
    }

    /// Whether it may be queued, and its priority then.
    pub(super) fn update_priority(&mut self) -> bool {
        if self.explicit && self.attempts > MAX_ATTEMPTS {
            self.attempts = MAX_ATTEMPTS;
        }
        if self.banned || self.queued || self.attempts > MAX_ATTEMPTS {
            return false;
        }
        self.priority = match self.attempts {
            0 => Priority::Normal,
            1 => Priority::VeryHigh,
            2 => Priority::High,
            _ => Priority::Low,
        };
        true
    }

    /// How long to wait before the next attempt; `None`: there is none.
    pub(super) fn pause(&self, random: u8) -> Option<Duration> {
        if self.banned {
            return None;
        }
        let pause = match (self.attempts, self.proven) {
            (0, _) | (1, true) => SHORT,
            (1, false) | (2, true) => MEDIUM,
            (2, false) | (3, _) => LONG,
            _ if self.explicit => EXPLICIT,
            _ => return None,
        };
        Some(pause + pause / JITTER_PART * u32::from(random) / u32::from(u8::MAX))
    }

    /// Whether nothing but history speaks for keeping it.
    pub(super) fn is_forgettable(&self) -> bool {
        !(self.banned || self.queued || self.explicit || self.retry_at.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_failures_and_end_unless_the_peer_was_asked_for() {
        let mut peer = Peer::new();
        let now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..5 {
            peer.disconnected(now);
            pauses.push(peer.pause(0));
        }
        assert_eq!(pauses, [Some(MEDIUM), Some(LONG), Some(LONG), None, None]);
        peer.explicit = true;
        assert_eq!(peer.pause(0), Some(EXPLICIT));
    }

    #[test]
    fn a_connection_that_lasted_is_sought_again_at_once_and_one_that_broke_is_not() {
        let begun = Instant::now();
        let mut peer = Peer::new();
        for _ in 0..3 {
            peer.connected(begun);
            peer.disconnected(begun + LASTING);
            assert_eq!(peer.pause(0), Some(SHORT));
        }
        for pause in [Some(MEDIUM), Some(LONG), None] {
            peer.connected(begun);
            peer.disconnected(begun + Duration::from_secs(1));
            assert_eq!(peer.pause(0), pause);
        }
    }

    #[test]
    fn chance_adds_at_most_a_fifth() {
        assert_eq!(Peer::new().pause(u8::MAX), Some(Duration::from_millis(1200)));
    }
}
