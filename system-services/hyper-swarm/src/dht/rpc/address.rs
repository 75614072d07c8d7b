//! Addresses, and the ids that follow from them.

use std::net::{Ipv4Addr, SocketAddrV4};

use hyper_core::crypto;
use hyper_core::messages::MalformedMessage;
use hyper_core::messages::codec::Reader;

/// Where a node is in the DHT's space of keys: 32 bytes, compared by XOR.
pub type NodeId = [u8; 32];

/// What is looked for: a key in the same space.
pub type Target = [u8; 32];

/// Bytes of an address on the wire: four of the host, two of the port (little endian).
pub const ADDRESS_BYTES: usize = 6;

/// An address as it is on the wire.
pub fn address_bytes(address: SocketAddrV4) -> [u8; ADDRESS_BYTES] {
    let [a, b, c, d] = address.ip().octets();
    let [low, high] = address.port().to_le_bytes();
    [a, b, c, d, low, high]
}

/// The address of six bytes of the wire.
pub fn address_from(bytes: [u8; ADDRESS_BYTES]) -> SocketAddrV4 {
    let [a, b, c, d, low, high] = bytes;
    SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_le_bytes([low, high]))
}

/// The id of a node that can be reached: the hash of its address. Whoever claims another id for an address is not believed
/// (dht-rpc `lib/peer.js`).
pub fn node_id(address: SocketAddrV4) -> NodeId {
    crypto::hash(&[&address_bytes(address)])
}

/// Whether a datagram can be sent there at all. Addresses come from strangers.
pub fn is_reachable(address: SocketAddrV4) -> bool {
    let host = address.ip();
    address.port() != 0 && !host.is_unspecified() && !host.is_multicast() && !host.is_broadcast()
}

/// Whether what a node says of another one's address can be of use: addresses of this machine and of private networks
/// mean something only between those who are there. Strangers could have us send to anything at home otherwise.
pub fn may_name(referrer: SocketAddrV4, node: SocketAddrV4) -> bool {
    let reach = |host: &Ipv4Addr| match host {
        host if host.is_loopback() => 0,
        host if host.is_private() || host.is_link_local() => 1,
        _ => 2,
    };
    reach(referrer.ip()) <= reach(node.ip())
}

/// Reads an address.
pub fn read_address(reader: &mut Reader<'_>, field: &'static str) -> Result<SocketAddrV4, MalformedMessage> {
    reader.array(field).map(address_from)
}

/// How far an id is from a target: the XOR of both, as a number.
pub type Distance = [u8; 32];

/// The distance of an id to a target.
pub fn distance(target: &Target, id: &NodeId) -> Distance {
    std::array::from_fn(|i| id[i] ^ target[i])
}

/// Orders two ids by their distance to `target`.
pub fn compare(target: &Target, a: &NodeId, b: &NodeId) -> std::cmp::Ordering {
    distance(target, a).cmp(&distance(target, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_name_no_addresses_of_our_networks() {
        let [here, home, other_home, public] =
            ["127.0.0.1:1", "192.168.1.2:3", "10.0.0.1:4", "1.2.3.4:5"].map(|text| text.parse().unwrap());
        for (referrer, node, may) in [
            (public, public, true),
            (public, home, false),
            (public, here, false),
            (home, other_home, true),
            (home, public, true),
            (home, here, false),
            (here, here, true),
            (here, home, true),
            (here, public, true),
        ] {
            assert_eq!(may_name(referrer, node), may, "{referrer} names {node}");
        }
    }
}
