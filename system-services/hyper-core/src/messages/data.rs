//! `Data`: a proof, in the parts that were asked for.

use super::MalformedMessage;
use super::codec::{Reader, flags, put_bytes, put_uint};

/// The least bytes of a tree node on the wire.
const NODE_BYTES: usize = 34;

/// A node of the Merkle tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Its place in the flat tree.
    pub index: u64,
    /// Bytes of all blocks below it.
    pub size: u64,
    /// BLAKE2b-256 over what is below it.
    pub hash: [u8; 32],
}

/// A manifest as it came over the wire. Its length is not on the wire: it is the last part of `Data`, and bytes after
/// the manifest's own end,
/// if a newer peer sends any, are to be ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedManifest(pub Vec<u8>);

/// A proof. Nothing in it is true before the core has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// The id of the request; 0 when nobody asked (a push, or the proof of a fork).
    pub request: u64,
    /// The fork that is proved.
    pub fork: u64,
    /// A block.
    pub block: Option<DataBlock>,
    /// A node of the tree.
    pub hash: Option<DataHash>,
    /// A byte offset.
    pub seek: Option<DataSeek>,
    /// A longer signed tree.
    pub upgrade: Option<DataUpgrade>,
    /// The core's manifest.
    pub manifest: Option<EncodedManifest>,
}

/// A block and its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataBlock {
    /// Which block.
    pub index: u64,
    /// The block.
    pub value: Vec<u8>,
    /// The siblings on the way up, lowest first.
    pub nodes: Vec<Node>,
}

/// The proof of a tree node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataHash {
    /// Which node of the flat tree.
    pub index: u64,
    /// The node itself first, then the siblings on the way up.
    pub nodes: Vec<Node>,
}

/// The proof of where a byte offset lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSeek {
    /// The offset that was asked for.
    pub bytes: u64,
    /// The node with which it begins, then the siblings on the way up; empty when the other parts show it already.
    pub nodes: Vec<Node>,
}

/// The proof of a longer tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataUpgrade {
    /// From this length in blocks.
    pub start: u64,
    /// So many blocks further.
    pub length: u64,
    /// The nodes with which the receiver's roots become those of `start + length`.
    pub nodes: Vec<Node>,
    /// Further nodes up to the length that is signed.
    pub additional_nodes: Vec<Node>,
    /// What signs the tree, in the encoding of the core's manifest. Empty: none was given.
    pub signature: Vec<u8>,
}

impl Data {
    /// Appends all but the bytes of the block, and says where they belong.
    pub(super) fn write_around(&self, out: &mut Vec<u8>) -> usize {
        let parts = [
            self.block.is_some(),
            self.hash.is_some(),
            self.seek.is_some(),
            self.upgrade.is_some(),
            self.manifest.is_some(),
        ];
        put_uint(out, flags(parts));
        put_uint(out, self.request);
        put_uint(out, self.fork);
        let mut place = out.len();
        if let Some(block) = &self.block {
            put_uint(out, block.index);
            put_uint(out, block.value.len() as u64);
            place = out.len();
            put_nodes(out, &block.nodes);
        }
        if let Some(hash) = &self.hash {
            put_uint(out, hash.index);
            put_nodes(out, &hash.nodes);
        }
        if let Some(seek) = &self.seek {
            put_uint(out, seek.bytes);
            put_nodes(out, &seek.nodes);
        }
        if let Some(upgrade) = &self.upgrade {
            put_uint(out, upgrade.start);
            put_uint(out, upgrade.length);
            put_nodes(out, &upgrade.nodes);
            put_nodes(out, &upgrade.additional_nodes);
            put_bytes(out, &upgrade.signature);
        }
        if let Some(EncodedManifest(manifest)) = &self.manifest {
            out.extend_from_slice(manifest);
        }
        place
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        let flags = reader.uint("flags")?;
        let request = reader.uint("request")?;
        let fork = reader.uint("fork")?;
        let given = |bit| flags & bit != 0;
        // In the order of the wire.
        let block = given(1).then(|| DataBlock::read(reader)).transpose()?;
        let hash = given(2).then(|| DataHash::read(reader)).transpose()?;
        let seek = given(4).then(|| DataSeek::read(reader)).transpose()?;
        let upgrade = given(8).then(|| DataUpgrade::read(reader)).transpose()?;
        let manifest = given(16).then(|| EncodedManifest(reader.take_rest().to_vec()));
        Ok(Self {
            request,
            fork,
            block,
            hash,
            seek,
            upgrade,
            manifest,
        })
    }
}

impl DataBlock {
    fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        Ok(Self {
            index: reader.uint("block.index")?,
            value: reader.bytes("block.value")?.to_vec(),
            nodes: nodes(reader, "block.nodes")?,
        })
    }
}

impl DataHash {
    fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        Ok(Self {
            index: reader.uint("hash.index")?,
            nodes: nodes(reader, "hash.nodes")?,
        })
    }
}

impl DataSeek {
    fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        Ok(Self {
            bytes: reader.uint("seek.bytes")?,
            nodes: nodes(reader, "seek.nodes")?,
        })
    }
}

impl DataUpgrade {
    fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        Ok(Self {
            start: reader.uint("upgrade.start")?,
            length: reader.uint("upgrade.length")?,
            nodes: nodes(reader, "upgrade.nodes")?,
            additional_nodes: nodes(reader, "upgrade.additional_nodes")?,
            signature: reader.bytes("upgrade.signature")?.to_vec(),
        })
    }
}

fn put_nodes(out: &mut Vec<u8>, nodes: &[Node]) {
    put_uint(out, nodes.len() as u64);
    for node in nodes {
        put_uint(out, node.index);
        put_uint(out, node.size);
        out.extend_from_slice(&node.hash);
    }
}

fn nodes(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<Node>, MalformedMessage> {
    reader.list(field, NODE_BYTES, |reader| {
        Ok(Node {
            index: reader.uint(field)?,
            size: reader.uint(field)?,
            hash: reader.array(field)?,
        })
    })
}
