//! When to say something, and when to give up on the other end. Time is handed in.

use std::time::{Duration, Instant};

/// The two clocks of a connection. Both ends need the same setting for keep-alive only in so far as an end without it
/// hands empty messages to its user.
#[derive(Clone, Debug)]
pub struct Idle {
    keep_alive: Option<Duration>,
    timeout: Option<Duration>,
    sent: Instant,
    heard: Instant,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing was sent for a while: send an empty message.
    KeepAlive,
    /// Nothing was heard for too long: drop the connection.
    Timeout,
}

impl Idle {
    /// Both clocks start at `now`; `None` is never. HyperDHT's peers use 5 s of keep-alive.
    #[must_use]
    pub fn new(keep_alive: Option<Duration>, timeout: Option<Duration>, now: Instant) -> Self {
        Self {
            keep_alive,
            timeout,
            sent: now,
            heard: now,
        }
    }

    /// A message was sent, whatever its length.
    pub fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// Bytes came in, even if no message was complete.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// What is due at `now`; the timeout comes first. Asking for a keep-alive starts its clock anew.
    pub fn poll(&mut self, now: Instant) -> Option<Due> {
        let passed = |since: Instant, limit: Option<Duration>| {
            limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
        };
        if passed(self.heard, self.timeout) {
            return Some(Due::Timeout);
        }
        if passed(self.sent, self.keep_alive) {
            self.sent = now;
            return Some(Due::KeepAlive);
        }
        None
    }

    /// When to ask again.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let at = |since: Instant, limit: Option<Duration>| limit.and_then(|limit| since.checked_add(limit));
        [at(self.sent, self.keep_alive), at(self.heard, self.timeout)]
            .into_iter()
            .flatten()
            .min()
    }
}
