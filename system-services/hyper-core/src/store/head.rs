//! The head of a core as it is stored.

use crate::crypto::Hash;
use crate::flat_tree::MAX_BLOCKS;

const FIXED_BYTES: usize = 56;

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

impl Head {
    /// The head as bytes: fork, length and contiguous length (64 bits, little endian), tree hash, signature.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + self.signature.len());
        for number in [self.fork, self.length, self.contiguous_length] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.tree_hash);
        out.extend_from_slice(&self.signature);
        out
    }

    /// Reads a stored head. `None` if it is too short or claims what no core can have.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (fork, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (contiguous, rest) = rest.split_first_chunk()?;
        let (tree_hash, signature) = rest.split_first_chunk()?;
        let head = Self {
            fork: u64::from_le_bytes(*fork),
            length: u64::from_le_bytes(*length),
            contiguous_length: u64::from_le_bytes(*contiguous),
            tree_hash: *tree_hash,
            signature: signature.to_vec(),
        };
        (head.length <= MAX_BLOCKS && head.contiguous_length <= head.length).then_some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_head_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(head) = Head::decode(&bytes) {
                prop_assert_eq!(head.encode(), bytes);
            }
        }

        #[test]
        fn a_head_is_read_as_it_was_written(fork: u64, length in 0..1000u64, signature: Vec<u8>) {
            let head = Head { fork, length, contiguous_length: length / 2, tree_hash: [7; 32], signature };
            prop_assert_eq!(Head::decode(&head.encode()), Some(head));
        }
    }
}
