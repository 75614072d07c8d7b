//! Peers that find each other by topic, and stay connected (hyperswarm 4.17).
//!
//! A topic is 32 bytes that peers agree upon: for a core, its discovery key. Who joins it as a server is announced in the DHT; who
//! joins it as a client looks for those and connects. There is one connection between two peers, whatever topics they share.
//!
//! ```no_run
//! use hyper_core::crypto::KeyPair;
//! use hyper_swarm::dht::{Dht, DhtOptions};
//! use hyper_swarm::swarm::{JoinOptions, Swarm, SwarmOptions};
//!
//! # async fn example(key_pair: KeyPair) -> Result<(), Box<dyn std::error::Error>> {
//! let dht = Dht::bind(DhtOptions::default()).await?;
//! let (swarm, mut connections) = Swarm::start(dht, SwarmOptions::new(key_pair))?;
//! let topic = swarm.join([7; 32], JoinOptions::default()).await?;
//! topic.announced().await;
//! while let Some(connection) = connections.recv().await {
//!     let link = connection.peer.connection.link;
//!     link.outgoing.send(b"hello".to_vec()).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod discovery;
mod driver;
mod machine;
mod peer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hyper_core::crypto::KeyPair;
use tokio::sync::{mpsc, oneshot};

use self::driver::{Command, Driver, Round, lock};
pub use self::machine::{Action, ConnectionId, Ended, FlushId, Machine};
use crate::dht::{Dht, PeerConnection};

/// A peer's public key.
pub type PublicKey = [u8; 32];

/// What peers meet by.
pub type Topic = [u8; 32];

/// Peers of whom something is remembered. Whoever answers lookups decides whom we are told of: beyond this, new ones are not heard of.
pub const MAX_KNOWN_PEERS: usize = 4096;

/// Topics that are remembered of one peer.
const MAX_TOPICS_PER_PEER: usize = 64;

/// Nodes that are remembered as knowing one peer. Honest nodes name three.
const MAX_RELAYS_PER_PEER: usize = 8;

/// Connections that wait for the program; further ones are dropped.
const WAITING_CONNECTIONS: usize = 64;

/// Commands that wait for the swarm's task.
const WAITING_COMMANDS: usize = 64;

/// How many connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// With so many connections, no more attempts are begun.
    pub peers: usize,
    /// Attempts at a time.
    pub parallel: usize,
    /// Connections that peers began.
    pub incoming: usize,
}

impl Default for Limits {
    /// The peer's, but for the last: it knows no limit there.
    fn default() -> Self {
        Self {
            peers: 64,
            parallel: 3,
            incoming: 256,
        }
    }
}

/// Says whether a peer is kept out.
pub type KeepOut = Arc<dyn Fn(&PublicKey) -> bool + Send + Sync>;

/// How a swarm behaves.
#[derive(Clone)]
pub struct SwarmOptions {
    /// Who we are.
    pub key_pair: KeyPair,
    /// How many connections.
    pub limits: Limits,
    /// Who is neither connected to nor let in. Default: nobody.
    pub firewall: Option<KeepOut>,
    /// A blind relay for peers to whom no hole can be punched.
    pub relay_through: Option<PublicKey>,
}

impl SwarmOptions {
    /// The usual ones.
    #[must_use]
    pub fn new(key_pair: KeyPair) -> Self {
        Self {
            key_pair,
            limits: Limits::default(),
            firewall: None,
            relay_through: None,
        }
    }
}

impl fmt::Debug for SwarmOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwarmOptions")
            .field("limits", &self.limits)
            .field("relay_through", &self.relay_through)
            .finish_non_exhaustive()
    }
}

/// What of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinOptions {
    /// Be found there.
    pub server: bool,
    /// Find others.
    pub client: bool,
}

impl JoinOptions {
    /// Be found, and find nobody.
    pub const SERVER: Self = Self {
        server: true,
        client: false,
    };
    /// Find others, and be not found.
    pub const CLIENT: Self = Self {
        server: false,
        client: true,
    };
    const NOTHING: Self = Self {
        server: false,
        client: false,
    };
}

impl Default for JoinOptions {
    /// Both.
    fn default() -> Self {
        Self {
            server: true,
            client: true,
        }
    }
}

/// A connection to a peer.
#[derive(Debug)]
pub struct SwarmConnection {
    /// The connection.
    pub peer: PeerConnection,
    /// The topics under which the peer was found; none of a peer who found us.
    pub topics: Vec<Topic>,
    /// Whether this end connected.
    pub by_us: bool,
}

/// Why nothing can be done with a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SwarmError {
    /// It was closed.
    #[error("the swarm is closed")]
    Closed,
    /// Nothing is wanted of the topic.
    #[error("a topic is joined as a server, as a client, or as both")]
    NeitherServerNorClient,
    /// The operating system gives no random numbers.
    #[error("no random numbers for a swarm: {0}")]
    Random(getrandom::Error),
}

/// Peers who share topics with us. Clones are the same swarm; with the last one all connections end, and announcements are left to
/// expire: [`Swarm::close`] takes them back.
#[derive(Clone)]
pub struct Swarm {
    commands: mpsc::Sender<Command>,
    machine: Arc<Mutex<Machine>>,
    dht: Dht,
    public_key: PublicKey,
    sessions: Arc<AtomicU64>,
}

impl fmt::Debug for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swarm")
            .field("dht", &self.dht)
            .finish_non_exhaustive()
    }
}

impl Swarm {
    /// A swarm on a node of the DHT, and where its connections come out. Needs a running tokio runtime.
    ///
    /// # Errors
    /// [`SwarmError::Random`].
    pub fn start(
        dht: Dht,
        options: SwarmOptions,
    ) -> Result<(Self, mpsc::Receiver<SwarmConnection>), SwarmError> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(SwarmError::Random)?;
        let public_key = options.key_pair.public_key();
        let machine = Machine::new(public_key, options.limits, u64::from_le_bytes(seed));
        let machine = Arc::new(Mutex::new(machine));
        let (commands, receiver) = mpsc::channel(WAITING_COMMANDS);
        let (connections, connections_receiver) = mpsc::channel(WAITING_CONNECTIONS);
        let own = (commands.downgrade(), receiver);
        let driver = Driver::new(dht.clone(), options, machine.clone(), own, connections);
        tokio::spawn(driver.run());
        let swarm = Self {
            commands,
            machine,
            dht,
            public_key,
            sessions: Arc::default(),
        };
        Ok((swarm, connections_receiver))
    }

    /// Who we are.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The node of the DHT.
    #[must_use]
    pub fn dht(&self) -> &Dht {
        &self.dht
    }

    /// The peers that there is a connection to.
    #[must_use]
    pub fn peers(&self) -> Vec<PublicKey> {
        lock(&self.machine).connected().copied().collect()
    }

    /// Joins a topic until the handle is dropped, beside others who joined it on this swarm.
    ///
    /// # Errors
    /// [`SwarmError::Closed`], [`SwarmError::NeitherServerNorClient`].
    pub async fn join(&self, topic: Topic, options: JoinOptions) -> Result<TopicHandle, SwarmError> {
        if options == JoinOptions::NOTHING {
            return Err(SwarmError::NeitherServerNorClient);
        }
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        let (joined, round) = oneshot::channel();
        self.tell(Command::Join {
            topic,
            session,
            options,
            joined,
        })
        .await?;
        Ok(TopicHandle {
            topic,
            session,
            commands: self.commands.downgrade(),
            first: round.await.map_err(|_| SwarmError::Closed)?,
            left: false,
        })
    }

    /// Wants a connection to this peer, whatever its topics, and makes it anew whenever it ends.
    ///
    /// # Errors
    /// [`SwarmError::Closed`].
    pub async fn join_peer(&self, peer: PublicKey) -> Result<(), SwarmError> {
        self.tell(Command::JoinPeer(peer)).await
    }

    /// Takes [`Swarm::join_peer`] back. A connection stays.
    ///
    /// # Errors
    /// [`SwarmError::Closed`].
    pub async fn leave_peer(&self, peer: PublicKey) -> Result<(), SwarmError> {
        self.tell(Command::LeavePeer(peer)).await
    }

    /// Never again this peer.
    ///
    /// # Errors
    /// [`SwarmError::Closed`].
    pub async fn ban(&self, peer: PublicKey) -> Result<(), SwarmError> {
        self.tell(Command::Ban(peer)).await
    }

    /// Looks up and announces all topics anew: the network has changed.
    ///
    /// # Errors
    /// [`SwarmError::Closed`].
    pub async fn refresh(&self) -> Result<(), SwarmError> {
        self.tell(Command::Refresh).await
    }

    /// Waits until all topics were looked up and announced, and everybody found there was tried.
    ///
    /// # Errors
    /// [`SwarmError::Closed`].
    pub async fn flush(&self) -> Result<(), SwarmError> {
        for round in self.ask(Command::Rounds).await? {
            round.done().await;
        }
        self.ask(Command::Flush).await
    }

    /// Ends all connections, takes announcements back and rests, until [`Swarm::resume`]. What was joined is remembered.
    ///
    /// # Errors
    /// [`SwarmError::Closed`].
    pub async fn suspend(&self) -> Result<(), SwarmError> {
        self.ask(Command::Suspend).await
    }

    /// Goes on after [`Swarm::suspend`].
    ///
    /// # Errors
    /// [`SwarmError::Closed`].
    pub async fn resume(&self) -> Result<(), SwarmError> {
        self.ask(Command::Resume).await
    }

    /// Ends all connections, takes announcements back, and is over. The node of the DHT stays.
    pub async fn close(self) {
        // Closed already is closed.
        let _ = self.ask(Command::Close).await;
    }

    async fn tell(&self, command: Command) -> Result<(), SwarmError> {
        self.commands.send(command).await.map_err(|_| SwarmError::Closed)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, SwarmError> {
        let (sender, answer) = oneshot::channel();
        self.tell(command(sender)).await?;
        answer.await.map_err(|_| SwarmError::Closed)
    }
}

/// A topic that is joined. Dropping it leaves the topic.
#[must_use = "the topic is left when this is dropped"]
#[derive(Debug)]
pub struct TopicHandle {
    topic: Topic,
    session: u64,
    commands: mpsc::WeakSender<Command>,
    first: Round,
    left: bool,
}

impl TopicHandle {
    /// Which.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Waits until the topic was looked up, and announced if it was joined as a server. Of a swarm that rests nothing is waited for.
    pub async fn announced(&self) {
        self.first.clone().done().await;
    }

    /// Leaves the topic, and waits until the announcement is taken back, if nobody else is in it.
    pub async fn leave(mut self) {
        self.left = true;
        let Some(commands) = self.commands.upgrade() else {
            return;
        };
        let (sender, round) = oneshot::channel();
        let leave = Command::Leave {
            topic: self.topic,
            session: self.session,
            left: Some(sender),
        };
        if commands.send(leave).await.is_ok()
            && let Ok(Some(round)) = round.await
        {
            round.done().await;
        }
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        let Some(commands) = self.commands.upgrade().filter(|_| !self.left) else {
            return;
        };
        let leave = Command::Leave {
            topic: self.topic,
            session: self.session,
            left: None,
        };
        if let Err(mpsc::error::TrySendError::Full(leave)) = commands.try_send(leave)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { commands.send(leave).await });
        }
    }
}
