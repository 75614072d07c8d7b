//! Keys, manifests, trees and proofs against those of the JavaScript peer (`tests/interop/vectors-core.mjs` writes them).

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod forks;
mod manifests;
mod proofs;
mod remote;
mod seeks;
mod sparse;
mod trees;

use common::{hash, hex};
use hyper_core::crypto::KeyPair;
use hyper_core::manifest::{Manifest, Verifier};
use hyper_core::merkle::{Batch, MemoryNodes, Tree};
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let text = match name {
        "core" => include_str!("../vectors/core.json"),
        _ => include_str!("../vectors/core-manifests.json"),
    };
    serde_json::from_str(text).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn uint(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Block `i` of every core in the vectors.
fn block(i: u64) -> Vec<u8> {
    let length = 8 + (i * 31) % 97;
    (0..length).map(|j| (i + 3 * j) as u8).collect()
}

fn pair() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

/// The verifier of the core with one signer.
fn single() -> Verifier {
    Verifier::of_manifest(Manifest::single(pair().public_key()))
}

fn grow(length: u64, fork: u64) -> (Tree, MemoryNodes) {
    grow_with(length, fork, block)
}

fn grow_with(length: u64, fork: u64, block: impl Fn(u64) -> Vec<u8>) -> (Tree, MemoryNodes) {
    let mut batch = Batch::new(Tree::empty(fork));
    for i in 0..length {
        batch.append(&block(i)).unwrap();
    }
    let (tree, nodes) = batch.into_parts();
    let mut stored = MemoryNodes::default();
    stored.extend(nodes);
    (tree, stored)
}
