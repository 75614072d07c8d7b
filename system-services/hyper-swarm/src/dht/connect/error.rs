//! Why there is no connection.

use std::net::SocketAddrV4;

use super::{HandshakeError, StartError};
use crate::dht::messages::{ErrorCode, Firewall};
use crate::dht::relay::MeetError;
use crate::dht::{BindError, RequestError};
use crate::udx::UdxError;

/// Why a peer could not be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No node knows it: it is not online, or is only just being announced.
    #[error("no DHT node knows a way to peer {}", hex(.0))]
    NotFound([u8; 32]),
    /// Nodes know it and it does not answer through them: it has gone, or keeps us out.
    #[error("peer {} is announced and does not answer", hex(.0))]
    Unreachable([u8; 32]),
    /// It has answered in another version.
    #[error("peer {} speaks another version", hex(.0))]
    OtherVersion([u8; 32]),
    /// It has answered that it does not want.
    #[error("peer {} refuses the connection: {code:?}", hex(.peer))]
    Refused {
        /// Its key.
        peer: [u8; 32],
        /// What it says.
        code: ErrorCode,
    },
    /// The peer's key is no key, mostly.
    #[error("no handshake with the peer")]
    Handshake(#[source] HandshakeError),
    /// We can be reached and the peer did not come.
    #[error("the peer answered and was not heard of any more")]
    Silent,
    /// Nothing can be tried.
    #[error("there is no way to the peer, and it does not punch holes")]
    NoWay,
    /// The two NATs do not allow it, or did not show what they are like.
    #[error("no hole can be punched: our NAT is {ours:?}, the peer's {theirs:?}")]
    NotPunchable {
        /// Ours.
        ours: Firewall,
        /// The peer's.
        theirs: Firewall,
    },
    /// The peer does not send probes.
    #[error("the peer does not punch")]
    NotPunching,
    /// It gave up.
    #[error("the peer gave up punching a hole: {0:?}")]
    GaveUp(ErrorCode),
    /// Probes were sent in vain.
    #[error("no hole could be punched to the peer")]
    PunchFailed,
    /// A node, or the peer through it, said something that is none.
    #[error("through DHT node {0} came no answer of the peer")]
    Answer(SocketAddrV4),
    /// A node did not pass something on.
    #[error("the peer was not told to punch a hole")]
    Request(#[source] RequestError),
    /// Not even by a relay.
    #[error("no direct way to the peer, nor one by a relay")]
    Relay(#[source] MeetError),
    /// No socket to punch with.
    #[error("no socket to punch holes with")]
    Socket(#[source] BindError),
    /// No stream.
    #[error("no stream for a connection")]
    Stream(#[source] UdxError),
    /// The way is there, the connection is not.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The operating system gives no random numbers.
    #[error("no random numbers for a new connection")]
    Random(#[source] getrandom::Error),
}

fn hex(key: &[u8; 32]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
