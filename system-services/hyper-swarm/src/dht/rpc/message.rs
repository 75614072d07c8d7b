//! The datagrams of dht-rpc 6 (`lib/io.js`): a request, and its response.
//!
//! One byte of version and kind, one of flags, the transaction's number, the address that the sender sent to (so that
//! each learns how others see it), then what the flags say. As the peer does, bytes after the last field and unknown flags are
//! ignored. There are IPv4 addresses only: dht-rpc 6.27 has no encoding for others.

use std::net::SocketAddrV4;

use hyper_core::messages::MalformedMessage;
use hyper_core::messages::codec::{self, Reader};

use super::address::{ADDRESS_BYTES, NodeId, Target, address_bytes, read_address};
use super::command::Command;

const REQUEST: u8 = 0b0000_0011;
const RESPONSE: u8 = 0b0001_0011;

/// The most nodes that a response may name. Peers name 20.
pub const MAX_CLOSER_NODES: usize = 64;

/// Shows that its bearer receives what is sent to its address.
pub type Token = [u8; 32];

/// A datagram of the DHT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Somebody asks.
    Request(Request),
    /// Somebody answers.
    Response(Response),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Number that the response repeats.
    pub tid: u16,
    /// Where the sender sent it.
    pub to: SocketAddrV4,
    /// The sender's id, if it can be reached by others at the address that it sends from.
    pub id: Option<NodeId>,
    /// What an earlier response of the receiver gave.
    pub token: Option<Token>,
    /// What is asked for.
    pub command: Command,
    /// About which key.
    pub target: Option<Target>,
    /// With what.
    pub value: Option<Vec<u8>>,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Number of the request.
    pub tid: u16,
    /// Where the sender sent it: how it sees the other.
    pub to: SocketAddrV4,
    /// The sender's id, if it can be reached by others.
    pub id: Option<NodeId>,
    /// Shown to the sender with a later request that stores something.
    pub token: Option<Token>,
    /// Nodes near the target that the sender knows.
    pub closer_nodes: Vec<SocketAddrV4>,
    /// 0, or why it was refused.
    pub error: u64,
    /// The answer.
    pub value: Option<Vec<u8>>,
}

impl Message {
    /// Reads a datagram. `None` if it is not of this protocol (another may share the socket).
    pub fn decode(datagram: &[u8]) -> Option<Result<Self, MalformedMessage>> {
        match datagram {
            [REQUEST, rest @ ..] => Some(Request::decode(rest).map(Self::Request)),
            [RESPONSE, rest @ ..] => Some(Response::decode(rest).map(Self::Response)),
            _ => None,
        }
    }

    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Request(request) => request.encode(),
            Self::Response(response) => response.encode(),
        }
    }
}

impl Request {
    fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let reader = &mut Reader::new("DHT request", bytes);
        let flags = reader.uint("flags")?;
        Ok(Self {
            tid: u16::from_le_bytes(reader.array("tid")?),
            to: read_address(reader, "to")?,
            id: optional(flags & 1, || reader.array("id"))?,
            token: optional(flags & 2, || reader.array("token"))?,
            command: Command::from_wire(flags & 4 != 0, reader.uint("command")?),
            target: optional(flags & 8, || reader.array("target"))?,
            value: optional(flags & 16, || reader.bytes("value"))?.map(<[u8]>::to_vec),
        })
    }

    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        let (internal, number) = self.command.to_wire();
        let flags = codec::flags([
            self.id.is_some(),
            self.token.is_some(),
            internal,
            self.target.is_some(),
            self.value.is_some(),
        ]);
        let mut out = head(REQUEST, flags, self.tid, self.to);
        put_array(&mut out, self.id.as_ref());
        put_array(&mut out, self.token.as_ref());
        codec::put_uint(&mut out, number);
        put_array(&mut out, self.target.as_ref());
        if let Some(value) = &self.value {
            codec::put_bytes(&mut out, value);
        }
        out
    }
}

impl Response {
    fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let reader = &mut Reader::new("DHT response", bytes);
        let flags = reader.uint("flags")?;
        Ok(Self {
            tid: u16::from_le_bytes(reader.array("tid")?),
            to: read_address(reader, "to")?,
            id: optional(flags & 1, || reader.array("id"))?,
            token: optional(flags & 2, || reader.array("token"))?,
            closer_nodes: optional(flags & 4, || read_addresses(reader, "closer nodes"))?.unwrap_or_default(),
            error: optional(flags & 8, || reader.uint("error"))?.unwrap_or_default(),
            value: optional(flags & 16, || reader.bytes("value"))?.map(<[u8]>::to_vec),
        })
    }

    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        let flags = codec::flags([
            self.id.is_some(),
            self.token.is_some(),
            !self.closer_nodes.is_empty(),
            self.error > 0,
            self.value.is_some(),
        ]);
        let mut out = head(RESPONSE, flags, self.tid, self.to);
        put_array(&mut out, self.id.as_ref());
        put_array(&mut out, self.token.as_ref());
        if !self.closer_nodes.is_empty() {
            put_addresses(&mut out, &self.closer_nodes);
        }
        if self.error > 0 {
            codec::put_uint(&mut out, self.error);
        }
        if let Some(value) = &self.value {
            codec::put_bytes(&mut out, value);
        }
        out
    }
}

/// Reads addresses behind their count: no more than [`MAX_CLOSER_NODES`], the rest is not looked at.
pub fn read_addresses(
    reader: &mut Reader<'_>,
    field: &'static str,
) -> Result<Vec<SocketAddrV4>, MalformedMessage> {
    let mut addresses = reader.list(field, ADDRESS_BYTES, |reader| read_address(reader, field))?;
    addresses.truncate(MAX_CLOSER_NODES);
    Ok(addresses)
}

/// Appends addresses behind their count.
pub fn put_addresses(out: &mut Vec<u8>, addresses: &[SocketAddrV4]) {
    codec::put_uint(out, addresses.len() as u64);
    for address in addresses {
        out.extend_from_slice(&address_bytes(*address));
    }
}

fn head(kind: u8, flags: u64, tid: u16, to: SocketAddrV4) -> Vec<u8> {
    let mut out = vec![kind];
    codec::put_uint(&mut out, flags);
    out.extend_from_slice(&tid.to_le_bytes());
    out.extend_from_slice(&address_bytes(to));
    out
}

fn put_array(out: &mut Vec<u8>, array: Option<&[u8; 32]>) {
    out.extend_from_slice(array.map_or(&[], |array| &array[..]));
}

fn optional<T>(
    flag: u64,
    read: impl FnOnce() -> Result<T, MalformedMessage>,
) -> Result<Option<T>, MalformedMessage> {
    if flag == 0 { Ok(None) } else { read().map(Some) }
}

/// For fuzzing: whatever comes is read without a panic, and what was read is written so that it is read again.
pub fn fuzz_message(bytes: &[u8]) {
    if let Some(Ok(message)) = Message::decode(bytes) {
        assert_eq!(Message::decode(&message.encode()), Some(Ok(message)));
    }
}

#[cfg(test)]
mod tests;
