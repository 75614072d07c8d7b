//! Signatures of several signers as bytes. A single signer of a version 1 core uses the same form.
//!
//! A signer may have signed a longer tree than the one at hand; then the signature brings the nodes that lie between.

use std::collections::HashSet;

use crate::crypto::SIGNATURE_BYTES;
use crate::flat_tree::Position;
use crate::merkle::Node;
use crate::messages::MalformedMessage;
use crate::messages::codec::{Reader, put_uint};

/// The least bytes of a node on the wire.
const NODE_BYTES: usize = 34;

/// One signer's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPart {
    /// Which signer of the manifest, counted from 0.
    pub signer: u64,
    /// The signature.
    pub signature: [u8; SIGNATURE_BYTES],
    /// Blocks by which the tree it signs is longer.
    pub patch: u64,
}

/// Signatures of several signers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MultiSignature {
    /// The signatures.
    pub parts: Vec<SignedPart>,
    /// Nodes between the tree at hand and the longest that is signed.
    pub patch: Vec<Node>,
}

/// One signer's signature before it is joined with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialSignature {
    /// The signature.
    pub part: SignedPart,
    /// If the part has a patch: the upgrade's nodes, from the length at hand to the length signed.
    pub nodes: Vec<Node>,
}

impl MultiSignature {
    /// Joins signatures in the form of version 1.
    pub fn assemble(signatures: &[PartialSignature]) -> Self {
        let mut seen = HashSet::new();
        let nodes = signatures.iter().flat_map(|signature| &signature.nodes);
        Self {
            parts: signatures
                .iter()
                .map(|signature| signature.part.clone())
                .collect(),
            patch: nodes.filter(|node| seen.insert(node.position)).copied().collect(),
        }
    }

    /// As bytes, in the form of version 1.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + 67 * self.parts.len() + 40 * self.patch.len());
        put_uint(&mut out, self.parts.len() as u64);
        for part in &self.parts {
            put_uint(&mut out, part.signer);
            out.extend_from_slice(&part.signature);
            put_uint(&mut out, part.patch);
        }
        put_nodes(&mut out, &self.patch);
        out
    }

    /// Joins signatures, as bytes in the form of version 0: each part names its nodes by their place in the list.
    pub fn encode_version_0(signatures: &[PartialSignature]) -> Vec<u8> {
        let mut patch: Vec<Node> = Vec::new();
        let mut out = Vec::new();
        put_uint(&mut out, signatures.len() as u64);
        for PartialSignature { part, nodes } in signatures {
            put_uint(&mut out, (part.patch != 0).into());
            put_uint(&mut out, part.signer);
            out.extend_from_slice(&part.signature);
            if part.patch != 0 {
                // The peer writes the end of the patch where the name says start; nobody reads it.
                put_uint(&mut out, nodes.last().map_or(0, |node| node.position.end_block()));
                put_uint(&mut out, part.patch);
                put_uint(&mut out, nodes.len() as u64);
                for node in nodes {
                    let place = patch.iter().position(|known| known == node).unwrap_or_else(|| {
                        patch.push(*node);
                        patch.len() - 1
                    });
                    put_uint(&mut out, place as u64);
                }
            }
        }
        put_nodes(&mut out, &patch);
        out
    }

    /// Reads the form of version 1. Bytes after it are ignored, as the peers do.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let reader = &mut Reader::new("signature", bytes);
        let parts = reader.list("proofs", 66, |reader| {
            Ok(SignedPart {
                signer: reader.uint("proof.signer")?,
                signature: reader.array("proof.signature")?,
                patch: reader.uint("proof.patch")?,
            })
        })?;
        Ok(Self {
            parts,
            patch: nodes(reader)?,
        })
    }

    /// Reads the form of version 0. Of each part's patch only its length matters.
    pub fn decode_version_0(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let reader = &mut Reader::new("signature", bytes);
        let parts = reader.list("proofs", 66, |reader| {
            let patched = reader.uint("proof.flags")? & 1 != 0;
            let signer = reader.uint("proof.signer")?;
            let signature = reader.array("proof.signature")?;
            let patch = if patched { patch_version_0(reader)? } else { 0 };
            Ok(SignedPart {
                signer,
                signature,
                patch,
            })
        })?;
        Ok(Self {
            parts,
            patch: nodes(reader)?,
        })
    }
}

fn patch_version_0(reader: &mut Reader) -> Result<u64, MalformedMessage> {
    reader.uint("proof.patch.start")?;
    let length = reader.uint("proof.patch.length")?;
    reader.list("proof.patch.nodes", 1, |reader| reader.uint("proof.patch.nodes"))?;
    Ok(length)
}

/// Nodes; those at positions that no tree has are left out: nothing can ask for them.
fn nodes(reader: &mut Reader) -> Result<Vec<Node>, MalformedMessage> {
    let nodes = reader.list("patch", NODE_BYTES, |reader| {
        let index = reader.uint("patch.index")?;
        let size = reader.uint("patch.size")?;
        let hash = reader.array("patch.hash")?;
        Ok(Position::new(index).map(|position| Node { position, size, hash }))
    })?;
    Ok(nodes.into_iter().flatten().collect())
}

fn put_nodes(out: &mut Vec<u8>, nodes: &[Node]) {
    put_uint(out, nodes.len() as u64);
    for node in nodes {
        put_uint(out, node.position.index());
        put_uint(out, node.size);
        out.extend_from_slice(&node.hash);
    }
}
