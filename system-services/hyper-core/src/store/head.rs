//! The head of a core as it is stored.

use crate::crypto::Hash;
use crate::flat_tree;
use crate::merkle::{Node, Tree};
use crate::messages::codec::{Reader, put_uint};

/// Where a core stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// How often it was truncated.
    pub fork: u64,
    /// Blocks.
    pub length: u64,
    /// Blocks from the start without a gap that are stored.
    pub contiguous_length: u64,
    /// Hash of the tree: a check on the roots that are stored beside.
    pub tree_hash: Hash,
    /// The signature, as the manifest demands it; empty where none is needed.
    pub signature: Vec<u8>,
}

/// A head as it was stored, with the roots of its tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredHead {
    pub(super) head: Head,
    roots: Vec<Node>,
}

impl Head {
    /// The head as bytes: fork (64 bits), length and contiguous length, tree hash, size and hash of each root of the tree, signature.
    pub(super) fn encode(&self, roots: &[Node]) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + 40 * roots.len() + self.signature.len());
        out.extend_from_slice(&self.fork.to_le_bytes());
        put_uint(&mut out, self.length);
        put_uint(&mut out, self.contiguous_length);
        out.extend_from_slice(&self.tree_hash);
        for root in roots {
            put_uint(&mut out, root.size);
            out.extend_from_slice(&root.hash);
        }
        out.extend_from_slice(&self.signature);
        out
    }
}

impl StoredHead {
    /// Reads a stored head. `None` if it is too short or claims what no core can have.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new("head", bytes);
        let fork = u64::from_le_bytes(reader.array("fork").ok()?);
        let length = reader.uint("length").ok()?;
        let contiguous_length = reader.uint("contiguous length").ok()?;
        let tree_hash = reader.array("tree hash").ok()?;
        if length > flat_tree::MAX_BLOCKS || contiguous_length > length {
            return None;
        }
        let root = |position| {
            Some(Node {
                position,
                size: reader.uint("size").ok()?,
                hash: reader.array("hash").ok()?,
            })
        };
        let roots = flat_tree::roots(length).map(root).collect::<Option<_>>()?;
        let head = Head {
            fork,
            length,
            contiguous_length,
            tree_hash,
            signature: reader.take_rest().to_vec(),
        };
        Some(Self { head, roots })
    }

    /// The head and its tree, `None` if the roots do not hash to what the head says.
    pub(super) fn into_checked(self) -> Option<(Head, Tree)> {
        let tree = Tree::from_roots(self.head.fork, self.head.length, self.roots).ok()?;
        (tree.hash() == self.head.tree_hash).then_some((self.head, tree))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_head_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(stored) = StoredHead::decode(&bytes) {
                let again = stored.head.encode(&stored.roots);
                prop_assert_eq!(StoredHead::decode(&again), Some(stored));
            }
        }

        #[test]
        fn a_head_is_read_as_it_was_written(fork: u64, length in 0..1000u64, size in 0..1u64 << 40, signature: Vec<u8>) {
            let roots: Vec<_> = flat_tree::roots(length)
                .map(|position| Node { position, size, hash: [9; 32] })
                .collect();
            let tree_hash = Tree::from_roots(fork, length, roots.clone()).unwrap().hash();
            let head = Head { fork, length, contiguous_length: length / 2, tree_hash, signature };
            let stored = StoredHead::decode(&head.encode(&roots)).unwrap();
            prop_assert_eq!(stored.into_checked().map(|(head, _)| head), Some(head));
        }
    }
}
