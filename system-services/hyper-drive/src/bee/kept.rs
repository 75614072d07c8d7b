//! A tree node as it is kept in memory: its lists, the key of its block, and those of its keys that were looked at, in one piece.
//!
//! Numbers are written as in blocks. Nobody but the cache reads this.

use std::sync::Arc;

use bytes::Bytes;

use super::block::{Content, MAX_KEYS, Pointer};
use super::protobuf::{Reader, put_number};
use super::view::Node;

/// The longest key that is kept with its node.
const MAX_KEY_BYTES: usize = 256;

/// Writes a node. `known` gives those of its keys that were looked at.
pub(super) fn encode<'a>(
    block_key: &[u8],
    content: &Content,
    known: impl Fn(usize) -> Option<&'a Bytes>,
) -> Arc<[u8]> {
    let mut out = Vec::with_capacity(512);
    put_number(&mut out, content.keys.len() as u64);
    content.keys.iter().for_each(|key| put_number(&mut out, *key));
    put_number(&mut out, content.children.len() as u64);
    for child in &content.children {
        put_number(&mut out, child.seq);
        put_number(&mut out, child.offset);
    }
    put_number(&mut out, block_key.len() as u64);
    out.extend_from_slice(block_key);
    for place in 0..content.keys.len() {
        match known(place).filter(|key| key.len() <= MAX_KEY_BYTES) {
            Some(key) => {
                put_number(&mut out, key.len() as u64 + 1);
                out.extend_from_slice(key);
            }
            None => out.push(0),
        }
    }
    out.into()
}

/// Reads what was written, as a node at this place below `depth` others.
pub(super) fn decode(bytes: Arc<[u8]>, at: Pointer, depth: usize) -> Option<Node> {
    let bytes = Bytes::from_owner(bytes);
    let mut reader = Reader::new(&bytes);
    let mut content = Content {
        keys: Vec::with_capacity(MAX_KEYS),
        children: Vec::with_capacity(MAX_KEYS + 1),
    };
    for _ in 0..number(&mut reader)? {
        content.keys.push(number(&mut reader)?);
    }
    for _ in 0..number(&mut reader)? {
        content.children.push(Pointer {
            seq: number(&mut reader)?,
            offset: number(&mut reader)?,
        });
    }
    let length = number(&mut reader)?;
    let block_key = bytes.slice(reader.take(length).ok()?);
    let mut node = Node::new(at, block_key, content, depth);
    for place in 0..node.content.keys.len() {
        if let Some(length) = number(&mut reader)?.checked_sub(1) {
            node.learn(place, bytes.slice(reader.take(length).ok()?));
        }
    }
    Some(node)
}

fn number(reader: &mut Reader<'_>) -> Option<u64> {
    reader.number().ok().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_node_is_read_as_it_was_written(
            keys in prop::collection::vec((0..1u64 << 53, prop::option::of(prop::collection::vec(any::<u8>(), 0..300))), 0..9),
            children in prop::collection::vec((0..1u64 << 53, 0..1u64 << 53), 0..10),
            block_key in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let at = Pointer { seq: 7, offset: 3 };
            let content = Content {
                keys: keys.iter().map(|(seq, _)| *seq).collect(),
                children: children.iter().map(|(seq, offset)| Pointer { seq: *seq, offset: *offset }).collect(),
            };
            let known: Vec<_> = keys.into_iter().map(|(_, key)| key.map(Bytes::from)).collect();
            let bytes = encode(&block_key, &content, |place| known[place].as_ref());
            let node = decode(bytes, at, 5).unwrap();
            prop_assert_eq!((node.at, node.depth, &node.block_key[..]), (at, 5, &block_key[..]));
            prop_assert_eq!(&node.content, &content);
            for (place, known) in known.iter().enumerate() {
                let kept = known.as_ref().filter(|key| key.len() <= MAX_KEY_BYTES);
                prop_assert_eq!(node.known_key(place), kept);
            }
        }
    }
}
