//! Building a hash tree.

use super::{BLOCK, DIGEST, digest, level_blocks, sha256};

/// A tree over some data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashTree {
    /// Digest of the top block.
    pub root: [u8; 32],
    /// Salt.
    pub salt: [u8; 32],
    /// Number of data blocks.
    pub data_blocks: u64,
    /// The tree, to be stored right behind the data.
    pub tree: Vec<u8>,
}

/// Data of this size cannot have a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash tree needs whole blocks of 4096 bytes and at least one of them; the data has {size} bytes")]
pub struct TreeError {
    /// Bytes of data.
    pub size: u64,
}

/// Bytes of the tree over `data_size` bytes.
pub fn tree_size(data_size: u64) -> Result<u64, TreeError> {
    if data_size == 0 || !data_size.is_multiple_of(BLOCK as u64) {
        return Err(TreeError { size: data_size });
    }
    let blocks: u64 = level_blocks(data_size / BLOCK as u64).iter().sum();
    Ok(blocks * BLOCK as u64)
}

/// Hashes data that is fed in order, in pieces of any length. Memory: the lowest level, 1/128 of the data.
#[derive(Debug, Clone)]
pub struct TreeBuilder {
    salt: [u8; 32],
    /// Digests of the data blocks so far.
    digests: Vec<u8>,
    /// A block that is not complete yet.
    rest: Vec<u8>,
}

impl TreeBuilder {
    /// An empty tree.
    pub fn new(salt: [u8; 32]) -> Self {
        Self {
            salt,
            digests: Vec::new(),
            rest: Vec::with_capacity(BLOCK),
        }
    }

    /// The next bytes of the data.
    pub fn update(&mut self, mut data: &[u8]) {
        if !self.rest.is_empty() {
            let (head, tail) = data.split_at(data.len().min(BLOCK - self.rest.len()));
            self.rest.extend_from_slice(head);
            data = tail;
            if self.rest.len() < BLOCK {
                return;
            }
            self.digests.extend_from_slice(&digest(&self.salt, &self.rest));
            self.rest.clear();
        }
        let blocks = data.chunks_exact(BLOCK);
        self.rest.extend_from_slice(blocks.remainder());
        for block in blocks {
            self.digests.extend_from_slice(&digest(&self.salt, block));
        }
    }

    /// The tree; an error when the data did not end with a whole block.
    pub fn finish(self) -> Result<HashTree, TreeError> {
        let data_blocks = (self.digests.len() / DIGEST) as u64;
        if !self.rest.is_empty() || data_blocks == 0 {
            return Err(TreeError {
                size: data_blocks * BLOCK as u64 + self.rest.len() as u64,
            });
        }
        Ok(from_digests(self.digests, self.salt, data_blocks))
    }
}

/// Hashes data in memory on two threads. The salt is the data's SHA-256, so that the same data gives the same tree.
pub fn hash_tree(data: &[u8]) -> Result<HashTree, TreeError> {
    if data.is_empty() || !data.len().is_multiple_of(BLOCK) {
        return Err(TreeError {
            size: data.len() as u64,
        });
    }
    let salt = sha256(data);
    let blocks = data.len() / BLOCK;
    let mut digests = vec![0; blocks * DIGEST];
    let half = blocks.div_ceil(2);
    std::thread::scope(|scope| {
        for (input, output) in data.chunks(half * BLOCK).zip(digests.chunks_mut(half * DIGEST)) {
            scope.spawn(move || {
                for (block, place) in input.chunks_exact(BLOCK).zip(output.chunks_exact_mut(DIGEST)) {
                    place.copy_from_slice(&digest(&salt, block));
                }
            });
        }
    });
    Ok(from_digests(digests, salt, blocks as u64))
}

/// The levels above the digests of the data blocks.
fn from_digests(digests: Vec<u8>, salt: [u8; 32], data_blocks: u64) -> HashTree {
    let mut levels: Vec<Vec<u8>> = Vec::new();
    let mut level = digests;
    while level.len() > DIGEST {
        level.resize(level.len().next_multiple_of(BLOCK), 0);
        let above = level
            .chunks_exact(BLOCK)
            .flat_map(|block| digest(&salt, block))
            .collect();
        levels.push(level);
        level = above;
    }
    HashTree {
        root: super::array(&level),
        salt,
        data_blocks,
        tree: levels.into_iter().rev().flatten().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_grows_a_level_beyond_128_blocks() {
        for (blocks, tree) in [
            (1, 0),
            (2, 1),
            (128, 1),
            (129, 3),
            (128 * 128, 129),
            (128 * 128 + 1, 129 + 3),
        ] {
            assert_eq!(
                tree_size(blocks * BLOCK as u64),
                Ok(tree * BLOCK as u64),
                "{blocks} blocks"
            );
        }
        assert_eq!(hash_tree(&vec![1; 129 * BLOCK]).unwrap().tree.len(), 3 * BLOCK);
    }

    #[test]
    fn data_without_whole_blocks_has_no_tree() {
        assert!(tree_size(0).is_err() && tree_size(4097).is_err());
        assert!(hash_tree(&[]).is_err() && hash_tree(&[0; 4095]).is_err());
        let mut builder = TreeBuilder::new([0; 32]);
        builder.update(&[0; 4097]);
        assert_eq!(builder.finish().unwrap_err().size, 4097);
    }

    #[test]
    fn fed_in_pieces_the_tree_is_the_same() {
        let data: Vec<u8> = (0..200 * BLOCK).map(|i| (i / 7) as u8).collect();
        let whole = hash_tree(&data).unwrap();
        for piece in [1000, 4096, 5000, 100_000] {
            let mut builder = TreeBuilder::new(whole.salt);
            data.chunks(piece).for_each(|part| builder.update(part));
            assert_eq!(builder.finish().unwrap(), whole);
        }
    }

    #[test]
    fn any_flipped_bit_changes_the_root() {
        let mut data = vec![0; 200 * BLOCK];
        let root = hash_tree(&data).unwrap().root;
        data[123_456] ^= 1;
        assert_ne!(hash_tree(&data).unwrap().root, root);
    }
}
