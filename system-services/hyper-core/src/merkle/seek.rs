//! From bytes to blocks and back, and what is missing above a node.

use std::ops::Range;

use super::{Node, ReadError, Tree, TreeNodes};
use crate::flat_tree::{self, Position};

/// A place in the bytes of a core cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum SeekError {
    /// Not a block of the tree.
    #[error("block {block} is beyond the {length} blocks of the core")]
    OutOfRange {
        /// The block.
        block: u64,
        /// Blocks of the tree.
        length: u64,
    },
    /// A node on the way is not stored: it must be fetched first.
    #[error("tree node {0} is not stored yet")]
    Missing(Position),
    /// Blocks are shorter than the padding that is to be left out.
    #[error("the blocks below tree node {at} are shorter than {padding} bytes of padding each")]
    Padding {
        /// The node.
        at: Position,
        /// Bytes of padding in each block.
        padding: u64,
    },
    /// The storage failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Where a byte is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seek {
    /// In this block, so many bytes into it. At the very end: offset 0 of the block after the last.
    Block {
        /// The block.
        block: u64,
        /// Bytes into it.
        offset: u64,
    },
    /// In one of these blocks: nodes below are not stored yet. Fetch the hash of any of them to know more.
    Within(Range<u64>),
    /// Beyond the end of the tree.
    Beyond,
}

pub(super) fn stored(nodes: &impl TreeNodes, at: Position) -> Result<Node, SeekError> {
    nodes.node(at)?.ok_or(SeekError::Missing(at))
}

/// Bytes below a node without the padding of each block.
pub(super) fn unpadded(node: &Node, padding: u64) -> Result<u64, SeekError> {
    padding
        .checked_mul(node.position.blocks())
        .and_then(|all| node.size.checked_sub(all))
        .ok_or(SeekError::Padding {
            at: node.position,
            padding,
        })
}

/// Bytes before the leftmost block below a position of the tree.
pub(super) fn byte_offset(tree: &Tree, at: Position, nodes: &impl TreeNodes) -> Result<u64, SeekError> {
    let block = at.first_block();
    let mut offset = 0;
    for root in tree.roots() {
        if block >= root.position.end_block() {
            offset += root.size;
            continue;
        }
        let mut over = root.position;
        while over.first_block() != block {
            let Some((left, right)) = over.children() else {
                break;
            };
            if block < left.end_block() {
                over = left;
            } else {
                offset += stored(nodes, left)?.size;
                over = right;
            }
        }
        return Ok(offset);
    }
    Ok(offset)
}

/// The bytes of a block within all bytes of the core.
pub fn block_range(tree: &Tree, block: u64, nodes: &impl TreeNodes) -> Result<Range<u64>, SeekError> {
    let at = Position::of_block(block)
        .filter(|_| block < tree.length())
        .ok_or(SeekError::OutOfRange {
            block,
            length: tree.length(),
        })?;
    let start = byte_offset(tree, at, nodes)?;
    Ok(start..start + stored(nodes, at)?.size)
}

/// Finds the block that holds a byte; `padding` bytes of each block do not count.
pub fn seek(tree: &Tree, bytes: u64, padding: u64, nodes: &impl TreeNodes) -> Result<Seek, SeekError> {
    if bytes == 0 {
        return Ok(Seek::Block { block: 0, offset: 0 });
    }
    let mut left = bytes;
    for root in tree.roots() {
        let size = unpadded(root, padding)?;
        if left > size {
            left -= size;
            continue;
        }
        if left == size {
            return Ok(Seek::Block {
                block: root.position.end_block(),
                offset: 0,
            });
        }
        let found = descend(root.position, left, padding, nodes)?;
        return Ok(match found {
            Found::At { at, offset } if at.is_leaf() => Seek::Block {
                block: at.first_block(),
                offset,
            },
            Found::At { at, .. } => Seek::Within(at.first_block()..at.end_block()),
            Found::EndOf(at) => Seek::Block {
                block: at.end_block(),
                offset: 0,
            },
        });
    }
    Ok(Seek::Beyond)
}

pub(super) enum Found {
    /// Below this position, after so many bytes; a leaf unless nodes are missing.
    At { at: Position, offset: u64 },
    /// With the last byte below this position.
    EndOf(Position),
}

/// Goes down from a node that holds the byte, as far as nodes are stored.
pub(super) fn descend(
    root: Position,
    bytes: u64,
    padding: u64,
    nodes: &impl TreeNodes,
) -> Result<Found, SeekError> {
    let (mut at, mut offset) = (root, bytes);
    while let Some((left, right)) = at.children() {
        let Some(node) = nodes.node(left)? else { break };
        let size = unpadded(&node, padding)?;
        if size == offset {
            return Ok(Found::EndOf(left));
        }
        if size > offset {
            at = left;
        } else {
            offset -= size;
            at = right;
        }
    }
    Ok(Found::At { at, offset })
}

/// Levels from a position up to the first node that is stored, as the `nodes` of a request; 0 for a position beyond
/// the tree.
pub fn missing_nodes(at: Position, length: u64, nodes: &impl TreeNodes) -> Result<u64, ReadError> {
    let mut missing = 0;
    for over in levels(at, length) {
        if nodes.node(over)?.is_some() {
            break;
        }
        missing += 1;
    }
    Ok(missing)
}

/// The most levels that can be missing above a position of a tree whose roots are known.
pub fn missing_nodes_at_most(at: Position, length: u64) -> u64 {
    if flat_tree::roots(length).any(|root| root == at) {
        return 0;
    }
    (levels(at, length).count() as u64).saturating_sub(1)
}

/// A position of a tree of `length` blocks and those above, up to its root.
fn levels(at: Position, length: u64) -> impl Iterator<Item = Position> {
    std::iter::successors((at.end_block() <= length).then_some(at), |over| over.parent())
        .take_while(move |over| over.end_block() <= length)
}
