//! The Merkle tree over a core's blocks: grown by appending, proved to others piece by piece, and checked before anything of
//! a peer is kept.
//!
//! Pure: nodes are read through [`TreeNodes`], new ones are handed back for the storage to keep.

mod create;
mod node;
mod proof;
mod reorg;
mod seek;
mod tree;
mod verify;
mod wire;

pub use create::{ProofRequestError, create_proof};
pub use node::{Leaf, MemoryNodes, Node, ReadError, TooLarge, TreeNodes};
pub use proof::{
    NodeProof, NodeRequest, Proof, ProofRequest, SeekProof, SeekRequest, UpgradeProof, UpgradeRequest,
};
pub use reorg::{Reorg, ReorgRequest, Reorged};
pub use seek::{Seek, SeekError, block_range, missing_nodes, missing_nodes_at_most, seek};
pub use tree::{Batch, Tree, TreeError, obsolete_parents};
pub(crate) use verify::verify_leaf;
pub use verify::{Upgraded, Verified, VerifyError, verify_alone, verify_proof};

pub use wire::NoSuchNode;

pub(crate) use verify::apply_upgrade;
