//! Checking proofs of others.
//!
//! A hash commits a parent to the *sum* of its children's bytes. Going up from a block, whose bytes are at hand, every size on
//! the way is thereby proved. Going up from a bare node (a hash or seek proof), a liar can move bytes between it and its sibling
//! without changing the parent: these two sizes are hints for seeking. A hint never replaces what is stored, and is itself replaced
//! when the block arrives. The protocol has no better (the peers let hints replace anything).

use super::{
    Batch, Leaf, Node, NodeProof, Proof, ReadError, SeekProof, TooLarge, Tree, TreeError, TreeNodes,
    UpgradeProof,
};
use crate::flat_tree::{self, Position};
use crate::manifest::{Prologue, SignatureError, Verifier};

/// A proof that proves nothing. Unless it is [`VerifyError::OtherFork`], [`VerifyError::NotStored`] (our tree may have changed
/// since we asked) or [`VerifyError::Read`], the peer lies.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The proof is for another fork.
    #[error("the proof is for fork {theirs} of the core, ours is {ours}")]
    OtherFork {
        /// Fork of our tree.
        ours: u64,
        /// Fork of the proof.
        theirs: u64,
    },
    /// A block's value must be given with its proof, and only then.
    #[error("the proof is for a block but has no value, or has a value but is not for a block")]
    Value,
    /// Another node than the next one that is needed.
    #[error("the proof has tree node {found} where {expected} is needed")]
    UnexpectedNode {
        /// What is needed.
        expected: Position,
        /// What is there.
        found: Position,
    },
    /// A node is not there.
    #[error("the proof ends where tree node {0} is needed")]
    EndsEarly(Position),
    /// Nodes go on above the highest node a tree can have, or below a leaf.
    #[error("the proof has nodes beyond those above tree node {0}")]
    OutsideTree(Position),
    /// An upgrade to no blocks or to more than a tree can have.
    #[error("the proof upgrades block {start} by {length}, which no core can have")]
    InvalidUpgrade {
        /// Blocks from which the tree grows.
        start: u64,
        /// Blocks by which it grows.
        length: u64,
    },
    /// A block that no tree can have.
    #[error("the proof is for block {0}, beyond what a core can hold")]
    NoSuchBlock(u64),
    /// The proof leads to a node that we do not have.
    #[error("the proof leads to tree node {0}, which is not stored")]
    NotStored(Position),
    /// The proof leads to another hash than we have.
    #[error("the proof does not lead to the stored hash of tree node {0}")]
    WrongHash(Position),
    /// Part of a prologue, or another one.
    #[error("the proof contradicts the prologue of {0} blocks in the core's manifest")]
    Prologue(u64),
    /// Nodes do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The signature does not hold.
    #[error("the tree of {length} blocks is not signed as the core's manifest demands")]
    Signature {
        /// Blocks of the tree.
        length: u64,
        /// What is wrong.
        #[source]
        source: SignatureError,
    },
    /// The storage failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<TooLarge> for VerifyError {
    fn from(error: TooLarge) -> Self {
        Self::Tree(error.into())
    }
}

/// What a proof proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Nodes to store, together with the block's value. One may come twice.
    pub nodes: Vec<Node>,
    /// The longer tree, if the proof has one.
    pub upgraded: Option<Upgraded>,
}

/// A longer tree whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgraded {
    /// The tree.
    pub tree: Tree,
    /// Its signature.
    pub signature: Vec<u8>,
}

/// Checks a proof against the tree that we have: every node leads to a hash that is stored, or to a longer tree that is signed.
/// `value` is the block's, if the proof is for a block.
pub fn verify_proof(
    tree: &Tree,
    verifier: &Verifier,
    proof: &Proof,
    value: Option<&[u8]>,
    nodes: &impl TreeNodes,
) -> Result<Verified, VerifyError> {
    verify_leaf(tree, verifier, proof, value.map(Leaf::of), nodes)
}

/// As [`verify_proof`], of a block that was hashed before: many blocks are hashed sooner side by side.
pub(crate) fn verify_leaf(
    tree: &Tree,
    verifier: &Verifier,
    proof: &Proof,
    leaf: Option<Leaf>,
    nodes: &impl TreeNodes,
) -> Result<Verified, VerifyError> {
    if proof.fork != tree.fork() {
        return Err(VerifyError::OtherFork {
            ours: tree.fork(),
            theirs: proof.fork,
        });
    }
    let checked = verify_from(tree.clone(), verifier, proof, leaf)?;
    if let Some(root) = checked.unconnected {
        let stored = nodes
            .node(root.position)?
            .ok_or(VerifyError::NotStored(root.position))?;
        if stored.hash != root.hash {
            return Err(VerifyError::WrongHash(root.position));
        }
    }
    let hints = checked.hints.into_iter().map(|hint| stored_or_hint(hint, nodes));
    let mut all = hints.collect::<Result<Vec<_>, _>>()?;
    all.extend(checked.nodes);
    Ok(Verified {
        nodes: all,
        upgraded: checked.upgraded,
    })
}

/// The stored node if it is the same but for the size, which then is the better one.
pub(super) fn stored_or_hint(hint: Node, nodes: &impl TreeNodes) -> Result<Node, ReadError> {
    let stored = nodes.node(hint.position)?;
    Ok(stored.filter(|stored| stored.hash == hint.hash).unwrap_or(hint))
}

/// Checks a proof that stands alone, against nothing but the manifest: its upgrade must start at 0 and everything must lead to the
/// signed tree. For another fork's tree, and for proofs that come without a connection. Nodes of unproved size are left out.
pub fn verify_alone(
    verifier: &Verifier,
    proof: &Proof,
    value: Option<&[u8]>,
) -> Result<Verified, VerifyError> {
    let checked = verify_from(Tree::empty(proof.fork), verifier, proof, value.map(Leaf::of))?;
    match checked.unconnected {
        None => Ok(Verified {
            nodes: checked.nodes,
            upgraded: checked.upgraded,
        }),
        Some(root) => Err(VerifyError::NotStored(root.position)),
    }
}

/// A proof that is checked but for the way from a part that does not lead to its upgrade.
struct Checked {
    nodes: Vec<Node>,
    hints: Vec<Node>,
    upgraded: Option<Upgraded>,
    /// Where that part leads.
    unconnected: Option<Node>,
}

fn verify_from(
    tree: Tree,
    verifier: &Verifier,
    proof: &Proof,
    leaf: Option<Leaf>,
) -> Result<Checked, VerifyError> {
    let before = tree.length();
    let mut batch = Batch::new(tree);
    let mut kept = Kept::default();
    let mut unconnected = part_root(proof, leaf, &mut kept)?;
    batch.keep(kept.proven);
    let mut signature = None;
    if let Some(upgrade) = &proof.upgrade {
        if apply_upgrade(&mut batch, upgrade, unconnected, verifier.prologue())? {
            unconnected = None;
        }
        if batch.tree().length() > before {
            let length = batch.tree().length();
            verifier
                .verify(batch.tree(), &upgrade.signature)
                .map_err(|source| VerifyError::Signature { length, source })?;
            signature = Some(upgrade.signature.clone());
        }
    }
    let (tree, nodes) = batch.into_parts();
    let upgraded = signature.map(|signature| Upgraded { tree, signature });
    Ok(Checked {
        nodes,
        hints: kept.hints,
        upgraded,
        unconnected,
    })
}

/// Nodes of a part.
#[derive(Default)]
pub(super) struct Kept {
    /// Their sizes are proved if the part leads to a known hash.
    pub(super) proven: Vec<Node>,
    /// Only their hashes are.
    pub(super) hints: Vec<Node>,
}

/// Nodes of a proof in their order, and a computed one that may stand in for any of them.
struct Queue<'a> {
    nodes: std::slice::Iter<'a, Node>,
    computed: Option<Node>,
}

impl<'a> Queue<'a> {
    fn new(nodes: &'a [Node], computed: Option<Node>) -> Self {
        Self {
            nodes: nodes.iter(),
            computed,
        }
    }

    fn is_empty(&self) -> bool {
        self.computed.is_none() && self.nodes.as_slice().is_empty()
    }

    fn take(&mut self, expected: Position) -> Result<Node, VerifyError> {
        if let Some(node) = self.computed.take_if(|node| node.position == expected) {
            return Ok(node);
        }
        match self.nodes.next() {
            Some(node) if node.position == expected => Ok(*node),
            Some(node) => Err(VerifyError::UnexpectedNode {
                expected,
                found: node.position,
            }),
            None => Err(VerifyError::EndsEarly(expected)),
        }
    }
}

/// The node to which the proof's block, hash or seek leads.
pub(super) fn part_root(
    proof: &Proof,
    leaf: Option<Leaf>,
    kept: &mut Kept,
) -> Result<Option<Node>, VerifyError> {
    let seek = match &proof.seek {
        Some(SeekProof { nodes, .. }) if !nodes.is_empty() => Some(climb(None, nodes, None, kept)?),
        _ => None,
    };
    match (&proof.node, leaf) {
        (None, None) => Ok(seek),
        (Some(NodeProof::Block { block, nodes }), Some(leaf)) => {
            let at = Position::of_block(*block).ok_or(VerifyError::NoSuchBlock(*block))?;
            climb(Some(leaf.at(at)), nodes, seek, kept).map(Some)
        }
        (Some(NodeProof::Hash { position, nodes }), None) => match nodes.first() {
            Some(first) if first.position == *position => climb(None, nodes, seek, kept).map(Some),
            Some(first) => Err(VerifyError::UnexpectedNode {
                expected: *position,
                found: first.position,
            }),
            None => Err(VerifyError::EndsEarly(*position)),
        },
        _ => Err(VerifyError::Value),
    }
}

/// Goes up from a leaf, or from the first of `nodes`, until no node is left.
fn climb(
    leaf: Option<Node>,
    nodes: &[Node],
    computed: Option<Node>,
    kept: &mut Kept,
) -> Result<Node, VerifyError> {
    let (mut root, rest, mut bare) = match (leaf, nodes) {
        (Some(leaf), rest) => (leaf, rest, false),
        (None, [first, rest @ ..]) => (*first, rest, true),
        (None, []) => return Err(VerifyError::Value),
    };
    if bare { &mut kept.hints } else { &mut kept.proven }.push(root);
    let mut queue = Queue::new(rest, computed);
    while !queue.is_empty() {
        let outside = VerifyError::OutsideTree(root.position);
        let Some(at) = root.position.sibling() else {
            return Err(outside);
        };
        let sibling = queue.take(at)?;
        root = root.parent_with(&sibling)?.ok_or(outside)?;
        if std::mem::take(&mut bare) {
            &mut kept.hints
        } else {
            &mut kept.proven
        }
        .push(sibling);
        kept.proven.push(root);
    }
    Ok(root)
}

/// Grows a tree by an upgrade's nodes; the signature is not looked at. `part` is the node to which another part of the proof leads:
/// whether it was used says whether that part leads to the tree.
pub(crate) fn apply_upgrade(
    batch: &mut Batch,
    upgrade: &UpgradeProof,
    part: Option<Node>,
    prologue: Option<&Prologue>,
) -> Result<bool, VerifyError> {
    let UpgradeProof { start, length, .. } = *upgrade;
    let end = start
        .checked_add(length)
        .filter(|end| (1..=flat_tree::MAX_BLOCKS).contains(end))
        .ok_or(VerifyError::InvalidUpgrade { start, length })?;
    if let Some(prologue) = prologue
        && start < prologue.length
        && (start != 0 || length < prologue.length)
    {
        return Err(VerifyError::Prologue(prologue.length));
    }
    let mut queue = Queue::new(&upgrade.nodes, part);
    grow_to(batch, end, &mut queue)?;
    if let Some(prologue) = prologue
        && batch.tree().length() == prologue.length
        && batch.tree().hash() != prologue.hash
    {
        return Err(VerifyError::Prologue(prologue.length));
    }
    grow_further(batch, &upgrade.additional_nodes)?;
    Ok(part.is_some() && queue.computed.is_none())
}

/// Appends what is missing to have the roots of a tree of `end` blocks.
fn grow_to(batch: &mut Batch, end: u64, queue: &mut Queue) -> Result<(), VerifyError> {
    let had = batch.tree().roots().last().map(|root| root.position);
    let mut common = 0;
    let mut first_new = true;
    for root in flat_tree::roots(end) {
        if batch
            .tree()
            .roots()
            .get(common)
            .is_some_and(|ours| ours.position == root)
        {
            common += 1;
            continue;
        }
        let connects = std::mem::take(&mut first_new) && common < batch.tree().roots().len();
        match had.filter(|_| connects) {
            Some(mut at) => {
                while at != root {
                    let sibling = at.sibling().ok_or(VerifyError::OutsideTree(at))?;
                    at = batch.append_root(queue.take(sibling)?)?;
                }
            }
            None => drop(batch.append_root(queue.take(root)?)?),
        }
    }
    Ok(())
}

/// Appends further nodes: siblings of the last root while they are, then ever smaller trees to its right.
fn grow_further(batch: &mut Batch, nodes: &[Node]) -> Result<(), VerifyError> {
    let Some(mut last) = batch.tree().roots().last().map(|root| root.position) else {
        return nodes
            .first()
            .map_or(Ok(()), |node| Err(VerifyError::OutsideTree(node.position)));
    };
    let mut nodes = nodes.iter();
    while let Some(node) = nodes.as_slice().first()
        && last.sibling() == Some(node.position)
    {
        last = batch.append_root(*node)?;
        nodes.next();
    }
    for node in nodes {
        last.sibling()
            .filter(|right| right.contains(node.position))
            .ok_or(VerifyError::OutsideTree(node.position))?;
        last = batch.append_root(*node)?;
    }
    Ok(())
}
