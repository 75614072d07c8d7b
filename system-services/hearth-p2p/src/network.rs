//! The network under a verb: connections to peers, over which the storage's cores are replicated.

mod peers;
mod tcp;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use hyper_core::corestore::Corestore;
use hyper_core::crypto::KeyPair;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use self::peers::Peers;
use crate::context::Context;
use crate::refusal::Refusal;

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
}

/// Connections, as long as it lives.
pub struct Network {
    peers: Peers,
    patience: Duration,
    tasks: JoinSet<()>,
}

impl Network {
    /// Begins to look for peers, and to take them.
    pub async fn start(context: &Context, store: &Corestore, reach: &Reach) -> Result<Self> {
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
        Ok(Self {
            peers,
            patience: reach.patience(),
            tasks,
        })
    }

    /// How long the user wants to wait for news.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits until there is a peer.
    pub async fn found(&self, what: &str) -> Result<()> {
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
