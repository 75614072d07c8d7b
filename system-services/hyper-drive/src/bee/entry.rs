//! What a bee gives: a key and what it stands for.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::block::Block;
use super::draft::Found;
use super::error::BeeError;

/// A key and what it stands for. Clones share their bytes, and those of the block that they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The block that put it.
    pub seq: u64,
    /// The key; in a sub-database without the prefix.
    pub key: Bytes,
    /// The value; a peer may put a key without one.
    pub value: Option<Bytes>,
}

impl Entry {
    /// The key as text.
    pub fn key_text(&self) -> Result<&str, BeeError> {
        std::str::from_utf8(&self.key).map_err(|_| BeeError::NotText { seq: self.seq })
    }

    /// The value, read as JSON. No value is JSON's null.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, BeeError> {
        serde_json::from_slice(self.value.as_deref().unwrap_or(b"null")).map_err(|source| BeeError::NotJson {
            seq: self.seq,
            source,
        })
    }

    /// The entry of a block, seen from the sub-database with this prefix; what is not of it keeps its key.
    pub(super) fn new(block: &Block, prefix: &[u8]) -> Self {
        Self {
            seq: block.seq,
            key: without(&block.shared_key(), prefix),
            value: block.shared_value(),
        }
    }

    pub(super) fn of_draft(found: &Found, prefix: &[u8]) -> Self {
        Self {
            seq: found.seq,
            key: without(&found.key, prefix),
            value: found.value.clone(),
        }
    }
}

fn without(key: &Bytes, prefix: &[u8]) -> Bytes {
    match key.starts_with(prefix) {
        true => key.slice(prefix.len()..),
        false => key.clone(),
    }
}
