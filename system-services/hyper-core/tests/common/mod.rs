//! Reading the vectors that JavaScript peers wrote.

#![allow(dead_code, clippy::unwrap_used)]

use data_encoding::HEXLOWER;
use hyper_core::crypto::Hash;
use serde_json::Value;

/// Bytes that stand there in hexadecimal.
pub fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

pub fn hash(value: &Value) -> Hash {
    hex(value).try_into().unwrap()
}
