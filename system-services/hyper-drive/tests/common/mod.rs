//! What the tests share: the vectors that the JavaScript peer wrote, and cores in memory.

#![allow(dead_code, clippy::unwrap_used)]

use hyper_core::core::CoreOptions;
use hyper_core::crypto::{self, Hash, KeyPair};
use hyper_core::session::Session;
use hyper_core::store::Store;
use serde_json::Value;

/// `tests/interop/vectors-drive.mjs` writes them.
pub fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/drive.json")).unwrap()
}

pub fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.chunks(2).map(byte).collect()
}

pub fn hash(value: &Value) -> Hash {
    hex(value).try_into().unwrap()
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub fn uint(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// The content of every file in the vectors.
pub fn content(seed: u64, size: u64) -> Vec<u8> {
    (0..size).map(|j| (seed + 3 * j + (j >> 8)) as u8).collect()
}

/// The bytes of a range as the peers write it: `end` is the last byte.
pub fn range(value: &Value) -> (u64, u64) {
    let start = value["start"].as_u64().unwrap_or(0);
    let end = match (value["length"].as_u64(), value["end"].as_u64()) {
        (Some(length), _) => start + length,
        (None, Some(last)) => last + 1,
        (None, None) => u64::MAX,
    };
    (start, end)
}

pub fn digest(bytes: &[u8]) -> Hash {
    crypto::hash(&[bytes])
}

/// A core in memory.
pub fn core(seed: u8) -> Session {
    let store = Store::in_memory().unwrap();
    let pair = KeyPair::from_seed(&[seed; 32]);
    Session::new(store.core(CoreOptions::from_key_pair(pair)).unwrap()).unwrap()
}
