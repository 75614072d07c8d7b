//! One end of a holepunch on its sockets.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{BIRTHDAY_SOCKETS, LOW_TTL, Plan, RandomPunch, Remote, Round, Rounds};
use crate::dht::messages::Firewall;
use crate::dht::nat::{NatSamples, SAMPLES};
use crate::dht::{BindError, Command, Dht, ExtraSocket, Outgoing, Probe, SendOptions, SocketId};

/// What is sent to open a NAT, and is heard when the hole is there.
const PROBE: &[u8] = &[0];
/// Hops of a probe that is to arrive.
const FULL_TTL: u8 = 64;
/// How often another socket is tried when the NAT could not be judged by the first.
const MAX_REOPENS: usize = 3;
/// Probes that wait.
const PROBES: usize = 64;
/// Nodes that were heard of last are asked last: they are often near each other.
const SKIPPED_NODES: usize = 5;
const MANY_NODES: usize = 8;
/// A node that does not answer the first time is not waited for.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the other end was heard: the hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Our socket.
    pub socket: SocketId,
    /// The other end.
    pub address: SocketAddrV4,
}

/// One end of a holepunch. Dropping it closes its sockets, but for those that are in use otherwise.
pub struct Puncher {
    dht: Dht,
    is_initiator: bool,
    /// What is known of our NAT, by the first socket.
    pub nat: NatSamples,
    /// What is known of the other end.
    pub remote: Remote,
    sockets: Vec<ExtraSocket>,
    to_probes: mpsc::Sender<Probe>,
    probes: mpsc::Receiver<Probe>,
    samples: JoinSet<Option<(SocketAddrV4, SocketAddrV4)>>,
    has_reopened: bool,
    hole: Option<Hole>,
    punch: Option<Punch>,
}

struct Punch {
    rounds: Rounds,
    next_at: Instant,
    /// Held as long as it goes on, if it is one of those that a node makes one at a time.
    _random: Option<RandomPunch>,
}

impl Puncher {
    /// Opens a socket and begins to ask nodes how they see it.
    ///
    /// # Errors
    /// No socket.
    pub fn new(dht: &Dht, is_initiator: bool, remote: Firewall) -> Result<Self, BindError> {
        let (to_probes, probes) = mpsc::channel(PROBES);
        let mut puncher = Self {
            dht: dht.clone(),
            is_initiator,
            nat: NatSamples::new(dht.state().firewalled),
            remote: Remote::new(remote),
            sockets: vec![dht.open_socket(to_probes.clone())?],
            to_probes,
            probes,
            samples: JoinSet::new(),
            has_reopened: false,
            hole: None,
            punch: None,
        };
        puncher.ask_nodes();
        Ok(puncher)
    }

    /// The socket that is judged, and through which the two ends talk.
    #[must_use]
    pub fn socket(&self) -> SocketId {
        self.sockets.first().map_or(SocketId::CLIENT, ExtraSocket::id)
    }

    /// Sends a probe that opens our NAT and does not arrive.
    pub fn open_session(&self, to: SocketAddrV4) {
        self.dht.send_raw(self.socket(), PROBE, to, LOW_TTL);
    }

    /// Sends a probe.
    pub fn ping(&self, to: SocketAddrV4) {
        self.dht.send_raw(self.socket(), PROBE, to, FULL_TTL);
    }

    fn ask_nodes(&mut self) {
        let nodes = self.dht.nodes(SKIPPED_NODES + 4 * SAMPLES);
        let skipped = if nodes.len() >= MANY_NODES {
            SKIPPED_NODES
        } else {
            0
        };
        let options = SendOptions {
            socket: Some(self.socket()),
            retries: 0,
            timeout: SAMPLE_TIMEOUT,
            ..SendOptions::default()
        };
        for node in nodes.into_iter().skip(skipped).take(SAMPLES) {
            let dht = self.dht.clone();
            self.samples.spawn(async move {
                let ping = Outgoing::new(node, Command::Ping);
                let reply = dht.request_with(ping, &options).await.ok()?;
                Some((reply.to, reply.from))
            });
        }
    }

    /// Waits until our NAT is judged as far as can be. Says whether that is good enough to punch; if it is not and
    /// `may_reopen`, other sockets are tried, once.
    ///
    /// # Errors
    /// No socket.
    pub async fn analyze(&mut self, may_reopen: bool) -> Result<bool, BindError> {
        self.judge().await;
        if self.is_stable() {
            return Ok(true);
        }
        if !may_reopen || std::mem::replace(&mut self.has_reopened, true) {
            return Ok(false);
        }
        for _ in 0..MAX_REOPENS {
            if self.is_stable() || self.hole.is_some() || self.punch.is_some() {
                break;
            }
            self.sockets = vec![self.dht.open_socket(self.to_probes.clone())?];
            self.nat = NatSamples::new(self.dht.state().firewalled);
            self.samples = JoinSet::new();
            self.ask_nodes();
            self.judge().await;
        }
        Ok(matches!(
            self.nat.firewall(),
            Firewall::Consistent | Firewall::Open
        ))
    }

    async fn judge(&mut self) {
        while !self.nat.is_settled() {
            tokio::select! {
                sample = self.samples.join_next() => match sample {
                    Some(sample) => self.sampled(sample),
                    None => return,
                },
                Some(probe) = self.probes.recv() => self.heard(probe),
            }
        }
    }

    fn sampled(&mut self, sample: Result<Option<(SocketAddrV4, SocketAddrV4)>, tokio::task::JoinError>) {
        if let Ok(Some((seen, witness))) = sample {
            self.nat.add(seen, witness);
        }
    }

    fn is_stable(&self) -> bool {
        let (local, remote) = (self.nat.firewall(), self.remote.firewall());
        local != Firewall::Unknown && (local, remote) != (Firewall::Random, Firewall::Random)
    }

    /// Begins to punch. `false`: there is no way (or none at this time).
    #[must_use]
    pub fn start(&mut self) -> bool {
        if self.punch.is_some() {
            return true;
        }
        let Some(plan) = Plan::new(self.nat.firewall(), &self.remote) else {
            return false;
        };
        let random = match plan.is_random() {
            true => match self.dht.peers().random_punch() {
                Some(random) => Some(random),
                None => return false,
            },
            false => None,
        };
        self.punch = Some(Punch {
            rounds: Rounds::new(plan, self.is_initiator),
            next_at: Instant::now(),
            _random: random,
        });
        true
    }

    /// Whether [`start`](Self::start) was successful.
    #[must_use]
    pub fn is_punching(&self) -> bool {
        self.punch.is_some()
    }

    /// Waits for the hole, punching if that has begun. The end that did not begin answers probes; that the hole is there
    /// it sees by what comes through. `None`: the last round was in vain.
    pub async fn hole(&mut self) -> Option<Hole> {
        loop {
            if let Some(hole) = self.hole {
                return Some(hole);
            }
            let next_at = self.punch.as_ref().map(|punch| punch.next_at);
            let round = async {
                match next_at {
                    Some(next_at) => tokio::time::sleep_until(next_at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(probe) = self.probes.recv() => self.heard(probe),
                Some(sample) = self.samples.join_next() => self.sampled(sample),
                () = round => {
                    let punch = self.punch.as_mut()?;
                    let round = punch.rounds.next(&self.remote, random_u16)?;
                    punch.next_at = Instant::now() + round.wait;
                    self.fire(&round);
                }
            }
        }
    }

    fn heard(&mut self, probe: Probe) {
        if self.is_initiator {
            self.hole = self.hole.or(Some(Hole {
                socket: probe.socket,
                address: probe.from,
            }));
        } else {
            self.dht.send_raw(probe.socket, PROBE, probe.from, FULL_TTL);
        }
    }

    fn fire(&mut self, round: &Round) {
        for shot in &round.shots {
            while self.sockets.len() <= shot.socket && self.sockets.len() < BIRTHDAY_SOCKETS {
                match self.dht.open_socket(self.to_probes.clone()) {
                    Ok(socket) => self.sockets.push(socket),
                    // As many as the system gives.
                    Err(_) => return,
                }
            }
            if let Some(socket) = self.sockets.get(shot.socket) {
                let ttl = if shot.low_ttl { LOW_TTL } else { FULL_TTL };
                self.dht.send_raw(socket.id(), PROBE, shot.to, ttl);
            }
        }
    }
}

/// For guesses; a system without random numbers guesses badly.
fn random_u16() -> u16 {
    getrandom::u32().map_or(0, |number| number as u16)
}
