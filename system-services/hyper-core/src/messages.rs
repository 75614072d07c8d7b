//! The messages of the replication protocol of Hypercore 11, byte for byte as `hypercore/lib/messages.js` (11.37) has
//! them.
//!
//! A core is replicated over one channel of a mux: protocol [`PROTOCOL`] (or [`PROTOCOL_ALIASES`]), id the core's
//! discovery key, handshake
//! [`Open`], then [`Message`]s. As the peer does, bytes after a message's last known field and unknown bits of its
//! flags are
//! ignored: newer peers may send them.
//!
//! Pure functions, no memory beyond what the bytes at hand justify.

mod availability;
pub mod codec;
mod control;
mod data;
mod request;

pub use availability::{Bitfield, Range, Want};
pub use codec::{MAX_LIST_ENTRIES, MAX_UINT};
pub use control::{Cancel, Extension, NoData, NoDataReason, Open, Sync};
pub use data::{Data, DataBlock, DataHash, DataSeek, DataUpgrade, EncodedManifest, Node};
pub use request::{Priority, Request, RequestNode, RequestSeek, RequestUpgrade};

use codec::Reader;

/// Name of the protocol when a channel for a core is opened.
pub const PROTOCOL: &str = "hypercore/alpha";

/// Other names under which a peer may open such a channel.
pub const PROTOCOL_ALIASES: [&str; 1] = ["hypercore"];

/// Bytes of a peer that are no message. The peer is to be dropped, as it would drop us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {message} message from the peer, `{field}` at byte {offset}: {fault}")]
pub struct MalformedMessage {
    /// Which message it was to be.
    pub message: &'static str,
    /// The field that could not be read.
    pub field: &'static str,
    /// Where in the message's bytes.
    pub offset: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end before the field does.
    #[error("the bytes end too early")]
    EndsEarly,
    /// More than [`MAX_UINT`].
    #[error("the number is beyond 2^53 - 1")]
    NumberTooGreat,
    /// More than [`MAX_LIST_ENTRIES`].
    #[error("the list has more than 1048576 entries")]
    ListTooLong,
    /// A text in another encoding.
    #[error("the text is not UTF-8")]
    NotUtf8,
}

/// A message on a core's channel, in the order of the numbers it has on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// 0: the state of the sender's core.
    Sync(Sync),
    /// 1: a wish for a proof.
    Request(Request),
    /// 2: a request is taken back.
    Cancel(Cancel),
    /// 3: a proof.
    Data(Data),
    /// 4: a request is not fulfilled.
    NoData(NoData),
    /// 5: the sender wants to hear of changes in a range.
    Want(Want),
    /// 6: a `Want` is taken back; start, length and kind are the same.
    Unwant(Want),
    /// 7: which blocks of a range the sender has.
    Bitfield(Bitfield),
    /// 8: the sender has, or no longer has, a run of blocks.
    Range(Range),
    /// 9: a message of the application.
    Extension(Extension),
}

impl Message {
    /// The number of the message's type on the channel.
    pub fn kind(&self) -> u64 {
        match self {
            Message::Sync(_) => 0,
            Message::Request(_) => 1,
            Message::Cancel(_) => 2,
            Message::Data(_) => 3,
            Message::NoData(_) => 4,
            Message::Want(_) => 5,
            Message::Unwant(_) => 6,
            Message::Bitfield(_) => 7,
            Message::Range(_) => 8,
            Message::Extension(_) => 9,
        }
    }

    /// The message's bytes, without its number.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_in_pieces().pieces().concat()
    }

    /// As [`Message::encode`], but the bytes of a block stay where they are.
    pub fn encode_in_pieces(&self) -> Encoded<'_> {
        let mut out = Vec::new();
        let mut block: (usize, &[u8]) = (0, &[]);
        match self {
            Message::Sync(m) => m.write(&mut out),
            Message::Request(m) => m.write(&mut out),
            Message::Cancel(m) => m.write(&mut out),
            Message::Data(m) => {
                let place = m.write_around(&mut out);
                block = (place, m.block.as_ref().map_or(&[], |block| &block.value));
            }
            Message::NoData(m) => m.write(&mut out),
            Message::Want(m) | Message::Unwant(m) => m.write(&mut out),
            Message::Bitfield(m) => m.write(&mut out),
            Message::Range(m) => m.write(&mut out),
            Message::Extension(m) => m.write(&mut out),
        }
        Encoded { rest: out, block }
    }

    /// Reads a message of the given type. `None`: the type is of a newer protocol and to be ignored, as the peer does.
    pub fn decode(kind: u64, bytes: &[u8]) -> Result<Option<Self>, MalformedMessage> {
        let message = match kind {
            0 => Message::Sync(Sync::read(&mut Reader::new("Sync", bytes))?),
            1 => Message::Request(Request::read(&mut Reader::new("Request", bytes))?),
            2 => Message::Cancel(Cancel::read(&mut Reader::new("Cancel", bytes))?),
            3 => Message::Data(Data::read(&mut Reader::new("Data", bytes))?),
            4 => Message::NoData(NoData::read(&mut Reader::new("NoData", bytes))?),
            5 => Message::Want(Want::read(&mut Reader::new("Want", bytes))?),
            6 => Message::Unwant(Want::read(&mut Reader::new("Unwant", bytes))?),
            7 => Message::Bitfield(Bitfield::read(&mut Reader::new("Bitfield", bytes))?),
            8 => Message::Range(Range::read(&mut Reader::new("Range", bytes))?),
            9 => Message::Extension(Extension::read(&mut Reader::new("Extension", bytes))?),
            _ => return Ok(None),
        };
        Ok(Some(message))
    }
}

/// An encoded message around the bytes of a block.
#[derive(Debug)]
pub struct Encoded<'a> {
    rest: Vec<u8>,
    /// Where in `rest` the bytes belong.
    block: (usize, &'a [u8]),
}

impl Encoded<'_> {
    /// The message's bytes, in their order.
    pub fn pieces(&self) -> [&[u8]; 3] {
        let (place, block) = self.block;
        let (before, after) = self.rest.split_at(place);
        [before, block, after]
    }
}
