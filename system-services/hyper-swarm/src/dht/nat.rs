//! What kind of NAT a socket is behind, judged by what others say its address is; hyperdht's rules.

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};

use super::messages::Firewall;

/// So many nodes are asked; with fewer answers than these a judgement may stay out.
pub const SAMPLES: usize = 4;
/// No judgement on fewer.
const MIN_SAMPLES: usize = 3;
/// Nobody is asked so often; what a peer makes us remember is bounded.
const MAX_SAMPLES: usize = 64;

/// What others say a socket's address is.
#[derive(Clone, Debug)]
pub struct NatSamples {
    /// Whether the node is behind a NAT or firewall at all.
    firewalled: bool,
    firewall: Firewall,
    addresses: Option<Vec<SocketAddrV4>>,
    hosts: Hits<Ipv4Addr>,
    sockets: Hits<SocketAddrV4>,
    witnesses: Vec<SocketAddrV4>,
    frozen: bool,
}

impl NatSamples {
    /// Before anybody has said anything. `firewalled`: what the node knows of itself.
    #[must_use]
    pub fn new(firewalled: bool) -> Self {
        Self {
            firewalled,
            firewall: if firewalled {
                Firewall::Unknown
            } else {
                Firewall::Open
            },
            addresses: None,
            hosts: Hits::default(),
            sockets: Hits::default(),
            witnesses: Vec::new(),
            frozen: false,
        }
    }

    /// `witness` says that the socket's address is `seen`. Only its first word counts.
    pub fn add(&mut self, seen: SocketAddrV4, witness: SocketAddrV4) {
        if self.witnesses.len() >= MAX_SAMPLES || self.witnesses.contains(&witness) {
            return;
        }
        self.witnesses.push(witness);
        self.hosts.add(*seen.ip());
        self.sockets.add(seen);
        if !self.frozen && (self.samples() >= MIN_SAMPLES || !self.firewalled) {
            self.judge();
        }
    }

    /// From now on the judgement stands: the other end was told it.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// The judgement.
    #[must_use]
    pub fn firewall(&self) -> Firewall {
        self.firewall
    }

    /// Where the socket is seen from outside: of a random NAT the host, with port 0. `None` before a judgement.
    #[must_use]
    pub fn addresses(&self) -> Option<&[SocketAddrV4]> {
        self.addresses.as_deref()
    }

    /// Whether no further sample is needed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.firewall, Firewall::Consistent | Firewall::Open) || self.samples() >= SAMPLES
    }

    fn samples(&self) -> usize {
        self.witnesses.len()
    }

    fn judge(&mut self) {
        if !self.firewalled {
            self.firewall = Firewall::Open;
            return;
        }
        let most = self.sockets.hits(0);
        let decided = match most {
            3.. => Some(Firewall::Consistent),
            0 | 1 => Some(Firewall::Random),
            // One host and two that do not fit.
            _ if self.hosts.0.len() == 1 && self.samples() > 3 => Some(Firewall::Random),
            // Two hosts, each with one port: a line that has two addresses.
            _ if self.hosts.0.len() > 1 && self.sockets.hits(1) > 1 => Some(Firewall::Consistent),
            _ if self.samples() > SAMPLES => Some(Firewall::Random),
            _ => None,
        };
        self.firewall = decided.unwrap_or(self.firewall);
        self.addresses = match self.firewall {
            Firewall::Unknown => None,
            Firewall::Open => self.addresses.take(),
            Firewall::Random => self
                .hosts
                .0
                .first()
                .map(|(host, _)| vec![SocketAddrV4::new(*host, 0)]),
            Firewall::Consistent => {
                let often = self
                    .sockets
                    .0
                    .iter()
                    .enumerate()
                    .filter(|(place, (_, hits))| *hits >= 2 || *place < 2);
                Some(often.map(|(_, (address, _))| *address).collect())
            }
        };
    }
}

/// What was said, and how often: the most often first.
#[derive(Clone, Debug)]
struct Hits<T>(Vec<(T, usize)>);

impl<T> Default for Hits<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Hits<T> {
    fn add(&mut self, value: T) {
        match self.0.iter_mut().find(|(known, _)| *known == value) {
            Some((_, hits)) => *hits += 1,
            None => self.0.push((value, 1)),
        }
        // Stable: of two that were said equally often the first stays first.
        self.0.sort_by_key(|(_, hits)| std::cmp::Reverse(*hits));
    }

    fn hits(&self, place: usize) -> usize {
        self.0.get(place).map_or(0, |(_, hits)| *hits)
    }
}
