//! The two messages of blind-relay 1.6, on a channel of the mux.

use hyper_core::messages::MalformedMessage;
use hyper_core::messages::codec::{Reader, put_uint};

/// Name of the protocol when a channel is opened; the id is the client's key, the handshake is empty.
pub const PROTOCOL: &str = "blind-relay";

/// The name under which two ends meet at a relay. Who has it can take an end's place.
pub type Token = [u8; 32];

/// A message, in the order of their numbers.
#[derive(Clone, PartialEq, Eq)]
pub enum RelayMessage {
    /// 0. To the relay: this end wants to meet the other. From the relay: they have met.
    Pair(Pair),
    /// 1. To the relay: it does not want to any more.
    Unpair {
        /// As in `Pair`.
        token: Token,
    },
}

/// One end of a pair.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// One of the two must say yes, the other no.
    pub is_initiator: bool,
    /// Under which name they meet.
    pub token: Token,
    /// The number of the sender's stream.
    pub stream_id: u32,
    /// Number of its first packet; 0 today.
    pub seq: u64,
}

impl std::fmt::Debug for RelayMessage {
    // Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pair(pair) => f
                .debug_struct("Pair")
                .field("is_initiator", &pair.is_initiator)
                .field("stream_id", &pair.stream_id)
                .finish_non_exhaustive(),
            Self::Unpair { .. } => f.debug_struct("Unpair").finish_non_exhaustive(),
        }
    }
}

impl RelayMessage {
    /// The number of the message's type on the channel.
    #[must_use]
    pub fn kind(&self) -> u64 {
        match self {
            Self::Pair(_) => 0,
            Self::Unpair { .. } => 1,
        }
    }

    /// The message's bytes, without its number.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Pair(pair) => {
                put_uint(&mut out, u64::from(pair.is_initiator));
                out.extend_from_slice(&pair.token);
                put_uint(&mut out, u64::from(pair.stream_id));
                put_uint(&mut out, pair.seq);
            }
            Self::Unpair { token } => {
                put_uint(&mut out, 0);
                out.extend_from_slice(token);
            }
        }
        out
    }

    /// Reads a message. `None`: the type is of a newer protocol and to be ignored.
    ///
    /// # Errors
    /// The bytes are no message.
    pub fn decode(kind: u64, bytes: &[u8]) -> Result<Option<Self>, MalformedMessage> {
        let message = match kind {
            0 => {
                let mut reader = Reader::new("relay pair", bytes);
                Self::Pair(Pair {
                    is_initiator: reader.uint("flags")? & 1 == 1,
                    token: reader.array("token")?,
                    // As the peers, which give it to a field of 32 bits.
                    stream_id: (reader.uint("stream id")? & u64::from(u32::MAX)) as u32,
                    seq: reader.uint("seq")?,
                })
            }
            1 => {
                let mut reader = Reader::new("relay unpair", bytes);
                reader.uint("flags")?;
                Self::Unpair {
                    token: reader.array("token")?,
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(message))
    }
}

/// For fuzzing: what is read is written again, and then read the same.
pub fn fuzz_blind_relay(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    if let Ok(Some(message)) = RelayMessage::decode(u64::from(*kind), bytes) {
        let again = RelayMessage::decode(message.kind(), &message.encode());
        assert_eq!(again, Ok(Some(message)), "what is written is what is read");
    }
}
