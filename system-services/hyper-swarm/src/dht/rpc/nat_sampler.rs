//! How others see us: does one address come out of what they say?

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Samples that count. The peer's `nat-sampler` keeps as many.
const SAMPLES: usize = 16;

/// What the last nodes said that our address is. A few may disagree: they see us from elsewhere, or lie.
#[derive(Debug, Clone, Default)]
pub struct NatSampler {
    samples: VecDeque<SocketAddrV4>,
}

impl NatSampler {
    /// Takes what a node says into account.
    pub fn add(&mut self, address: SocketAddrV4) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(address);
    }

    /// How many nodes count.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether nobody said anything yet.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The host that (nearly) all see.
    pub fn host(&self) -> Option<Ipv4Addr> {
        self.agreed(|sample| *sample.ip())
    }

    /// The port that (nearly) all see; 0 if a NAT shows every node another one.
    pub fn port(&self) -> u16 {
        self.address().map_or(0, |address| address.port())
    }

    /// Host and port, if (nearly) all see the same.
    pub fn address(&self) -> Option<SocketAddrV4> {
        self.agreed(|sample| *sample)
    }

    fn agreed<T: PartialEq>(&self, part: impl Fn(&SocketAddrV4) -> T) -> Option<T> {
        let votes = |candidate: &T| self.samples.iter().filter(|s| part(s) == *candidate).count();
        let wrong = match self.samples.len() {
            0..4 => 0,
            4..8 => 1,
            8..12 => 2,
            _ => 3,
        };
        let enough = self.samples.len() - wrong;
        let mut parts = self.samples.iter().map(&part);
        parts.find(|candidate| votes(candidate) >= enough)
    }
}
