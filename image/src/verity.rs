//! dm-verity hash tree, format version 1: SHA-256, 4096-byte blocks, salt first, 128 digests a block,
//! top level first, no superblock (kernel documentation, admin-guide/device-mapper/verity).

use sha2::{Digest, Sha256};

/// Data and hash block size in bytes.
pub const BLOCK: usize = 4096;
const DIGESTS_PER_BLOCK: usize = BLOCK / 32;

/// A tree over some data.
#[derive(Debug, Clone)]
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

/// Hashes data whose length is a multiple of [`BLOCK`]. The salt is derived from the data, so that the same data gives the same tree.
pub fn hash_tree(data: &[u8]) -> HashTree {
    let salt: [u8; 32] = Sha256::digest(data).into();
    let mut levels: Vec<Vec<u8>> = Vec::new();
    let mut level = hash_level(data, &salt);
    while level.len() > BLOCK {
        let next = hash_level(&level, &salt);
        levels.push(level);
        level = next;
    }
    let root = digest(&level, &salt);
    levels.push(level);
    HashTree {
        root,
        salt,
        data_blocks: (data.len() / BLOCK) as u64,
        tree: levels.into_iter().rev().flatten().collect(),
    }
}

fn digest(block: &[u8], salt: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update(salt)
        .chain_update(block)
        .finalize()
        .into()
}

/// Digests of every block, padded with zeros to whole blocks; on two threads.
fn hash_level(data: &[u8], salt: &[u8; 32]) -> Vec<u8> {
    let blocks = data.len() / BLOCK;
    let mut out = vec![0; (blocks * 32).next_multiple_of(DIGESTS_PER_BLOCK * 32)];
    let half = blocks.div_ceil(2);
    std::thread::scope(|scope| {
        for (input, output) in data
            .chunks(half.max(1) * BLOCK)
            .zip(out.chunks_mut(half.max(1) * 32))
        {
            scope.spawn(move || {
                for (block, place) in input.chunks_exact(BLOCK).zip(output.chunks_exact_mut(32)) {
                    place.copy_from_slice(&digest(block, salt));
                }
            });
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_has_one_hash_block_above_it() {
        let tree = hash_tree(&[7; BLOCK]);
        assert_eq!((tree.data_blocks, tree.tree.len()), (1, BLOCK));
    }

    #[test]
    fn the_tree_grows_a_level_beyond_128_blocks() {
        assert_eq!(hash_tree(&vec![1; 128 * BLOCK]).tree.len(), BLOCK);
        assert_eq!(hash_tree(&vec![1; 129 * BLOCK]).tree.len(), 3 * BLOCK);
    }

    #[test]
    fn any_flipped_bit_changes_the_root() {
        let mut data = vec![0; 200 * BLOCK];
        let root = hash_tree(&data).root;
        data[123_456] ^= 1;
        assert_ne!(hash_tree(&data).root, root);
    }
}
