//! A node in the hands of a program.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::connect::peers::{self, Peers};
use super::driver::{Probe, Shared, now};
use super::options::{Bootstrap, DhtOptions};
use super::records::Storage;
use super::rpc::address::Target;
use super::rpc::command::Command;
use super::rpc::message::Token;
use super::rpc::node::{Answer, Incoming, Node, NodeConfig, NodeState, Outgoing, RequestError, RequestId};
use super::rpc::query::Reply;
use super::rpc::requests::{SendOptions, SocketId};
use super::socket::Socket;
use crate::udx::{self, Datagram, Udx};

/// Ports that are tried from the configured one on.
const PORTS: u16 = 5;

/// Names that could not be resolved are tried again after this.
const LOOKUP_PAUSE: Duration = Duration::from_secs(30);

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No socket.
    #[error("no UDP socket for the DHT on {address}")]
    Socket {
        /// Where it was to be.
        address: SocketAddrV4,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No random bytes.
    #[error("the system gives the DHT node no random bytes: {0}")]
    Random(getrandom::Error),
}

/// A node of the DHT. Cheap to clone; the node is gone when the last clone is.
#[derive(Clone)]
pub struct Dht {
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for Dht {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dht")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Dht {
    /// Starts a node, on the current tokio runtime. It can be used at once, and is of use when it has
    /// [begun](Self::bootstrapped).
    pub async fn bind(options: DhtOptions) -> Result<Self, BindError> {
        let udx = Udx::new();
        let server = bind_server(&udx, &options)?;
        let client = bind_to(&udx, SocketAddrV4::new(options.host, 0))?;
        let port = server.0.local_address().port();
        let mut secrets = [0; 128];
        getrandom::fill(&mut secrets).map_err(BindError::Random)?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(BindError::Random)?;
        let bootstrap = Bootstrap::begin(options.bootstrap.clone()).await;
        let config = NodeConfig {
            bootstrap: bootstrap.addresses().to_vec(),
            ephemeral: options.ephemeral,
            firewalled: options.firewalled,
            quick_firewall: options.quick_firewall,
            address: options
                .address
                .map(|address| SocketAddrV4::new(*address.ip(), port)),
            ..NodeConfig::default()
        };
        let seed = u64::from_le_bytes(seed);
        let node = Node::new(config, &secrets, seed, now());
        let storage = Storage::new(!seed, now());
        let shared = Shared::new(node, storage, udx);
        shared.add_socket(Some(SocketId::CLIENT), client, None);
        shared.add_socket(Some(SocketId::SERVER), server, None);
        let requests = shared.lock().peer_requests();
        tokio::spawn(peers::serve(WeakDht(Arc::downgrade(&shared)), requests));
        shared.with(|state, now| state.node.start(port, now));
        if bootstrap.is_incomplete() {
            tokio::spawn(look_up_later(Arc::downgrade(&shared), bootstrap));
        }
        Ok(Self { shared })
    }

    /// How it stands to the rest of the network.
    pub fn state(&self) -> NodeState {
        *self.shared.watch().borrow()
    }

    /// Its state as it changes.
    pub fn watch(&self) -> watch::Receiver<NodeState> {
        self.shared.watch()
    }

    /// Waits until the first nodes are known (or it is clear that there are none).
    pub async fn bootstrapped(&self) {
        // The sender lives as long as `self` does.
        let _ = self.watch().wait_for(|state| state.bootstrapped).await;
    }

    /// Where the socket is bound that strangers shall reach.
    pub fn local_address(&self) -> SocketAddrV4 {
        self.socket_address(SocketId::SERVER)
    }

    /// Where a socket is bound. Port 0 if it is closed.
    pub fn socket_address(&self, id: SocketId) -> SocketAddrV4 {
        let socket = self.shared.lock().socket(id);
        socket.map_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), |socket| {
            socket.local_address()
        })
    }

    /// The address that strangers reach, if they do: nodes name it as a way to us.
    pub fn remote_address(&self) -> Option<SocketAddrV4> {
        let state = self.state();
        let port = self.local_address().port();
        let is_open = !state.firewalled && state.port == port;
        state
            .host
            .filter(|_| is_open && port != 0)
            .map(|host| SocketAddrV4::new(host, port))
    }

    /// The socket that the node itself sends from now.
    pub fn current_socket(&self) -> SocketId {
        self.shared.lock().node.socket()
    }

    /// The nodes that it knows, the one that was heard of last first.
    pub fn nodes(&self, limit: usize) -> Vec<SocketAddrV4> {
        let state = self.shared.lock();
        state
            .node
            .table()
            .latest()
            .take(limit)
            .map(|known| known.address)
            .collect()
    }

    /// The token that a host would have to show to this node.
    pub fn token(&self, host: Ipv4Addr) -> Token {
        self.shared.lock().node.token(host)
    }

    /// Asks a node whether it is there.
    pub async fn ping(&self, node: SocketAddrV4) -> Result<Reply, RequestError> {
        self.request(Outgoing::new(node, Command::Ping)).await
    }

    /// Makes a request of one node. An answer that says no is an answer: [`Reply::error`].
    pub async fn request(&self, outgoing: Outgoing) -> Result<Reply, RequestError> {
        self.request_with(outgoing, &SendOptions::default()).await
    }

    /// Makes a request of one node, from another socket, for longer or shorter than usual. Dropping the future drops the
    /// request.
    pub async fn request_with(
        &self,
        outgoing: Outgoing,
        options: &SendOptions,
    ) -> Result<Reply, RequestError> {
        let to = outgoing.to;
        let (sender, receiver) = oneshot::channel();
        let id = self.shared.with(|state, now| {
            let id = state.node.request(outgoing, options, now);
            state.await_response(id, sender);
            id
        });
        let _cancel = CancelRequest { dht: self, id };
        receiver.await.unwrap_or(Err(RequestError::Closed(to)))
    }

    /// Answers a request.
    pub fn respond(&self, incoming: &Incoming, answer: Answer) {
        self.shared.with(|state, _| state.node.respond(incoming, answer));
    }

    /// Passes a request on to another node, with another value. `socket`: not from the one that it came to.
    pub fn relay(&self, incoming: &Incoming, value: Vec<u8>, to: SocketAddrV4, socket: Option<SocketId>) {
        self.shared
            .with(|state, _| state.node.relay(incoming, value, to, socket));
    }

    /// Sends a datagram as it is. `ttl` in hops, 0 for the system's default.
    pub fn send_raw(&self, socket: SocketId, bytes: &[u8], to: SocketAddrV4, ttl: u8) {
        let socket = self.shared.lock().socket(socket);
        if let Some(socket) = socket {
            socket.send(bytes, to, ttl);
        }
    }

    /// Opens another socket, for one connection: a NAT shall show one port of it to all. Short datagrams that come to it go
    /// to `probes`. Gone when the handle is.
    pub fn open_socket(&self, probes: mpsc::Sender<Probe>) -> Result<ExtraSocket, BindError> {
        let host = *self.local_address().ip();
        let socket = bind_to(&self.shared.udx, SocketAddrV4::new(host, 0))?;
        let id = self.shared.add_socket(None, socket, Some(probes));
        Ok(ExtraSocket {
            dht: self.clone(),
            id,
        })
    }

    /// The streams of its connections.
    pub fn udx(&self) -> &Udx {
        &self.shared.udx
    }

    /// A socket as streams use it; `None` if it is closed.
    pub fn udx_socket(&self, id: SocketId) -> Option<udx::Socket> {
        let socket = self.shared.lock().socket(id);
        socket.map(|socket| socket.udx().clone())
    }

    /// Where a peer announced itself from with this node, by the hash of its key.
    pub fn announced(&self, target: &Target) -> Option<SocketAddrV4> {
        self.with_storage(|storage| storage.forward(target)?.relay)
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.shared.peers
    }

    pub(super) fn with_storage<T>(&self, act: impl FnOnce(&mut Storage) -> T) -> T {
        act(&mut self.shared.lock().storage)
    }

    /// Stops until [`resume`](Self::resume): requests fail, nobody is answered.
    pub fn suspend(&self) {
        self.shared.with(|state, _| state.node.suspend());
    }

    /// Goes on after [`suspend`](Self::suspend).
    pub fn resume(&self) {
        self.shared.with(|state, now| state.node.resume(now));
    }
}

struct CancelRequest<'a> {
    dht: &'a Dht,
    id: RequestId,
}

impl Drop for CancelRequest<'_> {
    fn drop(&mut self) {
        self.dht.shared.lock().cancel_request(self.id);
    }
}

/// A node, as long as somebody else has it.
pub(super) struct WeakDht(Weak<Shared>);

impl WeakDht {
    pub(super) fn upgrade(&self) -> Option<Dht> {
        self.0.upgrade().map(|shared| Dht { shared })
    }
}

/// A socket besides the node's two. What comes to it goes to the node.
#[derive(Debug)]
pub struct ExtraSocket {
    dht: Dht,
    id: SocketId,
}

impl ExtraSocket {
    /// To be named in [`SendOptions::socket`] and [`Answer::socket`].
    pub fn id(&self) -> SocketId {
        self.id
    }
}

impl Drop for ExtraSocket {
    fn drop(&mut self) {
        self.dht.shared.remove_socket(self.id);
    }
}

type Bound = (Socket, mpsc::Receiver<Datagram>);

/// Looks names up until all are resolved: a network may come later than the node.
async fn look_up_later(shared: Weak<Shared>, mut bootstrap: Bootstrap) {
    while bootstrap.is_incomplete() {
        bootstrap.look_up().await;
        let Some(shared) = shared.upgrade() else { return };
        shared.with(|state, _| state.node.set_bootstrap(bootstrap.addresses().to_vec()));
        drop(shared);
        tokio::time::sleep(LOOKUP_PAUSE).await;
    }
}

fn bind_to(udx: &Udx, address: SocketAddrV4) -> Result<Bound, BindError> {
    let failed = |source| BindError::Socket { address, source };
    Socket::bind(udx, address).map_err(failed)
}

fn bind_server(udx: &Udx, options: &DhtOptions) -> Result<Bound, BindError> {
    let first = SocketAddrV4::new(options.host, options.port);
    if options.port == 0 {
        return bind_to(udx, first);
    }
    let last = options
        .port
        .saturating_add(if options.any_port { PORTS - 1 } else { 0 });
    let mut failed = None;
    for port in options.port..=last {
        match bind_to(udx, SocketAddrV4::new(options.host, port)) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = Some(error),
        }
    }
    match failed.filter(|_| !options.any_port) {
        Some(error) => Err(error),
        None => bind_to(udx, SocketAddrV4::new(options.host, 0)),
    }
}
