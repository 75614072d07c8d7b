//! A stream as its user and the task of its socket share it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Instant;

use tokio::sync::{Notify, mpsc};

use super::endpoint::Registry;
use super::socket::{Arrival, Socket};
use super::stream::{CloseReason, Event, Stream};

/// A stream. Locked for moments only, never across a system call.
pub(super) struct Shared {
    pub(super) local_id: u32,
    registry: Weak<Registry>,
    state: Mutex<State>,
    /// Anything that somebody may wait for but reading and writing.
    changed: Notify,
}

pub(super) struct State {
    pub(super) machine: Stream,
    pub(super) path: Option<Path>,
    pub(super) arrivals: mpsc::Sender<Arrival>,
    /// Whom this stream's packets are passed on to, unread.
    pub(super) relay_to: Option<Weak<Shared>>,
    /// The streams whose packets are passed on to this one's peer.
    pub(super) relayed: Vec<Weak<Shared>>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Why it is over, if it is.
    pub(super) outcome: Option<CloseReason>,
    /// Nobody reads or writes any more.
    pub(super) is_dropped: bool,
    /// The socket's task is told already.
    pub(super) is_queued: bool,
    /// When the socket's task will look again by itself.
    pub(super) armed: Option<Instant>,
    /// Until packets before this one are acknowledged, some may go the way that was before.
    pub(super) changing_until: Option<u64>,
}

/// The way to the peer.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) socket: Socket,
    pub(super) remote: SocketAddr,
    pub(super) remote_id: u32,
}

/// Who is to be woken when the lock is released.
#[derive(Default)]
pub(super) struct Wakers {
    reader: Option<Waker>,
    writer: Option<Waker>,
    others: bool,
}

impl Shared {
    pub(super) fn new(
        local_id: u32,
        registry: Weak<Registry>,
        machine: Stream,
        arrivals: mpsc::Sender<Arrival>,
    ) -> Self {
        Self {
            local_id,
            registry,
            state: Mutex::new(State {
                machine,
                path: None,
                arrivals,
                relay_to: None,
                relayed: Vec::new(),
                reader: None,
                writer: None,
                outcome: None,
                is_dropped: false,
                is_queued: false,
                armed: None,
                changing_until: None,
            }),
            changed: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the stream, then has its packets sent and its waiters woken.
    pub(super) fn update<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let wakers = state.take_events();
        let socket = state.queue();
        let is_gone = state.machine.is_gone() && state.path.is_none();
        drop(state);
        if let Some(socket) = socket {
            socket.serve(self);
        }
        if is_gone {
            self.forget();
        }
        self.wake(wakers);
        result
    }

    pub(super) fn wake(&self, wakers: Wakers) {
        for waker in [wakers.reader, wakers.writer].into_iter().flatten() {
            waker.wake();
        }
        if wakers.others {
            self.changed.notify_waiters();
        }
    }

    /// The number is free again.
    pub(super) fn forget(&self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.remove(self.local_id);
        }
    }

    pub(super) fn destroy(self: &Arc<Self>) {
        self.update(State::destroy);
    }

    /// Waits until `check` finds something; it is asked again whenever something has happened.
    pub(super) async fn wait<T>(&self, mut check: impl FnMut(&mut State) -> Poll<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Poll::Ready(found) = check(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    /// Finished, dropped, and not yet all with the peer.
    pub(super) fn is_draining(&self) -> bool {
        let state = self.lock();
        state.is_dropped && state.path.is_some() && (state.outcome.is_none() || state.is_queued)
    }

    pub(super) async fn drained(&self) {
        self.wait(|state| match state.outcome {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        })
        .await;
    }
}

impl State {
    /// The socket whose task is to be told, if it is not told yet.
    pub(super) fn queue(&mut self) -> Option<Socket> {
        let path = self.path.as_ref().filter(|_| !self.is_queued)?;
        self.is_queued = true;
        Some(path.socket.clone())
    }

    /// The ends of a stream that is relayed may have left the relay for a direct way: it has nothing to say to them.
    pub(super) fn destroy(&mut self) {
        match self.relay_to {
            Some(_) => self.machine.abandon(),
            None => self.machine.destroy(),
        }
    }

    /// Takes notice of what has happened in the machine.
    pub(super) fn take_events(&mut self) -> Wakers {
        let mut wakers = Wakers::default();
        if self.is_dropped && self.outcome.is_none() && self.machine.is_sent() {
            self.destroy();
        }
        while let Some(event) = self.machine.poll_event() {
            let is_over = matches!(event, Event::Closed(_));
            if let Event::Closed(reason) = event {
                self.outcome = Some(reason);
            }
            if is_over || matches!(event, Event::Readable | Event::PeerFinished) {
                wakers.reader = wakers.reader.or(self.reader.take());
            }
            if is_over || event == Event::Writable {
                wakers.writer = wakers.writer.or(self.writer.take());
            }
            wakers.others |= is_over || event == Event::Message;
        }
        if self
            .changing_until
            .is_some_and(|number| self.machine.acknowledged_packets() >= number)
        {
            self.changing_until = None;
            wakers.others = true;
        }
        wakers
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("local_id", &self.local_id)
            .finish_non_exhaustive()
    }
}
