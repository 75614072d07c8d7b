//! The stream of a connection and the way it goes.

use std::net::{SocketAddr, SocketAddrV4};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::PeerConnection;
use crate::connection::{self, Connection, ConnectionError};
use crate::dht::{Dht, SocketId};
use crate::noise::Session;
use crate::udx::{Arrival, Socket, StreamHandle, StreamOptions, UdxError, UdxStream};

/// The direct way has so much time before a relay is used: more than two well-behaved NATs need, and little enough that the
/// other end still waits at the relay (15 s).
pub const RELAY_GRACE: Duration = Duration::from_secs(8);

/// How two ends of a connection reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathKind {
    /// One of them is reached at its address.
    Direct,
    /// Through a hole in two NATs.
    Punched,
    /// By a relay, which sees only what is encrypted.
    Relayed,
}

/// Where to send.
#[derive(Clone, Debug)]
pub struct Way {
    /// From here.
    pub socket: Socket,
    /// To there.
    pub address: SocketAddrV4,
    /// Which kind of way it is.
    pub kind: PathKind,
    /// The number of the stream there, if it is not the peer's own.
    pub stream_id: Option<u32>,
    /// What has to stay for the way to stay.
    pub keep: Option<Arc<Connection>>,
}

impl Way {
    /// By a socket of the node; `None` if it is closed.
    pub fn by(dht: &Dht, socket: SocketId, address: SocketAddrV4, kind: PathKind) -> Option<Self> {
        Some(Self {
            socket: dht.udx_socket(socket)?,
            address,
            kind,
            stream_id: None,
            keep: None,
        })
    }
}

/// Why a connection could not begin although there is a way.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No stream.
    #[error("the stream of the connection does not begin")]
    Stream(#[from] UdxError),
    /// Nothing encrypted on it.
    #[error("the connection does not begin")]
    Connection(#[from] ConnectionError),
}

/// A stream that has no peer yet.
#[derive(Debug)]
pub struct RawStream {
    stream: UdxStream,
    arrivals: mpsc::Receiver<Arrival>,
}

impl RawStream {
    /// One with a number that is to be told to the peer.
    ///
    /// # Errors
    /// No random numbers.
    pub fn new(dht: &Dht) -> Result<Self, UdxError> {
        let (stream, arrivals) = dht.udx().create_stream(&StreamOptions::default())?;
        Ok(Self { stream, arrivals })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.stream.handle().local_id()
    }

    /// To ask about it, and to connect it.
    #[must_use]
    pub fn handle(&self) -> StreamHandle {
        self.stream.handle().clone()
    }

    /// Connects it to the stream `remote_id` of whoever sends to it first. `false`: that is not possible.
    pub async fn arrive(&mut self, remote_id: u32) -> bool {
        let Some(way) = self.arrival().await else {
            return false;
        };
        let connected = self
            .stream
            .handle()
            .connect(&way.socket, remote_id, way.address.into());
        connected.is_ok()
    }

    /// Waits until the peer has sent something to it, which it does where it has found a way.
    pub async fn arrival(&mut self) -> Option<Way> {
        arrival(&mut self.arrivals).await
    }

    /// The best way to the peer: a direct one, be it that the peer finds us first, or by a relay, if there is one and the direct
    /// way fails or is not found within `head_start`.
    ///
    /// # Errors
    /// That of the one that failed last.
    pub async fn way<E>(
        &mut self,
        direct: Seeking<E>,
        relayed: Option<impl Future<Output = Result<Way, E>>>,
        head_start: Duration,
    ) -> Result<Found<E>, E> {
        tokio::select! {
            Some(way) = arrival(&mut self.arrivals) => Ok(Found::only(way)),
            found = direct_or_relayed(direct, relayed, head_start) => found,
        }
    }

    /// Connects it by the way that was found to the peer's stream `stream_id`, and runs the connection over it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start<E: Send + 'static>(
        self,
        found: Found<E>,
        stream_id: u32,
        session: &Session,
        options: &connection::Options,
    ) -> Result<PeerConnection, StartError> {
        let Found { way, better } = found;
        let handle = self.stream.handle().clone();
        let first_id = way.stream_id.unwrap_or(stream_id);
        handle.connect(&way.socket, first_id, way.address.into())?;
        let connection = connection::start(self.stream, session, options)?;
        let (stream, mut arrivals, keep) = (handle.clone(), self.arrivals, way.keep);
        tokio::spawn(async move {
            let elsewhere = async {
                if way.kind == PathKind::Relayed {
                    leave_relay(&stream, &mut arrivals, better, stream_id).await;
                }
                // As long as somebody listens, packets are taken from wherever the peer sends them: it may find a better way.
                while arrivals.recv().await.is_some() {}
            };
            tokio::select! {
                () = elsewhere => {}
                _ = stream.closed() => {}
            }
            // Not before: when one end leaves the relay, what the other still sends by it is lost.
            drop(keep);
        });
        Ok(PeerConnection {
            connection,
            remote_address: way.address,
            path: way.kind,
            stream: handle,
        })
    }
}

async fn arrival(arrivals: &mut mpsc::Receiver<Arrival>) -> Option<Way> {
    loop {
        let Arrival { socket, from } = arrivals.recv().await?;
        if let SocketAddr::V4(address) = from {
            return Some(Way {
                socket,
                address,
                kind: PathKind::Direct,
                stream_id: None,
                keep: None,
            });
        }
    }
}

/// Lets a stream that goes by a relay go the direct way when there is one, found by us or by the peer.
async fn leave_relay<E>(
    stream: &StreamHandle,
    arrivals: &mut mpsc::Receiver<Arrival>,
    better: Option<Seeking<E>>,
    stream_id: u32,
) {
    let found_here = async { better?.await.ok() };
    let way = tokio::select! {
        Some(way) = found_here => way,
        Some(way) = arrival(arrivals) => way,
        else => return,
    };
    match stream.change_remote(&way.socket, stream_id, way.address.into()) {
        Ok(_) => {
            tracing::debug!(address = %way.address, "a connection goes the direct way now, and by the relay no more");
            // The peer shall see it, also if nothing else is to be said; as JavaScript's peers do.
            let _ = stream.send_message(b"");
        }
        Err(error) => tracing::debug!(%error, "a connection stays with the relay"),
    }
}

/// The direct way, while it is sought.
pub type Seeking<E> = Pin<Box<dyn Future<Output = Result<Way, E>> + Send>>;

/// A way, and perhaps a better one to come.
pub struct Found<E> {
    /// The way to begin with.
    pub way: Way,
    /// The direct way, if that one is by a relay and the search goes on.
    pub better: Option<Seeking<E>>,
}

impl<E> Found<E> {
    /// No other way is sought.
    pub fn only(way: Way) -> Self {
        Self { way, better: None }
    }
}

async fn direct_or_relayed<E>(
    mut direct: Seeking<E>,
    relayed: Option<impl Future<Output = Result<Way, E>>>,
    head_start: Duration,
) -> Result<Found<E>, E> {
    let Some(relayed) = relayed else {
        return direct.await.map(Found::only);
    };
    let mut relayed = pin!(relayed);
    match tokio::time::timeout(head_start, &mut direct).await {
        Ok(Ok(way)) => return Ok(Found::only(way)),
        Ok(Err(_)) => return relayed.await.map(Found::only),
        Err(_) => {}
    }
    tokio::select! {
        way = &mut direct => match way {
            Ok(way) => Ok(Found::only(way)),
            Err(_) => relayed.await.map(Found::only),
        },
        way = &mut relayed => match way {
            Ok(way) => Ok(Found { way, better: Some(direct) }),
            Err(_) => direct.await.map(Found::only),
        },
    }
}
