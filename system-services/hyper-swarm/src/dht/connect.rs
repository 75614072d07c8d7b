//! Connections between two peers that know each other's keys.
//!
//! The one is a server, which announces its key ([`Dht::listen`](crate::dht::Dht::listen)); the other
//! ([`Dht::connect`](crate::dht::Dht::connect)) finds nodes that know a way to it. Through one of them the two shake hands
//! (Noise IK) and say where and how they can be reached. Then the connection itself begins, by the best way there is: one
//! reaches the other directly, on the same local network or through holes that both punch into their NATs, or both
//! meet at a relay.

mod addresses;
mod client;
mod error;
mod handshake;
mod local;
pub(super) mod peers;
#[cfg(test)]
mod tests;
mod way;

use std::net::SocketAddrV4;

use hyper_core::crypto;
use zeroize::Zeroizing;

use crate::connection::Connection;
use crate::noise;
use crate::udx::StreamHandle;

pub use addresses::{is_bogon, is_private, is_reserved, on_the_same_network};
pub use client::ConnectOptions;
pub use error::ConnectError;
pub use handshake::{Agreed, ClientHandshake, HandshakeError, ServerHandshake};
pub use local::local_addresses;
pub use way::{Found, PathKind, RELAY_GRACE, RawStream, Seeking, StartError, Way};

/// A connection to a peer. Its link has the peer's key.
#[derive(Debug)]
pub struct PeerConnection {
    /// Messages to and from the peer, and how the connection ends.
    pub connection: Connection,
    /// Where the peer, or the relay between, was reached at first. One that began by a relay may go on directly:
    /// [`StreamHandle::remote_addr`] tells.
    pub remote_address: SocketAddrV4,
    /// How it was reached at first.
    pub path: PathKind,
    /// The stream below.
    pub stream: StreamHandle,
}

impl PeerConnection {
    /// Who is at the other end; it has proved it.
    #[must_use]
    pub fn remote_public_key(&self) -> &[u8; 32] {
        &self.connection.link.remote_public_key
    }
}

/// The key pair that signs announcements is the one that shakes hands.
pub(super) fn noise_keys(key_pair: &crypto::KeyPair) -> noise::KeyPair {
    let secret = Zeroizing::new(key_pair.secret_key());
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&secret[..32]);
    noise::KeyPair::from_seed(&seed)
}
