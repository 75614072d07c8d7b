//! What others send: their requests, and the answers to those that are dht-rpc's own.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::super::address::{NodeId, Target, is_reachable, node_id};
use super::super::command::Command;
use super::super::message::{Message, Request, Response, Token};
use super::super::requests::{SocketId, Transmit};
use super::super::table::{Added, K, Known};
use super::{Event, Node};

/// The command is not known here.
pub const ERROR_UNKNOWN_COMMAND: u64 = 1;

/// The token is not one that the node gave to this host lately.
pub const ERROR_INVALID_TOKEN: u64 = 2;

/// The secret behind the tokens changes after so many moves of the window of congestion: 7.5 s.
pub(super) const DRAINS_PER_SECRET: u32 = 10;

/// The longest time after which a ping is answered, if it asks for that.
const MAX_PING_DELAY: Duration = Duration::from_secs(10);

/// Pings that wait for their answer at a time.
pub(super) const MAX_DELAYED_PINGS: usize = 256;

/// Somebody's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The socket that it came to.
    pub socket: SocketId,
    /// Where it came from.
    pub from: SocketAddrV4,
    /// The sender's id, if it can be reached by others.
    pub from_id: Option<NodeId>,
    /// Where the sender sent it: how it sees us.
    pub to: SocketAddrV4,
    /// The sender's number for it.
    pub tid: u16,
    /// The token, if there was one: it was checked.
    pub token: Option<Token>,
    /// What is asked for.
    pub command: Command,
    /// About which key.
    pub target: Option<Target>,
    /// With what.
    pub value: Option<Vec<u8>>,
}

/// An answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 0, or why not.
    pub error: u64,
    /// The answer's value.
    pub value: Option<Vec<u8>>,
    /// Whether a token goes with it.
    pub token: bool,
    /// Whether nodes near the target go with it.
    pub closer_nodes: bool,
    /// Who gets it, if not who asked.
    pub to: Option<SocketAddrV4>,
    /// From which socket, if not from that which the request came to.
    pub socket: Option<SocketId>,
}

impl Answer {
    /// A value (or none), with a token and nodes near the target.
    pub fn value(value: Option<Vec<u8>>) -> Self {
        Self {
            error: 0,
            value,
            token: true,
            closer_nodes: true,
            to: None,
            socket: None,
        }
    }

    /// That it is done, nothing else.
    pub fn done() -> Self {
        Self::bare(None)
    }

    /// A value (or none), nothing else.
    pub fn bare(value: Option<Vec<u8>>) -> Self {
        Self {
            token: false,
            closer_nodes: false,
            ..Self::value(value)
        }
    }

    /// That it was refused, with nodes near the target.
    pub fn error(error: u64) -> Self {
        Self {
            error,
            token: false,
            ..Self::value(None)
        }
    }
}

/// A ping whose answer waits.
#[derive(Debug)]
pub(super) struct DelayedPing {
    pub(super) due: Instant,
    pub(super) incoming: Incoming,
}

impl Node {
    /// Takes a datagram. What is not of this protocol, malformed, or beyond what a host may ask for is dropped.
    pub fn receive(&mut self, socket: SocketId, from: SocketAddrV4, datagram: &[u8], now: Instant) {
        if self.suspended || !is_reachable(from) {
            return;
        }
        if socket == SocketId::SERVER
            && let Some(probe) = &mut self.probe
        {
            probe.reached_from(*from.ip());
        }
        match Message::decode(datagram) {
            Some(Ok(Message::Request(request))) => self.requested(socket, from, request, now),
            Some(Ok(Message::Response(response))) => self.responded(socket, from, response, now),
            Some(Err(malformed)) => tracing::trace!(%from, %malformed, "datagram dropped"),
            None => {}
        }
    }

    fn requested(&mut self, socket: SocketId, from: SocketAddrV4, request: Request, now: Instant) {
        if !self.limits.allows(*from.ip(), now) {
            return;
        }
        let incoming = Incoming {
            socket,
            from,
            from_id: request.id.filter(|id| *id == node_id(from)),
            to: request.to,
            tid: request.tid,
            token: request.token,
            command: request.command,
            target: request.target,
            value: request.value,
        };
        if incoming
            .token
            .is_some_and(|token| !self.tokens.check(&token, *from.ip()))
        {
            let refusal = Answer {
                token: true,
                ..Answer::error(ERROR_INVALID_TOKEN)
            };
            return self.respond(&incoming, refusal);
        }
        if incoming.from_id.is_some() {
            self.heard_of(from, incoming.from_id, incoming.to, socket == self.socket(), now);
        }
        self.serve(incoming, now);
    }

    fn serve(&mut self, incoming: Incoming, now: Instant) {
        let value = incoming.value.as_deref().unwrap_or_default();
        match incoming.command {
            Command::Ping => self.respond(&incoming, Answer::done()),
            Command::FindNode if incoming.target.is_some() => {
                let answer = Answer {
                    token: false,
                    ..Answer::value(None)
                };
                self.respond(&incoming, answer);
            }
            Command::PingNat => {
                if let Some(port) = value.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
                    && port != 0
                {
                    let to = Some(SocketAddrV4::new(*incoming.from.ip(), port));
                    self.respond(&incoming, Answer { to, ..Answer::done() });
                }
            }
            Command::DownHint => {
                if let Some(address) = value.first_chunk() {
                    self.hinted(super::super::address::address_from(*address), now);
                    self.respond(&incoming, Answer::done());
                }
            }
            Command::DelayedPing => {
                let delay = value.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
                let delay = delay.map(|milliseconds| Duration::from_millis(milliseconds.into()));
                if let Some(delay) = delay.filter(|delay| *delay <= MAX_PING_DELAY) {
                    let due = now + delay;
                    self.upkeep.delay(DelayedPing { due, incoming });
                }
            }
            Command::FindNode => {}
            Command::UnknownInternal(_) => self.respond(&incoming, Answer::error(ERROR_UNKNOWN_COMMAND)),
            _ => self.events.push_back(Event::Request(incoming)),
        }
    }

    /// Answers a request.
    pub fn respond(&mut self, incoming: &Incoming, answer: Answer) {
        let socket = answer.socket.unwrap_or(incoming.socket);
        let to = answer.to.unwrap_or(incoming.from);
        let near = incoming.target.filter(|_| answer.closer_nodes);
        let closer = near.map(|target| self.table.closest(&target, K));
        let closer = closer.into_iter().flatten();
        let response = Response {
            tid: incoming.tid,
            to,
            id: self.shown_id(socket),
            token: answer.token.then(|| self.tokens.issue(*to.ip())),
            closer_nodes: closer.map(|known| known.address).collect(),
            error: answer.error,
            value: answer.value,
        };
        let bytes = response.encode();
        self.transmits.push_back(Transmit {
            socket,
            to,
            bytes,
            ttl: 0,
        });
    }

    /// Passes a request on to another node, with another value: who asked may be answered by that one.
    pub fn relay(&mut self, incoming: &Incoming, value: Vec<u8>, to: SocketAddrV4, socket: Option<SocketId>) {
        if !is_reachable(to) {
            return;
        }
        let socket = socket.unwrap_or(incoming.socket);
        let request = Request {
            tid: incoming.tid,
            to,
            id: self.shown_id(socket),
            token: None,
            command: incoming.command,
            target: incoming.target,
            value: Some(value),
        };
        let bytes = request.encode();
        self.transmits.push_back(Transmit {
            socket,
            to,
            bytes,
            ttl: 0,
        });
    }

    /// Something came from a node, which says how it sees us. `is_expected`: to the socket that we send from.
    pub(super) fn heard_of(
        &mut self,
        from: SocketAddrV4,
        from_id: Option<NodeId>,
        sees_us_at: SocketAddrV4,
        is_expected: bool,
        now: Instant,
    ) {
        if is_excluded(from) {
            return;
        }
        let Some(id) = from_id else {
            return self.sample_stranger(from, sees_us_at);
        };
        let tick = self.upkeep.tick();
        if let Some(known) = self.table.heard_of(&id, tick) {
            if is_expected && self.upkeep.is_sample_old(known.sampled) {
                known.sampled = Some(tick);
                self.nat.add(sees_us_at);
            }
            return;
        }
        let mut node = Known::new(from, tick);
        node.sampled = Some(tick);
        match self.table.add(node, tick) {
            Added::Inserted => self.nat.add(sees_us_at),
            Added::Known => {}
            Added::Full { oldest } => self.bucket_is_full(oldest, from, now),
        }
    }

    /// Bootstrap nodes may show no id. How a few of them see us counts nevertheless.
    fn sample_stranger(&mut self, from: SocketAddrV4, sees_us_at: SocketAddrV4) {
        let most = self.config.bootstrap.len().max(1);
        if self.sampled_strangers.len() < most && !self.sampled_strangers.contains(&from) {
            self.sampled_strangers.push(from);
            self.nat.add(sees_us_at);
        }
    }
}

/// Nodes of a test network that got mixed into the public one by accident (hyperdht `index.js`, `filterNode`).
pub(super) fn is_excluded(node: SocketAddrV4) -> bool {
    matches!(
        (node.ip().octets(), node.port()),
        ([134, 209, 28, 98] | [167, 99, 142, 185], 49738)
            | ([35, 233, 47, 252], 9400)
            | ([150, 136, 142, 116], _)
    )
}
