//! Who sends what to whom, decided by what stands before each of the two; hyperdht's rules and figures.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::dht::messages::{Firewall, HolepunchPayload};

/// Sockets that the side behind a random NAT opens, in the hope that one of their ports is guessed: with as many guesses
/// as the other side makes (1750 of some 64,500 ports), that fails once in a thousand times.
pub const BIRTHDAY_SOCKETS: usize = 256;
/// Time to live, in hops, of packets that are to open our own NAT and not to arrive.
pub const LOW_TTL: u8 = 5;
/// Of the other end's addresses only so many are tried.
const MAX_ADDRESSES: usize = 16;
/// Rounds of probes when both NATs are consistent, and between them.
const PROBES: u32 = 10;
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Addresses that are not verified are tried in every so manieth round.
const UNVERIFIED_EVERY: u32 = 4;
/// Shots when one NAT is random: some 35 seconds.
const SHOTS: u32 = 1750;
const SHOT_EVERY: Duration = Duration::from_millis(20);
/// After the burst that opens the sockets.
const AFTER_BURST: Duration = Duration::from_millis(100);
/// Between two punches with a random NAT, of the whole node: they look like a scan of ports.
const RANDOM_EVERY: Duration = Duration::from_secs(20);

/// What the other end has told of itself.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    firewall: Firewall,
    addresses: Vec<SocketAddrV4>,
    verified: Vec<Ipv4Addr>,
    punching: bool,
}

impl Remote {
    /// At the start.
    #[must_use]
    pub fn new(firewall: Firewall) -> Self {
        Self {
            firewall,
            ..Self::default()
        }
    }

    /// It has told more; `verified` is a host of which it has just proved that it receives there.
    pub fn update(&mut self, payload: &HolepunchPayload, verified: Option<Ipv4Addr>) {
        let known = std::mem::take(&mut self.addresses);
        self.verified.retain(|host| known.iter().any(|a| a.ip() == host));
        self.verified.extend(verified);
        self.addresses = payload
            .addresses
            .iter()
            .flatten()
            .copied()
            .take(MAX_ADDRESSES)
            .collect();
        self.firewall = payload.firewall;
        self.punching = payload.punching;
    }

    /// What stands before it.
    #[must_use]
    pub fn firewall(&self) -> Firewall {
        self.firewall
    }

    /// Whether it punches, or is willing to.
    #[must_use]
    pub fn is_punching(&self) -> bool {
        self.punching
    }

    /// Where it is seen from outside.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddrV4] {
        &self.addresses
    }

    fn is_verified(&self, address: SocketAddrV4) -> bool {
        self.verified.contains(address.ip())
    }

    fn verified(&self) -> Option<SocketAddrV4> {
        self.addresses.iter().copied().find(|a| self.is_verified(*a))
    }
}

/// How a hole is punched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Both NATs are consistent: each sends to the other's addresses.
    Probe,
    /// The other's NAT is random: guess ports of this host.
    Guess(Ipv4Addr),
    /// Ours is: send to this address from many sockets, and wait for a guess.
    Birthday(SocketAddrV4),
}

impl Plan {
    /// What can be tried. `None`: there is no way, be it that both NATs are random, or that the other end has not proved
    /// where it is (a stranger shall not make us send a thousand packets to somebody else).
    #[must_use]
    pub fn new(local: Firewall, remote: &Remote) -> Option<Self> {
        let (first, verified) = (remote.addresses.first(), remote.verified());
        first?;
        match (coerced(local), coerced(remote.firewall)) {
            (Firewall::Consistent, Firewall::Consistent) => Some(Self::Probe),
            (Firewall::Consistent, Firewall::Random) => Some(Self::Guess(*verified?.ip())),
            (Firewall::Random, Firewall::Consistent) => Some(Self::Birthday(verified?)),
            _ => None,
        }
    }

    /// Whether it is one of those that a node does seldom.
    #[must_use]
    pub fn is_random(self) -> bool {
        self != Self::Probe
    }
}

fn coerced(firewall: Firewall) -> Firewall {
    match firewall {
        Firewall::Open => Firewall::Consistent,
        other => other,
    }
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// From which of our sockets, by its number; the first is 0. Sockets up to this number are to be open.
    pub socket: usize,
    /// Where to.
    pub to: SocketAddrV4,
    /// Only to open our own NAT: with [`LOW_TTL`].
    pub low_ttl: bool,
}

/// What to send now, and how long to wait for an answer then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// The packets.
    pub shots: Vec<Shot>,
    /// The wait.
    pub wait: Duration,
}

/// The rounds of one punch.
#[derive(Clone, Debug)]
pub struct Rounds {
    plan: Plan,
    waits_first: bool,
    done: u32,
}

impl Rounds {
    /// All rounds of `plan`. The end that did not begin waits a second first: it has just answered with a packet.
    #[must_use]
    pub fn new(plan: Plan, is_initiator: bool) -> Self {
        Self {
            plan,
            waits_first: !is_initiator && plan == Plan::Probe,
            done: 0,
        }
    }

    /// The next round; `None`: it has failed. `random` gives random numbers.
    pub fn next(&mut self, remote: &Remote, random: impl FnOnce() -> u16) -> Option<Round> {
        if std::mem::take(&mut self.waits_first) {
            return Some(Round {
                shots: Vec::new(),
                wait: PROBE_EVERY,
            });
        }
        let done = self.done;
        self.done += 1;
        match self.plan {
            Plan::Probe => (done < PROBES).then(|| probe(remote, done + 1)),
            Plan::Guess(host) => (done < SHOTS).then(|| {
                let to = SocketAddrV4::new(host, guess(random()));
                let shot = Shot {
                    socket: 0,
                    to,
                    low_ttl: false,
                };
                Round {
                    shots: vec![shot],
                    wait: SHOT_EVERY,
                }
            }),
            Plan::Birthday(to) => (done <= SHOTS).then(|| birthday(to, done)),
        }
    }
}

fn probe(remote: &Remote, round: u32) -> Round {
    let tried =
        |address: &&SocketAddrV4| remote.is_verified(**address) || round.is_multiple_of(UNVERIFIED_EVERY);
    let addresses = remote.addresses.iter().filter(tried);
    let shots = addresses.map(|to| Shot {
        socket: 0,
        to: *to,
        low_ttl: false,
    });
    Round {
        shots: shots.collect(),
        wait: PROBE_EVERY,
    }
}

fn birthday(to: SocketAddrV4, done: u32) -> Round {
    let shot = |socket, low_ttl| Shot { socket, to, low_ttl };
    let Some(turn) = done.checked_sub(1) else {
        return Round {
            shots: (1..BIRTHDAY_SOCKETS).map(|socket| shot(socket, true)).collect(),
            wait: AFTER_BURST,
        };
    };
    let turn = turn as usize;
    Round {
        shots: vec![shot(turn % BIRTHDAY_SOCKETS, turn < BIRTHDAY_SOCKETS)],
        wait: SHOT_EVERY,
    }
}

/// A port of 1000 or more, each as likely as the next.
fn guess(random: u16) -> u16 {
    const LEAST: u32 = 1000;
    (LEAST + u32::from(random) * (65_536 - LEAST) / 65_536) as u16
}

/// How many punches with a random NAT the node has under way (one at most) and when the last one ended.
#[derive(Clone, Debug, Default)]
pub struct RandomPunches {
    under_way: bool,
    ended: Option<Instant>,
}

impl RandomPunches {
    /// Whether one may begin.
    #[must_use]
    pub fn may_begin(&self, now: Instant) -> bool {
        let long_ago = |ended: Instant| now.saturating_duration_since(ended) >= RANDOM_EVERY;
        !self.under_way && self.ended.is_none_or(long_ago)
    }

    /// One begins, if it may.
    pub fn begin(&mut self, now: Instant) -> bool {
        let may = self.may_begin(now);
        self.under_way |= may;
        may
    }

    /// The one under way is over.
    pub fn end(&mut self, now: Instant) {
        self.under_way = false;
        self.ended = Some(now);
    }
}
