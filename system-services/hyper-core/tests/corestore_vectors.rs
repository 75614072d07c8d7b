//! Encrypted blocks, keys of a corestore and keys as text against those of the JavaScript stack
//! (`tests/interop/vectors-corestore.mjs` writes them).

#![allow(clippy::unwrap_used)]

mod common;

use common::{hash, hex};
use hyper_core::core::CoreOptions;
use hyper_core::corestore::{Corestore, PrimaryKey};
use hyper_core::crypto::KeyPair;
use hyper_core::encryption::{BlockCipher, block_key};
use hyper_core::key;
use hyper_core::merkle::Seek;
use hyper_core::store::Store;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/corestore.json")).unwrap()
}

/// The forks at which the blocks of the encrypted cores were written.
const FORKS: [u64; 6] = [0, 0, 0, 0, 1, 9];

#[test]
fn blocks_are_encrypted_as_the_peer_does() {
    let vectors = &vectors()["encryption"];
    let encryption_key = hash(&vectors["encryptionKey"]);
    for core in vectors["cores"].as_array().unwrap() {
        let name = core["name"].as_str().unwrap();
        let cipher = match name {
            "block key" => BlockCipher::of_block_key(&encryption_key),
            _ => BlockCipher::new(&encryption_key, &hash(&core["key"])),
        };
        let compat = name == "compat";
        let blocks = core["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), FORKS.len());
        for ((block, number), fork) in blocks.iter().zip(0..).zip(FORKS) {
            let (stored, plain) = (hex(&block["stored"]), hex(&block["plain"]));
            assert_eq!(
                cipher.encrypt(compat, number, fork, &plain),
                stored,
                "{name} {number}"
            );
            assert_eq!(
                cipher.decrypt(compat, number, stored).unwrap(),
                plain,
                "{name} {number}"
            );
        }
    }
}

#[test]
fn the_key_of_one_cores_blocks_is_that_of_the_peer() {
    let vectors = &vectors()["encryption"];
    let key = KeyPair::from_seed(&hash(&vectors["seed"])).public_key();
    assert_eq!(
        block_key(&hash(&vectors["encryptionKey"]), &key),
        hash(&vectors["blockKey"])
    );
}

#[test]
fn keys_are_read_and_shown_as_the_peer_does() {
    let vectors = &vectors()["text"];
    for both in vectors["keys"].as_array().unwrap() {
        let key = hash(&both["hex"]);
        assert_eq!(key::to_z32(&key), both["z32"].as_str().unwrap());
        assert_eq!(key::to_hex(&key), both["hex"].as_str().unwrap());
    }
    for case in vectors["accepted"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let expected = case["key"].as_str().map(|_| hash(&case["key"]));
        assert_eq!(key::parse(text).ok(), expected, "{text}");
    }
}

#[tokio::test]
async fn an_encrypted_core_is_stored_as_the_peer_stores_it() {
    let vectors = &vectors()["encryption"];
    let encryption_key = hash(&vectors["encryptionKey"]);
    let pair = KeyPair::from_seed(&hash(&vectors["seed"]));
    for core in vectors["cores"].as_array().unwrap() {
        let store = Corestore::in_memory().unwrap();
        let name = core["name"].as_str().unwrap();
        let raw = match name {
            "compat" => store.get(CoreOptions::compat(pair.clone())).unwrap(),
            _ => store.get_by_key_pair(pair.clone()).unwrap(),
        };
        assert_eq!(*raw.key(), hash(&core["key"]));
        let cipher = match name {
            "block key" => BlockCipher::of_block_key(&encryption_key),
            _ => BlockCipher::new(&encryption_key, raw.key()),
        };
        let session = raw.clone().with_encryption(cipher);
        let blocks = core["blocks"].as_array().unwrap();
        let plain = |at: usize| hex(&blocks[at]["plain"]);
        // As the generator does.
        session
            .append(&[plain(0), plain(1), plain(2), plain(3), vec![1], vec![2]])
            .await
            .unwrap();
        session.truncate(4, None).await.unwrap();
        session.append(&[plain(4), vec![3]]).await.unwrap();
        session.truncate(5, Some(9)).await.unwrap();
        session.append(&[plain(5)]).await.unwrap();
        for (block, number) in blocks.iter().zip(0..) {
            assert_eq!(
                raw.get_local(number).unwrap(),
                Some(hex(&block["stored"])),
                "{name}"
            );
            assert_eq!(
                session.get_local(number).unwrap(),
                Some(hex(&block["plain"])),
                "{name}"
            );
        }
        assert_eq!(session.byte_length(), core["byteLength"].as_u64().unwrap());
        assert_eq!(raw.byte_length(), core["stateByteLength"].as_u64().unwrap());
        let [block, offset] = [0, 1].map(|at| core["seek"][at].as_u64().unwrap());
        assert_eq!(session.seek(100).await.unwrap(), Seek::Block { block, offset });
    }
}

#[test]
fn a_primary_key_gives_the_cores_that_it_gives_the_peer() {
    let vectors = &vectors()["corestore"];
    let primary_key = PrimaryKey::new(hash(&vectors["primaryKey"]));
    let root = Corestore::of_store_with(Store::in_memory().unwrap(), &primary_key).unwrap();
    for core in vectors["cores"].as_array().unwrap() {
        let path = core["path"].as_array().unwrap();
        let store = path.iter().fold(root.clone(), |store, name| {
            store.namespace(name.as_str().unwrap())
        });
        let name = core["name"].as_str().unwrap();
        assert_eq!(
            store.key_pair(name).public_key(),
            hash(&core["publicKey"]),
            "{path:?} {name}"
        );
        if core.get("key").is_some() {
            let session = store.get_by_name(name).unwrap();
            assert_eq!(*session.key(), hash(&core["key"]));
            assert_eq!(session.discovery_key(), hash(&core["discoveryKey"]));
            drop(session);
            assert!(root.get_by_key(&hash(&core["key"])).unwrap().is_writable());
        }
    }
    let pair = KeyPair::from_seed(&hash(&vectors["byPair"]["seed"]));
    let session = root.get_by_key_pair(pair).unwrap();
    assert_eq!(*session.key(), hash(&vectors["byPair"]["key"]));
}
