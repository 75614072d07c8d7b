//! Sessions of people who logged in: in memory, by the digest of their token.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::secret::Digest;

/// A session without a request for this long is over.
pub const IDLE: Duration = Duration::from_secs(30 * 60);
/// No session outlives this, however busy.
pub const ABSOLUTE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Sessions at the same time; one more ends the one that was quiet longest.
pub const MAX: usize = 32;

#[derive(Debug, Clone, Copy)]
struct Session {
    began: Instant,
    last: Instant,
}

impl Session {
    fn alive(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < IDLE
            && now.saturating_duration_since(self.began) < ABSOLUTE
    }
}

/// All sessions. Nothing is written to disk: a reboot logs everyone out.
#[derive(Debug, Default)]
pub struct Sessions {
    by_digest: HashMap<Digest, Session>,
}

impl Sessions {
    /// Begins a session.
    pub fn begin(&mut self, token: Digest, now: Instant) {
        self.by_digest.retain(|_, session| session.alive(now));
        if self.by_digest.len() >= MAX
            && let Some(oldest) = self
                .by_digest
                .iter()
                .min_by_key(|(_, s)| s.last)
                .map(|(digest, _)| *digest)
        {
            self.by_digest.remove(&oldest);
        }
        self.by_digest.insert(
            token,
            Session {
                began: now,
                last: now,
            },
        );
    }

    /// A request came with this token: true, and its idle time begins anew, if the session is alive.
    pub fn touch(&mut self, token: Digest, now: Instant) -> bool {
        match self.by_digest.get_mut(&token) {
            Some(session) if session.alive(now) => {
                session.last = now;
                true
            }
            Some(_) => {
                self.by_digest.remove(&token);
                false
            }
            None => false,
        }
    }

    /// True while the session is alive, without prolonging it: an open dashboard is not a person.
    pub fn is_alive(&self, token: Digest, now: Instant) -> bool {
        self.by_digest
            .get(&token)
            .is_some_and(|session| session.alive(now))
    }

    /// Ends one session.
    pub fn end(&mut self, token: Digest) {
        self.by_digest.remove(&token);
    }

    /// Ends every session.
    pub fn end_all(&mut self) {
        self.by_digest.clear();
    }

    /// Sessions that are alive.
    pub fn count(&self, now: Instant) -> usize {
        self.by_digest
            .values()
            .filter(|session| session.alive(now))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> Digest {
        Digest::of(&n.to_string())
    }

    #[test]
    fn idle_and_absolute_limits_end_a_session() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        sessions.begin(digest(1), start);
        assert!(sessions.touch(digest(1), start + IDLE / 2));
        assert!(sessions.is_alive(digest(1), start + IDLE));
        assert!(!sessions.touch(digest(1), start + IDLE * 2));
        sessions.begin(digest(2), start);
        let mut now = start;
        while now < start + ABSOLUTE - IDLE {
            now += IDLE / 2;
            assert!(sessions.touch(digest(2), now));
        }
        assert!(!sessions.touch(digest(2), start + ABSOLUTE));
    }

    #[test]
    fn the_number_is_bounded_and_the_quietest_goes_first() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        for n in 0..MAX {
            sessions.begin(digest(n), start + Duration::from_secs(n as u64));
        }
        let now = start + Duration::from_secs(100);
        assert!(sessions.touch(digest(0), now));
        sessions.begin(digest(MAX), now);
        assert_eq!(sessions.count(now), MAX);
        assert!(sessions.is_alive(digest(0), now) && !sessions.is_alive(digest(1), now));
    }

    #[test]
    fn ending_all_ends_all() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        sessions.begin(digest(1), now);
        sessions.begin(digest(2), now);
        sessions.end(digest(1));
        assert!(!sessions.is_alive(digest(1), now) && sessions.is_alive(digest(2), now));
        sessions.end_all();
        assert_eq!(sessions.count(now), 0);
    }
}
