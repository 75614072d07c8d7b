//! Encrypted blocks, keys of a corestore and keys as text against those of the JavaScript stack
//! (`tests/interop/vectors-corestore.mjs` writes them).

#![allow(clippy::unwrap_used)]

use hyper_core::crypto::{Hash, KeyPair};
use hyper_core::encryption::{BlockCipher, block_key};
use hyper_core::key;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/corestore.json")).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap().as_bytes();
    text.chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn hash(value: &Value) -> Hash {
    hex(value).try_into().unwrap()
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
