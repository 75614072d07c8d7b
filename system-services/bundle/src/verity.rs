//! dm-verity, hash format version 1: SHA-256, data and hash blocks of 4096 bytes, salt first, 128 digests a block,
//! top level first, no superblock (kernel documentation, admin-guide/device-mapper/verity).
//!
//! [`TreeBuilder`] and [`hash_tree`] make the tree, [`VerifiedReader`] reads data under the protection of one.

mod reader;
mod tree;

pub use reader::{VerifiedReader, Verity, VerityError};
pub use tree::{HashTree, TreeBuilder, TreeError, hash_tree, tree_size};

use ring::digest::{Context, SHA256};

/// Data and hash block size in bytes.
pub const BLOCK: usize = 4096;
/// Digests in one hash block.
pub const DIGESTS_PER_BLOCK: usize = BLOCK / DIGEST;
/// Bytes of a digest and of a salt.
pub const DIGEST: usize = 32;

/// SHA-256 over salt and block.
fn digest(salt: &[u8; 32], block: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(salt);
    context.update(block);
    array(context.finish().as_ref())
}

/// SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    array(ring::digest::digest(&SHA256, bytes).as_ref())
}

/// A finished SHA-256 as an array; its length is always 32.
pub(crate) fn array(digest: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest);
    out
}

/// Hash blocks of every level, the one right above the data first.
///
/// As the kernel counts: one data block needs no hash block, since the root is its digest.
fn level_blocks(data_blocks: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut blocks = data_blocks;
    while blocks > 1 {
        blocks = blocks.div_ceil(DIGESTS_PER_BLOCK as u64);
        levels.push(blocks);
    }
    levels
}
