//! The node's machine on its sockets: what is received goes in, what comes out is sent or told to who waits for it.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::connect::peers::Peers;
use super::records::Storage;
use super::rpc::command::Command;
use super::rpc::node::{
    Answer, ERROR_UNKNOWN_COMMAND, Event, Incoming, Node, NodeState, QueryId, RequestError, RequestId,
};
use super::rpc::query::Reply;
use super::rpc::requests::SocketId;
use super::socket::{MAX_DATAGRAM_BYTES, Socket};
use crate::udx::{Datagram, Udx};

/// Requests for connections that wait for the part that makes them. More are dropped: their senders ask again.
const PEER_REQUESTS: usize = 256;

/// A short datagram: the peers open holes in NATs with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The socket that it came to.
    pub socket: SocketId,
    /// Where it came from.
    pub from: SocketAddrV4,
}

/// What the tasks and handles of one node share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// The timer's task waits for something earlier to do.
    earlier: Arc<Notify>,
    watched: watch::Sender<NodeState>,
    /// The streams of its connections.
    pub(super) udx: Udx,
    /// What it does for connections between peers.
    pub(super) peers: Peers,
}

pub(super) struct State {
    pub(super) node: Node,
    pub(super) storage: Storage,
    responses: HashMap<RequestId, oneshot::Sender<Result<Reply, RequestError>>>,
    queries: HashMap<QueryId, QueryWaiter>,
    sockets: HashMap<SocketId, OpenSocket>,
    next_socket: u32,
    peer_requests: Option<mpsc::Sender<Incoming>>,
    timer: Option<AbortHandle>,
    timer_due: Instant,
}

struct OpenSocket {
    socket: Socket,
    task: Option<AbortHandle>,
}

struct QueryWaiter {
    replies: mpsc::UnboundedSender<Reply>,
    finished: oneshot::Sender<Vec<Reply>>,
}

impl Drop for State {
    fn drop(&mut self) {
        let sockets = self.sockets.values().filter_map(|open| open.task.as_ref());
        sockets.chain(&self.timer).for_each(AbortHandle::abort);
    }
}

/// The time, also where a test moves it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Shared {
    pub(super) fn new(node: Node, storage: Storage, udx: Udx) -> Arc<Self> {
        let timer_due = node.poll_timeout();
        let watched = watch::Sender::new(node.state());
        let state = State {
            node,
            storage,
            responses: HashMap::new(),
            queries: HashMap::new(),
            sockets: HashMap::new(),
            next_socket: SocketId::SERVER.0 + 1,
            peer_requests: None,
            timer: None,
            timer_due,
        };
        let shared = Arc::new(Self {
            state: Mutex::new(state),
            earlier: Arc::new(Notify::new()),
            watched,
            udx,
            peers: Peers::default(),
        });
        let timer = tokio::spawn(run_timer(Arc::downgrade(&shared), shared.earlier.clone()));
        shared.lock().timer = Some(timer.abort_handle());
        shared
    }

    /// Never held while something is waited for.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(&self) -> watch::Receiver<NodeState> {
        self.watched.subscribe()
    }

    /// Does something with the node, then what follows from it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state, now());
        state.flush();
        let due = state.node.poll_timeout();
        if due < state.timer_due {
            state.timer_due = due;
            self.earlier.notify_one();
        }
        let new = state.node.state();
        self.watched
            .send_if_modified(|old| std::mem::replace(old, new) != new);
        result
    }

    /// Adds a socket, whose datagrams go to the node from now on. Short ones go to `probes`.
    pub(super) fn add_socket(
        self: &Arc<Self>,
        id: Option<SocketId>,
        (socket, datagrams): (Socket, mpsc::Receiver<Datagram>),
        probes: Option<mpsc::Sender<Probe>>,
    ) -> SocketId {
        let mut state = self.lock();
        let id = id.unwrap_or_else(|| {
            state.next_socket += 1;
            SocketId(state.next_socket)
        });
        let task = tokio::spawn(run_socket(Arc::downgrade(self), id, datagrams, probes));
        let task = Some(task.abort_handle());
        state.sockets.insert(id, OpenSocket { socket, task });
        id
    }

    /// Closes a socket.
    pub(super) fn remove_socket(&self, id: SocketId) {
        let removed = self.lock().sockets.remove(&id);
        removed
            .and_then(|open| open.task)
            .iter()
            .for_each(AbortHandle::abort);
    }
}

impl State {
    pub(super) fn socket(&self, id: SocketId) -> Option<Socket> {
        self.sockets.get(&id).map(|open| open.socket.clone())
    }

    pub(super) fn await_response(
        &mut self,
        id: RequestId,
        response: oneshot::Sender<Result<Reply, RequestError>>,
    ) {
        self.responses.insert(id, response);
    }

    pub(super) fn cancel_request(&mut self, id: RequestId) {
        if self.responses.remove(&id).is_some() {
            self.node.cancel_request(id);
        }
    }

    pub(super) fn await_query(
        &mut self,
        id: QueryId,
        replies: mpsc::UnboundedSender<Reply>,
        finished: oneshot::Sender<Vec<Reply>>,
    ) {
        self.queries.insert(id, QueryWaiter { replies, finished });
    }

    pub(super) fn cancel_query(&mut self, id: QueryId) {
        if self.queries.remove(&id).is_some() {
            self.node.cancel_query(id);
        }
    }

    pub(super) fn peer_requests(&mut self) -> mpsc::Receiver<Incoming> {
        let (sender, receiver) = mpsc::channel(PEER_REQUESTS);
        self.peer_requests = Some(sender);
        receiver
    }

    fn flush(&mut self) {
        while let Some(event) = self.node.poll_event() {
            self.dispatch(event);
        }
        while let Some(transmit) = self.node.poll_transmit() {
            if let Some(open) = self.sockets.get(&transmit.socket) {
                open.socket.send(&transmit.bytes, transmit.to, transmit.ttl);
            }
        }
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            // Whoever waited may have gone meanwhile.
            Event::Response(id, result) => {
                if let Some(waiter) = self.responses.remove(&id) {
                    let _ = waiter.send(result);
                }
            }
            Event::QueryReply(id, reply) => {
                if let Some(waiter) = self.queries.get(&id) {
                    let _ = waiter.replies.send(reply);
                }
            }
            Event::QueryFinished(id, closest) => {
                if let Some(waiter) = self.queries.remove(&id) {
                    let _ = waiter.finished.send(closest);
                }
            }
            Event::Request(incoming) => self.serve(incoming),
            Event::Bootstrapped => tracing::debug!(nodes = self.node.table().len(), "DHT node has begun"),
            Event::WokeUp => tracing::debug!("DHT node woke up"),
        }
    }

    fn serve(&mut self, incoming: Incoming) {
        if let (Command::PeerHandshake | Command::PeerHolepunch, Some(peers)) =
            (incoming.command, &self.peer_requests)
        {
            if peers.try_send(incoming).is_err() {
                tracing::trace!("request for a connection dropped: too many");
            }
            return;
        }
        let is_known = !matches!(incoming.command, Command::Unknown(_));
        let answer = match self.node.state().id {
            Some(id) if is_known => {
                let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.storage.answer(&incoming, id, now(), since_1970)
            }
            _ => Some(Answer::error(ERROR_UNKNOWN_COMMAND)),
        };
        if let Some(answer) = answer {
            self.node.respond(&incoming, answer);
        }
    }
}

async fn run_timer(shared: Weak<Shared>, earlier: Arc<Notify>) {
    while let Some(strong) = shared.upgrade() {
        let due = strong.lock().timer_due;
        drop(strong);
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = earlier.notified() => continue,
        }
        let Some(strong) = shared.upgrade() else { return };
        strong.with(|state, now| {
            state.node.handle_timeout(now);
            state.storage.age(now);
            // The next time is set by what comes out of it.
            state.timer_due = state.node.poll_timeout();
        });
    }
}

/// Until the socket is closed.
async fn run_socket(
    shared: Weak<Shared>,
    id: SocketId,
    mut datagrams: mpsc::Receiver<Datagram>,
    probes: Option<mpsc::Sender<Probe>>,
) {
    while let Some(Datagram { bytes, from }) = datagrams.recv().await {
        let Some(shared) = shared.upgrade() else { return };
        let SocketAddr::V4(from) = from else { continue };
        match bytes.as_slice() {
            [] | [_] => {
                let probe = Probe { socket: id, from };
                probes.as_ref().map(|probes| probes.try_send(probe));
            }
            datagram if datagram.len() > MAX_DATAGRAM_BYTES => {}
            datagram => shared.with(|state, now| state.node.receive(id, from, datagram, now)),
        }
    }
}
