//! What can be done to a stream besides reading and writing, by whoever has a handle on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::shared::{Path, Shared};
use super::socket::Socket;
use super::stream::CloseReason;

/// Why something cannot be done to a stream.
#[derive(Debug, thiserror::Error)]
pub enum UdxError {
    /// It has a peer; [`StreamHandle::change_remote`] gives it another.
    #[error("stream {local_id} is connected to {remote} already")]
    Connected {
        /// Our number of the stream.
        local_id: u32,
        /// Its peer.
        remote: SocketAddr,
    },
    /// It has no peer yet.
    #[error("stream {local_id} is not connected yet")]
    NotConnected {
        /// Our number of the stream.
        local_id: u32,
    },
    /// It is over.
    #[error("stream {local_id} is over: {reason:?}")]
    Closed {
        /// Our number of the stream.
        local_id: u32,
        /// Why.
        reason: CloseReason,
    },
    /// There is no port 0.
    #[error("{remote} is no address that a stream can go to")]
    Address {
        /// The address.
        remote: SocketAddr,
    },
    /// The operating system gives no random numbers.
    #[error("no random number for a new stream")]
    Random {
        /// Why.
        #[source]
        source: getrandom::Error,
    },
}

/// A handle on a stream, while its [`super::UdxStream`] may be anywhere. Cheap to clone; does not keep the stream open.
#[derive(Clone, Debug)]
pub struct StreamHandle {
    pub(super) shared: Arc<Shared>,
}

impl StreamHandle {
    /// The number by which the peer has to address this stream.
    #[must_use]
    pub fn local_id(&self) -> u32 {
        self.shared.local_id
    }

    /// The peer's number of the stream, while it is connected.
    #[must_use]
    pub fn remote_id(&self) -> Option<u32> {
        self.shared.lock().path.as_ref().map(|path| path.remote_id)
    }

    /// The peer's address, while it is connected.
    #[must_use]
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.shared.lock().path.as_ref().map(|path| path.remote)
    }

    /// The socket that it goes by, while it is connected.
    #[must_use]
    pub fn socket(&self) -> Option<Socket> {
        self.shared.lock().path.as_ref().map(|path| path.socket.clone())
    }

    /// Tells the stream its peer. What was written before goes out now.
    ///
    /// # Errors
    /// [`UdxError::Connected`], [`UdxError::Closed`], [`UdxError::Address`].
    pub fn connect(&self, socket: &Socket, remote_id: u32, remote: SocketAddr) -> Result<(), UdxError> {
        self.shared.update(|state| {
            if let Some(path) = &state.path {
                return Err(UdxError::Connected {
                    local_id: self.local_id(),
                    remote: path.remote,
                });
            }
            self.set_path(state, socket, remote_id, remote)
        })
    }

    /// Lets a stream that is in use go another way from now on: a hole was punched while it went by a relay. The future is
    /// done when everything that was sent before has arrived, by which time the old way is not needed any more.
    ///
    /// # Errors
    /// [`UdxError::NotConnected`], [`UdxError::Closed`], [`UdxError::Address`], at once; [`UdxError::Closed`] also from
    /// the future.
    pub fn change_remote(
        &self,
        socket: &Socket,
        remote_id: u32,
        remote: SocketAddr,
    ) -> Result<impl Future<Output = Result<(), UdxError>> + Send + use<>, UdxError> {
        self.shared.update(|state| {
            if state.path.is_none() {
                return Err(UdxError::NotConnected {
                    local_id: self.local_id(),
                });
            }
            state.changing_until = Some(state.machine.sent_packets());
            self.set_path(state, socket, remote_id, remote)
        })?;
        let handle = self.clone();
        Ok(async move { handle.changed().await })
    }

    async fn changed(&self) -> Result<(), UdxError> {
        self.shared
            .wait(|state| match (state.outcome, state.changing_until) {
                (_, None) => Poll::Ready(Ok(())),
                (Some(reason), Some(_)) => Poll::Ready(Err(self.closed_error(reason))),
                (None, Some(_)) => Poll::Pending,
            })
            .await
    }

    fn set_path(
        &self,
        state: &mut super::shared::State,
        socket: &Socket,
        remote_id: u32,
        remote: SocketAddr,
    ) -> Result<(), UdxError> {
        if let Some(reason) = state.outcome {
            return Err(self.closed_error(reason));
        }
        if remote.port() == 0 {
            return Err(UdxError::Address { remote });
        }
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        state.machine.connect(remote_id, remote.is_ipv6());
        state.path = Some(Path {
            socket: socket.clone(),
            remote,
            remote_id,
        });
        // The task of another socket knows nothing yet.
        state.is_queued = false;
        state.armed = None;
        Ok(())
    }

    fn closed_error(&self, reason: CloseReason) -> UdxError {
        UdxError::Closed {
            local_id: self.local_id(),
            reason,
        }
    }

    /// From now on, passes this stream's packets on to `destination`'s peer, unread, as a relay does. Both streams must be
    /// connected to their peers, and stay undropped; the other direction needs a call of its own. This stream ends when
    /// `destination` does, and when its own peer destroys it.
    ///
    /// # Errors
    /// [`UdxError::Closed`]: `destination` is over.
    pub fn relay_to(&self, destination: &StreamHandle) -> Result<(), UdxError> {
        {
            let mut state = destination.shared.lock();
            if let Some(reason) = state.outcome {
                return Err(destination.closed_error(reason));
            }
            state.relayed.retain(|source| source.strong_count() > 0);
            state.relayed.push(Arc::downgrade(&self.shared));
        }
        self.shared.lock().relay_to = Some(Arc::downgrade(&destination.shared));
        Ok(())
    }

    /// Ends the stream at once, in both directions, and tells the peer.
    pub fn destroy(&self) {
        self.shared.destroy();
    }

    /// Sends a message beside the stream, which may be lost. `false`: it is too long for a packet, or too many wait, or
    /// the stream is over.
    #[must_use]
    pub fn send_message(&self, message: &[u8]) -> bool {
        self.shared.update(|state| state.machine.send_message(message))
    }

    /// The next message that came beside the stream; `None` when there will be none. Few wait; further ones are lost.
    pub async fn recv_message(&self) -> Option<Box<[u8]>> {
        self.shared
            .wait(|state| match (state.machine.read_message(), state.outcome) {
                (Some(message), _) => Poll::Ready(Some(message)),
                (None, Some(_)) => Poll::Ready(None),
                (None, None) => Poll::Pending,
            })
            .await
    }

    /// Why the stream is over, if it is.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared.lock().outcome
    }

    /// Waits until the stream is over.
    pub async fn closed(&self) -> CloseReason {
        self.shared
            .wait(|state| state.outcome.map_or(Poll::Pending, Poll::Ready))
            .await
    }

    /// The smoothed round-trip time, if something has come back.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.shared.lock().machine.rtt()
    }

    /// The longest packet that is known to reach the peer, in bytes, with the headers of IP and UDP.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.shared.lock().machine.mtu()
    }
}
