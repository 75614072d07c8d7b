//! A bee against what the JavaScript one makes of the same changes (`tests/interop/vectors-bee.mjs` writes it).

#![allow(clippy::unwrap_used)]

mod operations;

use hyper_core::core::CoreOptions;
use hyper_core::crypto::{self, KeyPair};
use hyper_core::session::Session;
use hyper_core::store::Store;
use hyper_drive::bee::Bee;
use operations::{apply, hex, read};
use serde_json::Value;

#[tokio::test]
async fn the_same_changes_make_the_same_blocks_and_are_read_the_same() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/bee.json")).unwrap();
    let store = Store::in_memory().unwrap();
    let options = CoreOptions::from_key_pair(KeyPair::from_seed(&[7; 32]));
    let session = Session::new(store.core(options).unwrap()).unwrap();
    let bee = Bee::new(session.clone());
    for operation in vectors["operations"].as_array().unwrap() {
        apply(&bee, operation).await;
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
