//! Changing one core within a transaction.

use std::collections::BTreeMap;
use std::ops::Range;

use redb::{ReadableTable, Table, WriteTransaction};
use zeroize::Zeroizing;

use super::change::Change;
use super::chunk::{CHUNK_BLOCKS, Chunk, Extent, StoredBlock, chunk_of};
use super::error::failed;
use super::op::Op;
use super::tables::{
    BITFIELDS, CHUNKS, HEADS, KEY_PAIRS, Key, MANIFESTS, StoredNodes, USER_DATA, chunk, decode_chunk,
    load_head, next_missing, page,
};
use super::{Head, StoreError};
use crate::bitfield::PAGE_BLOCKS;
use crate::crypto::{Hash, KeyPair};
use crate::flat_tree::Position;
use crate::manifest::{Manifest, Verifier};
use crate::merkle::{Node, ReadError, Tree, TreeNodes, obsolete_parents};

/// Chunks that are kept in memory while a core is changed.
const MOST_CHUNKS: usize = 1024;

/// One core, while it is changed. Nothing is kept unless the transaction is committed.
pub(crate) struct Writer<'a> {
    txn: &'a WriteTransaction,
    change: &'a mut Change,
    core: u64,
    heads: Table<'a, u64, &'static [u8]>,
    chunks: Table<'a, Key, &'static [u8]>,
    bitfield: Table<'a, Key, &'static [u8]>,
    /// Chunks that were looked at, as they shall be.
    kept: BTreeMap<u64, Box<Chunk>>,
}

impl TreeNodes for Writer<'_> {
    fn node(&self, at: Position) -> Result<Option<Node>, ReadError> {
        match self.kept.get(&chunk_of(at)) {
            Some(chunk) => Ok(chunk.node(at)),
            None => StoredNodes {
                table: &self.chunks,
                core: self.core,
            }
            .node(at),
        }
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        txn: &'a WriteTransaction,
        change: &'a mut Change,
        core: u64,
    ) -> Result<Self, StoreError> {
        let step = "open a core for writing";
        change.note(&Op::Core(core));
        Ok(Self {
            txn,
            change,
            core,
            heads: txn.open_table(HEADS).map_err(failed(step))?,
            chunks: txn.open_table(CHUNKS).map_err(failed(step))?,
            bitfield: txn.open_table(BITFIELDS).map_err(failed(step))?,
            kept: BTreeMap::new(),
        })
    }

    /// Writes what is kept in memory. Without it the change is not whole.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        self.store_kept()
    }

    fn store_kept(&mut self) -> Result<(), StoreError> {
        while let Some((number, chunk)) = self.kept.pop_first() {
            self.store_chunk(number, &chunk)?;
        }
        Ok(())
    }

    fn store_chunk(&mut self, number: u64, chunk: &Chunk) -> Result<(), StoreError> {
        let (key, step) = ((self.core, number), "store tree nodes");
        if chunk.is_empty() {
            self.chunks.remove(key).map_err(failed(step))?;
        } else {
            self.chunks
                .insert(key, &chunk.encode()[..])
                .map_err(failed(step))?;
        }
        Ok(())
    }

    fn chunk(&mut self, number: u64) -> Result<&mut Chunk, StoreError> {
        if !self.kept.contains_key(&number) {
            if self.kept.len() >= MOST_CHUNKS {
                self.store_kept()?;
            }
            let stored = chunk(&self.chunks, self.core, number)?.unwrap_or_default();
            self.kept.insert(number, Box::new(stored));
        }
        Ok(self.kept.entry(number).or_default())
    }

    /// The head and the tree as they are in this transaction.
    pub(crate) fn head(&self) -> Result<(Head, Tree), StoreError> {
        load_head(&self.heads, self.core)
    }

    pub(crate) fn put_nodes(&mut self, nodes: impl IntoIterator<Item = Node>) -> Result<(), StoreError> {
        for node in nodes {
            let chunk = self.chunk(chunk_of(node.position))?;
            // Proofs of neighbours bring the same nodes again and again.
            if chunk.node(node.position) != Some(node) {
                chunk.set_node(node);
                self.change.note(&Op::Node(node));
            }
        }
        Ok(())
    }

    /// Stores the bytes of a block; [`Writer::mark`] says afterwards that it is there.
    pub(crate) fn put_block(&mut self, block: u64, value: &[u8]) -> Result<(), StoreError> {
        let stored = self.change.put_bytes(value).map_err(failed("store a block"))?;
        self.change.note(&Op::Block { block, stored });
        self.set_block(block, stored)
    }

    /// A block that the log has: its bytes are where they belong.
    pub(super) fn put_block_again(&mut self, block: u64, stored: StoredBlock) -> Result<(), StoreError> {
        self.change.follow(&stored.extent);
        self.set_block(block, stored)
    }

    fn set_block(&mut self, block: u64, stored: StoredBlock) -> Result<(), StoreError> {
        let before = self.chunk(block / CHUNK_BLOCKS)?.set_block(block, Some(stored));
        before.into_iter().for_each(|extent| self.change.free(extent));
        Ok(())
    }

    /// Forgets blocks; their tree nodes stay.
    pub(crate) fn drop_blocks(&mut self, blocks: Range<u64>) -> Result<(), StoreError> {
        if blocks.is_empty() {
            return Ok(());
        }
        self.change.note(&Op::Dropped(blocks.clone()));
        let chunks = blocks.start / CHUNK_BLOCKS..(blocks.end - 1) / CHUNK_BLOCKS + 1;
        if chunks.end - chunks.start > 2 {
            self.drop_many(&blocks, chunks)?;
        } else {
            for number in chunks {
                let freed = forget(self.chunk(number)?, number, &blocks);
                freed.into_iter().for_each(|extent| self.change.free(extent));
            }
        }
        self.set_marks(blocks, false)
    }

    /// Goes through the chunks that are there, however many there could be.
    fn drop_many(&mut self, blocks: &Range<u64>, chunks: Range<u64>) -> Result<(), StoreError> {
        let step = "remove blocks";
        self.store_kept()?;
        let mut next = chunks.start;
        while next < chunks.end {
            let range = self
                .chunks
                .range((self.core, next)..(self.core, chunks.end))
                .map_err(failed(step))?;
            let mut some = Vec::new();
            for entry in range.take(MOST_CHUNKS) {
                let (key, bytes) = entry.map_err(failed(step))?;
                let number = key.value().1;
                some.push((number, decode_chunk(self.core, number, bytes.value())?));
            }
            next = match some.last() {
                Some((number, _)) => number + 1,
                None => chunks.end,
            };
            for (number, mut chunk) in some {
                let freed = forget(&mut chunk, number, blocks);
                if !freed.is_empty() {
                    freed.into_iter().for_each(|extent| self.change.free(extent));
                    self.store_chunk(number, &chunk)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets all blocks from `length` on, and the tree nodes over them.
    pub(crate) fn truncate(&mut self, from: u64, length: u64) -> Result<(), StoreError> {
        self.drop_blocks(length..from)?;
        self.remove_nodes_over(length)
    }

    pub(super) fn remove_nodes_over(&mut self, length: u64) -> Result<(), StoreError> {
        self.change.note(&Op::Truncated(length));
        if let Some(first) = Position::of_block(length) {
            let number = chunk_of(first);
            self.chunk(number)?.remove_nodes_from(first);
            self.store_kept()?;
            self.chunks
                .retain_in((self.core, number + 1)..=(self.core, u64::MAX), |_, _| false)
                .map_err(failed("remove tree nodes"))?;
        }
        for at in obsolete_parents(length) {
            self.chunk(chunk_of(at))?.remove_node(at);
        }
        Ok(())
    }

    /// Marks blocks as stored or as not stored.
    pub(crate) fn mark(&mut self, blocks: Range<u64>, stored: bool) -> Result<(), StoreError> {
        let step = Op::Marked {
            blocks: blocks.clone(),
            stored,
        };
        self.change.note(&step);
        self.set_marks(blocks, stored)
    }

    fn set_marks(&mut self, blocks: Range<u64>, stored: bool) -> Result<(), StoreError> {
        if blocks.is_empty() {
            return Ok(());
        }
        for number in blocks.start / PAGE_BLOCKS..=(blocks.end - 1) / PAGE_BLOCKS {
            let first = number * PAGE_BLOCKS;
            let places = blocks.start.saturating_sub(first)..(blocks.end - first).min(PAGE_BLOCKS);
            let key = (self.core, number);
            let changed = page(&self.bitfield, self.core, number)?.with(places, stored);
            match changed.encode() {
                Some(bytes) => drop(
                    self.bitfield
                        .insert(key, &bytes[..])
                        .map_err(failed("mark blocks"))?,
                ),
                None => drop(self.bitfield.remove(key).map_err(failed("mark blocks"))?),
            }
        }
        Ok(())
    }

    /// Stores a new head, and says it: the tree's, and how far blocks are stored without a gap. `before` is how far they were; no block
    /// below that may have been dropped.
    pub(crate) fn put_head(
        &mut self,
        tree: &Tree,
        signature: Vec<u8>,
        before: u64,
    ) -> Result<Head, StoreError> {
        let contiguous = next_missing(&self.bitfield, self.core, before)?;
        let head = Head {
            fork: tree.fork(),
            length: tree.length(),
            contiguous_length: contiguous.min(tree.length()),
            tree_hash: tree.hash(),
            signature,
        };
        self.put_encoded_head(&head.encode(tree.roots()))?;
        Ok(head)
    }

    pub(super) fn put_encoded_head(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.change.note(&Op::Head(bytes));
        self.heads
            .insert(self.core, bytes)
            .map_err(failed("store a core's head"))?;
        Ok(())
    }

    pub(crate) fn put_manifest(&mut self, manifest: &Manifest) -> Result<(), StoreError> {
        self.put_encoded_manifest(&manifest.encode())
    }

    pub(super) fn put_encoded_manifest(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let step = "store a core's manifest";
        self.change.note(&Op::Manifest(bytes));
        self.txn
            .open_table(MANIFESTS)
            .map_err(failed(step))?
            .insert(self.core, bytes)
            .map_err(failed(step))?;
        Ok(())
    }

    pub(crate) fn put_key_pair(&mut self, pair: &KeyPair) -> Result<(), StoreError> {
        self.put_secret_key(&Zeroizing::new(pair.secret_key())[..])
    }

    pub(super) fn put_secret_key(&mut self, secret: &[u8]) -> Result<(), StoreError> {
        let step = "store a core's key pair";
        self.change.note(&Op::KeyPair(secret));
        self.txn
            .open_table(KEY_PAIRS)
            .map_err(failed(step))?
            .insert(self.core, secret)
            .map_err(failed(step))?;
        Ok(())
    }

    /// Stores user data, or removes them.
    pub(crate) fn put_user_data(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        let step = "store user data";
        self.change.note(&Op::UserData { key, value });
        let mut table = self.txn.open_table(USER_DATA).map_err(failed(step))?;
        match value {
            Some(value) => drop(table.insert((self.core, key), value).map_err(failed(step))?),
            None => drop(table.remove((self.core, key)).map_err(failed(step))?),
        }
        Ok(())
    }

    /// Who signs the core, as far as it is known in this transaction.
    pub(crate) fn verifier(&self, key: &Hash) -> Result<Option<Verifier>, StoreError> {
        let step = "read a core's manifest";
        let table = self.txn.open_table(MANIFESTS).map_err(failed(step))?;
        super::cores::decode_verifier(self.core, key, table.get(self.core).map_err(failed(step))?)
    }
}

/// Forgets those of the blocks that are in a chunk, and says where they lay.
fn forget(chunk: &mut Chunk, number: u64, blocks: &Range<u64>) -> Vec<Extent> {
    let first = number * CHUNK_BLOCKS;
    let within = blocks.start.max(first)..blocks.end.min(first + CHUNK_BLOCKS);
    within.filter_map(|block| chunk.set_block(block, None)).collect()
}
