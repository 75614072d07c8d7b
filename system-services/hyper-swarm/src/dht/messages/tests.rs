//! Against what the JavaScript peers write, and against garbage.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// What the peers wrote; see `tests/interop/vectors-connect.mjs`.
pub(crate) fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/connect.json")).unwrap()
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn opt<T>(value: &Value, read: impl FnOnce(&Value) -> T) -> Option<T> {
    (!value.is_null()).then(|| read(value))
}

fn address<A: FromStr<Err: std::fmt::Debug>>(value: &Value) -> A {
    value.as_str().unwrap().parse().unwrap()
}

fn addresses<A: FromStr<Err: std::fmt::Debug>>(value: &Value) -> Vec<A> {
    value.as_array().unwrap().iter().map(address).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap()
}

fn noise_payload(fields: &Value) -> NoisePayload {
    NoisePayload {
        error: ErrorCode::from_wire(number(&fields["error"])),
        firewall: Firewall::from_wire(number(&fields["firewall"])),
        holepunch: opt(&fields["holepunch"], |punch| HolepunchInfo {
            id: number(&punch["id"]),
            relays: punch["relays"]
                .as_array()
                .unwrap()
                .iter()
                .map(|relay| RelayInfo {
                    relay_address: address(&relay["relayAddress"]),
                    peer_address: address(&relay["peerAddress"]),
                })
                .collect(),
        }),
        addresses4: addresses(&fields["addresses4"]),
        addresses6: addresses(&fields["addresses6"]),
        udx: opt(&fields["udx"], |udx| UdxInfo {
            reusable_socket: flag(&udx["reusableSocket"]),
            id: number(&udx["id"]) as u32,
            seq: number(&udx["seq"]),
        }),
        secret_stream: opt(&fields["secretStream"], |_| 1),
        relay_through: opt(&fields["relayThrough"], |relay| RelayThrough {
            public_key: array(&relay["publicKey"]),
            token: array(&relay["token"]),
        }),
        relay_addresses: opt(&fields["relayAddresses"], addresses),
    }
}

fn holepunch_payload(fields: &Value) -> HolepunchPayload {
    HolepunchPayload {
        error: ErrorCode::from_wire(number(&fields["error"])),
        firewall: Firewall::from_wire(number(&fields["firewall"])),
        round: number(&fields["round"]),
        connected: flag(&fields["connected"]),
        punching: flag(&fields["punching"]),
        addresses: opt(&fields["addresses"], addresses),
        remote_address: opt(&fields["remoteAddress"], address),
        token: opt(&fields["token"], array),
        remote_token: opt(&fields["remoteToken"], array),
    }
}

/// The payloads of the vectors, in their order.
pub(crate) fn noise_payloads(vectors: &Value) -> Vec<NoisePayload> {
    let payloads = vectors["noise_payloads"].as_array().unwrap();
    payloads.iter().map(|v| noise_payload(&v["fields"])).collect()
}

/// The payloads of the vectors, in their order.
pub(crate) fn holepunch_payloads(vectors: &Value) -> Vec<HolepunchPayload> {
    let payloads = vectors["holepunch_payloads"].as_array().unwrap();
    payloads.iter().map(|v| holepunch_payload(&v["fields"])).collect()
}

#[test]
fn messages_are_what_the_peers_write() {
    let vectors = vectors();
    for vector in vectors["handshakes"].as_array().unwrap() {
        let fields = &vector["fields"];
        let message = HandshakeMessage {
            mode: Mode::from_wire(number(&fields["mode"])).unwrap(),
            noise: bytes(&fields["noise"]),
            peer_address: opt(&fields["peerAddress"], address),
            relay_address: opt(&fields["relayAddress"], address),
        };
        assert_eq!(message.encode(), bytes(&vector["bytes"]));
        assert_eq!(HandshakeMessage::decode(&bytes(&vector["bytes"])), Ok(message));
    }
    for vector in vectors["holepunches"].as_array().unwrap() {
        let fields = &vector["fields"];
        let message = HolepunchMessage {
            mode: Mode::from_wire(number(&fields["mode"])).unwrap(),
            id: number(&fields["id"]),
            payload: bytes(&fields["payload"]),
            peer_address: opt(&fields["peerAddress"], address),
        };
        assert_eq!(message.encode(), bytes(&vector["bytes"]));
        assert_eq!(HolepunchMessage::decode(&bytes(&vector["bytes"])), Ok(message));
    }
}

#[test]
fn payloads_are_what_the_peers_write() {
    let vectors = vectors();
    for (payload, vector) in noise_payloads(&vectors)
        .into_iter()
        .zip(vectors["noise_payloads"].as_array().unwrap())
    {
        let wire = bytes(&vector["bytes"]);
        assert_eq!(payload.encode(), wire);
        assert_eq!(
            NoisePayload::decode(&wire),
            Ok(ReadPayload::Known(Box::new(payload)))
        );
    }
    for (payload, vector) in holepunch_payloads(&vectors)
        .into_iter()
        .zip(vectors["holepunch_payloads"].as_array().unwrap())
    {
        let wire = bytes(&vector["bytes"]);
        assert_eq!(payload.encode(), wire);
        assert_eq!(HolepunchPayload::decode(&wire), Ok(payload));
    }
}

#[test]
fn of_another_version_only_the_number_is_read() {
    let wire = bytes(&vectors()["other_version"]);
    assert_eq!(NoisePayload::decode(&wire), Ok(ReadPayload::OtherVersion(2)));
}

#[test]
fn a_leg_that_does_not_exist_is_refused() {
    let unknown = PeerMessageError::UnknownMode { mode: 5 };
    assert_eq!(HandshakeMessage::decode(&[0, 5, 0]), Err(unknown));
    assert_eq!(HolepunchMessage::decode(&[0, 5, 0, 0]), Err(unknown));
}

fn any_address() -> impl Strategy<Value = SocketAddrV4> {
    any::<(u32, u16)>().prop_map(|(host, port)| SocketAddrV4::new(Ipv4Addr::from_bits(host), port))
}

proptest! {
    #[test]
    fn a_holepunch_payload_is_read_as_it_was_written(
        numbers in (0u64..4, 0u64..4, any::<u32>()),
        flags in any::<(bool, bool)>(),
        addresses in proptest::option::of(proptest::collection::vec(any_address(), 0..5)),
        remote_address in proptest::option::of(any_address()),
        tokens in any::<(Option<[u8; 32]>, Option<[u8; 32]>)>(),
    ) {
        let payload = HolepunchPayload {
            error: ErrorCode::from_wire(numbers.0),
            firewall: Firewall::from_wire(numbers.1),
            round: numbers.2.into(),
            connected: flags.0,
            punching: flags.1,
            addresses,
            remote_address,
            token: tokens.0,
            remote_token: tokens.1,
        };
        prop_assert_eq!(HolepunchPayload::decode(&payload.encode()), Ok(payload));
    }

    #[test]
    fn a_message_cut_short_is_refused_and_one_with_more_behind_it_is_not(cut in 0usize..1000, more in any::<Vec<u8>>()) {
        for vector in vectors()["noise_payloads"].as_array().unwrap() {
            let wire = bytes(&vector["bytes"]);
            let cut = cut % wire.len();
            prop_assert!(NoisePayload::decode(&wire[..cut]).is_err());
            let longer = [&wire[..], &more].concat();
            prop_assert_eq!(NoisePayload::decode(&longer), NoisePayload::decode(&wire));
        }
    }

    #[test]
    fn garbage_is_read_the_same_again_or_refused(bytes in any::<Vec<u8>>()) {
        fuzz_dht_handshake(&bytes);
        fuzz_dht_holepunch(&bytes);
    }
}
