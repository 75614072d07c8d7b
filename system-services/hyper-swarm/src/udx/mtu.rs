//! How long packets may be on the way to the peer: full packets are now and then made longer by padding, and the length
//! holds once such a packet is acknowledged. A lost probe says nothing about congestion.

/// What every way carries: bytes with the headers of IP and UDP.
pub const BASE_MTU: u16 = 1200;
/// What is not exceeded.
pub const MAX_MTU: u16 = 1500;
const STEP: u16 = 32;
const TRIES: u8 = 3;

/// The search for the longest packet. Lengths are in bytes, with the headers of IP and UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MtuSearch {
    mtu: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was acknowledged yet.
    Unconfirmed,
    /// The next length is to be tried, after so many failures.
    Wanted { failed: u8 },
    /// A probe is on its way.
    Sent { failed: u8 },
    /// This is it.
    Complete,
}

impl Default for MtuSearch {
    fn default() -> Self {
        Self {
            mtu: BASE_MTU,
            state: State::Unconfirmed,
        }
    }
}

impl MtuSearch {
    /// What is known to pass.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// By how much the next full packet shall be padded, if it shall.
    #[must_use]
    pub fn wanted_padding(&self) -> Option<u8> {
        match self.state {
            State::Wanted { .. } => u8::try_from(self.next() - self.mtu).ok(),
            _ => None,
        }
    }

    fn next(&self) -> u16 {
        (self.mtu + STEP).min(MAX_MTU)
    }

    /// A probe was sent.
    pub fn on_probe_sent(&mut self) {
        if let State::Wanted { failed } = self.state {
            self.state = State::Sent { failed };
        }
    }

    /// An ordinary packet was acknowledged: from the first on there is a search.
    pub fn on_acked(&mut self) {
        if self.state == State::Unconfirmed {
            self.state = State::Wanted { failed: 0 };
        }
    }

    /// The probe was acknowledged as it was sent.
    pub fn on_probe_acked(&mut self) {
        if let State::Sent { .. } = self.state {
            self.mtu = self.next();
            self.state = if self.mtu == MAX_MTU {
                State::Complete
            } else {
                State::Wanted { failed: 0 }
            };
        }
    }

    /// The probe was lost.
    pub fn on_probe_lost(&mut self) {
        if let State::Sent { failed } = self.state {
            self.state = if failed + 1 == TRIES {
                State::Complete
            } else {
                State::Wanted { failed: failed + 1 }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_below_what_the_way_carries_after_three_tries() {
        for (path, found) in [
            (1200, 1200),
            (1231, 1200),
            (1280, 1264),
            (1499, 1488),
            (1500, 1500),
            (9000, 1500),
        ] {
            let mut search = MtuSearch::default();
            assert_eq!(search.wanted_padding(), None, "the base is to be confirmed first");
            search.on_acked();
            let (mut probes, mut lost) = (0, 0);
            while let Some(padding) = search.wanted_padding() {
                probes += 1;
                search.on_probe_sent();
                assert_eq!(search.wanted_padding(), None, "one at a time");
                if search.mtu() + u16::from(padding) <= path {
                    search.on_probe_acked();
                } else {
                    lost += 1;
                    search.on_probe_lost();
                }
                assert!(probes < 20);
            }
            assert_eq!(search.mtu(), found);
            assert_eq!(lost, if found == MAX_MTU { 0 } else { 3 });
        }
    }
}
