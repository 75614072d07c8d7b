//! What two peers say to each other through the DHT before they are connected, byte for byte as hyperdht 6.34 has it.
//!
//! A [`HandshakeMessage`] carries one of the two Noise messages, whose payload is a [`NoisePayload`]; a
//! [`HolepunchMessage`] carries a sealed [`HolepunchPayload`]. Nodes between the peers change the outer message (who
//! sent it, on which leg it is) and cannot read the inner one.
//!
//! As the peers do, bytes after the last known field and unknown bits of flags are ignored.

mod address;
mod handshake;
mod holepunch;
mod noise_payload;
#[cfg(test)]
pub(crate) mod tests;

use hyper_core::messages::MalformedMessage;

pub use address::{put_address4, put_addresses4, read_address4, read_addresses4};
pub use handshake::HandshakeMessage;
pub use holepunch::{HolepunchMessage, HolepunchPayload};
pub use noise_payload::{HolepunchInfo, NoisePayload, ReadPayload, RelayInfo, RelayThrough, UdxInfo};

/// The leg of the way on which a message is: it says what the node that receives it is to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// From the client, to a node that knows the server, or to the server itself.
    FromClient,
    /// From the server, back to the node that relayed.
    FromServer,
    /// From a node to the server, or to another node that knows it.
    FromRelay,
    /// From that other node to the server.
    FromSecondRelay,
    /// To the client.
    Reply,
}

impl Mode {
    fn from_wire(mode: u64) -> Result<Self, PeerMessageError> {
        Ok(match mode {
            0 => Self::FromClient,
            1 => Self::FromServer,
            2 => Self::FromRelay,
            3 => Self::FromSecondRelay,
            4 => Self::Reply,
            _ => return Err(PeerMessageError::UnknownMode { mode }),
        })
    }

    fn to_wire(self) -> u64 {
        match self {
            Self::FromClient => 0,
            Self::FromServer => 1,
            Self::FromRelay => 2,
            Self::FromSecondRelay => 3,
            Self::Reply => 4,
        }
    }
}

/// What stands between a peer and the network, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Firewall {
    /// Not yet known.
    #[default]
    Unknown,
    /// Nothing: the peer can be reached at its address.
    Open,
    /// A NAT that gives a socket the same port towards everyone.
    Consistent,
    /// A NAT that gives a socket another port towards everyone.
    Random,
}

impl Firewall {
    fn from_wire(firewall: u64) -> Self {
        match firewall {
            0 => Self::Unknown,
            1 => Self::Open,
            2 => Self::Consistent,
            // As the peers, which ask for "random or more".
            _ => Self::Random,
        }
    }

    fn to_wire(self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Open => 1,
            Self::Consistent => 2,
            Self::Random => 3,
        }
    }
}

/// What a peer says is wrong, within a handshake or a holepunch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Nothing.
    #[default]
    None,
    /// It gave up.
    Aborted,
    /// It does not speak our version.
    VersionMismatch,
    /// It is busy punching elsewhere.
    TryLater,
    /// A code of another version.
    Other(u64),
}

impl ErrorCode {
    fn from_wire(code: u64) -> Self {
        match code {
            0 => Self::None,
            1 => Self::Aborted,
            2 => Self::VersionMismatch,
            3 => Self::TryLater,
            _ => Self::Other(code),
        }
    }

    fn to_wire(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Aborted => 1,
            Self::VersionMismatch => 2,
            Self::TryLater => 3,
            Self::Other(code) => code,
        }
    }
}

/// Bytes that are no message of a peer; they are dropped without an answer, as the peers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerMessageError {
    /// A field is broken.
    #[error(transparent)]
    Malformed(#[from] MalformedMessage),
    /// A leg of the way that does not exist.
    #[error("a peer's message is on leg {mode} of its way, of which there are five")]
    UnknownMode {
        /// The number of the leg.
        mode: u64,
    },
}

/// For fuzzing: what is read of a handshake is written again, and then read the same.
pub fn fuzz_dht_handshake(bytes: &[u8]) {
    if let Ok(message) = HandshakeMessage::decode(bytes) {
        let again = HandshakeMessage::decode(&message.encode());
        assert_eq!(again, Ok(message), "what is written is what is read");
    }
    if let Ok(ReadPayload::Known(payload)) = NoisePayload::decode(bytes) {
        let again = NoisePayload::decode(&payload.encode());
        assert_eq!(
            again,
            Ok(ReadPayload::Known(payload)),
            "what is written is what is read"
        );
    }
}

/// For fuzzing: what is read of a holepunch is written again, and then read the same.
pub fn fuzz_dht_holepunch(bytes: &[u8]) {
    if let Ok(message) = HolepunchMessage::decode(bytes) {
        let again = HolepunchMessage::decode(&message.encode());
        assert_eq!(again, Ok(message), "what is written is what is read");
    }
    if let Ok(payload) = HolepunchPayload::decode(bytes) {
        let again = HolepunchPayload::decode(&payload.encode());
        assert_eq!(again, Ok(payload), "what is written is what is read");
    }
}
