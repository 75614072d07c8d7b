//! What each end says of itself within the handshake.

use std::net::{SocketAddrV4, SocketAddrV6};

use hyper_core::messages::MalformedMessage;
use hyper_core::messages::codec::{Reader, flags, put_uint};

use super::address::{
    put_address4, put_addresses4, put_addresses6, read_address4, read_addresses4, read_addresses6,
};
use super::{ErrorCode, Firewall};

/// The version that is spoken here. Of another one, nothing but its number is read.
const VERSION: u64 = 1;

/// The payload of either Noise message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoisePayload {
    /// Whether the other end refuses.
    pub error: ErrorCode,
    /// What stands before it.
    pub firewall: Firewall,
    /// How to punch through to it, if that is to be tried.
    pub holepunch: Option<HolepunchInfo>,
    /// Where it believes to be reachable: its public address, then those on its own network.
    pub addresses4: Vec<SocketAddrV4>,
    /// The same for IPv6. No peer of today fills it in.
    pub addresses6: Vec<SocketAddrV6>,
    /// Its stream.
    pub udx: Option<UdxInfo>,
    /// Version of its secret stream.
    pub secret_stream: Option<u64>,
    /// Through which peer it wants to be reached if there is no direct way.
    pub relay_through: Option<RelayThrough>,
    /// Nodes by which it can be found quickly the next time.
    pub relay_addresses: Option<Vec<SocketAddrV4>>,
}

/// A payload as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadPayload {
    /// Of our version.
    Known(Box<NoisePayload>),
    /// Of another version, which is its number.
    OtherVersion(u64),
}

/// How to punch through to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HolepunchInfo {
    /// The server's number of this handshake.
    pub id: u64,
    /// Nodes through which it can be told of it.
    pub relays: Vec<RelayInfo>,
}

/// A node, and how it sees the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayInfo {
    /// The node's address.
    pub relay_address: SocketAddrV4,
    /// The server's address, as that node sees it.
    pub peer_address: SocketAddrV4,
}

/// The stream that the sender has made for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdxInfo {
    /// The socket may be used for further connections between the two.
    pub reusable_socket: bool,
    /// The stream's number at the sender's end.
    pub id: u32,
    /// Number of its first packet; 0 today.
    pub seq: u64,
}

/// A relay, and the name under which the two ends meet there.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayThrough {
    /// The relay's key.
    pub public_key: [u8; 32],
    /// Known to the two ends alone, and to the relay.
    pub token: [u8; 32],
}

impl std::fmt::Debug for RelayThrough {
    // Who has the token can take the other end's place.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayThrough")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

impl NoisePayload {
    /// The payload's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_uint(&mut out, VERSION);
        put_uint(
            &mut out,
            flags([
                self.holepunch.is_some(),
                !self.addresses4.is_empty(),
                !self.addresses6.is_empty(),
                self.udx.is_some(),
                self.secret_stream.is_some(),
                self.relay_through.is_some(),
                self.relay_addresses.is_some(),
            ]),
        );
        put_uint(&mut out, self.error.to_wire());
        put_uint(&mut out, self.firewall.to_wire());
        if let Some(holepunch) = &self.holepunch {
            holepunch.write(&mut out);
        }
        if !self.addresses4.is_empty() {
            put_addresses4(&mut out, &self.addresses4);
        }
        if !self.addresses6.is_empty() {
            put_addresses6(&mut out, &self.addresses6);
        }
        if let Some(udx) = &self.udx {
            udx.write(&mut out);
        }
        if let Some(version) = self.secret_stream {
            put_uint(&mut out, version);
        }
        if let Some(relay) = &self.relay_through {
            relay.write(&mut out);
        }
        if let Some(addresses) = &self.relay_addresses {
            put_addresses4(&mut out, addresses);
        }
        out
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// The bytes are no payload.
    pub fn decode(bytes: &[u8]) -> Result<ReadPayload, MalformedMessage> {
        let mut reader = Reader::new("noise payload", bytes);
        let version = reader.uint("version")?;
        if version != VERSION {
            return Ok(ReadPayload::OtherVersion(version));
        }
        let flags = reader.uint("flags")?;
        let has = |bit: u32| flags >> bit & 1 == 1;
        let r = &mut reader;
        Ok(ReadPayload::Known(Box::new(Self {
            error: ErrorCode::from_wire(r.uint("error")?),
            firewall: Firewall::from_wire(r.uint("firewall")?),
            holepunch: has(0).then(|| HolepunchInfo::read(r)).transpose()?,
            addresses4: has(1)
                .then(|| read_addresses4(r, "addresses4"))
                .transpose()?
                .unwrap_or_default(),
            addresses6: has(2)
                .then(|| read_addresses6(r, "addresses6"))
                .transpose()?
                .unwrap_or_default(),
            udx: has(3).then(|| UdxInfo::read(r)).transpose()?,
            secret_stream: has(4).then(|| r.uint("secret stream")).transpose()?,
            relay_through: has(5).then(|| RelayThrough::read(r)).transpose()?,
            relay_addresses: has(6)
                .then(|| read_addresses4(r, "relay addresses"))
                .transpose()?,
        })))
    }
}

impl HolepunchInfo {
    fn write(&self, out: &mut Vec<u8>) {
        put_uint(out, self.id);
        put_uint(out, self.relays.len() as u64);
        for relay in &self.relays {
            put_address4(out, &relay.relay_address);
            put_address4(out, &relay.peer_address);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        Ok(Self {
            id: reader.uint("holepunch id")?,
            relays: reader.list("relays", 12, |reader| {
                Ok(RelayInfo {
                    relay_address: read_address4(reader, "relay address")?,
                    peer_address: read_address4(reader, "peer address")?,
                })
            })?,
        })
    }
}

impl UdxInfo {
    fn write(&self, out: &mut Vec<u8>) {
        put_uint(out, 1);
        put_uint(out, u64::from(self.reusable_socket));
        put_uint(out, u64::from(self.id));
        put_uint(out, self.seq);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        reader.uint("udx version")?;
        let features = reader.uint("udx features")?;
        Ok(Self {
            reusable_socket: features & 1 == 1,
            // As the peers, which give it to a field of 32 bits.
            id: (reader.uint("udx id")? & u64::from(u32::MAX)) as u32,
            seq: reader.uint("udx seq")?,
        })
    }
}

impl RelayThrough {
    fn write(&self, out: &mut Vec<u8>) {
        put_uint(out, 1);
        put_uint(out, 0);
        out.extend_from_slice(&self.public_key);
        out.extend_from_slice(&self.token);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        reader.uint("relay version")?;
        reader.uint("relay flags")?;
        Ok(Self {
            public_key: reader.array("relay key")?,
            token: reader.array("relay token")?,
        })
    }
}
