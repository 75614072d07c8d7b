//! Addresses: the host's bytes, then the port, little endian.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use hyper_core::messages::MalformedMessage;
use hyper_core::messages::codec::{Reader, put_uint};

/// Length of an IPv4 address with its port, in bytes.
const ADDRESS4_BYTES: usize = 6;
/// Length of an IPv6 address with its port, in bytes.
const ADDRESS6_BYTES: usize = 18;

/// Appends an address of six bytes.
pub fn put_address4(out: &mut Vec<u8>, address: &SocketAddrV4) {
    out.extend_from_slice(&address.ip().octets());
    out.extend_from_slice(&address.port().to_le_bytes());
}

/// Reads an address of six bytes.
///
/// # Errors
/// The bytes end early.
pub fn read_address4(reader: &mut Reader<'_>, field: &'static str) -> Result<SocketAddrV4, MalformedMessage> {
    let [a, b, c, d] = reader.array(field)?;
    let port = u16::from_le_bytes(reader.array(field)?);
    Ok(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}

/// Appends addresses behind their count.
pub fn put_addresses4(out: &mut Vec<u8>, addresses: &[SocketAddrV4]) {
    put_uint(out, addresses.len() as u64);
    for address in addresses {
        put_address4(out, address);
    }
}

/// Reads addresses behind their count.
///
/// # Errors
/// The bytes end early.
pub fn read_addresses4(
    reader: &mut Reader<'_>,
    field: &'static str,
) -> Result<Vec<SocketAddrV4>, MalformedMessage> {
    reader.list(field, ADDRESS4_BYTES, |r| read_address4(r, field))
}

pub(super) fn put_addresses6(out: &mut Vec<u8>, addresses: &[SocketAddrV6]) {
    put_uint(out, addresses.len() as u64);
    for address in addresses {
        out.extend_from_slice(&address.ip().octets());
        out.extend_from_slice(&address.port().to_le_bytes());
    }
}

pub(super) fn read_addresses6(
    reader: &mut Reader<'_>,
    field: &'static str,
) -> Result<Vec<SocketAddrV6>, MalformedMessage> {
    reader.list(field, ADDRESS6_BYTES, |reader| {
        let host = Ipv6Addr::from_octets(reader.array(field)?);
        let port = u16::from_le_bytes(reader.array(field)?);
        Ok(SocketAddrV6::new(host, port, 0, 0))
    })
}
