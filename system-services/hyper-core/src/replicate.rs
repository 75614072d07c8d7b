//! Replication over connections: each carries many cores, and each core is replicated over many connections.
//!
//! A core that somebody has a session of is opened on every connection; one that only a peer asks for is opened when it asks, if the
//! store has it. One task for each connection does all of it; it reads no further while the store is behind, and answers requests
//! only as fast as the peer takes the answers.

pub(crate) mod answer;
mod link;

pub use link::{LinkError, LinkFault};

pub use crate::replicator::{Fault, fuzz_replicator};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::crypto::Hash;
use crate::link::Link;
use crate::live::{Live, lock};
use crate::mux::ChannelId;
use crate::session::Session;
use crate::store::StoreError;

/// Finds a core by its discovery key: for peers who ask for one that nobody has a session of.
type Find = dyn Fn(&Hash) -> Result<Option<Arc<Live>>, StoreError> + Send + Sync;

/// Cores and the connections over which they are replicated. Clones are the same.
///
/// Dropping the last one ends no connection; they end with their links.
#[derive(Clone, Default)]
pub struct Replication(Arc<Network>);

/// What a connection is told.
pub(crate) enum Wake {
    /// There is something to do for the peer of this channel.
    Ready(ChannelId),
    /// A core is wanted: open it, unless it is.
    Open(Arc<Live>),
    /// The store has room again.
    Room,
}

/// See [`Replication`].
#[derive(Default)]
pub(crate) struct Network {
    known: Mutex<Known>,
    find: Option<Box<Find>>,
    links: Mutex<Links>,
}

/// Open cores by discovery key; they are not held open by this.
#[derive(Default)]
struct Known {
    cores: HashMap<Hash, Weak<Live>>,
    /// At how many entries those of closed cores are looked for.
    sweep_at: usize,
}

#[derive(Default)]
struct Links {
    next: u64,
    open: HashMap<u64, mpsc::UnboundedSender<Wake>>,
}

impl Replication {
    /// With a store behind it, whose cores are opened when peers ask for them.
    pub(crate) fn with_store(
        find: impl Fn(&Hash) -> Result<Option<Arc<Live>>, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Network {
            find: Some(Box::new(find)),
            ..Network::default()
        }))
    }

    /// Replicates a core over all connections, those that are there and those to come.
    pub fn add(&self, session: &Session) {
        self.add_live(session.live());
    }

    pub(crate) fn add_live(&self, live: &Arc<Live>) {
        let mut known = lock(&self.0.known);
        if known.cores.len() >= known.sweep_at {
            known.cores.retain(|_, live| live.strong_count() > 0);
            known.sweep_at = 2 * known.cores.len() + 16;
        }
        known
            .cores
            .insert(live.core().discovery_key(), Arc::downgrade(live));
        drop(known);
        live.join(&self.0);
    }

    /// Replicates over a connection until it ends. The task says why it ended if the peer is to blame; it must run within a runtime.
    pub fn attach(&self, link: Link) -> JoinHandle<Result<(), LinkError>> {
        tokio::spawn(link::run(Arc::clone(&self.0), link))
    }

    /// Connections.
    pub fn links(&self) -> usize {
        lock(&self.0.links).open.len()
    }
}

impl Network {
    /// The core with this discovery key.
    fn find(&self, discovery_key: &Hash) -> Result<Option<Arc<Live>>, StoreError> {
        if let Some(live) = lock(&self.known).cores.get(discovery_key).and_then(Weak::upgrade) {
            return Ok(Some(live));
        }
        self.find.as_ref().map_or(Ok(None), |find| find(discovery_key))
    }

    /// Cores that are wanted here.
    fn wanted(&self) -> Vec<Arc<Live>> {
        let known: Vec<_> = lock(&self.known)
            .cores
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        known.into_iter().filter(|live| live.wants_peers()).collect()
    }

    /// Opens a core on all connections.
    pub(crate) fn open_everywhere(&self, live: &Arc<Live>) {
        for wake in lock(&self.links).open.values() {
            let _ = wake.send(Wake::Open(Arc::clone(live)));
        }
    }

    fn add_link(&self, wake: mpsc::UnboundedSender<Wake>) -> u64 {
        let mut links = lock(&self.links);
        links.next += 1;
        let number = links.next;
        links.open.insert(number, wake);
        number
    }

    fn remove_link(&self, number: u64) {
        lock(&self.links).open.remove(&number);
    }
}
