//! A query: asks node after node, each closer to the target, until the closest have answered (dht-rpc `lib/query.js`).
//!
//! Pure: the [`Node`](super::node::Node) sends what [`Query::poll`] asks for and tells what came of it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddrV4;
use std::time::Duration;

use super::address::{Distance, NodeId, Target, distance, is_reachable, may_name, node_id};
use super::command::Command;
use super::message::Token;
use super::table::K;

/// Nodes asked at the same time, unless configured otherwise.
pub const CONCURRENCY: usize = 10;

/// How often a node is asked again when it does not answer.
pub const QUERY_RETRIES: u32 = 5;

/// Nodes that one query asks at most. A DHT of millions takes a few dozen; only liars make it take more.
pub const MAX_VISITS: usize = 1000;

/// Addresses that one query remembers at most.
const MAX_SEEN: usize = 8 * MAX_VISITS;

/// Nodes asked at the same time as long as the given nodes have not answered.
const CAREFUL: usize = 3;

/// Who named a node that does not answer is told; of each node, so many of those are remembered.
const MAX_REFERRERS: usize = 16;

/// A node that was asked again so often is not waited for any more, if there is nobody else to be waited for: of a hundred
/// that are there, two do not answer three requests in a network that loses every seventh datagram.
pub const HOPELESS: u32 = 3;

/// What is asked of each node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Towards where.
    pub target: Target,
    /// What is asked for.
    pub command: Command,
    /// With what.
    pub value: Option<Vec<u8>>,
}

/// How it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryOptions {
    /// Nodes asked at the same time.
    pub concurrency: usize,
    /// How often a node is asked again when it does not answer.
    pub retries: u32,
    /// Nodes to begin with, the closest first: those that answered an earlier query for the same target.
    pub nodes: Vec<SocketAddrV4>,
    /// Asks nobody but `nodes`.
    pub only_nodes: bool,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            concurrency: CONCURRENCY,
            retries: QUERY_RETRIES,
            nodes: Vec::new(),
            only_nodes: false,
        }
    }
}

/// What a node answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The node.
    pub from: SocketAddrV4,
    /// Its id, if it can be reached by others and says so.
    pub from_id: Option<NodeId>,
    /// How it sees us.
    pub to: SocketAddrV4,
    /// To be shown to it with a request that stores something.
    pub token: Option<Token>,
    /// Nodes that it knows near the target.
    pub closer_nodes: Vec<SocketAddrV4>,
    /// 0, or why it refused.
    pub error: u64,
    /// The answer.
    pub value: Option<Vec<u8>>,
    /// How long it took since the request was first made.
    pub rtt: Duration,
}

/// What a query wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this node.
    Visit(SocketAddrV4),
    /// Nothing for now: it waits for answers.
    Wait,
    /// The nodes that it was given do not answer: it goes on with [`Query::add_known`].
    WantsKnown,
    /// It is over.
    Finished,
}

/// Somebody is to be told that a node which it named does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownHint {
    /// Who is told.
    pub to: SocketAddrV4,
    /// Which node.
    pub down: SocketAddrV4,
}

#[derive(Debug)]
enum Seen {
    /// To be asked, or asked. Those who named it.
    Open(Vec<SocketAddrV4>),
    Answered,
    Down,
}

/// One query.
#[derive(Debug)]
pub struct Query {
    question: Question,
    own_id: NodeId,
    concurrency: usize,
    retries: u32,
    only_nodes: bool,
    /// To be asked, by their distance to the target.
    open: BTreeMap<Distance, SocketAddrV4>,
    seen: HashMap<SocketAddrV4, Seen>,
    /// Those that answered, the closest first.
    closest: Vec<(Distance, Reply)>,
    visits: usize,
    inflight: usize,
    /// Of those, who let themselves be waited for once or more often.
    slow: usize,
    /// Of those, who hardly answer any more.
    hopeless: usize,
    is_careful: bool,
    used_known: bool,
    successes: usize,
    errors: usize,
}

impl Query {
    /// A query that begins with `options.nodes`.
    pub fn new(question: Question, own_id: NodeId, options: QueryOptions) -> Self {
        let mut query = Self {
            question,
            own_id,
            concurrency: options.concurrency.max(1),
            retries: options.retries,
            only_nodes: false,
            open: BTreeMap::new(),
            seen: HashMap::new(),
            closest: Vec::new(),
            visits: 0,
            inflight: 0,
            slow: 0,
            hopeless: 0,
            is_careful: false,
            used_known: false,
            successes: 0,
            errors: 0,
        };
        query.add_all(options.nodes);
        query.only_nodes = options.only_nodes;
        query.used_known = options.only_nodes;
        query
    }

    /// What is asked.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// How often a node is asked again.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Nodes that answered.
    pub fn successes(&self) -> usize {
        self.successes
    }

    /// How many more nodes it wants to begin with.
    pub fn missing(&self) -> usize {
        if self.only_nodes {
            0
        } else {
            K.saturating_sub(self.open.len())
        }
    }

    /// Asks so many nodes at once from now on.
    pub fn set_concurrency(&mut self, concurrency: usize) {
        self.concurrency = concurrency.max(1);
    }

    /// Goes on with nodes that the node knows, the closest first.
    pub fn add_known(&mut self, nodes: impl IntoIterator<Item = SocketAddrV4>) {
        self.used_known = true;
        self.add_all(nodes.into_iter().collect());
    }

    /// The closest nodes that answered, the closest first.
    pub fn into_closest(self) -> Vec<Reply> {
        self.closest.into_iter().map(|(_, reply)| reply).collect()
    }

    /// What to do next. To be called until it says [`Step::Wait`] or [`Step::Finished`].
    pub fn poll(&mut self) -> Step {
        // Slow ones do not hold up the others.
        let concurrency = if self.is_careful {
            CAREFUL
        } else {
            self.concurrency
        } + self.slow;
        if self.inflight < concurrency
            && self.visits < MAX_VISITS
            && let Some((distance, node)) = self.open.pop_first()
        {
            if self.is_wanted(&distance) {
                self.inflight += 1;
                self.visits += 1;
                return Step::Visit(node);
            }
            // Nor are those that are farther.
            self.open.clear();
        }
        let has_more = !self.open.is_empty() && self.visits < MAX_VISITS;
        let has_all = self.slow == self.inflight && self.closest.len() >= K;
        // In a network of few nodes there is no K to be had: who is gone must not hold up every query.
        let has_enough = self.hopeless == self.inflight && self.successes > 0;
        if has_more || (self.inflight > 0 && !has_all && !has_enough) {
            // The given nodes are the closest: they get a chance to answer before others are asked.
            self.is_careful |= !self.used_known && self.successes + self.errors == 0;
            return Step::Wait;
        }
        if !self.used_known && self.successes < K / 4 {
            self.is_careful = false;
            return Step::WantsKnown;
        }
        Step::Finished
    }

    /// A node that is asked was asked again, so many times by now.
    pub fn slowed_down(&mut self, times: u32) {
        self.slow += usize::from(times == 1);
        self.hopeless += usize::from(times == HOPELESS);
    }

    /// A node answered, after it was asked again so many times.
    pub fn answered(&mut self, reply: &Reply, repeats: u32) -> Vec<DownHint> {
        self.done(repeats);
        self.seen.insert(reply.from, Seen::Answered);
        if reply.error == 0 {
            self.successes += 1;
            self.keep_if_close(reply);
        } else {
            self.errors += 1;
        }
        if self.successes + self.errors >= self.concurrency {
            self.is_careful = false;
        }
        let mut hints = Vec::new();
        for node in &reply.closer_nodes {
            hints.extend(self.add(*node, Some(reply.from)));
        }
        hints
    }

    /// A node never answered: those who named it are told.
    pub fn failed(&mut self, node: SocketAddrV4, repeats: u32) -> Vec<DownHint> {
        self.done(repeats);
        self.errors += 1;
        let Some(Seen::Open(referrers)) = self.seen.insert(node, Seen::Down) else {
            return Vec::new();
        };
        let hint = |to| DownHint { to, down: node };
        referrers.into_iter().map(hint).collect()
    }

    fn done(&mut self, repeats: u32) {
        self.inflight = self.inflight.saturating_sub(1);
        self.slow = self.slow.saturating_sub(usize::from(repeats > 0));
        self.hopeless = self.hopeless.saturating_sub(usize::from(repeats >= HOPELESS));
    }

    fn add_all(&mut self, nodes: Vec<SocketAddrV4>) {
        for node in nodes {
            self.add(node, None);
        }
    }

    /// Notes a node that is to be asked, unless it is known already or too far.
    fn add(&mut self, node: SocketAddrV4, referrer: Option<SocketAddrV4>) -> Option<DownHint> {
        let id = node_id(node);
        let is_useful = is_reachable(node) && referrer.is_none_or(|referrer| may_name(referrer, node));
        if self.only_nodes || id == self.own_id || !is_useful {
            return None;
        }
        match self.seen.get_mut(&node) {
            Some(Seen::Answered) => return None,
            Some(Seen::Down) => return referrer.map(|to| DownHint { to, down: node }),
            Some(Seen::Open(referrers)) => {
                if referrers.len() < MAX_REFERRERS {
                    referrers.extend(referrer);
                }
                return None;
            }
            None => {}
        }
        let distance = distance(&self.question.target, &id);
        if self.is_wanted(&distance) && self.seen.len() < MAX_SEEN {
            self.seen.insert(node, Seen::Open(referrer.into_iter().collect()));
            self.open.insert(distance, node);
        }
        None
    }

    /// Whether the answer of a node at this distance could be among the closest.
    fn is_wanted(&self, distance: &Distance) -> bool {
        let last = self.closest.last();
        self.closest.len() < K || last.is_none_or(|(last, _)| distance < last)
    }

    fn keep_if_close(&mut self, reply: &Reply) {
        let Some(id) = reply.from_id else {
            return;
        };
        let distance = distance(&self.question.target, &id);
        let place = self.closest.binary_search_by(|(other, _)| other.cmp(&distance));
        if let Err(at) = place
            && at < K
        {
            self.closest.insert(at, (distance, reply.clone()));
            self.closest.truncate(K);
        }
    }
}
