//! A connection to one peer: a secret stream over any ordered stream of bytes (TCP, [`crate::udx::UdxStream`], a pipe in
//! memory), as the [`Link`] that replication wants.
//!
//! The handshake is either in the stream ([`initiate`], [`accept`]: Noise XX, as two programs over TCP do it) or was made
//! before ([`start`]: HyperDHT's IK handshake travels in the DHT's messages).
//!
//! One task works for each connection. What is sent together is sealed into one buffer and written at once. Buffers are bounded:
//! a peer is read no further than the user takes messages, and a user that sends waits for a peer that does not read. A peer can
//! make us hold some 2.5 MiB of messages up to 256 KiB, or one that is longer, for which all connections share a [`Budget`]. The task
//! ends when both directions have: the peer's when it says so, ours when `link.outgoing` is dropped. Dropping the whole link
//! ends ours and waits for the peer's, but not for long. [`Handle::closed`] says why it ended.
//!
//! ```
//! use hyper_swarm::connection::{self, Options};
//! use hyper_swarm::noise::KeyPair;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (a, b) = tokio::io::duplex(4096);
//! let options = Options::default();
//! let keys = [KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32])];
//! let (alice, bob) = tokio::join!(
//!     connection::initiate(a, &keys[0], &options),
//!     connection::accept(b, &keys[1], &options),
//! );
//! let (alice, mut bob) = (alice?, bob?);
//! alice.link.outgoing.send(b"hello".to_vec()).await?;
//! assert_eq!(bob.link.incoming.recv().await.as_deref(), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```

mod budget;
mod handle;
mod reader;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper_core::link::{LINK_MESSAGES, Link};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use self::handle::Closing;
use crate::noise::{Handshake, KeyPair, Role, Session};
use crate::secret_stream::{self, Connecting, MAX_MESSAGE_BYTES, SecretStream, StreamError};

pub use budget::Budget;
pub use handle::{ConnectionError, Handle, Peer};

/// How often HyperDHT's peers say something when they have nothing to say.
pub const HYPERDHT_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Longest a peer may take for a handshake in the stream.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// What a user may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// After how long without a message of ours an empty one is sent. Empty messages of the peer are then swallowed. Off by
    /// default as with the peers; HyperDHT's have [`HYPERDHT_KEEP_ALIVE`].
    pub keep_alive: Option<Duration>,
    /// After how long without a byte from the peer the connection is dropped. Off by default as with the peers.
    pub timeout: Option<Duration>,
    /// Longest message to accept, in bytes. The default is the longest that there can be: the peers' blocks may be 15 MiB long.
    pub max_message_bytes: usize,
    /// Where the memory for large messages comes from. The default is shared by all connections of the program.
    pub budget: Budget,
    /// Longest a handshake in the stream may take.
    pub handshake_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep_alive: None,
            timeout: None,
            max_message_bytes: MAX_MESSAGE_BYTES,
            budget: Budget::default(),
            handshake_timeout: HANDSHAKE_TIMEOUT,
        }
    }
}

impl Options {
    /// As HyperDHT's peers have them.
    #[must_use]
    pub fn hyperdht() -> Self {
        Self {
            keep_alive: Some(HYPERDHT_KEEP_ALIVE),
            ..Self::default()
        }
    }

    fn secret_stream(&self) -> secret_stream::Options {
        secret_stream::Options {
            max_message_bytes: self.max_message_bytes,
            skip_empty: self.keep_alive.is_some(),
        }
    }
}

/// A connection whose handshake is complete.
#[derive(Debug)]
pub struct Connection {
    /// Messages to and from the peer.
    pub link: Link,
    /// Ends the connection from elsewhere, and says why it ended.
    pub handle: Handle,
}

/// Shakes hands by Noise XX, speaking first.
///
/// # Errors
/// [`ConnectionError`]; the stream is dropped.
pub async fn initiate<T>(io: T, keys: &KeyPair, options: &Options) -> Result<Connection, ConnectionError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = Handshake::xx_initiator(keys, b"", random()?).map_err(StreamError::Handshake);
    shake_hands(io, handshake.map_err(unknown)?, options).await
}

/// Shakes hands by Noise XX, letting the peer speak first.
///
/// # Errors
/// [`ConnectionError`]; the stream is dropped.
pub async fn accept<T>(io: T, keys: &KeyPair, options: &Options) -> Result<Connection, ConnectionError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = Handshake::xx_responder(keys, b"", random()?).map_err(StreamError::Handshake);
    shake_hands(io, handshake.map_err(unknown)?, options).await
}

/// Runs any handshake that has not said anything yet, within the stream.
///
/// # Errors
/// [`ConnectionError`]; the stream is dropped.
pub async fn shake_hands<T>(
    mut io: T,
    handshake: Handshake,
    options: &Options,
) -> Result<Connection, ConnectionError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut out = Vec::new();
    let mut connecting =
        Connecting::new(handshake, stream_random()?, options.secret_stream(), &mut out).map_err(unknown)?;
    let shaking = shake(&mut io, &mut connecting, &mut out);
    let (stream, heard) = tokio::time::timeout(options.handshake_timeout, shaking)
        .await
        .map_err(|_| ConnectionError::TimedOut {
            peer: Peer(None),
            after: options.handshake_timeout,
        })??;
    Ok(spawn(io, stream, out, heard, options))
}

/// Until the handshake is complete: the stream, and what the peer has said beyond the handshake.
async fn shake<T>(
    io: &mut T,
    connecting: &mut Connecting,
    out: &mut Vec<u8>,
) -> Result<(SecretStream, Vec<u8>), ConnectionError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |source| ConnectionError::Io {
        peer: Peer(None),
        source,
    };
    let mut buffer = vec![0; 4096];
    loop {
        io.write_all(out).await.map_err(failed)?;
        io.flush().await.map_err(failed)?;
        out.clear();
        let len = io.read(&mut buffer).await.map_err(failed)?;
        if len == 0 {
            return Err(unknown(StreamError::BrokeOff));
        }
        let mut input = &buffer[..len];
        if let Some(stream) = connecting.receive(&mut input, out).map_err(unknown)? {
            return Ok((stream, input.to_vec()));
        }
    }
}

/// Starts with a handshake that is complete. Does not wait for the peer: messages may be sent at once.
///
/// Needs a running tokio runtime.
///
/// # Errors
/// [`ConnectionError::Random`].
pub fn start<T>(io: T, session: &Session, options: &Options) -> Result<Connection, ConnectionError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut out = Vec::new();
    let stream = SecretStream::new(session, &stream_random()?, options.secret_stream(), &mut out);
    Ok(spawn(io, stream, out, Vec::new(), options))
}

/// Starts the task of a connection. `unsent` goes out first, `heard` is what has come in already.
fn spawn<T>(io: T, stream: SecretStream, unsent: Vec<u8>, heard: Vec<u8>, options: &Options) -> Connection
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (incoming_sender, incoming) = mpsc::channel(LINK_MESSAGES);
    let (outgoing, outgoing_receiver) = mpsc::channel(LINK_MESSAGES);
    let link = Link {
        remote_public_key: stream.remote_public_key,
        handshake_hash: stream.handshake_hash,
        is_initiator: stream.role == Role::Initiator,
        incoming,
        outgoing,
    };
    let is_heard = Arc::new(AtomicBool::new(false));
    let (handle, closing) = handle::pair(Peer(Some(stream.remote_public_key)), is_heard.clone());
    let (written, writer_is_done) = oneshot::channel();
    let (read_half, write_half) = tokio::io::split(io);
    let reader = reader::Reader {
        io: read_half,
        receiver: stream.receiver,
        incoming: incoming_sender,
        is_heard,
        timeout: options.timeout,
        budget: options.budget.clone(),
        large: None,
        writer_is_done,
    };
    let writer = writer::Writer {
        io: write_half,
        sender: stream.sender,
        outgoing: outgoing_receiver,
        keep_alive: options.keep_alive,
    };
    tokio::spawn(run(reader, heard, writer, unsent, written, closing));
    Connection { link, handle }
}

async fn run<T>(
    reader: reader::Reader<T>,
    heard: Vec<u8>,
    writer: writer::Writer<T>,
    unsent: Vec<u8>,
    written: oneshot::Sender<()>,
    mut closing: Closing,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let peer = closing.peer;
    let reading = reader.run(heard);
    let writing = async {
        writer.run(unsent).await?;
        // Nobody listens when the reader has ended already.
        let _ = written.send(());
        Ok(())
    };
    let result = tokio::select! {
        result = async { tokio::try_join!(reading, writing) } => match result {
            Ok(_) => Ok(()),
            Err(ending) => Err(ending.at(peer)),
        },
        () = closing.wanted() => Err(ConnectionError::Destroyed { peer }),
    };
    closing.done(result);
}

/// Why one half of a connection failed; the other half is stopped by it.
#[derive(Debug)]
enum Ending {
    Io(std::io::Error),
    Stream(StreamError),
    TimedOut(Duration),
    Slow { bytes: usize, after: Duration },
}

impl Ending {
    fn at(self, peer: Peer) -> ConnectionError {
        match self {
            Self::Io(source) => ConnectionError::Io { peer, source },
            Self::Stream(source) => ConnectionError::Stream { peer, source },
            Self::TimedOut(after) => ConnectionError::TimedOut { peer, after },
            Self::Slow { bytes, after } => ConnectionError::Slow { peer, bytes, after },
        }
    }
}

impl From<std::io::Error> for Ending {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<StreamError> for Ending {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

fn unknown(source: StreamError) -> ConnectionError {
    ConnectionError::Stream {
        peer: Peer(None),
        source,
    }
}

/// Waits until `deadline`, or for ever.
async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The runtime's clock, which tests can hold.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

fn random<const N: usize>() -> Result<[u8; N], ConnectionError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|source| ConnectionError::Random { source })?;
    Ok(bytes)
}

fn stream_random() -> Result<secret_stream::Random, ConnectionError> {
    Ok(secret_stream::Random {
        header: random()?,
        datagram_counter: random()?,
    })
}

#[cfg(test)]
mod tests;
