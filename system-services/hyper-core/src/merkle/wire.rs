//! Requests and proofs as the messages that carry them.
//!
//! A message may name a block and a node at once; then the block counts, as for the peers.

use super::{
    Node, NodeProof, NodeRequest, Proof, ProofRequest, SeekProof, SeekRequest, UpgradeProof, UpgradeRequest,
};
use crate::flat_tree::Position;
use crate::manifest::Manifest;
use crate::messages::{self, Data, DataBlock, DataHash, DataSeek, DataUpgrade, EncodedManifest, Request};

/// A message that names a tree node which no core can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer names tree node {0}, which no core can have")]
pub struct NoSuchNode(pub u64);

fn position(index: u64) -> Result<Position, NoSuchNode> {
    Position::new(index).ok_or(NoSuchNode(index))
}

impl TryFrom<&messages::Node> for Node {
    type Error = NoSuchNode;

    fn try_from(node: &messages::Node) -> Result<Self, NoSuchNode> {
        Ok(Self {
            position: position(node.index)?,
            size: node.size,
            hash: node.hash,
        })
    }
}

impl From<Node> for messages::Node {
    fn from(node: Node) -> Self {
        Self {
            index: node.position.index(),
            size: node.size,
            hash: node.hash,
        }
    }
}

fn nodes(nodes: Vec<messages::Node>) -> Result<Vec<Node>, NoSuchNode> {
    nodes.into_iter().map(|node| Node::try_from(&node)).collect()
}

fn wire_nodes(nodes: Vec<Node>) -> Vec<messages::Node> {
    nodes.into_iter().map(messages::Node::from).collect()
}

impl TryFrom<&Request> for ProofRequest {
    type Error = NoSuchNode;

    fn try_from(request: &Request) -> Result<Self, NoSuchNode> {
        let node = match (&request.block, &request.hash) {
            (Some(asked), _) => Some(NodeRequest::Block {
                block: asked.index,
                nodes: asked.nodes,
            }),
            (None, Some(asked)) => Some(NodeRequest::Hash {
                position: position(asked.index)?,
                nodes: asked.nodes,
            }),
            (None, None) => None,
        };
        let seek = request.seek.as_ref().map(|asked| SeekRequest {
            bytes: asked.bytes,
            padding: asked.padding,
        });
        let upgrade = request.upgrade.as_ref().map(|asked| UpgradeRequest {
            start: asked.start,
            length: asked.length,
        });
        Ok(Self { node, seek, upgrade })
    }
}

impl TryFrom<Data> for Proof {
    type Error = NoSuchNode;

    /// The proof in a message, without the block's value.
    fn try_from(data: Data) -> Result<Self, NoSuchNode> {
        let node = match (data.block, data.hash) {
            (Some(block), _) => Some(NodeProof::Block {
                block: block.index,
                nodes: nodes(block.nodes)?,
            }),
            (None, Some(hash)) => Some(NodeProof::Hash {
                position: position(hash.index)?,
                nodes: nodes(hash.nodes)?,
            }),
            (None, None) => None,
        };
        let seek = data.seek.map(|seek| {
            Ok(SeekProof {
                bytes: seek.bytes,
                nodes: nodes(seek.nodes)?,
            })
        });
        let upgrade = data.upgrade.map(|upgrade| {
            Ok(UpgradeProof {
                start: upgrade.start,
                length: upgrade.length,
                nodes: nodes(upgrade.nodes)?,
                additional_nodes: nodes(upgrade.additional_nodes)?,
                signature: upgrade.signature,
            })
        });
        Ok(Self {
            fork: data.fork,
            node,
            seek: seek.transpose()?,
            upgrade: upgrade.transpose()?,
        })
    }
}

impl Proof {
    /// The message that carries the proof. `value` reads the block with this number, if the proof is for one.
    pub fn into_data<E>(
        self,
        request: u64,
        manifest: Option<&Manifest>,
        value: impl FnOnce(u64) -> Result<Vec<u8>, E>,
    ) -> Result<Data, E> {
        let (mut block, mut hash) = (None, None);
        match self.node {
            Some(NodeProof::Block { block: index, nodes }) => {
                block = Some(DataBlock {
                    index,
                    value: value(index)?,
                    nodes: wire_nodes(nodes),
                });
            }
            Some(NodeProof::Hash { position, nodes }) => {
                hash = Some(DataHash {
                    index: position.index(),
                    nodes: wire_nodes(nodes),
                });
            }
            None => {}
        }
        let seek = self.seek.map(|seek| DataSeek {
            bytes: seek.bytes,
            nodes: wire_nodes(seek.nodes),
        });
        let upgrade = self.upgrade.map(|upgrade| DataUpgrade {
            start: upgrade.start,
            length: upgrade.length,
            nodes: wire_nodes(upgrade.nodes),
            additional_nodes: wire_nodes(upgrade.additional_nodes),
            signature: upgrade.signature,
        });
        let manifest = manifest.map(|manifest| EncodedManifest(manifest.encode()));
        Ok(Data {
            request,
            fork: self.fork,
            block,
            hash,
            seek,
            upgrade,
            manifest,
        })
    }
}
