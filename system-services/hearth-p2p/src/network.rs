//! The network under a verb: connections to peers, over which the storage's cores are replicated.

mod online;
mod peers;
mod swarm;
mod tcp;

pub use online::Online;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use hyper_core::corestore::Corestore;
use hyper_core::crypto::KeyPair;
use hyper_core::key;
use hyper_core::session::{GetOptions, Session};
use hyper_swarm::swarm::{JoinOptions, Swarm};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use self::peers::Peers;
use crate::context::Context;
use crate::refusal::Refusal;

/// How long a peer may take to say that it has a core, and how long to give its length.
const TO_SAY_SO: Duration = Duration::from_millis(500);
const FIRST_NEWS: Duration = Duration::from_secs(5);

/// How peers are found.
#[derive(Debug, Clone, Args)]
pub struct Reach {
    /// Take peers at this TCP address, and ask no DHT.
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Peers")]
    tcp_listen: Option<SocketAddr>,
    /// Connect to this peer over TCP, and ask no DHT. May be given several times.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Peers")]
    tcp_peer: Vec<String>,
    /// How long to look for a peer before giving up, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, help_heading = "Peers")]
    patience: u64,
}

impl Reach {
    /// How long to look for a peer.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    /// Whether no DHT is asked.
    fn is_direct(&self) -> bool {
        self.tcp_listen.is_some() || !self.tcp_peer.is_empty()
    }

    /// What is not stored is waited for, so long.
    pub fn get_options(&self) -> GetOptions {
        GetOptions {
            wait: true,
            timeout: Some(self.patience()),
        }
    }
}

/// Connections, as long as it lives.
pub struct Network {
    peers: Peers,
    patience: Duration,
    swarm: Option<Swarm>,
    tasks: JoinSet<()>,
}

/// What is done with the cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// They are given to others; others find this end.
    Giving,
    /// They are fetched.
    Taking,
}

impl Network {
    /// Begins to look for peers with these cores; who gives them is found by others too.
    pub async fn start<'a>(
        context: &Context,
        store: &Corestore,
        reach: &Reach,
        cores: impl IntoIterator<Item = &'a Session>,
        role: Role,
    ) -> Result<Self> {
        let peers = Peers::new(context.output, store.clone());
        let keys = noise_keys(&context.identity(store));
        let mut tasks = JoinSet::new();
        if let Some(address) = reach.tcp_listen {
            let listener = tcp::listen(address, context.output).await?;
            tasks.spawn(tcp::accept_all(listener, keys.clone(), peers.clone()));
        }
        for address in &reach.tcp_peer {
            tasks.spawn(tcp::stay_connected(address.clone(), keys.clone(), peers.clone()));
        }
        let swarm = match reach.is_direct() {
            true => None,
            false => {
                let topics = cores.into_iter().map(Session::discovery_key).collect();
                let how = JoinOptions {
                    server: role == Role::Giving,
                    client: true,
                };
                let (dht, pair) = (context.dht_options(), context.identity(store));
                Some(swarm::join(dht, pair, topics, how, peers.clone(), &mut tasks).await?)
            }
        };
        Ok(Self {
            peers,
            patience: reach.patience(),
            swarm,
            tasks,
        })
    }

    /// Finds a peer of a core and learns from it how long the core is.
    pub async fn learn(&self, session: &Session) -> Result<()> {
        let what = format!("the core {}", key::to_z32(session.key()));
        let finding = session.finding_peers();
        self.found(&what).await?;
        // Whoever is looking for peers waits for the next one when a peer has nothing newer: looking ends when the peer had time to
        // say that it has the core.
        let mut finding = Some(finding);
        let news = session.update(true);
        let told = tokio::time::sleep(TO_SAY_SO);
        tokio::pin!(news, told);
        let known = tokio::time::timeout(FIRST_NEWS, async {
            loop {
                tokio::select! {
                    known = &mut news => return known,
                    () = &mut told, if finding.is_some() => finding = None,
                }
            }
        });
        known.await.unwrap_or(Ok(false))?;
        let mut changes = session.changes();
        let some = changes.wait_for(|state| state.length > 0);
        match tokio::time::timeout(self.patience, some).await {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(Refusal::NoPeers(format!("no peer has anything of {what}: is the key right?")).into())
            }
        }
    }

    /// Waits until there is a peer.
    async fn found(&self, what: &str) -> Result<()> {
        let seconds = self.patience.as_secs();
        match tokio::time::timeout(self.patience, self.peers.some()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Refusal::NoPeers(format!(
                "no peer with {what} was found in {seconds} s: is one running (`hearth-p2p core seed`), and can it be reached?"
            ))
            .into()),
        }
    }

    /// Ends all connections and takes back what was announced.
    pub async fn close(mut self) {
        self.peers.close().await;
        if let Some(swarm) = self.swarm.take() {
            swarm::leave(swarm).await;
        }
        self.tasks.shutdown().await;
    }
}

/// The key pair as the handshakes use it.
fn noise_keys(pair: &KeyPair) -> std::sync::Arc<hyper_swarm::noise::KeyPair> {
    let secret = Zeroizing::new(pair.secret_key());
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&secret[..32]);
    std::sync::Arc::new(hyper_swarm::noise::KeyPair::from_seed(&seed))
}
