//! The task of a swarm: does what the machine says, tells it what happens.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::discovery::{Discovery, Wanted};
use super::{
    Action, ConnectionId, Ended, FlushId, JoinOptions, Machine, PublicKey, SwarmConnection, SwarmOptions,
    Topic,
};
use crate::connection::Handle;
use crate::dht::{Asker, ConnectError, ConnectOptions, Dht, PeerConnection, Server, ServerOptions};

/// An attempt may take so long: more than to find a peer and to punch a hole into a random NAT (35 s), or to wait for it at a relay.
/// Nodes that lead a search astray hold up nobody for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the task is told.
pub(super) enum Command {
    Join {
        topic: Topic,
        session: u64,
        options: JoinOptions,
        joined: oneshot::Sender<Round>,
    },
    Leave {
        topic: Topic,
        session: u64,
        /// Gets what tells when the topic is left, if nobody else is in it.
        left: Option<oneshot::Sender<Option<Round>>>,
    },
    Found {
        topic: Topic,
        peer: PublicKey,
        relay_addresses: Vec<SocketAddrV4>,
    },
    RelayAddresses(oneshot::Sender<Vec<SocketAddrV4>>),
    JoinPeer(PublicKey),
    LeavePeer(PublicKey),
    Ban(PublicKey),
    Refresh,
    Flush(oneshot::Sender<()>),
    Rounds(oneshot::Sender<Vec<Round>>),
    Suspend(oneshot::Sender<()>),
    Resume(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// A round of a topic's task.
#[derive(Debug, Clone)]
pub(super) struct Round {
    number: u64,
    done: watch::Receiver<u64>,
}

impl Round {
    fn is_done(&self) -> bool {
        *self.done.borrow() >= self.number
    }

    /// Waits for its end.
    pub(super) async fn done(mut self) {
        // With a task that is gone nothing is to be waited for.
        let _ = self.done.wait_for(|done| *done >= self.number).await;
    }
}

/// A topic that was joined, or is being left: then there are no sessions, until the announcement is taken back.
struct Joined {
    sessions: HashMap<u64, JoinOptions>,
    wanted: watch::Sender<Wanted>,
    done: watch::Receiver<u64>,
}

impl Joined {
    /// The round under way, or the last one.
    fn round(&self) -> Round {
        Round {
            number: self.wanted.borrow().round,
            done: self.done.clone(),
        }
    }

    /// Has this done from now on.
    fn want(&self, options: JoinOptions) {
        self.wanted.send_if_modified(|wanted| {
            let modified = wanted.options != options;
            wanted.options = options;
            wanted.round += u64::from(modified);
            modified
        });
    }

    /// What all sessions of the topic want together.
    fn options(&self) -> JoinOptions {
        self.sessions
            .values()
            .fold(JoinOptions::NOTHING, |all, one| JoinOptions {
                server: all.server || one.server,
                client: all.client || one.client,
            })
    }
}

/// The server, which is started when the first topic is announced.
enum Listening {
    No,
    Starting,
    Yes(Server),
}

pub(super) struct Driver {
    dht: Dht,
    options: SwarmOptions,
    machine: Arc<Mutex<Machine>>,
    commands: mpsc::Receiver<Command>,
    /// For the topics' tasks.
    own: mpsc::WeakSender<Command>,
    connections: mpsc::Sender<SwarmConnection>,
    topics: HashMap<Topic, Joined>,
    attempts: JoinSet<(ConnectionId, Result<PeerConnection, ConnectError>)>,
    attempt_handles: HashMap<ConnectionId, AbortHandle>,
    /// Made, and not yet the program's.
    ready: HashMap<ConnectionId, PeerConnection>,
    handles: HashMap<ConnectionId, Handle>,
    endings: JoinSet<ConnectionId>,
    flushes: HashMap<FlushId, oneshot::Sender<()>>,
    listening: Listening,
    starting: JoinSet<Option<Server>>,
    waiting_for_server: Vec<oneshot::Sender<Vec<SocketAddrV4>>>,
    suspended: bool,
}

pub(super) fn lock(machine: &Mutex<Machine>) -> MutexGuard<'_, Machine> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What ended a turn of the loop.
enum Happened {
    Told(Command),
    Attempted(ConnectionId, Box<Result<PeerConnection, ConnectError>>),
    /// An attempt was given up.
    Aborted,
    Ended(ConnectionId),
    Listens(Option<Server>),
    Came(Box<PeerConnection>),
    Time,
    Over,
}

impl Driver {
    pub(super) fn new(
        dht: Dht,
        options: SwarmOptions,
        machine: Arc<Mutex<Machine>>,
        (own, commands): (mpsc::WeakSender<Command>, mpsc::Receiver<Command>),
        connections: mpsc::Sender<SwarmConnection>,
    ) -> Self {
        Self {
            dht,
            options,
            machine,
            commands,
            own,
            connections,
            topics: HashMap::new(),
            attempts: JoinSet::new(),
            attempt_handles: HashMap::new(),
            ready: HashMap::new(),
            handles: HashMap::new(),
            endings: JoinSet::new(),
            flushes: HashMap::new(),
            listening: Listening::No,
            starting: JoinSet::new(),
            waiting_for_server: Vec::new(),
            suspended: false,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.next().await {
                Happened::Told(Command::Close(closed)) => {
                    self.close().await;
                    let _ = closed.send(());
                    return;
                }
                Happened::Told(command) => self.obey(command).await,
                Happened::Attempted(id, result) => self.attempted(id, *result),
                Happened::Ended(id) => {
                    self.handles.remove(&id);
                    lock(&self.machine).closed(id, Ended::Usual, now());
                }
                Happened::Aborted => {}
                Happened::Listens(server) => self.listens(server).await,
                Happened::Came(connection) => self.came(*connection),
                Happened::Time => lock(&self.machine).handle_timeout(now()),
                Happened::Over => {
                    self.handles.values().for_each(Handle::destroy);
                    return;
                }
            }
            self.act();
        }
    }

    async fn next(&mut self) -> Happened {
        let due = lock(&self.machine).poll_timeout();
        let time = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let accept = async {
            match &mut self.listening {
                Listening::Yes(server) => match server.accept().await {
                    Some(connection) => connection,
                    None => std::future::pending().await,
                },
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            command = self.commands.recv() => command.map_or(Happened::Over, Happened::Told),
            // Every outcome is matched: a branch that does not match is not asked again for the others' outcomes.
            Some(attempt) = self.attempts.join_next() => match attempt {
                Ok((id, result)) => Happened::Attempted(id, Box::new(result)),
                Err(_) => Happened::Aborted,
            },
            Some(Ok(id)) = self.endings.join_next() => Happened::Ended(id),
            Some(Ok(server)) = self.starting.join_next() => Happened::Listens(server),
            connection = accept => Happened::Came(Box::new(connection)),
            () = time => Happened::Time,
        }
    }

    async fn obey(&mut self, command: Command) {
        // Whoever waits for an answer may have gone: that is no concern of the swarm.
        match command {
            Command::Join {
                topic,
                session,
                options,
                joined,
            } => {
                let round = self.join(topic, session, options);
                let _ = joined.send(round);
            }
            Command::Leave { topic, session, left } => self.leave(topic, session, left),
            Command::Found {
                topic,
                peer,
                relay_addresses,
            } => {
                if self
                    .topics
                    .get(&topic)
                    .is_some_and(|joined| joined.options().client)
                    && !self.keeps_out(&peer)
                {
                    lock(&self.machine).found(peer, &relay_addresses, topic);
                }
            }
            Command::RelayAddresses(ask) => match &self.listening {
                Listening::Yes(server) => drop(ask.send(server.relay_addresses())),
                _ => {
                    // Rounds that were begun anew meanwhile.
                    self.waiting_for_server.retain(|waiting| !waiting.is_closed());
                    self.waiting_for_server.push(ask);
                    self.listen();
                }
            },
            Command::JoinPeer(peer) => lock(&self.machine).join_peer(peer),
            Command::LeavePeer(peer) => lock(&self.machine).leave_peer(&peer),
            Command::Ban(peer) => lock(&self.machine).ban(peer, now()),
            Command::Refresh => self.refresh(),
            Command::Flush(done) => {
                let flush = lock(&self.machine).flush();
                self.flushes.insert(flush, done);
            }
            Command::Rounds(ask) => {
                let joined = self.topics.values().filter(|joined| !joined.sessions.is_empty());
                let _ = ask.send(joined.map(Joined::round).collect());
            }
            Command::Suspend(done) => {
                self.suspend().await;
                let _ = done.send(());
            }
            Command::Resume(done) => {
                self.resume();
                let _ = done.send(());
            }
            Command::Close(done) => drop(done),
        }
    }

    fn join(&mut self, topic: Topic, session: u64, options: JoinOptions) -> Round {
        self.forget_left();
        lock(&self.machine).join(topic);
        if options.server {
            self.listen();
        }
        let known = self.topics.remove(&topic);
        let mut joined = known.unwrap_or_else(|| self.discover(topic));
        joined.sessions.insert(session, options);
        if !self.suspended {
            joined.want(joined.options());
        }
        let round = joined.round();
        self.topics.insert(topic, joined);
        round
    }

    /// The task of a topic of which nothing is wanted yet.
    fn discover(&self, topic: Topic) -> Joined {
        let wanted = Wanted {
            options: JoinOptions::NOTHING,
            round: 1,
        };
        let (wanted, wanted_receiver) = watch::channel(wanted);
        let (done, done_receiver) = watch::channel(0);
        let mut random = [0; 4];
        // Without random bytes the pauses are the shortest.
        let _ = getrandom::fill(&mut random);
        let discovery = Discovery {
            dht: self.dht.clone(),
            topic,
            key_pair: self.options.key_pair.clone(),
            done,
            swarm: self.own.clone(),
            random: u32::from_le_bytes(random),
        };
        tokio::spawn(discovery.run(wanted_receiver));
        Joined {
            sessions: HashMap::new(),
            wanted,
            done: done_receiver,
        }
    }

    fn leave(&mut self, topic: Topic, session: u64, left: Option<oneshot::Sender<Option<Round>>>) {
        self.forget_left();
        let Some(joined) = self.topics.get_mut(&topic) else {
            return;
        };
        joined.sessions.remove(&session);
        if !self.suspended {
            joined.want(joined.options());
        }
        let is_left = joined.sessions.is_empty();
        if let Some(left) = left {
            let _ = left.send(is_left.then(|| joined.round()));
        }
        if is_left {
            lock(&self.machine).leave(&topic);
        }
    }

    /// Ends the tasks of topics that are left and not announced any more.
    fn forget_left(&mut self) {
        self.topics
            .retain(|_, joined| !joined.sessions.is_empty() || !joined.round().is_done());
    }

    fn refresh(&self) {
        for joined in self.topics.values() {
            joined.wanted.send_modify(|wanted| wanted.round += 1);
        }
        if let Listening::Yes(server) = &self.listening {
            server.refresh();
        }
    }

    /// Starts the server, if it is not there.
    fn listen(&mut self) {
        if !matches!(self.listening, Listening::No) || self.suspended {
            return;
        }
        self.listening = Listening::Starting;
        let machine = self.machine.clone();
        let firewall = self.options.firewall.clone();
        let options = ServerOptions {
            firewall: Some(Arc::new(move |asker: &Asker<'_>| {
                // The program's rule is asked without the lock: it may ask the swarm.
                let refused = lock(&machine).refuses(asker.public_key);
                refused || firewall.as_ref().is_some_and(|rule| rule(asker.public_key))
            })),
            relay_through: self.options.relay_through,
            ..ServerOptions::default()
        };
        let (dht, key_pair) = (self.dht.clone(), self.options.key_pair.clone());
        self.starting.spawn(async move {
            match dht.listen(&key_pair, options).await {
                Ok(server) => Some(server),
                Err(error) => {
                    tracing::warn!(%error, "the swarm cannot be reached by others");
                    None
                }
            }
        });
    }

    async fn listens(&mut self, server: Option<Server>) {
        let relay_addresses = server.as_ref().map(Server::relay_addresses).unwrap_or_default();
        self.listening = server.map_or(Listening::No, Listening::Yes);
        for waiting in self.waiting_for_server.drain(..) {
            let _ = waiting.send(relay_addresses.clone());
        }
        if let Listening::Yes(server) = &self.listening
            && self.suspended
        {
            server.suspend().await;
        }
    }

    fn keeps_out(&self, peer: &PublicKey) -> bool {
        self.options.firewall.as_ref().is_some_and(|rule| rule(peer))
    }

    fn came(&mut self, connection: PeerConnection) {
        let peer = *connection.remote_public_key();
        let mut machine = lock(&self.machine);
        let id = machine.number();
        let existing = machine
            .connection_to(&peer)
            .and_then(|existing| self.handles.get(&existing));
        let is_heard = existing.is_some_and(Handle::is_heard);
        machine.incoming(id, peer, is_heard, now());
        drop(machine);
        self.ready.insert(id, connection);
    }

    fn attempted(&mut self, id: ConnectionId, result: Result<PeerConnection, ConnectError>) {
        self.attempt_handles.remove(&id);
        match result {
            Ok(connection) => {
                self.ready.insert(id, connection);
                lock(&self.machine).opened(id, now());
                // One that was given up meanwhile is dropped by this.
            }
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "no connection to a peer"
                );
                let ended = match self.options.relay_through {
                    Some(_) => ended(&error),
                    None => Ended::Usual,
                };
                lock(&self.machine).closed(id, ended, now());
            }
        }
    }

    /// Does all that the machine says.
    fn act(&mut self) {
        loop {
            let Some(action) = lock(&self.machine).poll_action() else {
                break;
            };
            match action {
                Action::Connect {
                    connection,
                    peer,
                    relay_addresses,
                    force_relay,
                } => self.connect(connection, peer, relay_addresses, force_relay),
                Action::Hand {
                    connection,
                    peer,
                    by_us,
                } => self.hand(connection, peer, by_us),
                Action::Close { connection } => {
                    if let Some(attempt) = self.attempt_handles.remove(&connection) {
                        attempt.abort();
                    }
                    if let Some(ready) = self.ready.remove(&connection) {
                        ready.connection.handle.destroy();
                    }
                    if let Some(handle) = self.handles.remove(&connection) {
                        handle.destroy();
                    }
                }
                Action::Flushed(flush) => {
                    if let Some(done) = self.flushes.remove(&flush) {
                        let _ = done.send(());
                    }
                }
            }
        }
        // Made for an attempt that nobody knows any more.
        for (_, orphan) in self.ready.drain() {
            orphan.connection.handle.destroy();
        }
    }

    fn connect(
        &mut self,
        id: ConnectionId,
        peer: PublicKey,
        relay_addresses: Vec<SocketAddrV4>,
        force_relay: bool,
    ) {
        let relay = force_relay || self.dht.state().is_randomized();
        let options = ConnectOptions {
            relay_addresses,
            relay_through: self.options.relay_through.filter(|_| relay),
            ..ConnectOptions::default()
        };
        let (dht, key_pair) = (self.dht.clone(), self.options.key_pair.clone());
        let attempt = self.attempts.spawn(async move {
            let connecting = tokio::time::timeout(PATIENCE, dht.connect(peer, &key_pair, &options));
            let result = connecting.await.unwrap_or(Err(ConnectError::Unreachable(peer)));
            (id, result)
        });
        self.attempt_handles.insert(id, attempt);
    }

    fn hand(&mut self, id: ConnectionId, peer: PublicKey, by_us: bool) {
        let Some(connection) = self.ready.remove(&id) else {
            return;
        };
        let handle = connection.connection.handle.clone();
        let topics = lock(&self.machine).topics_of(&peer).copied().collect();
        let handed = SwarmConnection {
            peer: connection,
            topics,
            by_us,
        };
        if self.connections.try_send(handed).is_err() {
            tracing::warn!("connection dropped: the program does not take them");
            handle.destroy();
        }
        self.handles.insert(id, handle.clone());
        self.endings.spawn(async move {
            // Why it ended was told where it ended.
            let _ = handle.closed().await;
            id
        });
    }

    async fn suspend(&mut self) {
        if std::mem::replace(&mut self.suspended, true) {
            return;
        }
        lock(&self.machine).suspend(now());
        self.act();
        self.rest().await;
        if let Listening::Yes(server) = &self.listening {
            server.suspend().await;
        }
        self.dht.suspend();
    }

    /// Takes the announcements of all topics back.
    async fn rest(&self) {
        self.topics
            .values()
            .for_each(|joined| joined.want(JoinOptions::NOTHING));
        for joined in self.topics.values() {
            joined.round().done().await;
        }
    }

    fn resume(&mut self) {
        if !std::mem::take(&mut self.suspended) {
            return;
        }
        self.dht.resume();
        for joined in self.topics.values() {
            joined.want(joined.options());
        }
        match &self.listening {
            Listening::Yes(server) => server.resume(),
            _ if self.topics.values().any(|joined| joined.options().server) => self.listen(),
            _ => {}
        }
        lock(&self.machine).resume();
    }

    async fn close(&mut self) {
        lock(&self.machine).suspend(now());
        self.act();
        self.rest().await;
        while let Some(started) = self.starting.join_next().await {
            self.listening = started.ok().flatten().map_or(Listening::No, Listening::Yes);
        }
        if let Listening::Yes(server) = std::mem::replace(&mut self.listening, Listening::No) {
            server.close().await;
        }
    }
}

/// Whether a relay would have helped.
fn ended(error: &ConnectError) -> Ended {
    match error {
        ConnectError::NoWay
        | ConnectError::NotPunchable { .. }
        | ConnectError::NotPunching
        | ConnectError::GaveUp(_)
        | ConnectError::PunchFailed => Ended::NotPunchable,
        _ => Ended::Usual,
    }
}
