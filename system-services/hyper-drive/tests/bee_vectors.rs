//! A bee against what the JavaScript one makes of the same changes (`tests/interop/vectors-bee.mjs` writes it).

#![allow(clippy::unwrap_used)]

use hyper_core::core::CoreOptions;
use hyper_core::crypto::{self, KeyPair};
use hyper_core::session::Session;
use hyper_core::store::Store;
use hyper_drive::bee::{Batch, Bee, Change, Entry, KeyRange};
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    Some(value.as_str()?.as_bytes().chunks(2).map(pair).collect())
}

async fn change(batch: &mut Batch, operation: &Value) {
    let (key, value) = (bytes(&operation["key"]).unwrap(), bytes(&operation["value"]));
    let cas = operation["cas"].as_bool();
    match (operation["op"].as_str().unwrap(), cas) {
        ("del", None) => batch.del(key).await.unwrap(),
        ("del", Some(cas)) => batch.del_if(key, |_| cas).await.unwrap(),
        // hyperbee asks only when there is something to be replaced.
        ("put", cas) => {
            let condition = |old: Option<&Entry>| old.is_none() || cas.unwrap_or(true);
            match value {
                Some(value) => batch.put_if(key, value, condition).await.unwrap(),
                None => batch.put_without_value_if(key, condition).await.unwrap(),
            }
        }
        (other, _) => panic!("no such operation: {other}"),
    };
}

fn range(query: &Value) -> KeyRange {
    let mut range = KeyRange::ALL;
    for (name, bound) in [
        ("gt", KeyRange::gt as fn(_, Vec<u8>) -> _),
        ("gte", KeyRange::gte),
        ("lt", KeyRange::lt),
        ("lte", KeyRange::lte),
    ] {
        if let Some(key) = bytes(&query[name]) {
            range = bound(range, key);
        }
    }
    range
}

fn entry(entry: &Entry) -> Value {
    json!({"seq": entry.seq, "key": hex(&entry.key), "value": entry.value.as_deref().map(hex)})
}

async fn read(bee: &Bee, query: &Value) -> Vec<Value> {
    let bee = match query["version"].as_u64() {
        Some(version) => bee.checkout(version).unwrap(),
        None => bee.clone(),
    };
    let limit = query["limit"].as_u64().unwrap_or(u64::MAX);
    let reverse = query["reverse"] == true;
    let mut out = Vec::new();
    match query["read"].as_str().unwrap() {
        "scan" => {
            let mut entries = bee.range(range(query)).unwrap().limit(limit);
            if reverse {
                entries = entries.reversed();
            }
            while let Some(found) = entries.next().await.unwrap() {
                out.push(entry(&found));
            }
        }
        "history" => {
            let (start, end) = (query["gte"].as_u64(), query["lt"].as_u64());
            let blocks = start.unwrap_or(1)..end.unwrap_or(u64::MAX);
            let mut history = bee.history(blocks).unwrap().limit(limit);
            if reverse {
                history = history.reversed();
            }
            while let Some(found) = history.next().await.unwrap() {
                let mut item = entry(&found.entry);
                item["type"] = json!(if found.change == Change::Put { "put" } else { "del" });
                out.push(item);
            }
        }
        _ => {
            let other = bee.checkout(query["other"].as_u64().unwrap()).unwrap();
            let mut differences = bee.diff(&other, range(query)).unwrap().limit(limit);
            while let Some(found) = differences.next().await.unwrap() {
                let side = |side: &Option<Entry>| side.as_ref().map(entry);
                out.push(json!({"left": side(&found.left), "right": side(&found.right)}));
            }
        }
    }
    out
}

#[tokio::test]
async fn the_same_changes_make_the_same_blocks_and_are_read_the_same() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/bee.json")).unwrap();
    let store = Store::in_memory().unwrap();
    let options = CoreOptions::from_key_pair(KeyPair::from_seed(&[7; 32]));
    let session = Session::new(store.core(options).unwrap()).unwrap();
    let bee = Bee::new(session.clone());
    for operation in vectors["operations"].as_array().unwrap() {
        let mut batch = bee.batch();
        match operation["ops"].as_array() {
            Some(operations) => {
                for operation in operations {
                    change(&mut batch, operation).await;
                }
            }
            None => change(&mut batch, operation).await,
        }
        batch.flush().await.unwrap();
    }
    assert_eq!(hex(session.key()), vectors["key"]);
    let digests = vectors["digests"].as_str().unwrap().split(' ');
    for (seq, digest) in (0..session.length()).zip(digests) {
        let block = session.get(seq).await.unwrap();
        if let Some(expected) = vectors["first_blocks"][seq as usize].as_str() {
            assert_eq!(hex(&block), expected, "block {seq}");
        }
        assert_eq!(hex(&crypto::hash(&[&block])[..4]), digest, "block {seq}");
    }
    let info = session.info().unwrap();
    assert_eq!((info.length, info.byte_length), {
        let number = |name: &str| vectors[name].as_u64().unwrap();
        (number("length"), number("byte_length"))
    });
    assert_eq!(hex(&info.tree_hash), vectors["tree_hash"]);
    for query in vectors["reads"].as_array().unwrap() {
        let expected = query["items"].as_array().unwrap();
        let name = format!(
            "{:?}",
            query
                .as_object()
                .unwrap()
                .iter()
                .filter(|(name, _)| *name != "items")
                .collect::<Vec<_>>()
        );
        assert_eq!(&read(&bee, query).await, expected, "{name}");
    }
}
