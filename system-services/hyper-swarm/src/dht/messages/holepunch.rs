//! Holepunching: the outer message, and what is sealed in it.

use std::net::SocketAddrV4;

use hyper_core::messages::MalformedMessage;
use hyper_core::messages::codec::{Reader, flags, put_bytes, put_uint};

use super::address::{put_address4, put_addresses4, read_address4, read_addresses4};
use super::{ErrorCode, Firewall, Mode, PeerMessageError};

/// The value of a `PEER_HOLEPUNCH` request or reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolepunchMessage {
    /// On which leg it is.
    pub mode: Mode,
    /// The server's number of the handshake that this belongs to; 0 in its answers.
    pub id: u64,
    /// A sealed [`HolepunchPayload`].
    pub payload: Vec<u8>,
    /// From the client: where the node finds the server. Else the other end's address, as the node saw it.
    pub peer_address: Option<SocketAddrV4>,
}

impl HolepunchMessage {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_uint(&mut out, flags([self.peer_address.is_some()]));
        put_uint(&mut out, self.mode.to_wire());
        put_uint(&mut out, self.id);
        put_bytes(&mut out, &self.payload);
        if let Some(address) = &self.peer_address {
            put_address4(&mut out, address);
        }
        out
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`PeerMessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PeerMessageError> {
        let mut reader = Reader::new("peer holepunch", bytes);
        let flags = reader.uint("flags")?;
        Ok(Self {
            mode: Mode::from_wire(reader.uint("mode")?)?,
            id: reader.uint("id")?,
            payload: reader.bytes("payload")?.to_vec(),
            peer_address: (flags & 1 == 1)
                .then(|| read_address4(&mut reader, "peer address"))
                .transpose()?,
        })
    }
}

/// One step of a holepunch, as one end tells it the other.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HolepunchPayload {
    /// Whether the sender gives up.
    pub error: ErrorCode,
    /// What the sender has found out of its own NAT.
    pub firewall: Firewall,
    /// Counts up: what is older than what was seen is ignored.
    pub round: u64,
    /// The sender has heard the other end.
    pub connected: bool,
    /// The sender is punching, or willing to.
    pub punching: bool,
    /// Where the sender is seen from outside.
    pub addresses: Option<Vec<SocketAddrV4>>,
    /// Where the sender has just opened its own NAT to.
    pub remote_address: Option<SocketAddrV4>,
    /// To be sent back through another node, as a proof that the address is the other end's.
    pub token: Option<[u8; 32]>,
    /// The other end's token, sent back.
    pub remote_token: Option<[u8; 32]>,
}

impl std::fmt::Debug for HolepunchPayload {
    // Without the tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HolepunchPayload")
            .field("error", &self.error)
            .field("firewall", &self.firewall)
            .field("round", &self.round)
            .field("connected", &self.connected)
            .field("punching", &self.punching)
            .field("addresses", &self.addresses)
            .field("remote_address", &self.remote_address)
            .finish_non_exhaustive()
    }
}

impl HolepunchPayload {
    /// The payload's bytes, to be sealed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_uint(
            &mut out,
            flags([
                self.connected,
                self.punching,
                self.addresses.is_some(),
                self.remote_address.is_some(),
                self.token.is_some(),
                self.remote_token.is_some(),
            ]),
        );
        put_uint(&mut out, self.error.to_wire());
        put_uint(&mut out, self.firewall.to_wire());
        put_uint(&mut out, self.round);
        if let Some(addresses) = &self.addresses {
            put_addresses4(&mut out, addresses);
        }
        if let Some(address) = &self.remote_address {
            put_address4(&mut out, address);
        }
        for token in self.token.iter().chain(&self.remote_token) {
            out.extend_from_slice(token);
        }
        out
    }

    /// Reads a payload that was opened.
    ///
    /// # Errors
    /// The bytes are no payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let mut reader = Reader::new("holepunch payload", bytes);
        let flags = reader.uint("flags")?;
        let has = |bit: u32| flags >> bit & 1 == 1;
        let r = &mut reader;
        Ok(Self {
            error: ErrorCode::from_wire(r.uint("error")?),
            firewall: Firewall::from_wire(r.uint("firewall")?),
            round: r.uint("round")?,
            connected: has(0),
            punching: has(1),
            addresses: has(2).then(|| read_addresses4(r, "addresses")).transpose()?,
            remote_address: has(3).then(|| read_address4(r, "remote address")).transpose()?,
            token: has(4).then(|| r.array("token")).transpose()?,
            remote_token: has(5).then(|| r.array("remote token")).transpose()?,
        })
    }
}
