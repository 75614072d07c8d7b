//! What nodes store for each other, on the wire (hyperdht `lib/messages.js`).

use std::net::SocketAddrV4;

use hyper_core::crypto::{Hash, SIGNATURE_BYTES};
use hyper_core::messages::MalformedMessage;
use hyper_core::messages::codec::{self, Reader};

use crate::dht::rpc::message::{put_addresses, read_addresses};

/// Bytes of the shortest record: a key and no relay.
const MIN_PEER_BYTES: usize = 33;

/// The most peers that an answer may name. Nodes name 20.
const MAX_PEERS: usize = 64;

/// A signature.
pub type Signature = [u8; SIGNATURE_BYTES];

/// Who announced themselves, and by which nodes they are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRecord {
    /// The peer's key.
    pub public_key: Hash,
    /// Nodes that know a way to it.
    pub relay_addresses: Vec<SocketAddrV4>,
}

impl PeerRecord {
    /// Reads a record; bytes after it are ignored.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        Self::read(&mut Reader::new("peer record", bytes))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        Ok(Self {
            public_key: reader.array("public key")?,
            relay_addresses: read_addresses(reader, "relay addresses")?,
        })
    }

    /// The record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.public_key.to_vec();
        put_addresses(&mut out, &self.relay_addresses);
        out
    }
}

/// Answer to a lookup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookupAnswer {
    /// Some of those who announced themselves.
    pub peers: Vec<PeerRecord>,
    /// When somebody last asked for attention, in milliseconds since 1970; 0 for never.
    pub bump: u64,
}

impl LookupAnswer {
    /// Reads an answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let reader = &mut Reader::new("lookup answer", bytes);
        let mut peers = reader.list("peers", MIN_PEER_BYTES, PeerRecord::read)?;
        peers.truncate(MAX_PEERS);
        let bump = if reader.is_empty() {
            0
        } else {
            reader.uint("bump")?
        };
        Ok(Self { peers, bump })
    }

    /// The answer of records that are encoded already.
    pub fn encode(records: &[&[u8]], bump: u64) -> Vec<u8> {
        let mut out = Vec::new();
        codec::put_uint(&mut out, records.len() as u64);
        records.iter().for_each(|record| out.extend_from_slice(record));
        codec::put_uint(&mut out, bump);
        out
    }
}

/// Value of an announcement, and of its opposite.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcement {
    /// Who, and how reached. `None`: an earlier announcement is refreshed.
    pub peer: Option<PeerRecord>,
    /// The hash of the next refresh; or, without a peer, the refresh itself.
    pub refresh: Option<Hash>,
    /// The peer's signature.
    pub signature: Option<Signature>,
    /// When attention is asked for, in milliseconds since 1970; 0 for not at all.
    pub bump: u64,
}

impl Announcement {
    /// Reads an announcement.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let reader = &mut Reader::new("announcement", bytes);
        let flags = reader.uint("flags")?;
        let has = |bit: u64| flags & bit != 0;
        Ok(Self {
            peer: has(1).then(|| PeerRecord::read(reader)).transpose()?,
            refresh: has(2).then(|| reader.array("refresh")).transpose()?,
            signature: has(4).then(|| reader.array("signature")).transpose()?,
            bump: has(8)
                .then(|| reader.uint("bump"))
                .transpose()?
                .unwrap_or_default(),
        })
    }

    /// The announcement.
    pub fn encode(&self) -> Vec<u8> {
        let flags = codec::flags([
            self.peer.is_some(),
            self.refresh.is_some(),
            self.signature.is_some(),
            self.bump > 0,
        ]);
        let mut out = Vec::new();
        codec::put_uint(&mut out, flags);
        out.extend(self.peer.iter().flat_map(PeerRecord::encode));
        out.extend(self.refresh.iter().flatten());
        out.extend(self.signature.iter().flatten());
        if self.bump > 0 {
            codec::put_uint(&mut out, self.bump);
        }
        out
    }
}

/// A value that its owner signed and may replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutableRecord {
    /// Grows with each value.
    pub seq: u64,
    /// The value.
    pub value: Vec<u8>,
    /// The owner's signature.
    pub signature: Signature,
}

impl MutableRecord {
    /// Reads a record, as it is stored and given.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        Self::read(&mut Reader::new("mutable record", bytes))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        Ok(Self {
            seq: reader.uint("seq")?,
            value: reader.bytes("value")?.to_vec(),
            signature: reader.array("signature")?,
        })
    }

    /// The record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        codec::put_uint(&mut out, self.seq);
        codec::put_bytes(&mut out, &self.value);
        out.extend_from_slice(&self.signature);
        out
    }

    /// Reads what is asked to be stored: the owner's key, and the record.
    pub fn decode_put(bytes: &[u8]) -> Result<(Hash, Self), MalformedMessage> {
        let reader = &mut Reader::new("mutable put", bytes);
        Ok((reader.array("public key")?, Self::read(reader)?))
    }

    /// What asks for it to be stored.
    pub fn encode_put(&self, public_key: &Hash) -> Vec<u8> {
        [&public_key[..], &self.encode()].concat()
    }
}

/// For fuzzing: what parses is written as it was, as far as it is known.
pub fn fuzz_records(bytes: &[u8]) {
    if let Ok(announcement) = Announcement::decode(bytes) {
        assert_eq!(Announcement::decode(&announcement.encode()), Ok(announcement));
    }
    if let Ok(answer) = LookupAnswer::decode(bytes) {
        let records: Vec<_> = answer.peers.iter().map(PeerRecord::encode).collect();
        let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
        let encoded = LookupAnswer::encode(&records, answer.bump);
        assert_eq!(LookupAnswer::decode(&encoded), Ok(answer));
    }
    if let Ok((key, record)) = MutableRecord::decode_put(bytes) {
        assert_eq!(
            MutableRecord::decode_put(&record.encode_put(&key)),
            Ok((key, record))
        );
    }
}
