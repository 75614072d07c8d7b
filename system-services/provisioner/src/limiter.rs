//! At most so many wrong passwords a minute, over all callers.
//!
//! A sliding window, not a token bucket: a bucket of ten that refills ten a minute lets twenty guesses
//! through in its first minute, and the contract says ten. The clock is the caller's.

use std::collections::VecDeque;
use std::time::Duration;

use ipc::provisioner::MAX_ATTEMPTS_PER_MINUTE;

const WINDOW: Duration = Duration::from_secs(60);

/// Remembers when the last wrong answers came; at most [`MAX_ATTEMPTS_PER_MINUTE`] entries.
#[derive(Debug, Default)]
pub struct Limiter {
    wrong: VecDeque<Duration>,
}

impl Limiter {
    /// May a password be tried at `now` (any monotonic clock)? Otherwise how long to wait.
    pub fn check(&mut self, now: Duration) -> Result<(), Duration> {
        while self
            .wrong
            .front()
            .is_some_and(|at| now.saturating_sub(*at) >= WINDOW)
        {
            self.wrong.pop_front();
        }
        match self.wrong.front() {
            Some(oldest) if self.wrong.len() >= MAX_ATTEMPTS_PER_MINUTE as usize => {
                Err((*oldest + WINDOW).saturating_sub(now))
            }
            _ => Ok(()),
        }
    }

    /// Notes a wrong answer at `now`.
    pub fn answered_wrongly(&mut self, now: Duration) {
        if self.wrong.len() >= MAX_ATTEMPTS_PER_MINUTE as usize {
            self.wrong.pop_front();
        }
        self.wrong.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_minute_ever_sees_more_wrong_answers_than_allowed(gaps in prop::collection::vec(0u64..9_000, 1..300)) {
            let mut limiter = Limiter::default();
            let mut now = Duration::ZERO;
            let mut wrong = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if limiter.check(now).is_ok() {
                    limiter.answered_wrongly(now);
                    wrong.push(now);
                }
            }
            let max = MAX_ATTEMPTS_PER_MINUTE as usize;
            for pair in wrong.windows(max + 1) {
                prop_assert!(pair[max] - pair[0] >= WINDOW);
            }
        }

        #[test]
        fn waiting_as_long_as_told_is_enough(gaps in prop::collection::vec(0u64..3_000, 10..40)) {
            let mut limiter = Limiter::default();
            let mut now = Duration::ZERO;
            for gap in gaps {
                now += Duration::from_millis(gap);
                if let Err(wait) = limiter.check(now) {
                    prop_assert!(wait > Duration::ZERO && wait <= WINDOW);
                    now += wait;
                    prop_assert!(limiter.check(now).is_ok());
                }
                limiter.answered_wrongly(now);
            }
        }
    }

    #[test]
    fn right_answers_cost_nothing() {
        let mut limiter = Limiter::default();
        for second in 0..1000 {
            assert!(limiter.check(Duration::from_millis(second)).is_ok());
        }
    }
}
