//! The greatest of late.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many rounds a bandwidth counts.
const BANDWIDTH_ROUNDS: u64 = 10;
/// How many rounds each half of the lumps' memory covers.
const LUMP_ROUNDS: u32 = 5;
/// Lumps count for at most so much time at the bandwidth.
const LONGEST_LUMP: Duration = Duration::from_millis(100);

/// The greatest value of the last rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct MaxFilter {
    /// Rounds going up, values going down: at most one for each round that counts.
    values: VecDeque<(u64, f64)>,
}

impl MaxFilter {
    pub(super) fn get(&self) -> f64 {
        self.values.front().map_or(0.0, |(_, value)| *value)
    }

    pub(super) fn update(&mut self, round: u64, value: f64) {
        while self.values.back().is_some_and(|(_, last)| *last <= value) {
            self.values.pop_back();
        }
        if self.values.back().is_none_or(|(last, _)| *last < round) {
            self.values.push_back((round, value));
        }
        while self
            .values
            .front()
            .is_some_and(|(first, _)| first + BANDWIDTH_ROUNDS < round)
        {
            self.values.pop_front();
        }
    }
}

/// How many more packets than the bandwidth explains were acknowledged at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExtraAcked {
    halves: [usize; 2],
    half: usize,
    rounds: u32,
    since: Option<Instant>,
    acked: usize,
}

impl ExtraAcked {
    pub(super) fn get(&self, rate: f64) -> usize {
        let longest = (rate * LONGEST_LUMP.as_secs_f64()) as usize;
        self.halves[0].max(self.halves[1]).min(longest)
    }

    /// Time without anything under way does not count.
    pub(super) fn restart(&mut self, now: Instant) {
        (self.since, self.acked) = (Some(now), 0);
    }

    pub(super) fn update(
        &mut self,
        acked: usize,
        rate: f64,
        window: usize,
        round_begins: bool,
        now: Instant,
    ) {
        if round_begins {
            self.rounds += 1;
            if self.rounds >= LUMP_ROUNDS {
                self.rounds = 0;
                self.half = 1 - self.half;
                self.halves[self.half] = 0;
            }
        }
        let since = *self.since.get_or_insert(now);
        let mut expected = (rate * now.saturating_duration_since(since).as_secs_f64()) as usize;
        if self.acked <= expected {
            self.restart(now);
            expected = 0;
        }
        self.acked += acked;
        let extra = (self.acked - expected).min(window);
        self.halves[self.half] = self.halves[self.half].max(extra);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_counts_for_ten_rounds() {
        let mut filter = MaxFilter::default();
        for (round, value, expected) in [
            (0, 5.0, 5.0),
            (1, 9.0, 9.0),
            (2, 3.0, 9.0),
            (5, 4.0, 9.0),
            (11, 1.0, 9.0),
            (12, 1.0, 4.0),
            (16, 2.0, 2.0),
            (16, 1.0, 2.0),
        ] {
            filter.update(round, value);
            assert_eq!(filter.get(), expected, "in round {round}");
        }
    }
}
