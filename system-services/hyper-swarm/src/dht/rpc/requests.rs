//! Requests under way: their numbers, when they are sent again, when they are given up (dht-rpc `lib/io.js`).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::congestion::CongestionWindow;
use super::random::Random;

/// A request is sent again when it was not answered for so long.
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// How often a request is sent again, unless its sender says otherwise.
pub const RETRIES: u32 = 3;

/// How often the window of congestion moves, and waiting requests go out.
pub const DRAIN: Duration = Duration::from_millis(750);

/// Requests at a time, waiting ones included. Beyond, the caller is told to come back.
pub const MAX_REQUESTS: usize = 8192;

/// Requests that may be sent in one slot of the window of congestion, unless configured otherwise.
pub const MAX_WINDOW: u32 = 80;

/// A socket of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

impl SocketId {
    /// Sends while it is not known whether strangers reach us: what it sends shows no id.
    pub const CLIENT: Self = Self(0);
    /// Bound to the node's port; sends when strangers reach us.
    pub const SERVER: Self = Self(1);
}

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendOptions {
    /// From this socket instead of the node's own choice.
    pub socket: Option<SocketId>,
    /// How often it is sent again.
    pub retries: u32,
    /// Given up on or sent again after this.
    pub timeout: Duration,
    /// Time to live of the datagram in hops: 0 for the system's default.
    pub ttl: u8,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            socket: None,
            retries: RETRIES,
            timeout: TIMEOUT,
            ttl: 0,
        }
    }
}

/// Datagrams to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// From which socket.
    pub socket: SocketId,
    /// Where to.
    pub to: SocketAddrV4,
    /// The datagram.
    pub bytes: Vec<u8>,
    /// Time to live in hops: 0 for the system's default.
    pub ttl: u8,
}

/// A request under way; `P` says what its response is for.
#[derive(Debug)]
struct Pending<P> {
    transmit: Transmit,
    purpose: P,
    retries: u32,
    timeout: Duration,
    sent: u32,
    created: Instant,
    due: Option<Instant>,
}

/// What happened to a request while time passed.
#[derive(Debug, PartialEq, Eq)]
pub enum Overdue<P> {
    /// Not answered in time; it is sent again.
    Slow(P),
    /// Never answered.
    GivenUp(P, SocketAddrV4),
}

/// How often something happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were begun.
    pub requests: u64,
    /// Requests that were answered.
    pub responses: u64,
    /// Requests that were given up.
    pub timeouts: u64,
    /// Requests that were sent again.
    pub retries: u64,
}

/// All requests under way.
#[derive(Debug)]
pub struct Requests<P> {
    pending: HashMap<u16, Pending<P>>,
    waiting: VecDeque<u16>,
    congestion: CongestionWindow,
    drain: Instant,
    random: Random,
    counts: Counts,
}

impl<P: Copy> Requests<P> {
    /// None under way.
    pub fn new(max_window: u32, seed: u64, now: Instant) -> Self {
        Self {
            pending: HashMap::new(),
            waiting: VecDeque::new(),
            congestion: CongestionWindow::new(max_window),
            drain: now + DRAIN,
            random: Random::new(seed),
            counts: Counts::default(),
        }
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// How often something happened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A number that no request under way has; `None` if there are too many.
    pub fn free_tid(&mut self) -> Option<u16> {
        if self.pending.len() >= MAX_REQUESTS {
            return None;
        }
        // Seven of eight numbers are free: a few draws are enough. Nobody should guess the number of a request.
        (0..1000)
            .map(|_| self.random.number() as u16)
            .find(|tid| !self.pending.contains_key(tid))
    }

    /// Begins a request with a number from [`free_tid`](Self::free_tid). Gives the datagram, unless it has to wait.
    pub fn begin(
        &mut self,
        tid: u16,
        transmit: Transmit,
        purpose: P,
        options: &SendOptions,
        now: Instant,
    ) -> Option<Transmit> {
        let pending = Pending {
            transmit,
            purpose,
            retries: options.retries,
            timeout: options.timeout,
            sent: 0,
            created: now,
            due: None,
        };
        self.pending.insert(tid, pending);
        self.counts.requests += 1;
        self.send(tid, now)
    }

    fn send(&mut self, tid: u16, now: Instant) -> Option<Transmit> {
        if self.congestion.is_full() {
            self.waiting.push_back(tid);
            return None;
        }
        self.send_now(tid, now)
    }

    fn send_now(&mut self, tid: u16, now: Instant) -> Option<Transmit> {
        let pending = self.pending.get_mut(&tid)?;
        pending.sent += 1;
        pending.due = Some(now + pending.timeout);
        self.congestion.sent();
        Some(pending.transmit.clone())
    }

    /// A response came from `from`: which request is over, where it went and how long it took.
    /// A response from elsewhere than where the request went is not one.
    pub fn finish(&mut self, tid: u16, from: SocketAddrV4, now: Instant) -> Option<(P, Duration)> {
        if self.pending.get(&tid)?.transmit.to != from {
            return None;
        }
        let pending = self.pending.remove(&tid)?;
        self.congestion.finished();
        self.counts.responses += 1;
        Some((pending.purpose, now.saturating_duration_since(pending.created)))
    }

    /// Drops the requests for which nobody waits any more.
    pub fn cancel(&mut self, is_meant: impl Fn(&P) -> bool) {
        let before = self.pending.len();
        self.pending.retain(|_, pending| !is_meant(&pending.purpose));
        self.waiting.retain(|tid| self.pending.contains_key(tid));
        for _ in self.pending.len()..before {
            self.congestion.finished();
        }
    }

    /// Ends all: for what they were, and where they went.
    pub fn clear(&mut self) -> Vec<(P, SocketAddrV4)> {
        self.waiting.clear();
        self.congestion.clear();
        let pending = self.pending.drain();
        pending
            .map(|(_, pending)| (pending.purpose, pending.transmit.to))
            .collect()
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Instant {
        let due = self.pending.values().filter_map(|pending| pending.due);
        due.min().map_or(self.drain, |due| due.min(self.drain))
    }

    /// Moves time on: `send` gets the datagrams that go out, `overdue` what happened. Says whether the window moved.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        mut send: impl FnMut(Transmit),
        mut overdue: impl FnMut(Overdue<P>),
    ) -> bool {
        let is_due = |pending: &Pending<P>| pending.due.is_some_and(|due| due <= now);
        let due = self.pending.iter().filter(|(_, pending)| is_due(pending));
        let mut due: Vec<_> = due.map(|(tid, pending)| (pending.due, *tid)).collect();
        due.sort_unstable();
        for (_, tid) in due {
            let Some(pending) = self.pending.get_mut(&tid) else {
                continue;
            };
            pending.due = None;
            if pending.sent > pending.retries {
                overdue(Overdue::GivenUp(pending.purpose, pending.transmit.to));
                self.pending.remove(&tid);
                self.congestion.finished();
                self.counts.timeouts += 1;
            } else {
                overdue(Overdue::Slow(pending.purpose));
                self.counts.retries += 1;
                self.send(tid, now).into_iter().for_each(&mut send);
            }
        }
        if self.drain > now {
            return false;
        }
        self.drain = now + DRAIN;
        self.congestion.drain();
        while !self.congestion.is_full()
            && let Some(tid) = self.waiting.pop_front()
        {
            self.send_now(tid, now).into_iter().for_each(&mut send);
        }
        true
    }
}
