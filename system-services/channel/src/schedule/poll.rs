//! When the server is asked next.

/// Between two polls, give or take a quarter.
const INTERVAL_S: u64 = 6 * 3600;
/// The first poll after a boot, and as much again at most: a box has better things to do when it starts.
const FIRST_S: u64 = 180;
const FIRST_SPREAD_S: u64 = 600;
/// After the first failure; doubled with each further one.
const RETRY_S: u64 = 300;
const MAX_RETRY_S: u64 = 86_400;

/// When the server is asked next, by the seconds since boot. Lives in memory: a new boot begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollState {
    seed: u64,
    polls: u32,
    failures: u32,
    due_s: u64,
}

impl PollState {
    /// At the start of the service. `seed` is a random number of this box and boot: after a power cut in a whole town the
    /// boxes ask one after the other.
    pub fn new(seed: u64, since_boot_s: u64) -> Self {
        let mut state = Self {
            seed,
            polls: 0,
            failures: 0,
            due_s: 0,
        };
        state.due_s = since_boot_s.saturating_add(FIRST_S + state.random(FIRST_SPREAD_S));
        state
    }

    /// After a poll. It was `ok` when the server gave an index that could be judged, whatever was in it.
    #[must_use]
    pub fn polled(mut self, ok: bool, since_boot_s: u64) -> Self {
        self.polls = self.polls.wrapping_add(1);
        self.failures = if ok { 0 } else { self.failures.saturating_add(1) };
        let wait = match self.failures {
            0 => INTERVAL_S,
            failures => (RETRY_S << (failures - 1).min(16)).min(MAX_RETRY_S),
        };
        let spread = wait - wait / 4 + self.random(wait / 2);
        // The longest wait is a day, with the spread.
        self.due_s = since_boot_s.saturating_add(spread.min(MAX_RETRY_S));
        self
    }

    /// Seconds until the next poll is due; 0 when it is.
    pub fn due_in(&self, since_boot_s: u64) -> u64 {
        self.due_s.saturating_sub(since_boot_s)
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// 0 to `most`; another one at each poll (splitmix64 by Sebastiano Vigna).
    fn random(&self, most: u64) -> u64 {
        let mut z = self
            .seed
            .wrapping_add((u64::from(self.polls) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % (most + 1)
    }
}
