//! What a node keeps for connections between peers: its servers, the ways to servers that it knows, and how it passes
//! their messages on.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::dht::handle::WeakDht;
use crate::dht::holepunch::{RandomPunch, RandomPunches};
use crate::dht::messages::{HandshakeMessage, HolepunchMessage};
use crate::dht::router::{self, Route, Send, Step};
use crate::dht::server::ServerCore;
use crate::dht::{Answer, Command, Dht, Incoming, SocketId, Target};

/// Servers of whom it is remembered through which nodes they were reached; the peer's figure.
const MAX_WAYS: usize = 512;

/// Part of each node.
#[derive(Default)]
pub(in crate::dht) struct Peers {
    servers: Mutex<HashMap<Target, Arc<ServerCore>>>,
    ways: Mutex<HashMap<[u8; 32], Vec<SocketAddrV4>>>,
    random_punches: Arc<Mutex<RandomPunches>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    /// Adds a server, unless there is one of its key.
    pub(in crate::dht) fn add_server(&self, target: Target, server: Arc<ServerCore>) -> bool {
        let mut servers = lock(&self.servers);
        let is_new = !servers.contains_key(&target);
        servers.entry(target).or_insert(server);
        is_new
    }

    pub(in crate::dht) fn remove_server(&self, target: &Target) {
        lock(&self.servers).remove(target);
    }

    pub(in crate::dht) fn server(&self, target: &Target) -> Option<Arc<ServerCore>> {
        lock(&self.servers).get(target).cloned()
    }

    /// The nodes through which a server was reached the last time.
    pub(in crate::dht) fn ways(&self, server: &[u8; 32]) -> Vec<SocketAddrV4> {
        lock(&self.ways).get(server).cloned().unwrap_or_default()
    }

    /// Remembers them.
    pub(in crate::dht) fn set_ways(&self, server: [u8; 32], nodes: Vec<SocketAddrV4>) {
        let mut ways = lock(&self.ways);
        if ways.len() >= MAX_WAYS && !ways.contains_key(&server) {
            let any = ways.keys().next().copied();
            any.and_then(|any| ways.remove(&any));
        }
        ways.insert(server, nodes);
    }

    /// Begins a punch with a random NAT, if the node may make one now.
    pub(in crate::dht) fn random_punch(&self) -> Option<RandomPunch> {
        RandomPunch::begin(&self.random_punches, Instant::now().into_std())
    }

    /// Whether [`random_punch`](Self::random_punch) would begin one.
    pub(in crate::dht) fn may_punch_at_random(&self) -> bool {
        lock(&self.random_punches).may_begin(Instant::now().into_std())
    }
}

/// Takes what others ask about connections, as long as the node is there.
pub(in crate::dht) async fn serve(dht: WeakDht, mut requests: mpsc::Receiver<Incoming>) {
    while let Some(incoming) = requests.recv().await {
        let Some(dht) = dht.upgrade() else { return };
        match incoming.command {
            Command::PeerHandshake => handshake(&dht, incoming),
            _ => holepunch(&dht, incoming),
        }
    }
}

/// What the node knows of a target. A request without one is passed on where it says itself where to.
fn route(dht: &Dht, target: Option<&Target>) -> (Route, Option<Arc<ServerCore>>) {
    let Some(target) = target else {
        return (Route::Unknown, None);
    };
    let server = dht.peers().server(target);
    let route = match (&server, dht.announced(target)) {
        (Some(_), _) => Route::Here,
        (None, Some(relay)) => Route::Announced(relay),
        (None, None) => Route::Unknown,
    };
    (route, server)
}

fn handshake(dht: &Dht, incoming: Incoming) {
    let value = incoming.value.as_deref().unwrap_or_default();
    let Ok(message) = HandshakeMessage::decode(value) else {
        return;
    };
    let (route, server) = route(dht, incoming.target.as_ref());
    match (router::handshake(message, incoming.from, route), server) {
        (Step::Send(send), _) => answer(dht, &incoming, send, None),
        (Step::Serve(serve), Some(server)) => server.handshake(dht, incoming, serve),
        _ => {}
    }
}

fn holepunch(dht: &Dht, incoming: Incoming) {
    let value = incoming.value.as_deref().unwrap_or_default();
    let Ok(message) = HolepunchMessage::decode(value) else {
        return;
    };
    let (route, server) = route(dht, incoming.target.as_ref());
    match (router::holepunch(message, incoming.from, route), server) {
        (Step::Send(send), _) => answer(dht, &incoming, send, None),
        (Step::Serve(serve), Some(server)) => server.holepunch(incoming, serve),
        _ => {}
    }
}

/// Sends what a request is answered with, from another socket if one is given.
pub(in crate::dht) fn answer(dht: &Dht, incoming: &Incoming, send: Send, socket: Option<SocketId>) {
    match send {
        Send::Request { value, to } => dht.relay(incoming, value, to, socket),
        Send::Reply { value, to } => {
            let to = Some(to);
            let bare = Answer::bare(Some(value));
            dht.respond(incoming, Answer { to, socket, ..bare });
        }
        Send::CloserNodes => {
            let token = false;
            let nodes = Answer::value(None);
            dht.respond(incoming, Answer { token, ..nodes });
        }
    }
}
