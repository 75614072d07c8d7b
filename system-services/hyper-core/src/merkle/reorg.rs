//! Another fork of a core: from where on it differs from what we have.
//!
//! A fork's signed tree comes first. Then nodes of it are asked for, from the first root that differs downwards, until the first
//! block that differs is known: what lies before it is kept.

use std::collections::BTreeMap;
use std::ops::Range;

use super::verify::{Kept, part_root, stored_or_hint, verify_alone};
use super::{Leaf, Node, Proof, ReadError, Tree, TreeNodes, Upgraded, VerifyError};
use crate::flat_tree::Position;
use crate::manifest::Verifier;

/// What is to be asked for next: the hash of the leaf of any of these blocks, with so many levels above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReorgRequest {
    /// Any one of these blocks. The asker takes one that the peer has.
    pub blocks: Range<u64>,
    /// `nodes` of the request.
    pub nodes: u64,
}

/// A move to another fork, while it is prepared.
#[derive(Debug, Clone)]
pub struct Reorg {
    upgraded: Upgraded,
    nodes: BTreeMap<Position, Node>,
    /// The topmost node that is known to differ. `None`: the fork is a mere truncation.
    differs: Option<Node>,
    /// Blocks of our tree.
    ours: u64,
}

/// A move to another fork, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reorged {
    /// The fork's tree and its signature.
    pub upgraded: Upgraded,
    /// Blocks from the start that are the same: storage truncates to them first.
    pub ancestors: u64,
    /// Nodes of the fork to store then.
    pub nodes: Vec<Node>,
}

impl Reorg {
    /// Starts with the fork's signed tree, proved from block 0.
    pub fn new(
        ours: &Tree,
        verifier: &Verifier,
        proof: &Proof,
        value: Option<&[u8]>,
        nodes: &impl TreeNodes,
    ) -> Result<Self, VerifyError> {
        if proof.fork <= ours.fork() {
            return Err(VerifyError::OtherFork {
                ours: ours.fork(),
                theirs: proof.fork,
            });
        }
        let verified = verify_alone(verifier, proof, value)?;
        let upgraded = verified
            .upgraded
            .ok_or(VerifyError::InvalidUpgrade { start: 0, length: 0 })?;
        let mut differs = None;
        for root in upgraded.tree.roots() {
            if !is_stored(root, nodes)? {
                differs = Some(*root);
                break;
            }
        }
        let new = verified
            .nodes
            .into_iter()
            .map(|node| (node.position, node))
            .collect();
        let mut reorg = Self {
            upgraded,
            nodes: new,
            differs,
            ours: ours.length(),
        };
        reorg.descend(nodes)?;
        Ok(reorg)
    }

    /// The fork's tree.
    pub fn tree(&self) -> &Tree {
        &self.upgraded.tree
    }

    /// What is to be asked for next; `None` when the first block that differs is known.
    pub fn request(&self) -> Option<ReorgRequest> {
        let at = self.differs?.position;
        let blocks = at.first_block()..at.end_block().min(self.ours);
        (!at.is_leaf() && !blocks.is_empty()).then(|| ReorgRequest {
            blocks,
            nodes: at.depth().into(),
        })
    }

    /// Takes the answer to [`Reorg::request`].
    pub fn update(
        &mut self,
        proof: &Proof,
        value: Option<&[u8]>,
        nodes: &impl TreeNodes,
    ) -> Result<(), VerifyError> {
        let Some(differs) = self.differs.filter(|_| self.request().is_some()) else {
            return Ok(());
        };
        if proof.fork != self.upgraded.tree.fork() {
            return Err(VerifyError::OtherFork {
                ours: self.upgraded.tree.fork(),
                theirs: proof.fork,
            });
        }
        let mut kept = Kept::default();
        let root = part_root(proof, value.map(Leaf::of), &mut kept)?;
        match root {
            Some(root) if root.position == differs.position && root.hash == differs.hash => {}
            _ => return Err(VerifyError::WrongHash(differs.position)),
        }
        for hint in kept.hints {
            let node = stored_or_hint(hint, nodes)?;
            self.nodes.entry(node.position).or_insert(node);
        }
        self.nodes
            .extend(kept.proven.into_iter().map(|node| (node.position, node)));
        self.descend(nodes)?;
        // An answer that leads no further would be asked for again and again.
        if self.differs == Some(differs) {
            Err(VerifyError::EndsEarly(differs.position))
        } else {
            Ok(())
        }
    }

    /// The move, or itself if more must be asked for.
    pub fn finish(self) -> Result<Reorged, Box<Self>> {
        if self.request().is_some() {
            return Err(Box::new(self));
        }
        let ancestors = self
            .differs
            .map_or(self.upgraded.tree.length(), |node| node.position.first_block());
        let nodes = self.nodes.into_values().collect();
        Ok(Reorged {
            upgraded: self.upgraded,
            ancestors: ancestors.min(self.ours),
            nodes,
        })
    }

    /// Goes down from the node that differs, to the left child that does or else to the right one, as far as the fork's are known.
    fn descend(&mut self, nodes: &impl TreeNodes) -> Result<(), ReadError> {
        while let Some((left, right)) = self.differs.and_then(|node| node.position.children()) {
            let (Some(left), Some(right)) = (self.nodes.get(&left), self.nodes.get(&right)) else {
                break;
            };
            self.differs = Some(if is_stored(left, nodes)? { *right } else { *left });
        }
        Ok(())
    }
}

fn is_stored(node: &Node, nodes: &impl TreeNodes) -> Result<bool, ReadError> {
    Ok(nodes
        .node(node.position)?
        .is_some_and(|stored| stored.hash == node.hash))
}
