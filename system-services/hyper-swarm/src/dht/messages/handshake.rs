//! The outer message of a handshake.

use std::net::SocketAddrV4;

use hyper_core::messages::codec::{Reader, flags, put_bytes, put_uint};

use super::address::{put_address4, read_address4};
use super::{Mode, PeerMessageError};

/// The value of a `PEER_HANDSHAKE` request or reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeMessage {
    /// On which leg it is.
    pub mode: Mode,
    /// A Noise message.
    pub noise: Vec<u8>,
    /// The other end's address, as the node saw it that relayed.
    pub peer_address: Option<SocketAddrV4>,
    /// The node that is to be answered through.
    pub relay_address: Option<SocketAddrV4>,
}

impl HandshakeMessage {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_uint(
            &mut out,
            flags([self.peer_address.is_some(), self.relay_address.is_some()]),
        );
        put_uint(&mut out, self.mode.to_wire());
        put_bytes(&mut out, &self.noise);
        for address in self.peer_address.iter().chain(&self.relay_address) {
            put_address4(&mut out, address);
        }
        out
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`PeerMessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PeerMessageError> {
        let mut reader = Reader::new("peer handshake", bytes);
        let flags = reader.uint("flags")?;
        let mode = Mode::from_wire(reader.uint("mode")?)?;
        let noise = reader.bytes("noise")?.to_vec();
        let mut address = |bit, field| match flags & bit {
            0 => Ok(None),
            _ => read_address4(&mut reader, field).map(Some),
        };
        Ok(Self {
            mode,
            noise,
            peer_address: address(1, "peer address")?,
            relay_address: address(2, "relay address")?,
        })
    }
}
