//! Keeps a peer findable under the hash of its key (hyperdht `lib/announcer.js`): announces it with three of the closest
//! nodes, which then pass requests for it on, looks after them, and does it again every five minutes.

use std::collections::HashSet;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use hyper_core::crypto::{self, KeyPair};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::client::{bare, signed};
use super::signing::Purpose;
use crate::dht::handle::Dht;
use crate::dht::rpc::address::Target;
use crate::dht::rpc::node::Outgoing;
use crate::dht::rpc::query::{QueryOptions, Reply};

/// Nodes that the peer is announced with.
const RELAYS: usize = 3;

/// They are pinged so often: it also keeps NATs open to them.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// After so many pings the peer is announced anew: five minutes.
const PINGS: u32 = 100;

/// Pause after nobody could be found.
const RETRY: Duration = Duration::from_secs(5);

/// Taking the announcement back takes two requests to each node, each of which is given up after four seconds. After this, the
/// nodes are left to forget it.
const TAKING_BACK: Duration = Duration::from_secs(10);

/// A node that passes requests on to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// The node.
    pub relay_address: SocketAddrV4,
    /// How it sees the peer.
    pub peer_address: SocketAddrV4,
}

/// What is known of the announcement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    relays: Vec<Relay>,
    relay_addresses: Vec<SocketAddrV4>,
    /// The nodes that were asked with the last announcements, too.
    recent: Vec<SocketAddrV4>,
    /// It was tried.
    is_tried: bool,
}

/// Announces a peer until it is stopped or dropped. Stopped, it takes the announcement back.
#[derive(Debug)]
pub struct Announcer {
    work: Arc<Work>,
    task: JoinHandle<()>,
}

struct Work {
    dht: Dht,
    key_pair: KeyPair,
    target: Target,
    state: watch::Sender<State>,
    again: Notify,
    cycles: Mutex<Cycles>,
    is_suspended: watch::Sender<bool>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The nodes that may have the announcement.
#[derive(Debug, Default)]
struct Cycles {
    /// Asked the last time, whatever they answered.
    current: HashSet<SocketAddrV4>,
    /// Asked the time before.
    before: HashSet<SocketAddrV4>,
    closest: Vec<SocketAddrV4>,
}

impl Announcer {
    /// Begins to announce; returns when it was tried once.
    pub async fn start(dht: &Dht, key_pair: KeyPair) -> Self {
        let target = crypto::hash(&[&key_pair.public_key()]);
        let work = Arc::new(Work {
            dht: dht.clone(),
            key_pair,
            target,
            state: watch::Sender::default(),
            again: Notify::new(),
            cycles: Mutex::default(),
            is_suspended: watch::Sender::new(false),
        });
        let task = tokio::spawn(work.clone().run());
        let announcer = Self { work, task };
        let mut state = announcer.work.state.subscribe();
        // The sender is in `announcer`.
        let _ = state.wait_for(|state| state.is_tried).await;
        announcer
    }

    /// The hash of the peer's key.
    pub fn target(&self) -> &Target {
        &self.work.target
    }

    /// The nodes that pass requests on, and how they see the peer.
    pub fn relays(&self) -> Vec<Relay> {
        self.work.state.borrow().relays.clone()
    }

    /// Addresses that a peer can be told to be reached by: the own one if strangers reach it, and the relays'.
    pub fn relay_addresses(&self) -> Vec<SocketAddrV4> {
        self.work.state.borrow().relay_addresses.clone()
    }

    /// Whether requests from there may have been passed on for this peer.
    pub fn is_relay(&self, address: SocketAddrV4) -> bool {
        self.work.state.borrow().recent.contains(&address)
    }

    /// Announces anew now: the network changed.
    pub fn refresh(&self) {
        self.work.again.notify_one();
    }

    /// Takes the announcement back, until [`resume`](Self::resume). An announcement that is under way is broken off. Takes ten
    /// seconds at most.
    pub async fn suspend(&self) {
        self.work.is_suspended.send_replace(true);
        if tokio::time::timeout(TAKING_BACK, self.work.unannounce())
            .await
            .is_err()
        {
            tracing::debug!("a node did not take an announcement back in time");
        }
    }

    /// Goes on after [`suspend`](Self::suspend).
    pub fn resume(&self) {
        self.work.is_suspended.send_replace(false);
        self.refresh();
    }

    /// Ends, and takes the announcement back as [`suspend`](Self::suspend) does.
    pub async fn stop(self) {
        self.suspend().await;
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Work {
    async fn run(self: Arc<Self>) {
        let mut suspended = self.is_suspended.subscribe();
        let mut network = self.dht.watch();
        loop {
            let seen = { *network.borrow_and_update() };
            tokio::select! {
                biased;
                // What is to be taken back is noted; `unannounce` waits for the lock.
                _ = suspended.wait_for(|suspended| *suspended) => {}
                () = self.announce() => {}
            }
            if suspended.wait_for(|suspended| !suspended).await.is_err() {
                return;
            }
            tokio::select! {
                () = self.look_after() => {}
                () = self.again.notified() => {}
                // Seen from elsewhere: another network.
                _ = network.wait_for(|now| (now.host, now.firewalled) != (seen.host, seen.firewalled)) => {}
            }
        }
    }

    /// Returns when it is time to announce anew.
    async fn look_after(&self) {
        let relays = self.state.borrow().relays.clone();
        if relays.is_empty() {
            return tokio::time::sleep(RETRY).await;
        }
        for _ in 0..PINGS {
            tokio::time::sleep(PING_INTERVAL).await;
            let mut pings = JoinSet::new();
            for relay in &relays {
                let dht = self.dht.clone();
                let address = relay.relay_address;
                pings.spawn(async move { dht.ping(address).await.is_ok() });
            }
            let mut is_lost = false;
            while let Some(done) = pings.join_next().await {
                is_lost |= !done.unwrap_or(false);
            }
            if is_lost {
                return;
            }
        }
    }

    async fn announce(&self) {
        let mut cycles = self.cycles.lock().await;
        let options = QueryOptions {
            nodes: cycles.closest.clone(),
            ..QueryOptions::default()
        };
        let closest = self.dht.find_target(self.target, options).finish().await;
        cycles.closest = closest.iter().map(|reply| reply.from).collect();
        let requests = self.requests(&closest);
        // Noted before they are asked: also what is broken off is taken back.
        let asked = requests.iter().map(|request| request.to).collect();
        cycles.before = std::mem::replace(&mut cycles.current, asked);
        let relays = self.announce_with(requests, &closest).await;
        let own = self.dht.remote_address();
        let addresses = own
            .into_iter()
            .chain(relays.iter().map(|relay| relay.relay_address));
        let relay_addresses = addresses.take(RELAYS).collect();
        let recent = cycles.current.union(&cycles.before).copied().collect();
        let state = State {
            relays,
            relay_addresses,
            recent,
            is_tried: true,
        };
        self.state.send_replace(state);
        let gone: Vec<_> = cycles.before.difference(&cycles.current).copied().collect();
        self.unannounce_from(gone).await;
    }

    /// One for each of the closest nodes that stores anything.
    fn requests(&self, closest: &[Reply]) -> Vec<Outgoing> {
        let announcement = bare(self.key_pair.public_key());
        let request = |reply: &Reply| {
            signed(
                reply,
                self.target,
                Purpose::Announce,
                announcement.clone(),
                &self.key_pair,
            )
        };
        closest.iter().filter_map(request).take(RELAYS).collect()
    }

    async fn announce_with(&self, requests: Vec<Outgoing>, closest: &[Reply]) -> Vec<Relay> {
        let sees_us = |address| {
            closest
                .iter()
                .find(|reply| reply.from == address)
                .map(|reply| reply.to)
        };
        let mut tasks = JoinSet::new();
        for request in requests {
            let dht = self.dht.clone();
            tasks.spawn(async move { dht.request(request).await });
        }
        let mut relays = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let Ok(Ok(reply)) = done else { continue };
            if let Some(peer_address) = sees_us(reply.from).filter(|_| reply.error == 0) {
                relays.push(Relay {
                    relay_address: reply.from,
                    peer_address,
                });
            }
        }
        relays
    }

    async fn unannounce(&self) {
        let mut cycles = self.cycles.lock().await;
        let Cycles { current, before, .. } = std::mem::take(&mut *cycles);
        self.state.send_replace(State {
            is_tried: true,
            ..State::default()
        });
        self.unannounce_from(current.union(&before).copied().collect())
            .await;
    }

    async fn unannounce_from(&self, nodes: Vec<SocketAddrV4>) {
        let mut tasks = JoinSet::new();
        for node in nodes {
            let dht = self.dht.clone();
            let (target, key_pair) = (self.target, self.key_pair.clone());
            tasks.spawn(async move { dht.unannounce_from(node, target, &key_pair).await });
        }
        while tasks.join_next().await.is_some() {}
    }
}
