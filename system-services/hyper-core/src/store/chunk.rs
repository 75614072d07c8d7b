//! The tree nodes of sixteen blocks that follow each other, and where the bytes of the blocks lie: one entry of the index.
//!
//! Nodes that are neighbours in the row of the tree are written and read together. Appending a thousand blocks is then some
//! sixty entries instead of three thousand, and reading a block is one.

use crate::crypto::Hash;
use crate::flat_tree::Position;
use crate::merkle::Node;
use crate::messages::codec::{Reader, put_uint};

/// Blocks of a chunk.
pub(super) const CHUNK_BLOCKS: u64 = 16;

/// Nodes of a chunk: a leaf of each block, and as many parents; the last one may stand high above the others.
const CHUNK_NODES: u64 = 2 * CHUNK_BLOCKS;

/// A place in the block files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    /// Number of the file.
    pub(super) segment: u32,
    /// Bytes from its start.
    pub(super) offset: u64,
}

/// Bytes in a block file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    pub(super) at: Place,
    pub(super) bytes: u64,
}

impl Extent {
    /// The byte behind the last one. What is stored was read with numbers below 2^53, so that this cannot overflow.
    pub(super) fn end(&self) -> u64 {
        self.at.offset.saturating_add(self.bytes)
    }
}

/// The bytes of a block: where they lie, and the checksum by which rot is found whenever they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredBlock {
    pub(super) extent: Extent,
    pub(super) checksum: u32,
}

/// The checksum of a block's bytes.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Chunk {
    nodes: [Option<(u64, Hash)>; CHUNK_NODES as usize],
    blocks: [Option<StoredBlock>; CHUNK_BLOCKS as usize],
}

/// Set in the count of a run whose blocks are as long as their leaves say.
const LENGTHS_OF_LEAVES: u8 = 0x80;

/// The chunk that holds a node.
pub(super) fn chunk_of(at: Position) -> u64 {
    at.index() / CHUNK_NODES
}

fn slot(at: Position) -> usize {
    (at.index() % CHUNK_NODES) as usize
}

fn block_slot(block: u64) -> usize {
    (block % CHUNK_BLOCKS) as usize
}

impl Chunk {
    pub(super) fn node(&self, at: Position) -> Option<Node> {
        let (size, hash) = self.nodes[slot(at)]?;
        Some(Node {
            position: at,
            size,
            hash,
        })
    }

    pub(super) fn set_node(&mut self, node: Node) {
        self.nodes[slot(node.position)] = Some((node.size, node.hash));
    }

    pub(super) fn remove_node(&mut self, at: Position) {
        self.nodes[slot(at)] = None;
    }

    /// Removes the nodes from a position on.
    pub(super) fn remove_nodes_from(&mut self, at: Position) {
        self.nodes[slot(at)..].fill(None);
    }

    /// Where a block lies.
    #[cfg(test)]
    fn block(&self, block: u64) -> Option<StoredBlock> {
        self.blocks[block_slot(block)]
    }

    /// Says where a block now lies, and gives back where it lay.
    pub(super) fn set_block(&mut self, block: u64, stored: Option<StoredBlock>) -> Option<Extent> {
        let before = std::mem::replace(&mut self.blocks[block_slot(block)], stored);
        before.map(|stored| stored.extent)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.iter().all(Option::is_none) && self.blocks.iter().all(Option::is_none)
    }

    /// A word of bits that says which nodes there are, then their sizes and hashes; then the runs of blocks that follow each other
    /// in one file: number of the first block in the chunk, count, file, offset, the length of each unless all are those of their
    /// leaves, and the checksum of each.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1536);
        let present = self
            .nodes
            .iter()
            .rev()
            .fold(0u32, |bits, node| bits << 1 | u32::from(node.is_some()));
        out.extend_from_slice(&present.to_le_bytes());
        for (size, hash) in self.nodes.iter().flatten() {
            put_uint(&mut out, *size);
            out.extend_from_slice(hash);
        }
        let mut rest = 0;
        while let Some(first) = (rest..self.blocks.len()).find(|slot| self.blocks[*slot].is_some()) {
            let run = self.run(first);
            rest = first + run.len();
            let leaves = self.nodes[2 * first..].iter().step_by(2);
            let as_leaves = run
                .iter()
                .zip(leaves)
                .all(|(block, leaf)| leaf.is_some_and(|(size, _)| size == block.extent.bytes));
            let flag = if as_leaves { LENGTHS_OF_LEAVES } else { 0 };
            out.extend_from_slice(&[first as u8, run.len() as u8 | flag]);
            put_uint(&mut out, u64::from(run[0].extent.at.segment));
            put_uint(&mut out, run[0].extent.at.offset);
            if !as_leaves {
                run.iter()
                    .for_each(|block| put_uint(&mut out, block.extent.bytes));
            }
            run.iter()
                .for_each(|block| out.extend_from_slice(&block.checksum.to_le_bytes()));
        }
        out
    }

    /// The blocks from `first` on that lie one behind the other.
    fn run(&self, first: usize) -> Vec<StoredBlock> {
        let mut run: Vec<StoredBlock> = Vec::with_capacity(self.blocks.len());
        for block in self.blocks[first..].iter().map_while(|block| *block) {
            let at = block.extent.at;
            let follows = run
                .last()
                .is_none_or(|last| at.segment == last.extent.at.segment && at.offset == last.extent.end());
            if !follows {
                break;
            }
            run.push(block);
        }
        run
    }

    /// One node of a chunk that is not decoded as a whole. `None` if the bytes are no chunk.
    pub(super) fn decode_node(bytes: &[u8], at: Position) -> Option<Option<Node>> {
        let mut reader = Reader::new("chunk", bytes);
        let present = u32::from_le_bytes(reader.array("present").ok()?);
        if present >> slot(at) & 1 == 0 {
            return Some(None);
        }
        for _ in 0..(present & ((1 << slot(at)) - 1)).count_ones() {
            reader.uint("size").ok()?;
            reader.array::<32>("hash").ok()?;
        }
        Some(Some(Node {
            position: at,
            size: reader.uint("size").ok()?,
            hash: reader.array("hash").ok()?,
        }))
    }

    /// One block of a chunk that is not decoded as a whole. `None` if the bytes are no chunk.
    pub(super) fn decode_block(bytes: &[u8], block: u64) -> Option<Option<StoredBlock>> {
        let (mut sizes, mut found) = ([None; CHUNK_NODES as usize], None);
        let mut reader = Reader::new("chunk", bytes);
        read_nodes(&mut reader, |slot, size, _| sizes[slot] = Some(size))?;
        let wanted = block_slot(block);
        let take = |slot, stored| {
            if slot == wanted {
                found = Some(stored);
            }
        };
        read_blocks(&mut reader, |slot| sizes[2 * slot], take)?;
        Some(found)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut reader, mut chunk) = (Reader::new("chunk", bytes), Self::default());
        let Self { nodes, blocks } = &mut chunk;
        read_nodes(&mut reader, |slot, size, hash| nodes[slot] = Some((size, *hash)))?;
        let size_of = |slot: usize| nodes[2 * slot].map(|(size, _)| size);
        read_blocks(&mut reader, size_of, |slot, stored| blocks[slot] = Some(stored))?;
        Some(chunk)
    }
}

/// Reads the nodes of a chunk: the slot, the size and the hash of each.
fn read_nodes(reader: &mut Reader<'_>, mut see: impl FnMut(usize, u64, &Hash)) -> Option<()> {
    let present = u32::from_le_bytes(reader.array("present").ok()?);
    for slot in (0..CHUNK_NODES as usize).filter(|slot| present >> slot & 1 == 1) {
        let size = reader.uint("size").ok()?;
        see(slot, size, &reader.array("hash").ok()?);
    }
    Some(())
}

/// Reads the blocks of a chunk, behind its nodes. `leaf_size` is what the leaf of a slot says.
fn read_blocks(
    reader: &mut Reader<'_>,
    leaf_size: impl Fn(usize) -> Option<u64>,
    mut see: impl FnMut(usize, StoredBlock),
) -> Option<()> {
    while !reader.is_empty() {
        let [first, count] = reader.array("run").ok()?;
        let as_leaves = count & LENGTHS_OF_LEAVES != 0;
        let first = usize::from(first);
        let slots = first..first + usize::from(count & !LENGTHS_OF_LEAVES);
        if slots.end > CHUNK_BLOCKS as usize {
            return None;
        }
        let segment = u32::try_from(reader.uint("file").ok()?).ok()?;
        let mut offset = reader.uint("offset").ok()?;
        let mut extents = [Extent::default(); CHUNK_BLOCKS as usize];
        for slot in slots.clone() {
            let bytes = match as_leaves {
                true => leaf_size(slot)?,
                false => reader.uint("length").ok()?,
            };
            let at = Place { segment, offset };
            extents[slot] = Extent { at, bytes };
            offset = extents[slot].end();
        }
        for slot in slots {
            let checksum = u32::from_le_bytes(reader.array("checksum").ok()?);
            let extent = extents[slot];
            see(slot, StoredBlock { extent, checksum });
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored_blocks() -> impl Strategy<Value = Option<StoredBlock>> {
        let block = (0..3u32, 0..4u64, 0..3u64, any::<u32>());
        prop::option::of(block.prop_map(|(segment, offset, bytes, checksum)| StoredBlock {
            extent: Extent {
                at: Place { segment, offset },
                bytes,
            },
            checksum,
        }))
    }

    proptest! {
        #[test]
        fn a_chunk_is_read_as_it_was_written(
            nodes in prop::collection::vec(prop::option::of((prop_oneof![0..3u64, 0..1u64 << 53], any::<Hash>())), 32),
            blocks in prop::collection::vec(stored_blocks(), 16),
        ) {
            let chunk = Chunk {
                nodes: nodes.try_into().unwrap(),
                blocks: blocks.try_into().unwrap(),
            };
            let bytes = chunk.encode();
            let again = Chunk::decode(&bytes);
            prop_assert_eq!(again.as_ref(), Some(&chunk));
            for index in 64..96 {
                let at = Position::new(index).unwrap();
                prop_assert_eq!(Chunk::decode_node(&bytes, at), Some(chunk.node(at)));
            }
            for block in 32..48 {
                prop_assert_eq!(Chunk::decode_block(&bytes, block), Some(chunk.block(block)));
            }
        }

        #[test]
        fn any_bytes_are_a_chunk_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(chunk) = Chunk::decode(&bytes) {
                prop_assert_eq!(Chunk::decode(&chunk.encode()), Some(chunk));
            }
        }
    }

    #[test]
    fn three_full_chunks_of_large_blocks_fit_a_page_of_the_index() {
        let mut chunk = Chunk::default();
        for block in 0..CHUNK_BLOCKS {
            let at = Place {
                segment: 70_000,
                offset: (1 << 29) + block * 65_536,
            };
            let extent = Extent { at, bytes: 65_536 };
            let checksum = u32::MAX;
            chunk.set_block(block, Some(StoredBlock { extent, checksum }));
        }
        for index in 0..CHUNK_NODES {
            let position = Position::new(index).unwrap();
            chunk.set_node(Node {
                position,
                size: if index % 2 == 0 { 65_536 } else { 1 << 20 },
                hash: [7; 32],
            });
        }
        // Of the 4096 bytes of a page, each entry takes 20 for its key and the database's numbers.
        assert!(3 * (chunk.encode().len() + 20) <= 4080);
    }
}
