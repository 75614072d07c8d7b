//! What is derived from the handshake hash: the name of each direction, and the keys of datagrams.

use blake2::digest::consts::U32;
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2b, Blake2bMac, Digest};
use zeroize::Zeroizing;

use crate::noise::Role;

/// The namespace whose members are numbered below, in the peers' order.
const NAMESPACE: &[u8] = b"hyperswarm/secret-stream";
const INITIATOR: u8 = 0;
const RESPONDER: u8 = 1;
const SEND: u8 = 2;

/// Hash of the namespace's hash and the member's number.
fn member(number: u8) -> [u8; 32] {
    let namespace = Blake2b::<U32>::digest(NAMESPACE);
    Blake2b::<U32>::new()
        .chain_update(namespace)
        .chain_update([number])
        .finalize()
        .into()
}

fn of_role(role: Role) -> [u8; 32] {
    member(match role {
        Role::Initiator => INITIATOR,
        Role::Responder => RESPONDER,
    })
}

/// Name of the direction in which `role` sends: the first thing it says after the handshake. HyperDHT and relays know
/// streams by it too.
#[must_use]
pub fn stream_id(handshake_hash: &[u8; 64], role: Role) -> [u8; 32] {
    keyed(handshake_hash, &[&of_role(role)])
}

/// Key of the datagrams that `role` sends.
pub(super) fn datagram_key(handshake_hash: &[u8; 64], role: Role) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(keyed(handshake_hash, &[&of_role(role), &member(SEND)]))
}

/// BLAKE2b of 32 bytes with the handshake hash as its key.
fn keyed(key: &[u8; 64], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Blake2bMac<U32> as KeyInit>::new(key.into());
    for part in parts {
        Update::update(&mut mac, part);
    }
    mac.finalize_fixed().into()
}
