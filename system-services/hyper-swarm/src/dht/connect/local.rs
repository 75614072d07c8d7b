//! The addresses that this machine has on its own networks.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// A machine with more is a router, and a peer is not told of all its networks.
const MAX_ADDRESSES: usize = 8;

/// Where a socket that is bound to `bound` is reached on networks of our own.
#[must_use]
pub fn local_addresses(bound: SocketAddrV4) -> Vec<SocketAddrV4> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let hosts = interfaces.iter().filter_map(|interface| match interface.ip() {
        IpAddr::V4(host) if !host.is_loopback() => Some(host),
        _ => None,
    });
    let at = |host| SocketAddrV4::new(host, bound.port());
    let mut addresses: Vec<_> = hosts.take(MAX_ADDRESSES).map(at).collect();
    if addresses.is_empty() {
        addresses.push(at(Ipv4Addr::LOCALHOST));
    }
    addresses
}
