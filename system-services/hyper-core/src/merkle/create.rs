//! Making proofs of what is stored.

use super::seek::{self, Found, SeekError};
use super::{
    Node, NodeProof, NodeRequest, Proof, ProofRequest, SeekProof, SeekRequest, Tree, TreeNodes, UpgradeProof,
    UpgradeRequest,
};
use crate::flat_tree::{self, Position};

/// A request that cannot be answered. Nothing of it is the prover's fault except a failing storage.
#[derive(Debug, thiserror::Error)]
pub enum ProofRequestError {
    /// A node that is not in the tree, or not in the part that is asked for.
    #[error("tree node {at} with {nodes} levels above it is not within the first {length} blocks")]
    OutOfRange {
        /// The node, or the leaf of the block.
        at: Position,
        /// Levels above it.
        nodes: u64,
        /// Blocks.
        length: u64,
    },
    /// A block that no tree can have.
    #[error("block {0} is beyond what a core can hold")]
    NoSuchBlock(u64),
    /// An upgrade of nothing, or to more than there is.
    #[error("an upgrade from block {start} by {length} does not fit a core of {available} blocks")]
    InvalidUpgrade {
        /// Blocks of the asker.
        start: u64,
        /// Blocks asked for.
        length: u64,
        /// Blocks that there are.
        available: u64,
    },
    /// Parts of the request exclude each other.
    #[error("tree node {0} is new in the upgrade: it cannot be asked for together with a seek")]
    SeekBesideNewNode(Position),
    /// A node reaches over the end of what the asker has.
    #[error("tree node {at} holds blocks before and after block {start}, where the upgrade starts")]
    Straddles {
        /// The node.
        at: Position,
        /// Start of the upgrade.
        start: u64,
    },
    /// The byte is not below the node.
    #[error("byte {bytes} is not below tree node {at}")]
    SeekElsewhere {
        /// The byte.
        bytes: u64,
        /// The node.
        at: Position,
    },
    /// A node is missing, or the storage failed.
    #[error(transparent)]
    Seek(#[from] SeekError),
}

impl From<super::ReadError> for ProofRequestError {
    fn from(error: super::ReadError) -> Self {
        Self::Seek(error.into())
    }
}

/// Proves what is asked for. `signature` is that over the tree as it is; `prologue` is the length of the manifest's prologue
/// (0 without one), which is only ever given as a whole. A tree without blocks proves nothing: all parts are `None`.
pub fn create_proof(
    tree: &Tree,
    signature: &[u8],
    prologue: u64,
    request: &ProofRequest,
    nodes: &impl TreeNodes,
) -> Result<Proof, ProofRequestError> {
    let mut proof = Proof {
        fork: tree.fork(),
        ..Proof::default()
    };
    if tree.length() == 0 {
        return Ok(proof);
    }
    let upgrade = request.upgrade.map(|asked| whole_prologue(asked, prologue));
    let end = match upgrade {
        Some(asked) => upgrade_end(asked, tree.length())?,
        None => tree.length(),
    };
    let target = request.node.map(|asked| Target::new(asked, end)).transpose()?;
    let mut maker = Maker {
        nodes,
        target,
        in_target: None,
        in_seek: None,
    };

    let subtree = match (target, upgrade) {
        (Some(target), Some(upgrade)) if target.at.end_block() > upgrade.start => {
            target.check_new(upgrade.start, request.seek.is_some())?;
            Some(target.at)
        }
        (Some(target), _) => {
            let root = target.root(end)?;
            let seek_root = request
                .seek
                .map(|asked| seek_below(tree, root, asked, nodes))
                .transpose()?;
            maker.prove_below(root, seek_root)?;
            None
        }
        (None, Some(_)) => match request.seek {
            Some(asked) => seek_from_start(end, asked, nodes)?,
            None => None,
        },
        (None, None) => None,
    };
    if let Some(upgrade) = upgrade {
        proof.upgrade = Some(UpgradeProof {
            start: upgrade.start,
            length: upgrade.length,
            nodes: maker.upgrade(upgrade.start, end, subtree)?,
            additional_nodes: maker.path(end, tree.length())?,
            signature: signature.to_vec(),
        });
    }
    proof.seek = request.seek.and_then(|asked| {
        Some(SeekProof {
            bytes: asked.bytes,
            nodes: maker.in_seek?,
        })
    });
    proof.node = match (request.node, maker.in_target) {
        (None, _) => None,
        (Some(NodeRequest::Block { block, .. }), Some(nodes)) => Some(NodeProof::Block { block, nodes }),
        (Some(NodeRequest::Hash { position, .. }), Some(nodes)) => Some(NodeProof::Hash { position, nodes }),
        (Some(_), None) => return Err(out_of_range(target, end)),
    };
    Ok(proof)
}

fn whole_prologue(asked: UpgradeRequest, prologue: u64) -> UpgradeRequest {
    if asked.start < prologue {
        UpgradeRequest {
            start: 0,
            length: prologue,
        }
    } else {
        asked
    }
}

fn upgrade_end(asked: UpgradeRequest, available: u64) -> Result<u64, ProofRequestError> {
    asked
        .start
        .checked_add(asked.length)
        .filter(|end| asked.length > 0 && *end <= available)
        .ok_or(ProofRequestError::InvalidUpgrade {
            start: asked.start,
            length: asked.length,
            available,
        })
}

fn out_of_range(target: Option<Target>, length: u64) -> ProofRequestError {
    match target {
        Some(Target { at, nodes, .. }) => ProofRequestError::OutOfRange { at, nodes, length },
        None => ProofRequestError::NoSuchBlock(length),
    }
}

/// The node that is asked for.
#[derive(Clone, Copy)]
struct Target {
    at: Position,
    nodes: u64,
    /// The value is sent, so the asker computes this node himself.
    has_value: bool,
}

impl Target {
    fn new(asked: NodeRequest, end: u64) -> Result<Self, ProofRequestError> {
        let target = match asked {
            NodeRequest::Block { block, nodes } => {
                let at = Position::of_block(block).ok_or(ProofRequestError::NoSuchBlock(block))?;
                Self {
                    at,
                    nodes,
                    has_value: true,
                }
            }
            NodeRequest::Hash { position, nodes } => Self {
                at: position,
                nodes,
                has_value: false,
            },
        };
        if target.at.end_block() > end {
            Err(out_of_range(Some(target), end))
        } else {
            Ok(target)
        }
    }

    /// The node that the asker has, so many levels above; it must lie within a tree of `end` blocks.
    fn root(self, end: u64) -> Result<Position, ProofRequestError> {
        let mut root = self.at;
        for _ in 0..self.nodes {
            root = root
                .parent()
                .filter(|over| over.end_block() <= end)
                .ok_or_else(|| out_of_range(Some(self), end))?;
        }
        Ok(root)
    }

    fn check_new(self, start: u64, seeks: bool) -> Result<(), ProofRequestError> {
        if self.at.first_block() < start {
            return Err(ProofRequestError::Straddles { at: self.at, start });
        }
        if seeks {
            Err(ProofRequestError::SeekBesideNewNode(self.at))
        } else {
            Ok(())
        }
    }
}

/// Collects the nodes of the parts.
struct Maker<'a, N> {
    nodes: &'a N,
    target: Option<Target>,
    in_target: Option<Vec<Node>>,
    in_seek: Option<Vec<Node>>,
}

impl<N: TreeNodes> Maker<'_, N> {
    fn read(&self, at: Position) -> Result<Node, ProofRequestError> {
        Ok(seek::stored(self.nodes, at)?)
    }

    fn path(&self, from: u64, to: u64) -> Result<Vec<Node>, ProofRequestError> {
        if from == to {
            return Ok(Vec::new());
        }
        flat_tree::upgrade_path(from, to)
            .into_iter()
            .map(|at| self.read(at))
            .collect()
    }

    /// The nodes of an upgrade. The one above `subtree` is left out: the asker computes it from that part's proof.
    fn upgrade(
        &mut self,
        from: u64,
        to: u64,
        mut subtree: Option<Position>,
    ) -> Result<Vec<Node>, ProofRequestError> {
        let mut out = Vec::new();
        for at in flat_tree::upgrade_path(from, to) {
            match subtree.take_if(|below| at.contains(*below)) {
                Some(below) => self.prove_below(at, Some(below))?,
                None => out.push(self.read(at)?),
            }
        }
        Ok(out)
    }

    /// Proves the target, or without one the seek, up to `root`. A seek beside the target replaces the sibling above it.
    fn prove_below(&mut self, root: Position, seek_root: Option<Position>) -> Result<(), ProofRequestError> {
        let Some(target) = self.target else {
            if let Some(seek_root) = seek_root {
                self.in_seek = Some(self.prove_seek(seek_root, root)?);
            }
            return Ok(());
        };
        let mut out = Vec::new();
        if !target.has_value {
            out.push(self.read(target.at)?);
        }
        for sibling in siblings(target.at, root) {
            match seek_root.filter(|below| sibling.contains(*below) && sibling != *below) {
                Some(below) => self.in_seek = Some(self.prove_seek(below, sibling)?),
                None => out.push(self.read(sibling)?),
            }
        }
        self.in_target = Some(out);
        Ok(())
    }

    fn prove_seek(&self, from: Position, root: Position) -> Result<Vec<Node>, ProofRequestError> {
        std::iter::once(from)
            .chain(siblings(from, root))
            .map(|at| self.read(at))
            .collect()
    }
}

/// The siblings on the way from a position to the one above that is `root`.
fn siblings(from: Position, root: Position) -> impl Iterator<Item = Position> {
    std::iter::successors(Some(from), |at| at.parent())
        .take_while(move |at| *at != root && root.contains(*at))
        .filter_map(Position::sibling)
}

/// The node that holds the byte, somewhere below `root`.
fn seek_below(
    tree: &Tree,
    root: Position,
    asked: SeekRequest,
    nodes: &impl TreeNodes,
) -> Result<Position, ProofRequestError> {
    let elsewhere = ProofRequestError::SeekElsewhere {
        bytes: asked.bytes,
        at: root,
    };
    let padding = asked.padding.checked_mul(root.first_block());
    let offset = padding.and_then(|padding| byte_offset_unpadded(tree, root, padding, nodes).transpose());
    let Some(offset) = offset.transpose()? else {
        return Err(elsewhere);
    };
    match asked.bytes.checked_sub(offset) {
        None => Err(elsewhere),
        Some(0) => Ok(root),
        Some(bytes) => {
            let size = seek::unpadded(&seek::stored(nodes, root)?, asked.padding)?;
            if size <= bytes {
                Err(elsewhere)
            } else {
                Ok(node_at(root, bytes, asked.padding, nodes)?)
            }
        }
    }
}

fn byte_offset_unpadded(
    tree: &Tree,
    root: Position,
    padding: u64,
    nodes: &impl TreeNodes,
) -> Result<Option<u64>, ProofRequestError> {
    Ok(seek::byte_offset(tree, root, nodes)?.checked_sub(padding))
}

/// The node that holds the byte in a tree of `length` blocks, or `None` if it is beyond.
fn seek_from_start(
    length: u64,
    asked: SeekRequest,
    nodes: &impl TreeNodes,
) -> Result<Option<Position>, ProofRequestError> {
    let mut bytes = asked.bytes;
    for root in flat_tree::roots(length) {
        let size = seek::unpadded(&seek::stored(nodes, root)?, asked.padding)?;
        if bytes == size {
            return Ok(Some(root));
        }
        if bytes < size {
            return if bytes == 0 {
                Ok(Some(root))
            } else {
                Ok(Some(node_at(root, bytes, asked.padding, nodes)?))
            };
        }
        bytes -= size;
    }
    Ok(None)
}

fn node_at(root: Position, bytes: u64, padding: u64, nodes: &impl TreeNodes) -> Result<Position, SeekError> {
    Ok(match seek::descend(root, bytes, padding, nodes)? {
        Found::At { at, .. } | Found::EndOf(at) => at,
    })
}
