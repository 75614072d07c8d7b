//! Requests and queries that the node makes, and what their responses do.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::Instant;

use super::super::address::{NodeId, Target, node_id};
use super::super::command::Command;
use super::super::message::{Request, Response, Token};
use super::super::query::{DownHint, HOPELESS, Query, QueryOptions, Question, Reply, Step};
use super::super::requests::{Overdue, SendOptions, SocketId, Transmit};
use super::{Event, Node, Owner, Purpose, QueryId, RequestError, RequestId, Running};

/// A request to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Of which node.
    pub to: SocketAddrV4,
    /// For what.
    pub command: Command,
    /// About which key.
    pub target: Option<Target>,
    /// What that node gave with an earlier response.
    pub token: Option<Token>,
    /// With what.
    pub value: Option<Vec<u8>>,
}

impl Outgoing {
    /// A request with nothing but a command.
    pub fn new(to: SocketAddrV4, command: Command) -> Self {
        Self {
            to,
            command,
            target: None,
            token: None,
            value: None,
        }
    }
}

/// A bootstrap node that did not answer is not asked for a minute, as long as other nodes are known.
const SILENT_TICKS: u64 = 12;

/// Hints of nodes that do not answer, per tick.
const MAX_DOWN_HINTS: u32 = 50;

impl Node {
    /// Makes a request; [`Event::Response`] tells what came of it.
    pub fn request(&mut self, outgoing: Outgoing, options: &SendOptions, now: Instant) -> RequestId {
        let id = RequestId(self.next_id());
        let to = outgoing.to;
        let error = if self.suspended {
            Some(RequestError::Closed(to))
        } else {
            let sent = self.send(outgoing, Purpose::Program(id), options, now);
            (!sent).then_some(RequestError::Busy(to))
        };
        self.events
            .extend(error.map(|error| Event::Response(id, Err(error))));
        id
    }

    /// Drops a request for which nobody waits any more.
    pub fn cancel_request(&mut self, id: RequestId) {
        self.requests.cancel(|purpose| *purpose == Purpose::Program(id));
    }

    /// Begins a query; [`Event::QueryReply`] and [`Event::QueryFinished`] tell what came of it.
    pub fn query(&mut self, question: Question, options: QueryOptions, now: Instant) -> QueryId {
        self.upkeep.was_used();
        self.start_query(question, options, Owner::Program, now)
    }

    /// Drops a query for which nobody waits any more.
    pub fn cancel_query(&mut self, id: QueryId) {
        self.queries.remove(&id);
        self.requests
            .cancel(|purpose| matches!(purpose, Purpose::Query(query, _) if *query == id));
    }

    pub(super) fn start_query(
        &mut self,
        question: Question,
        options: QueryOptions,
        owner: Owner,
        now: Instant,
    ) -> QueryId {
        let id = QueryId(self.next_id());
        let query = Query::new(question, *self.table.id(), options);
        let repeats = HashMap::new();
        let mut running = Running {
            query,
            owner,
            repeats,
        };
        if running.query.missing() > 0 {
            self.add_known(&mut running.query);
        }
        self.queries.insert(id, running);
        self.pump(id, now);
        id
    }

    /// Gives a query nodes to begin with: those in the table, and the bootstrap nodes if they are too few.
    fn add_known(&self, query: &mut Query) {
        let missing = query.missing();
        let known = self.table.closest(&query.question().target, missing);
        let known: Vec<_> = known.into_iter().map(|known| known.address).collect();
        let is_enough = known.len() >= missing;
        query.add_known(known);
        if !is_enough {
            let bootstrap = self.config.bootstrap.iter().copied();
            query.add_known(bootstrap.filter(|node| self.table.is_empty() || !self.is_silent(node)));
        }
    }

    /// Does what a query wants, as far as it can be done now.
    fn pump(&mut self, id: QueryId, now: Instant) {
        while let Some(running) = self.queries.get_mut(&id) {
            match running.query.poll() {
                Step::Wait => return,
                Step::Finished => return self.finish_query(id, now),
                Step::WantsKnown => {
                    let Some(mut running) = self.queries.remove(&id) else {
                        return;
                    };
                    self.add_known(&mut running.query);
                    self.queries.insert(id, running);
                }
                Step::Visit(to) => {
                    let question = running.query.question().clone();
                    let options = SendOptions {
                        retries: running.query.retries(),
                        ..SendOptions::default()
                    };
                    let outgoing = Outgoing {
                        to,
                        command: question.command,
                        target: Some(question.target),
                        token: None,
                        value: question.value,
                    };
                    if !self.send(outgoing, Purpose::Query(id, to), &options, now)
                        && let Some(running) = self.queries.get_mut(&id)
                    {
                        running.query.failed(to, 0);
                    }
                }
            }
        }
    }

    fn finish_query(&mut self, id: QueryId, now: Instant) {
        let Some(running) = self.queries.remove(&id) else {
            return;
        };
        // Those that are slow are not waited for.
        self.requests
            .cancel(|purpose| matches!(purpose, Purpose::Query(query, _) if *query == id));
        match running.owner {
            Owner::Refresh => {}
            Owner::Bootstrap => self.bootstrap_queried(now),
            Owner::Program => {
                let closest = running.query.into_closest();
                self.events.push_back(Event::QueryFinished(id, closest));
            }
        }
    }

    /// Sends a request. `false` if too many are under way.
    pub(super) fn send(
        &mut self,
        outgoing: Outgoing,
        purpose: Purpose,
        options: &SendOptions,
        now: Instant,
    ) -> bool {
        let Some(tid) = self.requests.free_tid() else {
            return false;
        };
        let socket = options.socket.unwrap_or_else(|| self.socket());
        let request = Request {
            tid,
            to: outgoing.to,
            id: self.shown_id(socket),
            token: outgoing.token,
            command: outgoing.command,
            target: outgoing.target,
            value: outgoing.value,
        };
        let transmit = Transmit {
            socket,
            to: outgoing.to,
            bytes: request.encode(),
            ttl: options.ttl,
        };
        let transmit = self.requests.begin(tid, transmit, purpose, options, now);
        self.transmits.extend(transmit);
        true
    }

    /// The id that is shown with datagrams of a socket: only where others can reach us.
    pub(super) fn shown_id(&self, socket: SocketId) -> Option<NodeId> {
        (!self.ephemeral && socket == SocketId::SERVER).then_some(*self.table.id())
    }

    pub(super) fn responded(
        &mut self,
        socket: SocketId,
        from: SocketAddrV4,
        response: Response,
        now: Instant,
    ) {
        let Some((purpose, rtt)) = self.requests.finish(response.tid, from, now) else {
            return;
        };
        let from_id = response.id.filter(|id| *id == node_id(from));
        self.heard_of(from, from_id, response.to, socket == self.socket(), now);
        let reply = Reply {
            from,
            from_id,
            to: response.to,
            token: response.token,
            closer_nodes: response.closer_nodes,
            error: response.error,
            value: response.value,
            rtt,
        };
        match purpose {
            Purpose::Program(id) => self.events.push_back(Event::Response(id, Ok(reply))),
            Purpose::Query(id, _) => self.query_answered(id, reply, now),
            Purpose::Check { node, seen } => self.check_answered(&node, seen),
            Purpose::Swap { old, seen, new } => self.swap_answered(&old, seen, new),
            Purpose::QuickFirewall => self.bootstrapping.reached = true,
            Purpose::Firewall => self.probe_answered(Some(&reply), now),
            Purpose::Hint => {}
        }
    }

    fn query_answered(&mut self, id: QueryId, reply: Reply, now: Instant) {
        let is_quiet = self.requests.len() < 3;
        let Some(running) = self.queries.get_mut(&id) else {
            return;
        };
        let repeats = running.repeats.remove(&reply.from).unwrap_or_default();
        let hints = running.query.answered(&reply, repeats);
        let owner = running.owner;
        if owner != Owner::Program {
            running
                .query
                .set_concurrency(super::network::background_concurrency(is_quiet));
        }
        self.send_hints(hints, now);
        match owner {
            Owner::Bootstrap if reply.error == 0 => self.bootstrap_replied(&reply, now),
            Owner::Program if reply.error == 0 => self.events.push_back(Event::QueryReply(id, reply)),
            _ => {}
        }
        self.pump(id, now);
    }

    fn send_hints(&mut self, hints: Vec<DownHint>, now: Instant) {
        for hint in hints {
            if !self.upkeep.may_hint(MAX_DOWN_HINTS) {
                return;
            }
            let value = super::super::address::address_bytes(hint.down).to_vec();
            let mut outgoing = Outgoing::new(hint.to, Command::DownHint);
            outgoing.value = Some(value);
            self.send(outgoing, Purpose::Hint, &SendOptions::default(), now);
        }
    }

    pub(super) fn overdue(&mut self, overdue: Overdue<Purpose>, now: Instant) {
        match overdue {
            Overdue::Slow(Purpose::Query(id, node)) => self.repeated(id, node, now),
            Overdue::Slow(_) => {}
            Overdue::GivenUp(purpose, to) => self.given_up(purpose, to, now),
        }
    }

    /// A node was asked again by a query.
    fn repeated(&mut self, id: QueryId, node: SocketAddrV4, now: Instant) {
        let Some(running) = self.queries.get_mut(&id) else {
            return;
        };
        let repeats = running.repeats.entry(node).or_default();
        *repeats += 1;
        let repeats = *repeats;
        running.query.slowed_down(repeats);
        if repeats == HOPELESS {
            self.suspect(node, now);
        }
        self.pump(id, now);
    }

    /// A node does not answer: the query may be over before that is certain.
    fn suspect(&mut self, node: SocketAddrV4, now: Instant) {
        if self.config.bootstrap.contains(&node) {
            self.silent.insert(node, self.upkeep.tick());
        }
        self.hinted(node, now);
    }

    /// Whether a bootstrap node did not answer lately.
    pub(super) fn is_silent(&self, node: &SocketAddrV4) -> bool {
        let since = self.silent.get(node);
        since.is_some_and(|since| self.upkeep.tick() < since + SILENT_TICKS)
    }

    fn given_up(&mut self, purpose: Purpose, to: SocketAddrV4, now: Instant) {
        match purpose {
            Purpose::Program(id) => {
                let error = RequestError::TimedOut(to);
                self.events.push_back(Event::Response(id, Err(error)));
            }
            Purpose::Query(id, node) => {
                self.table.remove(&node_id(node));
                if let Some(running) = self.queries.get_mut(&id) {
                    let repeats = running.repeats.remove(&node).unwrap_or_default();
                    let hints = running.query.failed(node, repeats);
                    self.send_hints(hints, now);
                    self.pump(id, now);
                }
            }
            Purpose::Check { node, .. } => self.check_failed(&node),
            Purpose::Swap { old, new, .. } => self.swap(&old, new),
            Purpose::Firewall => {
                self.table.remove(&node_id(to));
                self.probe_answered(None, now);
            }
            Purpose::QuickFirewall | Purpose::Hint => {}
        }
    }
}
