//! Servers: who has the key of one can be reached by all who know it.

mod session;
mod table;
#[cfg(test)]
mod tests;

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_core::crypto::{self, KeyPair};
use subtle::ConstantTimeEq;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::session::{Asked, PunchRequest, Session};
use self::table::{Admission, Table};
use super::connect::peers;
use super::connect::{PeerConnection, RELAY_GRACE, ServerHandshake, noise_keys};
use super::messages::{ReadPayload, RelayInfo};
use super::records::{Announcer, PeerRecord};
use super::router::{ServeHandshake, ServeHolepunch};
use super::{Dht, Incoming, SocketId, Target};
use crate::{connection, noise};

/// Connections that wait to be accepted; further ones are dropped.
const WAITING_CONNECTIONS: usize = 64;
/// Steps of one holepunch that wait.
const WAITING_STEPS: usize = 8;

/// Who asks for a connection.
#[derive(Debug)]
pub struct Asker<'a> {
    /// Its key; it has proved that it has the secret one.
    pub public_key: &'a [u8; 32],
    /// Where it asks from, as seen by whoever passed it on.
    pub address: SocketAddrV4,
    /// What it says of itself.
    pub payload: &'a ReadPayload,
}

/// Says whether somebody is kept out. It is not answered then.
pub type FirewallRule = Arc<dyn Fn(&Asker<'_>) -> bool + Send + Sync>;

/// How a server behaves.
#[derive(Clone)]
pub struct ServerOptions {
    /// Who is kept out. Default: nobody.
    pub firewall: Option<FirewallRule>,
    /// Whether askers are told the addresses on our own networks: who is on the same comes by a short way.
    pub share_local_address: bool,
    /// Whether holes are punched.
    pub holepunch: bool,
    /// The relay that askers are to meet us at if there is no direct way.
    pub relay_through: Option<[u8; 32]>,
    /// So long the direct way alone is tried before we go to a relay; it is tried on then. Default: [`RELAY_GRACE`].
    pub relay_grace: Duration,
    /// How connections behave.
    pub connection: connection::Options,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            firewall: None,
            share_local_address: true,
            holepunch: true,
            relay_through: None,
            relay_grace: RELAY_GRACE,
            connection: connection::Options::hyperdht(),
        }
    }
}

impl std::fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerOptions")
            .field("has_firewall", &self.firewall.is_some())
            .field("relay_through", &self.relay_through)
            .finish_non_exhaustive()
    }
}

/// Why a server is not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// The node has one.
    #[error("this node has a server of the same key already")]
    KeyInUse,
}

/// A server. Dropping it ends it without taking its announcement back, which nodes forget after some 20 minutes.
pub struct Server {
    dht: Dht,
    core: Arc<ServerCore>,
    connections: mpsc::Receiver<PeerConnection>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("public_key", &self.public_key())
            .finish_non_exhaustive()
    }
}

impl Dht {
    /// Lets others connect to `key_pair`'s public key from now on. Returns when the key was announced (or it was tried).
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn listen(&self, key_pair: &KeyPair, options: ServerOptions) -> Result<Server, ListenError> {
        let target = crypto::hash(&[&key_pair.public_key()]);
        let (accepted, connections) = mpsc::channel(WAITING_CONNECTIONS);
        let core = Arc::new(ServerCore {
            keys: noise_keys(key_pair),
            target,
            options,
            accepted,
            announcer: Mutex::new(None),
            is_suspended: AtomicBool::new(false),
            sessions: Mutex::new(Table::new(Instant::now().into_std())),
        });
        if !self.peers().add_server(target, core.clone()) {
            return Err(ListenError::KeyInUse);
        }
        let record = PeerRecord {
            public_key: key_pair.public_key(),
            relay_addresses: Vec::new(),
        };
        self.with_storage(|storage| storage.serve(target, record.encode()));
        let server = Server {
            dht: self.clone(),
            core,
            connections,
        };
        let announcer = Announcer::start(self, key_pair.clone()).await;
        *lock(&server.core.announcer) = Some(Arc::new(announcer));
        Ok(server)
    }
}

impl Server {
    /// The key that it is reached by.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        self.core.keys.public_key()
    }

    /// The next connection; `None` never, as long as the server is there. Connections that are not accepted in time
    /// are dropped.
    pub async fn accept(&mut self) -> Option<PeerConnection> {
        self.connections.recv().await
    }

    /// Nodes by which it can be found quickly.
    #[must_use]
    pub fn relay_addresses(&self) -> Vec<SocketAddrV4> {
        self.core
            .announced(Announcer::relay_addresses)
            .unwrap_or_default()
    }

    /// Announces the key anew: the network changed.
    pub fn refresh(&self) {
        self.core.announced(Announcer::refresh);
    }

    /// Takes the announcement back and answers nobody, until [`resume`](Self::resume). Connections stay.
    pub async fn suspend(&self) {
        self.core.is_suspended.store(true, Ordering::Relaxed);
        let announcer = lock(&self.core.announcer).clone();
        if let Some(announcer) = announcer {
            announcer.suspend().await;
        }
    }

    /// Goes on after [`suspend`](Self::suspend).
    pub fn resume(&self) {
        self.core.is_suspended.store(false, Ordering::Relaxed);
        self.core.announced(Announcer::resume);
    }

    /// Ends the server and takes its announcement back. Connections stay.
    pub async fn close(self) {
        let announcer = lock(&self.core.announcer).take();
        if let Some(announcer) = announcer {
            announcer.suspend().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.dht.peers().remove_server(&self.core.target);
        self.dht
            .with_storage(|storage| storage.stop_serving(&self.core.target));
        // The announcer holds the node.
        drop(lock(&self.core.announcer).take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of a server that the node and its handshakes share.
pub(super) struct ServerCore {
    keys: noise::KeyPair,
    target: Target,
    options: ServerOptions,
    accepted: mpsc::Sender<PeerConnection>,
    announcer: Mutex<Option<Arc<Announcer>>>,
    is_suspended: AtomicBool,
    sessions: Mutex<Table<Entry>>,
}

/// What is known of a handshake outside of its task.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// The Noise message and the socket it is sent from, when there is one.
    reply: Option<(Vec<u8>, Option<SocketId>)>,
    steps: Steps,
}

#[derive(Debug)]
struct Steps(mpsc::Sender<PunchRequest>);

impl PartialEq for Steps {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}

impl Eq for Steps {}

impl ServerCore {
    fn announced<T>(&self, ask: impl FnOnce(&Announcer) -> T) -> Option<T> {
        lock(&self.announcer).as_deref().map(ask)
    }

    fn relays(&self) -> Vec<RelayInfo> {
        let relays = self.announced(Announcer::relays).unwrap_or_default();
        let info = relays.iter().map(|relay| RelayInfo {
            relay_address: relay.relay_address,
            peer_address: relay.peer_address,
        });
        info.collect()
    }

    fn is_relay(&self, node: SocketAddrV4) -> bool {
        self.announced(|announcer| announcer.is_relay(node))
            .unwrap_or(false)
    }

    /// A client asks for a connection. The same request may come through several nodes and is answered through each.
    pub(super) fn handshake(self: &Arc<Self>, dht: &Dht, incoming: Incoming, serve: ServeHandshake) {
        if self.is_suspended.load(Ordering::Relaxed) {
            return;
        }
        let request = crypto::hash(&[&serve.noise]);
        let host = *serve.client.ip();
        let id = match lock(&self.sessions).admit(&request, host, Instant::now().into_std()) {
            Admission::Known(Entry {
                reply: Some((noise, socket)),
                ..
            }) => {
                let send = serve.answer(noise.clone(), incoming.from);
                return peers::answer(dht, &incoming, send, *socket);
            }
            Admission::Known(_) | Admission::Refused => return,
            Admission::New(id) => id,
        };
        let Some(handshake) = self.read_request(&serve) else {
            return;
        };
        let (steps, punches) = mpsc::channel(WAITING_STEPS);
        let entry = Entry {
            reply: None,
            steps: Steps(steps),
        };
        lock(&self.sessions).insert(id, request, host, entry);
        let asked = Asked {
            incoming,
            serve,
            handshake,
        };
        let session = Session::new(dht.clone(), self.clone(), id, punches);
        tokio::spawn(session.run(asked));
    }

    /// The handshake, if it is for us and from somebody who is let in.
    fn read_request(&self, serve: &ServeHandshake) -> Option<ServerHandshake> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).ok()?;
        let handshake = ServerHandshake::read_request(&self.keys, &serve.noise, seed)
            .inspect_err(|error| tracing::debug!(%error, client = %serve.client, "handshake refused"))
            .ok()?;
        let asker = Asker {
            public_key: handshake.client(),
            address: serve.client,
            payload: handshake.payload(),
        };
        let is_kept_out = self.options.firewall.as_ref().is_some_and(|rule| rule(&asker));
        (!is_kept_out).then_some(handshake)
    }

    /// A client takes a step of a holepunch.
    pub(super) fn holepunch(&self, incoming: Incoming, serve: ServeHolepunch) {
        let steps = lock(&self.sessions)
            .get(serve.id)
            .map(|entry| entry.steps.0.clone());
        if let Some(steps) = steps {
            // A session that is over, or has too much to do: the client asks again.
            let _ = steps.try_send(PunchRequest { incoming, serve });
        }
    }

    fn replied(&self, id: usize, reply: Vec<u8>, socket: Option<SocketId>) {
        lock(&self.sessions).update(id, |entry| entry.reply = Some((reply, socket)));
    }

    fn forget(&self, id: usize) {
        lock(&self.sessions).remove(id);
    }
}

/// Whether a token that came back is the one that was given.
fn is_same(token: &[u8; 32], other: Option<&[u8; 32]>) -> bool {
    other.is_some_and(|other| token.ct_eq(other).into())
}
