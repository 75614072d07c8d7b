//! Which peers to connect to, when, and which of two connections to the same peer stays: a machine without sockets and clock.
//!
//! The rules are those of hyperswarm 4.17 (`index.js`): both ends of a pair must come to the same conclusion about double
//! connections.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddrV4;
use std::time::Instant;

use super::peer::{Peer, Priority};
use super::{Limits, MAX_KNOWN_PEERS, MAX_RELAYS_PER_PEER, PublicKey, Topic};

/// A connection, or an attempt at one. Ours are numbered by the machine, the others by whoever accepts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Somebody who waits until every attempt that was due has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushId(u64);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect; then say [`Machine::opened`] or [`Machine::closed`].
    Connect {
        /// The number of the attempt, and of the connection then.
        connection: ConnectionId,
        /// To whom.
        peer: PublicKey,
        /// Nodes that know the peer.
        relay_addresses: Vec<SocketAddrV4>,
        /// Holes could not be punched before.
        force_relay: bool,
    },
    /// The connection is the program's now, ours or an incoming one.
    Hand {
        /// Which.
        connection: ConnectionId,
        /// To whom.
        peer: PublicKey,
        /// Whether this end connected.
        by_us: bool,
    },
    /// End the connection or the attempt. The machine has forgotten it.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// Somebody need not wait any longer.
    Flushed(FlushId),
}

/// Why a connection or an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Any reason but the next.
    Usual,
    /// No hole can be punched to this peer.
    NotPunchable,
}

#[derive(Debug)]
struct Connection {
    peer: PublicKey,
    by_us: bool,
    open: bool,
}

/// The peers of a swarm.
#[derive(Debug)]
pub struct Machine {
    own_key: PublicKey,
    limits: Limits,
    peers: HashMap<PublicKey, Peer>,
    topics: HashSet<Topic>,
    explicit: BTreeSet<PublicKey>,
    connections: HashMap<ConnectionId, Connection>,
    of_peer: HashMap<PublicKey, ConnectionId>,
    queue: BTreeMap<Priority, Vec<PublicKey>>,
    retries: BTreeSet<(Instant, PublicKey)>,
    flushes: BTreeMap<FlushId, HashSet<PublicKey>>,
    actions: VecDeque<Action>,
    suspended: bool,
    next_connection: u64,
    next_flush: u64,
    random: u64,
}

impl Machine {
    /// An empty swarm of the owner of this key. The seed only makes turns and pauses differ from those of others.
    #[must_use]
    pub fn new(own_key: PublicKey, limits: Limits, seed: u64) -> Self {
        Self {
            own_key,
            limits,
            peers: HashMap::new(),
            topics: HashSet::new(),
            explicit: BTreeSet::new(),
            connections: HashMap::new(),
            of_peer: HashMap::new(),
            queue: BTreeMap::new(),
            retries: BTreeSet::new(),
            flushes: BTreeMap::new(),
            actions: VecDeque::new(),
            suspended: false,
            next_connection: 0,
            next_flush: 0,
            random: seed,
        }
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Machine::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// A number for an incoming connection.
    pub fn number(&mut self) -> ConnectionId {
        self.next_connection += 1;
        ConnectionId(self.next_connection)
    }

    /// Peers with a connection that is open.
    pub fn connected(&self) -> impl Iterator<Item = &PublicKey> {
        let open = |connection: &&Connection| connection.open;
        self.connections
            .values()
            .filter(open)
            .map(|connection| &connection.peer)
    }

    /// Peers of whom something is remembered.
    #[must_use]
    pub fn peers_known(&self) -> usize {
        self.peers.len()
    }

    /// The topics on which a peer was found.
    pub fn topics_of(&self, peer: &PublicKey) -> impl Iterator<Item = &Topic> {
        self.peers.get(peer).into_iter().flat_map(|peer| &peer.topics)
    }

    /// Peers of this topic are wanted.
    pub fn join(&mut self, topic: Topic) {
        self.topics.insert(topic);
    }

    /// Peers of this topic are not sought any more; connections stay.
    pub fn leave(&mut self, topic: &Topic) {
        self.topics.remove(topic);
    }

    /// A lookup of a topic found a peer.
    pub fn found(&mut self, key: PublicKey, relay_addresses: &[SocketAddrV4], topic: Topic) {
        if !self.make_known(key) {
            return;
        }
        let connected = self.of_peer.contains_key(&key);
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.relay_addresses = relay_addresses
            .iter()
            .take(MAX_RELAYS_PER_PEER)
            .copied()
            .collect();
        peer.seen_on(topic);
        if !connected {
            peer.found_again();
            self.enqueue(key);
            self.connect_more();
        }
    }

    /// A connection to this peer is wanted always, whatever its topics.
    pub fn join_peer(&mut self, key: PublicKey) {
        if !self.make_known(key) {
            return;
        }
        self.explicit.insert(key);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.explicit = true;
        }
        if !self.of_peer.contains_key(&key) {
            self.enqueue(key);
            self.connect_more();
        }
    }

    /// Takes [`Machine::join_peer`] back; a connection stays.
    pub fn leave_peer(&mut self, key: &PublicKey) {
        self.explicit.remove(key);
        if let Some(peer) = self.peers.get_mut(key) {
            peer.explicit = false;
        }
        self.forget(key);
    }

    /// Never again this peer: its connection ends, and none is made or accepted.
    pub fn ban(&mut self, key: PublicKey, now: Instant) {
        if !self.make_known(key) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.banned = true;
            if let Some(at) = peer.retry_at.take() {
                self.retries.remove(&(at, key));
            }
        }
        if let Some(connection) = self.of_peer.get(&key).copied() {
            self.close(connection, now);
        }
    }

    /// Whether a connection of this peer is refused before its handshake: it is banned, or it is we ourselves.
    #[must_use]
    pub fn refuses(&self, key: &PublicKey) -> bool {
        *key == self.own_key
            || self.suspended
            || self.peers.get(key).is_some_and(|peer| peer.banned)
            || (self.incoming_connections() >= self.limits.incoming && !self.of_peer.contains_key(key))
    }

    /// The connection or attempt that there is to a peer.
    #[must_use]
    pub fn connection_to(&self, key: &PublicKey) -> Option<ConnectionId> {
        self.of_peer.get(key).copied()
    }

    /// A peer connected to us.
    ///
    /// If there is a connection already, one of the two has to go. One in which the peer was heard (`is_heard`) is outdated: the
    /// peer would not connect if it had it still. Of two that cross, that of the greater key stays, so that both ends keep the same.
    pub fn incoming(&mut self, connection: ConnectionId, key: PublicKey, is_heard: bool, now: Instant) {
        if self.refuses(&key) {
            self.actions.push_back(Action::Close { connection });
            return;
        }
        let mut replaces_ours = false;
        if let Some(existing) = self.connection_to(&key) {
            let theirs_stays = is_heard || self.own_key < key;
            if !theirs_stays {
                self.actions.push_back(Action::Close { connection });
                return;
            }
            self.actions.push_back(Action::Close { connection: existing });
            replaces_ours = self.connections.get(&existing).is_some_and(|c| c.by_us);
            self.remove(existing, now);
        }
        if !self.make_known(key) {
            self.actions.push_back(Action::Close { connection });
            return;
        }
        self.add(connection, key, false, true);
        if replaces_ours {
            // Should the peer have decided otherwise, neither is left.
            self.try_again_later(key, now);
        }
        self.hand(connection, key, false, now);
    }

    /// An attempt of ours became a connection.
    pub fn opened(&mut self, connection: ConnectionId, now: Instant) {
        let Some(entry) = self.connections.get_mut(&connection) else {
            // It was given up meanwhile, and `Close` was said.
            return;
        };
        entry.open = true;
        let key = entry.peer;
        self.hand(connection, key, true, now);
        self.connect_more();
    }

    /// A connection or an attempt is over.
    pub fn closed(&mut self, connection: ConnectionId, ended: Ended, now: Instant) {
        let Some(entry) = self.connections.get(&connection) else {
            return;
        };
        let (key, by_us) = (entry.peer, entry.by_us);
        self.remove(connection, now);
        if let Some(peer) = self.peers.get_mut(&key).filter(|_| by_us) {
            if ended == Ended::NotPunchable && !peer.force_relay {
                peer.force_relay = true;
                peer.attempts = 0;
            }
            self.try_again_later(key, now);
        }
        self.forget(&key);
        self.connect_more();
    }

    /// Another attempt is made after a pause, unless the peer is connected by then, not wanted, or given up.
    fn try_again_later(&mut self, key: PublicKey, now: Instant) {
        let random = self.chance() as u8;
        let wanted = self.is_wanted(&key);
        if let Some(peer) = self.peers.get_mut(&key).filter(|_| wanted)
            && let Some(pause) = peer.pause(random)
        {
            let at = now + pause;
            if let Some(before) = peer.retry_at.replace(at) {
                self.retries.remove(&(before, key));
            }
            self.retries.insert((at, key));
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, key)) = self.retries.first().copied().filter(|(at, _)| *at <= now) {
            self.retries.remove(&(at, key));
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.retry_at = None;
            }
            if self.is_wanted(&key) && !self.of_peer.contains_key(&key) {
                self.enqueue(key);
            }
            self.forget(&key);
        }
        self.connect_more();
    }

    /// Ends every connection and makes none until [`Machine::resume`].
    pub fn suspend(&mut self, now: Instant) {
        self.suspended = true;
        for key in std::mem::take(&mut self.queue).into_values().flatten() {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.queued = false;
            }
        }
        for (_, key) in std::mem::take(&mut self.retries) {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.retry_at = None;
            }
        }
        let all: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in all {
            self.close(connection, now);
        }
        self.flush_all();
    }

    /// Makes connections again: those asked for by key at once, the others when they are found again.
    pub fn resume(&mut self) {
        self.suspended = false;
        for key in self.explicit.clone() {
            self.enqueue(key);
        }
        self.connect_more();
    }

    /// [`Action::Flushed`] is said when everybody who is queued or being connected to now has been tried.
    pub fn flush(&mut self) -> FlushId {
        self.next_flush += 1;
        let flush = FlushId(self.next_flush);
        let opening = self.connections.values().filter(|c| !c.open).map(|c| c.peer);
        let waiting = self.queue.values().flatten().copied().chain(opening).collect();
        self.flushes.insert(flush, waiting);
        self.settle_flushes();
        flush
    }

    fn make_known(&mut self, key: PublicKey) -> bool {
        if key == self.own_key {
            return false;
        }
        if self.peers.contains_key(&key) {
            return true;
        }
        if self.peers.len() >= MAX_KNOWN_PEERS {
            return false;
        }
        self.peers.insert(key, Peer::new());
        true
    }

    /// Drops a peer of whom nothing is wanted.
    fn forget(&mut self, key: &PublicKey) {
        if !self.of_peer.contains_key(key) && self.peers.get(key).is_some_and(Peer::is_forgettable) {
            self.peers.remove(key);
        }
    }

    fn is_wanted(&self, key: &PublicKey) -> bool {
        let wanted =
            |peer: &Peer| peer.explicit || peer.topics.iter().any(|topic| self.topics.contains(topic));
        !self.suspended && self.peers.get(key).is_some_and(wanted)
    }

    fn enqueue(&mut self, key: PublicKey) {
        if let Some(peer) = self.peers.get_mut(&key).filter(|_| !self.suspended)
            && peer.update_priority()
        {
            peer.queued = true;
            self.queue.entry(peer.priority).or_default().push(key);
        }
    }

    /// Takes one of the most urgent peers, whichever.
    fn dequeue(&mut self) -> Option<PublicKey> {
        let random = self.chance();
        let mut entry = self.queue.last_entry()?;
        let peers = entry.get_mut();
        let key = peers.swap_remove(usize::try_from(random % peers.len().max(1) as u64).unwrap_or(0));
        if peers.is_empty() {
            entry.remove();
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.queued = false;
        }
        Some(key)
    }

    fn connect_more(&mut self) {
        while self.has_room() {
            let Some(key) = self.dequeue() else { break };
            if self.of_peer.contains_key(&key) || self.refuses(&key) {
                self.settled(&key);
                continue;
            }
            let Some(peer) = self.peers.get_mut(&key) else {
                continue;
            };
            peer.by_us = true;
            let (relay_addresses, force_relay) = (peer.relay_addresses.clone(), peer.force_relay);
            let connection = self.number();
            self.add(connection, key, true, false);
            self.actions.push_back(Action::Connect {
                connection,
                peer: key,
                relay_addresses,
                force_relay,
            });
        }
        self.settle_flushes();
    }

    fn opening(&self) -> usize {
        self.connections.values().filter(|c| !c.open).count()
    }

    fn incoming_connections(&self) -> usize {
        self.connections.values().filter(|c| !c.by_us).count()
    }

    /// Whether another attempt may begin. Peers that were asked for by key leave less room for others.
    fn has_room(&self) -> bool {
        let factor = match self.explicit.len() {
            0 => 1,
            1 => 2,
            2..=3 => 3,
            _ => 4,
        };
        let explicit_waits = self
            .queue
            .values()
            .flatten()
            .any(|key| self.explicit.contains(key));
        !self.suspended
            && self.opening() < self.limits.parallel
            && (explicit_waits || factor * self.connections.len() < self.limits.peers)
    }

    fn add(&mut self, connection: ConnectionId, peer: PublicKey, by_us: bool, open: bool) {
        let entry = Connection { peer, by_us, open };
        self.connections.insert(connection, entry);
        self.of_peer.insert(peer, connection);
        if let Some(at) = self.peers.get_mut(&peer).and_then(|peer| peer.retry_at.take()) {
            self.retries.remove(&(at, peer));
        }
    }

    fn hand(&mut self, connection: ConnectionId, key: PublicKey, by_us: bool, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.by_us = by_us;
            peer.connected(now);
        }
        self.settled(&key);
        self.actions.push_back(Action::Hand {
            connection,
            peer: key,
            by_us,
        });
        self.settle_flushes();
    }

    fn close(&mut self, connection: ConnectionId, now: Instant) {
        self.actions.push_back(Action::Close { connection });
        self.closed(connection, Ended::Usual, now);
    }

    fn remove(&mut self, connection: ConnectionId, now: Instant) {
        let Some(entry) = self.connections.remove(&connection) else {
            return;
        };
        if self.of_peer.get(&entry.peer) == Some(&connection) {
            self.of_peer.remove(&entry.peer);
        }
        if let Some(peer) = self.peers.get_mut(&entry.peer).filter(|_| entry.by_us) {
            peer.disconnected(now);
        }
        self.settled(&entry.peer);
    }

    /// An attempt at this peer has come to its end, one way or the other.
    fn settled(&mut self, key: &PublicKey) {
        for waiting in self.flushes.values_mut() {
            waiting.remove(key);
        }
    }

    fn settle_flushes(&mut self) {
        if self.opening() == 0 && !self.has_room() {
            self.flush_all();
            return;
        }
        let done: Vec<FlushId> = self
            .flushes
            .iter()
            .filter(|(_, waiting)| waiting.is_empty())
            .map(|(flush, _)| *flush)
            .collect();
        for flush in done {
            self.flushes.remove(&flush);
            self.actions.push_back(Action::Flushed(flush));
        }
    }

    fn flush_all(&mut self) {
        let all = std::mem::take(&mut self.flushes).into_keys();
        self.actions.extend(all.map(Action::Flushed));
    }

    /// A number that need not be unpredictable (splitmix64).
    fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
