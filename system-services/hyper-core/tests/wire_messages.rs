//! The replication messages against bytes of the JavaScript peer (`tests/interop/vectors-wire.mjs` writes them).

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::hex;
use hyper_core::messages::*;
use proptest::prelude::*;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/wire-messages.json")).unwrap()
}

fn uint(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap()
}

fn flag(value: &Value, key: &str) -> bool {
    value[key].as_bool().unwrap()
}

fn part<T>(value: &Value, key: &str, read: impl Fn(&Value) -> T) -> Option<T> {
    Some(&value[key]).filter(|part| !part.is_null()).map(read)
}

fn nodes(value: &Value, key: &str) -> Vec<Node> {
    let node = |n: &Value| Node {
        index: uint(n, "index"),
        size: uint(n, "size"),
        hash: hex(&n["hash"]).try_into().unwrap(),
    };
    value[key].as_array().unwrap().iter().map(node).collect()
}

fn request(v: &Value) -> Request {
    let node = |v: &Value| RequestNode {
        index: uint(v, "index"),
        nodes: uint(v, "nodes"),
    };
    let seek = |v: &Value| RequestSeek {
        bytes: uint(v, "bytes"),
        padding: uint(v, "padding"),
    };
    let upgrade = |v: &Value| RequestUpgrade {
        start: uint(v, "start"),
        length: uint(v, "length"),
    };
    Request {
        id: uint(v, "id"),
        fork: uint(v, "fork"),
        block: part(v, "block", node),
        hash: part(v, "hash", node),
        seek: part(v, "seek", seek),
        upgrade: part(v, "upgrade", upgrade),
        manifest: flag(v, "manifest"),
        priority: Priority(uint(v, "priority")),
    }
}

fn data(v: &Value) -> Data {
    Data {
        request: uint(v, "request"),
        fork: uint(v, "fork"),
        block: part(v, "block", |v| DataBlock {
            index: uint(v, "index"),
            value: hex(&v["value"]),
            nodes: nodes(v, "nodes"),
        }),
        hash: part(v, "hash", |v| DataHash {
            index: uint(v, "index"),
            nodes: nodes(v, "nodes"),
        }),
        seek: part(v, "seek", |v| DataSeek {
            bytes: uint(v, "bytes"),
            nodes: nodes(v, "nodes"),
        }),
        upgrade: part(v, "upgrade", |v| DataUpgrade {
            start: uint(v, "start"),
            length: uint(v, "length"),
            nodes: nodes(v, "nodes"),
            additional_nodes: nodes(v, "additionalNodes"),
            signature: part(v, "signature", hex).unwrap_or_default(),
        }),
        manifest: part(v, "manifest", hex).map(EncodedManifest),
    }
}

fn message(kind: u64, v: &Value) -> Message {
    let want = || Want {
        start: uint(v, "start"),
        length: uint(v, "length"),
        any: flag(v, "any"),
    };
    match kind {
        0 => Message::Sync(Sync {
            fork: uint(v, "fork"),
            length: uint(v, "length"),
            remote_length: uint(v, "remoteLength"),
            can_upgrade: flag(v, "canUpgrade"),
            uploading: flag(v, "uploading"),
            downloading: flag(v, "downloading"),
            has_manifest: flag(v, "hasManifest"),
            allow_push: flag(v, "allowPush"),
        }),
        1 => Message::Request(request(v)),
        2 => Message::Cancel(Cancel {
            request: uint(v, "request"),
        }),
        3 => Message::Data(data(v)),
        4 => Message::NoData(NoData {
            request: uint(v, "request"),
            reason: NoDataReason(uint(v, "reason")),
        }),
        5 => Message::Want(want()),
        6 => Message::Unwant(want()),
        7 => Message::Bitfield(Bitfield {
            start: uint(v, "start"),
            words: v["bitfield"]
                .as_array()
                .unwrap()
                .iter()
                .map(|w| w.as_u64().unwrap() as u32)
                .collect(),
        }),
        8 => {
            let (start, length) = (uint(v, "start"), uint(v, "length"));
            Message::Range(Range {
                drop: flag(v, "drop"),
                start,
                length,
            })
        }
        9 => Message::Extension(Extension {
            name: v["name"].as_str().unwrap().to_owned(),
            message: hex(&v["message"]),
        }),
        _ => panic!("a vector of an unknown kind"),
    }
}

#[test]
fn every_message_of_the_peer_is_read_and_written_byte_for_byte() {
    let vectors = vectors();
    for vector in vectors["messages"].as_array().unwrap() {
        let kind = uint(vector, "kind");
        let expected = message(kind, &vector["value"]);
        assert_eq!(
            Message::decode(kind, &hex(&vector["hex"])),
            Ok(Some(expected.clone())),
            "{vector}"
        );
        assert_eq!(expected.encode(), hex(&vector["hex"]), "{vector}");
        assert_eq!(expected.kind(), kind);
    }
    for vector in vectors["handshakes"].as_array().unwrap() {
        let value = &vector["value"];
        let expected = Open {
            seeks: flag(value, "seeks"),
            capability: hex(&value["capability"]).try_into().unwrap(),
        };
        assert_eq!(Open::decode(&hex(&vector["hex"])), Ok(expected.clone()));
        assert_eq!(expected.encode(), hex(&vector["hex"]));
    }
}

#[test]
fn damaged_messages_are_refused_where_the_peer_refuses_them_and_mean_the_same_elsewhere() {
    let vectors = vectors();
    let damaged = vectors["damaged"].as_array().unwrap();
    assert!(
        damaged.iter().any(|vector| vector["value"].is_null()),
        "no damage that matters"
    );
    for vector in damaged {
        let kind = uint(vector, "kind");
        let read = Message::decode(kind, &hex(&vector["hex"]));
        match vector["value"].is_null() {
            true => assert!(read.is_err(), "{vector}: {read:?}"),
            false => assert_eq!(read, Ok(Some(message(kind, &vector["value"]))), "{vector}"),
        }
    }
}

#[test]
fn a_message_of_a_newer_protocol_is_ignored() {
    assert_eq!(Message::decode(10, &[1, 2, 3]), Ok(None));
}

proptest! {
    #[test]
    fn whatever_can_be_read_is_written_so_that_it_reads_the_same(kind in 0u64..10, bytes in prop::collection::vec(prop_oneof![0u8..5, any::<u8>()], 0..300)) {
        if let Ok(Some(message)) = Message::decode(kind, &bytes) {
            prop_assert_eq!(Message::decode(kind, &message.encode()), Ok(Some(message)));
        }
        let _ = Open::decode(&bytes);
    }

    #[test]
    fn a_cut_message_is_refused_or_read_without_panic(which in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), flip in any::<(prop::sample::Index, u8)>()) {
        let vectors = vectors();
        let vector = which.get(vectors["messages"].as_array().unwrap());
        let mut bytes = hex(&vector["hex"]);
        bytes.truncate(cut.index(bytes.len() + 1));
        if !bytes.is_empty() {
            let at = flip.0.index(bytes.len());
            bytes[at] ^= flip.1;
        }
        let _ = Message::decode(uint(vector, "kind"), &bytes);
    }
}
