//! Nodes, and where they are read from.

use std::collections::BTreeMap;
use std::error::Error;

use crate::crypto::{self, Hash};
use crate::flat_tree::Position;

/// The most bytes below one node: 2^53 - 1, the integers that a JavaScript peer counts exactly.
const MAX_SIZE: u64 = (1 << 53) - 1;

/// Nodes would hold more bytes than a core can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the blocks below tree node {at} would hold more than 2^53 - 1 bytes")]
pub struct TooLarge {
    /// The node.
    pub at: Position,
}

/// A node of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Where it stands.
    pub position: Position,
    /// Bytes of all blocks below.
    pub size: u64,
    /// Hash of the block, or of the children.
    pub hash: Hash,
}

/// A block as the tree sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Bytes of the block.
    pub size: u64,
    /// [`crypto::leaf_hash`] of the block.
    pub hash: Hash,
}

impl Leaf {
    /// Of these bytes.
    pub fn of(block: &[u8]) -> Self {
        Self {
            size: block.len() as u64,
            hash: crypto::leaf_hash(block),
        }
    }

    /// At its place.
    pub fn at(self, position: Position) -> Node {
        Node {
            position,
            size: self.size,
            hash: self.hash,
        }
    }
}

impl Node {
    /// The leaf of a block.
    pub fn leaf(position: Position, block: &[u8]) -> Self {
        Leaf::of(block).at(position)
    }

    /// The parent of this node and its sibling, or `None` if they are no siblings.
    pub(super) fn parent_with(&self, other: &Node) -> Result<Option<Self>, TooLarge> {
        let (Some(position), true) = (
            self.position.parent(),
            self.position.sibling() == Some(other.position),
        ) else {
            return Ok(None);
        };
        let (left, right) = if self.position < other.position {
            (self, other)
        } else {
            (other, self)
        };
        let size = add_sizes(left.size, right.size, position)?;
        Ok(Some(Self {
            position,
            size,
            hash: crypto::parent_hash(size, &left.hash, &right.hash),
        }))
    }
}

/// The sum of bytes, unless it is beyond what a core can have.
pub(super) fn add_sizes(a: u64, b: u64, at: Position) -> Result<u64, TooLarge> {
    a.checked_add(b)
        .filter(|sum| *sum <= MAX_SIZE)
        .ok_or(TooLarge { at })
}

/// The storage failed at a tree node.
#[derive(Debug, thiserror::Error)]
#[error("tree node {at} cannot be read")]
pub struct ReadError {
    /// The node.
    pub at: Position,
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// Where stored nodes are read from. What it holds was verified before it was stored.
pub trait TreeNodes {
    /// The node, or `None` if it is not stored: a core that was downloaded in part lacks some.
    fn node(&self, at: Position) -> Result<Option<Node>, ReadError>;
}

/// Nodes in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryNodes(BTreeMap<Position, Node>);

impl MemoryNodes {
    /// Keeps a node.
    pub fn insert(&mut self, node: Node) {
        self.0.insert(node.position, node);
    }

    /// Forgets a node.
    pub fn remove(&mut self, at: Position) {
        self.0.remove(&at);
    }

    /// All nodes, by position.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.values()
    }
}

impl Extend<Node> for MemoryNodes {
    fn extend<I: IntoIterator<Item = Node>>(&mut self, nodes: I) {
        self.0.extend(nodes.into_iter().map(|node| (node.position, node)));
    }
}

impl TreeNodes for MemoryNodes {
    fn node(&self, at: Position) -> Result<Option<Node>, ReadError> {
        Ok(self.0.get(&at).copied())
    }
}
