use proptest::prelude::*;
use serde_json::Value;

use super::super::address::node_id;
use super::*;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../tests/vectors/dht.json")).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    let digit = |d: u8| (d as char).to_digit(16).unwrap() as u8;
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn maybe(value: &Value) -> Option<Vec<u8>> {
    (!value.is_null()).then(|| bytes(value))
}

fn maybe_key(value: &Value) -> Option<[u8; 32]> {
    maybe(value).map(|bytes| bytes.try_into().unwrap())
}

fn address(value: &Value) -> SocketAddrV4 {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn requests_are_those_of_the_javascript_node() {
    for vector in vectors()["requests"].as_array().unwrap() {
        let request = Message::Request(Request {
            tid: vector["tid"].as_u64().unwrap() as u16,
            to: address(&vector["to"]),
            id: maybe_key(&vector["id"]),
            token: maybe_key(&vector["token"]),
            command: Command::from_wire(
                vector["internal"].as_bool().unwrap(),
                vector["command"].as_u64().unwrap(),
            ),
            target: maybe_key(&vector["target"]),
            value: maybe(&vector["value"]),
        });
        let datagram = bytes(&vector["bytes"]);
        assert_eq!(request.encode(), datagram);
        assert_eq!(Message::decode(&datagram), Some(Ok(request)));
    }
}

#[test]
fn responses_are_those_of_the_javascript_node() {
    for vector in vectors()["responses"].as_array().unwrap() {
        let response = Message::Response(Response {
            tid: vector["tid"].as_u64().unwrap() as u16,
            to: address(&vector["to"]),
            id: maybe_key(&vector["id"]),
            token: maybe_key(&vector["token"]),
            closer_nodes: vector["closer"].as_array().unwrap().iter().map(address).collect(),
            error: vector["error"].as_u64().unwrap(),
            value: maybe(&vector["value"]),
        });
        let datagram = bytes(&vector["bytes"]);
        assert_eq!(response.encode(), datagram);
        assert_eq!(Message::decode(&datagram), Some(Ok(response)));
    }
}

#[test]
fn ids_are_those_of_the_javascript_node() {
    for vector in vectors()["ids"].as_array().unwrap() {
        assert_eq!(
            Some(node_id(address(&vector["address"]))),
            maybe_key(&vector["id"])
        );
    }
}

#[test]
fn a_datagram_that_is_cut_is_refused() {
    for vector in vectors()["responses"].as_array().unwrap() {
        let datagram = bytes(&vector["bytes"]);
        for len in 1..datagram.len() {
            assert!(matches!(Message::decode(&datagram[..len]), Some(Err(_))), "{len}");
        }
    }
    assert_eq!(Message::decode(&[]), None);
    assert_eq!(Message::decode(&[0xff, 1, 2]), None, "UDX's");
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..300), kind: bool) {
        if let Some(first) = bytes.first_mut() {
            *first = if kind { REQUEST } else { RESPONSE };
        }
        fuzz_message(&bytes);
    }
}
