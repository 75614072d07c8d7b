//! The state of a tree, and growing it.

use super::node::{Node, ReadError, TooLarge, TreeNodes, add_sizes};
use crate::crypto::{self, Hash};
use crate::flat_tree::{self, Position};

/// A tree cannot be what is asked for.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A root is not stored.
    #[error(
        "tree node {0} is not stored, though a tree of {1} blocks needs it: the core's storage is damaged"
    )]
    MissingRoot(Position, u64),
    /// Roots that are not those of the length.
    #[error("the roots are not those of a tree of {0} blocks")]
    WrongRoots(u64),
    /// A truncation to more than there is.
    #[error("a core of {length} blocks cannot be truncated to {to}")]
    NotShorter {
        /// Blocks that there are.
        length: u64,
        /// Blocks that should stay.
        to: u64,
    },
    /// A node that does not follow the last root.
    #[error("tree node {at} does not follow the {length} blocks before it")]
    NotAdjacent {
        /// The node.
        at: Position,
        /// Blocks of the tree.
        length: u64,
    },
    /// More blocks than a tree can hold.
    #[error("the core is full: it has {} blocks", flat_tree::MAX_BLOCKS)]
    Full,
    /// More bytes than a tree can hold.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The storage failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The head of a tree: length, fork and roots, which belong together by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    fork: u64,
    length: u64,
    byte_length: u64,
    roots: Vec<Node>,
}

impl Tree {
    /// A tree without blocks.
    pub fn empty(fork: u64) -> Self {
        Self {
            fork,
            length: 0,
            byte_length: 0,
            roots: Vec::new(),
        }
    }

    /// The tree that has these roots, left to right.
    pub fn from_roots(fork: u64, length: u64, roots: Vec<Node>) -> Result<Self, TreeError> {
        let fits = length <= flat_tree::MAX_BLOCKS
            && flat_tree::roots(length).eq(roots.iter().map(|root| root.position));
        if !fits {
            return Err(TreeError::WrongRoots(length));
        }
        let byte_length = roots
            .iter()
            .try_fold(0, |sum, root| add_sizes(sum, root.size, root.position))?;
        Ok(Self {
            fork,
            length,
            byte_length,
            roots,
        })
    }

    /// The tree of this length whose roots are stored.
    pub fn load(fork: u64, length: u64, nodes: &impl TreeNodes) -> Result<Self, TreeError> {
        let roots = flat_tree::roots(length)
            .map(|at| nodes.node(at)?.ok_or(TreeError::MissingRoot(at, length)))
            .collect::<Result<_, _>>()?;
        Self::from_roots(fork, length, roots)
    }

    /// How often the core was truncated.
    pub fn fork(&self) -> u64 {
        self.fork
    }

    /// Blocks.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of all blocks.
    pub fn byte_length(&self) -> u64 {
        self.byte_length
    }

    /// The roots, left to right.
    pub fn roots(&self) -> &[Node] {
        &self.roots
    }

    /// The hash of the whole tree.
    pub fn hash(&self) -> Hash {
        crypto::tree_hash(
            self.roots
                .iter()
                .map(|root| (root.hash, root.position.index(), root.size)),
        )
    }

    /// The tree of the first `length` blocks, as a new fork. Storage then drops every node at `2 * length` and beyond, and
    /// [`obsolete_parents`].
    pub fn truncate(&self, length: u64, fork: u64, nodes: &impl TreeNodes) -> Result<Self, TreeError> {
        if length > self.length {
            return Err(TreeError::NotShorter {
                length: self.length,
                to: length,
            });
        }
        Self::load(fork, length, nodes)
    }
}

/// Parents left of index `2 * length` that reach over blocks which a truncation to `length` dropped: they hash what is gone.
pub fn obsolete_parents(length: u64) -> impl Iterator<Item = Position> {
    let head = Position::of_block(length);
    let last = length.checked_sub(1).and_then(Position::of_block);
    std::iter::successors(last, |at| at.parent())
        .filter(move |at| head.is_some_and(|head| *at < head && at.contains(head)))
}

/// A tree that grows, with the nodes that storage is to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    tree: Tree,
    nodes: Vec<Node>,
}

impl Batch {
    /// Starts from a tree.
    pub fn new(tree: Tree) -> Self {
        Self {
            tree,
            nodes: Vec::new(),
        }
    }

    /// The tree so far.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The tree, and the nodes that are new since the start.
    pub fn into_parts(self) -> (Tree, Vec<Node>) {
        (self.tree, self.nodes)
    }

    /// Appends a block.
    pub fn append(&mut self, block: &[u8]) -> Result<(), TreeError> {
        self.append_leaf(block.len() as u64, crypto::leaf_hash(block))
    }

    /// Appends a block of so many bytes whose leaf has this hash.
    pub(crate) fn append_leaf(&mut self, size: u64, hash: Hash) -> Result<(), TreeError> {
        let position = Position::of_block(self.tree.length).ok_or(TreeError::Full)?;
        let leaf = Node { position, size, hash };
        self.append_root(leaf).map(drop)
    }

    /// Appends all that is below a node, and joins it with its left siblings. Says where the last root now stands.
    pub(super) fn append_root(&mut self, node: Node) -> Result<Position, TreeError> {
        let tree = &mut self.tree;
        if node.position.first_block() != tree.length {
            return Err(TreeError::NotAdjacent {
                at: node.position,
                length: tree.length,
            });
        }
        tree.byte_length = add_sizes(tree.byte_length, node.size, node.position)?;
        tree.length = node.position.end_block();
        self.nodes.push(node);
        let mut last = node;
        while let Some(before) = tree.roots.last() {
            let Some(parent) = last.parent_with(before)? else {
                break;
            };
            tree.roots.pop();
            self.nodes.push(parent);
            last = parent;
        }
        tree.roots.push(last);
        Ok(last.position)
    }

    /// Nodes that are proved but change no root.
    pub(super) fn keep(&mut self, nodes: impl IntoIterator<Item = Node>) {
        self.nodes.extend(nodes);
    }
}
