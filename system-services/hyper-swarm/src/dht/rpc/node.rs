//! One node of the DHT, without sockets and without a clock: dht-rpc 6.27's `index.js` as a machine.
//!
//! Datagrams and time go in ([`receive`](Node::receive), [`handle_timeout`](Node::handle_timeout)), datagrams and events come
//! out ([`poll_transmit`](Node::poll_transmit), [`poll_event`](Node::poll_event)). It has two sockets: as long as it does not know
//! whether strangers reach it, it sends from the client socket, and has others try whether they reach the server socket.

mod fuzz;
mod incoming;
mod network;
mod outgoing;
mod upkeep;

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::address::NodeId;
use super::health::{Health, Network};
use super::limits::HostLimits;
use super::message::Token;
use super::nat_sampler::NatSampler;
use super::query::{Query, Reply};
use super::random::Random;
use super::requests::{Counts, MAX_WINDOW, Requests, SocketId, Transmit};
use super::table::RoutingTable;
use super::token::Tokens;

pub use fuzz::fuzz_node;
pub use incoming::{Answer, ERROR_INVALID_TOKEN, ERROR_UNKNOWN_COMMAND, Incoming};
pub use outgoing::Outgoing;

/// A node looks after its affairs so often.
pub const TICK: Duration = Duration::from_secs(5);

/// What a node is to be.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Nodes that are asked first.
    pub bootstrap: Vec<SocketAddrV4>,
    /// `false`: others shall store with it and name it at once; `true`: never; `None`: when it has proved to be stable.
    pub ephemeral: Option<bool>,
    /// Whether strangers may be kept away by a firewall or a NAT until the opposite is shown.
    pub firewalled: bool,
    /// Whether that is looked at when the node begins, not only when it was stable.
    pub quick_firewall: bool,
    /// The address that others have, for who knows it: bootstrap nodes.
    pub address: Option<SocketAddrV4>,
    /// Requests sent at a time.
    pub max_window: u32,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            ephemeral: None,
            firewalled: true,
            quick_firewall: true,
            address: None,
            max_window: MAX_WINDOW,
        }
    }
}

/// Number of a request that a program made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

/// Number of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryId(u64);

/// Why a request has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Never answered.
    #[error("DHT node {0} does not answer")]
    TimedOut(SocketAddrV4),
    /// Too many requests are under way.
    #[error("no request to DHT node {0}: too many are under way")]
    Busy(SocketAddrV4),
    /// The own node is gone or asleep.
    #[error("no request to DHT node {0}: the own node is closed or suspended")]
    Closed(SocketAddrV4),
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A request of the program is over.
    Response(RequestId, Result<Reply, RequestError>),
    /// A node answered a query of the program, without an error.
    QueryReply(QueryId, Reply),
    /// A query of the program is over. The closest nodes that answered, the closest first.
    QueryFinished(QueryId, Vec<Reply>),
    /// Somebody asks for something that is not dht-rpc's. Answer with [`Node::respond`].
    Request(Incoming),
    /// The first nodes are known.
    Bootstrapped,
    /// The node slept, or time jumped: networks may have changed.
    WokeUp,
}

/// How a node stands to the rest of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeState {
    /// Its id, if others know it by one: it is persistent.
    pub id: Option<NodeId>,
    /// Whether the first nodes are known.
    pub bootstrapped: bool,
    /// Whether strangers may not reach it.
    pub firewalled: bool,
    /// The host that others see.
    pub host: Option<Ipv4Addr>,
    /// The port that others see; 0 if each sees another.
    pub port: u16,
    /// Whether requests are answered.
    pub network: Network,
}

impl NodeState {
    /// Whether others do not know it as a node.
    pub fn is_ephemeral(&self) -> bool {
        self.id.is_none()
    }

    /// Whether a NAT gives it another port for each node.
    pub fn is_randomized(&self) -> bool {
        self.host.is_some() && self.port == 0
    }
}

/// What a response is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Program(RequestId),
    Query(QueryId, SocketAddrV4),
    /// Is a known node still there?
    Check {
        node: NodeId,
        seen: u64,
    },
    /// Is the oldest one of a bucket still there, or may another have its place?
    Swap {
        old: NodeId,
        seen: u64,
        new: SocketAddrV4,
    },
    /// The first sign that the server socket is reached.
    QuickFirewall,
    /// Whether the server socket is reached, thoroughly.
    Firewall,
    Hint,
}

/// A query under way.
#[derive(Debug)]
struct Running {
    query: Query,
    owner: Owner,
    /// How often those were asked again that have not answered.
    repeats: HashMap<SocketAddrV4, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Program,
    Bootstrap,
    Refresh,
}

/// The machine.
pub struct Node {
    config: NodeConfig,
    table: RoutingTable,
    requests: Requests<Purpose>,
    queries: HashMap<QueryId, Running>,
    tokens: Tokens,
    drains_to_rotation: u32,
    nat: NatSampler,
    /// Nodes without an id that said how they see us.
    sampled_strangers: Vec<SocketAddrV4>,
    /// Bootstrap nodes that did not answer, and when.
    silent: HashMap<SocketAddrV4, u64>,
    limits: HostLimits,
    health: Health,
    random: Random,
    upkeep: upkeep::Upkeep,
    bootstrapping: network::Bootstrapping,
    probe: Option<network::FirewallProbe>,
    bootstrapped: bool,
    ephemeral: bool,
    firewalled: bool,
    suspended: bool,
    server_port: u16,
    next_id: u64,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Node {
    /// A node that does nothing before [`start`](Self::start). `secrets` are random bytes.
    pub fn new(config: NodeConfig, secrets: &[u8; 128], seed: u64, now: Instant) -> Self {
        let mut random = Random::new(seed);
        let mut nat = NatSampler::default();
        config.address.into_iter().for_each(|address| nat.add(address));
        Self {
            table: RoutingTable::new(random.key()),
            requests: Requests::new(config.max_window, random.number(), now),
            queries: HashMap::new(),
            tokens: Tokens::new(secrets),
            drains_to_rotation: incoming::DRAINS_PER_SECRET,
            nat,
            sampled_strangers: Vec::new(),
            silent: HashMap::new(),
            limits: HostLimits::new(now),
            health: Health::default(),
            upkeep: upkeep::Upkeep::new(config.ephemeral.is_none(), &mut random, now),
            random,
            bootstrapping: network::Bootstrapping::default(),
            probe: None,
            bootstrapped: false,
            ephemeral: true,
            firewalled: config.firewalled,
            suspended: false,
            server_port: 0,
            next_id: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            config,
        }
    }

    /// The next datagram to be sent.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Instant {
        if self.suspended {
            return self.upkeep.due();
        }
        self.requests.poll_timeout().min(self.upkeep.due())
    }

    /// How it stands to the rest of the network.
    pub fn state(&self) -> NodeState {
        NodeState {
            id: (!self.ephemeral).then_some(*self.table.id()),
            bootstrapped: self.bootstrapped,
            firewalled: self.firewalled,
            host: self.nat.host(),
            port: self.nat.port(),
            network: self.health.network(),
        }
    }

    /// The nodes that it knows.
    pub fn table(&self) -> &RoutingTable {
        &self.table
    }

    /// How often something happened to its requests.
    pub fn counts(&self) -> Counts {
        self.requests.counts()
    }

    /// A token for a host, as its responses carry it.
    pub fn token(&self, host: Ipv4Addr) -> Token {
        self.tokens.issue(host)
    }

    /// Which socket it sends from.
    pub fn socket(&self) -> SocketId {
        if self.firewalled {
            SocketId::CLIENT
        } else {
            SocketId::SERVER
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

#[cfg(test)]
mod tests;
