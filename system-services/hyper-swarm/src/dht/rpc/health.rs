//! Is the network there? From how many requests are answered (dht-rpc `lib/health.js`).

use std::collections::VecDeque;

use super::requests::Counts;

const WINDOW: usize = 4;
const OFFLINE_AFTER: usize = 2;
const IDLE_BELOW: u64 = 4;

/// What the last ticks say about the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// Requests are answered.
    #[default]
    Online,
    /// More than half of the requests are not answered.
    Degraded,
    /// No request is answered.
    Offline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tick {
    Undecided,
    Healthy,
    Degraded,
    Offline,
}

/// Watches the counts of a node's requests, tick by tick.
#[derive(Debug, Clone, Default)]
pub struct Health {
    before: Option<Counts>,
    ticks: VecDeque<Tick>,
    network: Network,
}

impl Health {
    /// What it is taken for.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Forgets everything, as after a long sleep: online until shown otherwise.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// A tick is over.
    pub fn update(&mut self, counts: Counts) {
        let before = self.before.replace(counts).unwrap_or(counts);
        let responses = counts.responses.saturating_sub(before.responses);
        let timeouts = counts.timeouts.saturating_sub(before.timeouts);
        if self.ticks.len() == WINDOW {
            self.ticks.pop_front();
        }
        self.ticks.push_back(if responses + timeouts < IDLE_BELOW {
            Tick::Undecided
        } else if responses == 0 {
            Tick::Offline
        } else if timeouts > responses {
            Tick::Degraded
        } else {
            Tick::Healthy
        });
        if self.ticks.len() == WINDOW && self.ticks.back() != Some(&Tick::Undecided) {
            self.network = self.judge();
        }
    }

    fn judge(&self) -> Network {
        let decided = || self.ticks.iter().rev().filter(|tick| **tick != Tick::Undecided);
        let all = |wanted: Tick| self.ticks.iter().all(|tick| *tick == wanted);
        let offline = decided().take_while(|tick| **tick == Tick::Offline).count();
        match self.network {
            _ if offline >= OFFLINE_AFTER => Network::Offline,
            _ if all(Tick::Degraded) => Network::Degraded,
            // Until all is well again for a while, or while a silence may be a coincidence.
            Network::Degraded if !all(Tick::Healthy) => Network::Degraded,
            Network::Offline if offline > 0 => Network::Offline,
            _ => Network::Online,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(ticks: &[(u64, u64)]) -> Network {
        let mut health = Health::default();
        let mut counts = Counts::default();
        for (responses, timeouts) in ticks {
            counts.responses += responses;
            counts.timeouts += timeouts;
            health.update(counts);
        }
        health.network()
    }

    #[test]
    fn nobody_answering_twice_is_being_offline_and_one_answer_is_not() {
        let start = [(9, 0), (9, 0), (9, 0)];
        assert_eq!(run(&[&start[..], &[(0, 9)]].concat()), Network::Online);
        assert_eq!(run(&[&start[..], &[(0, 9), (0, 9)]].concat()), Network::Offline);
        assert_eq!(
            run(&[&start[..], &[(0, 9), (0, 9), (9, 0)]].concat()),
            Network::Online
        );
        assert_eq!(
            run(&[&start[..], &[(0, 9), (0, 1), (0, 9)]].concat()),
            Network::Offline
        );
    }

    #[test]
    fn few_answers_for_long_are_a_bad_network() {
        assert_eq!(run(&[(3, 9); 5]), Network::Degraded);
        assert_eq!(run(&[(9, 3); 5]), Network::Online);
        assert_eq!(run(&[(1, 1); 9]), Network::Online, "too few to say");
    }
}
