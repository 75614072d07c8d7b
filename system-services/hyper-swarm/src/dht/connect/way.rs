//! The stream of a connection and the way it goes.

use std::net::{SocketAddr, SocketAddrV4};
use std::pin::pin;
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
        loop {
            let Arrival { socket, from } = self.arrivals.recv().await?;
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

    /// Connects it by `way` to the peer's stream, and runs the connection over it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        self,
        way: Way,
        stream_id: u32,
        session: &Session,
        options: &connection::Options,
    ) -> Result<PeerConnection, StartError> {
        let handle = self.stream.handle().clone();
        let stream_id = way.stream_id.unwrap_or(stream_id);
        handle.connect(&way.socket, stream_id, way.address.into())?;
        let connection = connection::start(self.stream, session, options)?;
        let (stream, mut arrivals, keep) = (handle.clone(), self.arrivals, way.keep);
        tokio::spawn(async move {
            // As long as somebody listens, packets are taken from wherever the peer sends them: it may find a better way.
            let elsewhere = async { while arrivals.recv().await.is_some() {} };
            tokio::select! {
                () = elsewhere => {}
                _ = stream.closed() => {}
            }
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

/// Tries the direct way, and a relay if there is one and the direct way fails or is not found within `head_start`.
///
/// # Errors
/// That of the one that failed last.
pub async fn direct_or_relayed<E>(
    direct: impl Future<Output = Result<Way, E>>,
    relayed: Option<impl Future<Output = Result<Way, E>>>,
    head_start: Duration,
) -> Result<Way, E> {
    let mut direct = pin!(direct);
    let Some(relayed) = relayed else {
        return direct.await;
    };
    let mut relayed = pin!(relayed);
    match tokio::time::timeout(head_start, &mut direct).await {
        Ok(Ok(way)) => Ok(way),
        Ok(Err(_)) => relayed.await,
        Err(_) => tokio::select! {
            way = &mut direct => match way {
                Ok(way) => Ok(way),
                Err(_) => relayed.await,
            },
            way = &mut relayed => match way {
                Ok(way) => Ok(way),
                Err(_) => direct.await,
            },
        },
    }
}
