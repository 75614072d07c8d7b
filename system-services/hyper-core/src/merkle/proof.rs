//! What is asked of a tree, and what proves it: the fields of the replication messages `Request` and `Data`.

use super::Node;
use crate::flat_tree::Position;

/// What a proof is to show. The parts share nodes: a part is not repeated where another one implies it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProofRequest {
    /// A block or a node.
    pub node: Option<NodeRequest>,
    /// The block at a byte.
    pub seek: Option<SeekRequest>,
    /// More of the tree.
    pub upgrade: Option<UpgradeRequest>,
}

/// A block or a node that is to be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeRequest {
    /// A block.
    Block {
        /// Which, counted from 0.
        block: u64,
        /// Levels between the block and the node above it that the asker has.
        nodes: u64,
    },
    /// A node, without blocks.
    Hash {
        /// Where.
        position: Position,
        /// Levels between it and the node above it that the asker has.
        nodes: u64,
    },
}

/// The block at a byte is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeekRequest {
    /// Which byte, counted without padding.
    pub bytes: u64,
    /// Bytes of each block that do not count (encryption puts them before the block).
    pub padding: u64,
}

/// More of the tree is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpgradeRequest {
    /// Blocks of the asker's tree.
    pub start: u64,
    /// Blocks that are wanted beyond.
    pub length: u64,
}

/// A proof. The value of a block travels beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Fork of the prover's tree.
    pub fork: u64,
    /// A block or a node.
    pub node: Option<NodeProof>,
    /// The block at a byte.
    pub seek: Option<SeekProof>,
    /// More of the tree, signed.
    pub upgrade: Option<UpgradeProof>,
}

/// Proves a block or a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeProof {
    /// A block: its siblings upwards.
    Block {
        /// Which, counted from 0.
        block: u64,
        /// Siblings on the way up, lowest first.
        nodes: Vec<Node>,
    },
    /// A node.
    Hash {
        /// Where.
        position: Position,
        /// The node, then siblings on the way up.
        nodes: Vec<Node>,
    },
}

/// Proves which block holds a byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeekProof {
    /// Which byte was asked for.
    pub bytes: u64,
    /// The node that holds it, then siblings on the way up.
    pub nodes: Vec<Node>,
}

/// Proves more of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeProof {
    /// Blocks from which the tree grows.
    pub start: u64,
    /// Blocks by which it grows, `additional_nodes` not counted.
    pub length: u64,
    /// What is needed to grow from `start` to `start + length`, as [`crate::flat_tree::upgrade_path`] orders it.
    pub nodes: Vec<Node>,
    /// What is needed to grow from there to the length that is signed.
    pub additional_nodes: Vec<Node>,
    /// The signature over the tree that then is.
    pub signature: Vec<u8>,
}
