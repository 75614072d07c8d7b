//! How a connection is ended from elsewhere, and what is known of its end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::secret_stream::StreamError;

/// Who is at the other end, if that is known yet; shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub Option<[u8; 32]>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(key) = &self.0 else {
            return f.write_str("a peer that has not said who it is");
        };
        f.write_str("peer ")?;
        key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a connection is over, or was never made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The stream below failed, or the peer destroyed it.
    #[error("the stream to {peer} failed")]
    Io {
        /// Who.
        peer: Peer,
        /// How.
        #[source]
        source: std::io::Error,
    },
    /// What the peer said is no secret stream, or a message of ours cannot be sent in one.
    #[error("the secret stream to {peer} is over")]
    Stream {
        /// Who.
        peer: Peer,
        /// Why.
        #[source]
        source: StreamError,
    },
    /// The peer was silent for too long.
    #[error("{peer} was not heard of for {after:?}")]
    TimedOut {
        /// Who.
        peer: Peer,
        /// The limit.
        after: Duration,
    },
    /// The peer began a large message and does not get on with it.
    #[error("{peer} sends a message of {bytes} bytes too slowly: it is not complete after {after:?}")]
    Slow {
        /// Who.
        peer: Peer,
        /// The message's length.
        bytes: usize,
        /// The time since it began.
        after: Duration,
    },
    /// [`Handle::destroy`] was called here.
    #[error("the connection to {peer} was destroyed at this end")]
    Destroyed {
        /// Who.
        peer: Peer,
    },
    /// The runtime that the connection's task ran in was shut down.
    #[error("the program stopped working on the connection to {peer}")]
    Abandoned {
        /// Who.
        peer: Peer,
    },
    /// The operating system gives no random numbers.
    #[error("no random numbers for a new connection")]
    Random {
        /// Why.
        #[source]
        source: getrandom::Error,
    },
}

type Outcome = Result<(), Arc<ConnectionError>>;

/// A cheap handle on a connection, whoever holds its link.
#[derive(Clone, Debug)]
pub struct Handle {
    peer: Peer,
    wanted: Arc<Notify>,
    heard: Arc<AtomicBool>,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Handle {
    /// Whether the peer has said something in this connection, and not only in the handshake.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Ends the connection at once, in both directions; what waits is not sent.
    pub fn destroy(&self) {
        self.wanted.notify_one();
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.outcome.borrow().is_some() || self.outcome.has_changed().is_err()
    }

    /// Waits until the connection is over. May be asked again, and by several.
    ///
    /// # Errors
    /// Why it ended, unless both ends had ended their direction in order.
    pub async fn closed(&self) -> Result<(), Arc<ConnectionError>> {
        let mut outcome = self.outcome.clone();
        match outcome.wait_for(Option::is_some).await.map(|known| known.clone()) {
            Ok(Some(outcome)) => outcome,
            _ => Err(Arc::new(ConnectionError::Abandoned { peer: self.peer })),
        }
    }
}

/// The other side of a [`Handle`].
pub(super) struct Closing {
    pub(super) peer: Peer,
    wanted: Arc<Notify>,
    outcome: watch::Sender<Option<Outcome>>,
}

/// `heard` tells that the peer has said something.
pub(super) fn pair(peer: Peer, heard: Arc<AtomicBool>) -> (Handle, Closing) {
    let (sender, receiver) = watch::channel(None);
    let wanted = Arc::new(Notify::new());
    let handle = Handle {
        peer,
        wanted: wanted.clone(),
        heard,
        outcome: receiver,
    };
    let closing = Closing {
        peer,
        wanted,
        outcome: sender,
    };
    (handle, closing)
}

impl Closing {
    /// Waits for [`Handle::destroy`].
    pub(super) async fn wanted(&mut self) {
        self.wanted.notified().await;
    }

    /// Says how it went.
    pub(super) fn done(self, result: Result<(), ConnectionError>) {
        match &result {
            Ok(()) => tracing::debug!(peer = %self.peer, "connection ended"),
            Err(error) => {
                tracing::debug!(peer = %self.peer, error = error as &dyn std::error::Error, "connection ended");
            }
        }
        self.outcome.send_replace(Some(result.map_err(Arc::new)));
    }
}
