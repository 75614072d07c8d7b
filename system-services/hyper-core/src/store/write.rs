//! Changing one core within a transaction.

use std::ops::Range;

use redb::{ReadableTable, Table, WriteTransaction};
use zeroize::Zeroizing;

use super::error::failed;
use super::pieces::{self, PieceKey};
use super::tables::{
    BITFIELDS, BLOCKS, HEADS, KEY_PAIRS, MANIFESTS, NODES, NodeValue, Place, StoredNodes, USER_DATA,
    load_head, next_missing, page,
};
use super::{Head, StoreError};
use crate::bitfield::PAGE_BLOCKS;
use crate::crypto::KeyPair;
use crate::flat_tree::Position;
use crate::manifest::{Manifest, Verifier};
use crate::merkle::{Node, ReadError, Tree, TreeNodes, obsolete_parents};

/// One core, while it is changed. Nothing is kept unless the transaction is committed.
pub(crate) struct Writer<'txn> {
    txn: &'txn WriteTransaction,
    core: u64,
    heads: Table<'txn, u64, &'static [u8]>,
    nodes: Table<'txn, Place, NodeValue>,
    blocks: Table<'txn, PieceKey, &'static [u8]>,
    bitfield: Table<'txn, Place, &'static [u8]>,
}

impl TreeNodes for Writer<'_> {
    fn node(&self, at: Position) -> Result<Option<Node>, ReadError> {
        StoredNodes {
            table: &self.nodes,
            core: self.core,
        }
        .node(at)
    }
}

impl<'txn> Writer<'txn> {
    pub(super) fn new(txn: &'txn WriteTransaction, core: u64) -> Result<Self, StoreError> {
        let open = failed("open a core for writing");
        let tables = || -> Result<Self, redb::TableError> {
            Ok(Self {
                txn,
                core,
                heads: txn.open_table(HEADS)?,
                nodes: txn.open_table(NODES)?,
                blocks: txn.open_table(BLOCKS)?,
                bitfield: txn.open_table(BITFIELDS)?,
            })
        };
        tables().map_err(open)
    }

    /// The head and the tree as they are in this transaction.
    pub(crate) fn head(&self) -> Result<(Head, Tree), StoreError> {
        load_head(&self.heads, &self.nodes, self.core)
    }

    pub(crate) fn put_nodes(&mut self, nodes: impl IntoIterator<Item = Node>) -> Result<(), StoreError> {
        for node in nodes {
            self.nodes
                .insert((self.core, node.position.index()), (node.size, node.hash))
                .map_err(failed("store a tree node"))?;
        }
        Ok(())
    }

    /// Stores the bytes of a block; [`Writer::mark`] says afterwards that it is there.
    pub(crate) fn put_block(&mut self, block: u64, value: &[u8]) -> Result<(), StoreError> {
        pieces::put(&mut self.blocks, self.core, block, value)
    }

    /// Forgets blocks; their tree nodes stay.
    pub(crate) fn drop_blocks(&mut self, blocks: Range<u64>) -> Result<(), StoreError> {
        if blocks.is_empty() {
            return Ok(());
        }
        self.blocks
            .retain_in(
                (self.core, blocks.start, 0)..(self.core, blocks.end, 0),
                |_, _| false,
            )
            .map_err(failed("remove blocks"))?;
        self.mark(blocks, false)
    }

    /// Forgets all blocks from `length` on, and the tree nodes over them.
    pub(crate) fn truncate(&mut self, from: u64, length: u64) -> Result<(), StoreError> {
        self.drop_blocks(length..from)?;
        let step = "remove tree nodes";
        self.nodes
            .retain_in((self.core, 2 * length)..=(self.core, u64::MAX), |_, _| false)
            .map_err(failed(step))?;
        for at in obsolete_parents(length) {
            self.nodes.remove((self.core, at.index())).map_err(failed(step))?;
        }
        Ok(())
    }

    /// Marks blocks as stored or as not stored.
    pub(crate) fn mark(&mut self, blocks: Range<u64>, stored: bool) -> Result<(), StoreError> {
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

    /// Stores a new head: the tree's, and how far blocks are stored without a gap. `before` is how far they were; no block below
    /// that may have been dropped.
    pub(crate) fn put_head(
        &mut self,
        tree: &Tree,
        signature: Vec<u8>,
        before: u64,
    ) -> Result<(), StoreError> {
        let contiguous = next_missing(&self.bitfield, self.core, before)?;
        let head = Head {
            fork: tree.fork(),
            length: tree.length(),
            contiguous_length: contiguous.min(tree.length()),
            tree_hash: tree.hash(),
            signature,
        };
        self.heads
            .insert(self.core, &head.encode()[..])
            .map_err(failed("store a core's head"))?;
        Ok(())
    }

    pub(crate) fn put_manifest(&mut self, manifest: &Manifest) -> Result<(), StoreError> {
        let step = "store a core's manifest";
        self.txn
            .open_table(MANIFESTS)
            .map_err(failed(step))?
            .insert(self.core, &manifest.encode()[..])
            .map_err(failed(step))?;
        Ok(())
    }

    pub(crate) fn put_key_pair(&mut self, pair: &KeyPair) -> Result<(), StoreError> {
        let secret = Zeroizing::new(pair.secret_key());
        let step = "store a core's key pair";
        self.txn
            .open_table(KEY_PAIRS)
            .map_err(failed(step))?
            .insert(self.core, &secret[..])
            .map_err(failed(step))?;
        Ok(())
    }

    /// Stores user data, or removes them.
    pub(crate) fn put_user_data(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        let step = "store user data";
        let mut table = self.txn.open_table(USER_DATA).map_err(failed(step))?;
        match value {
            Some(value) => drop(table.insert((self.core, key), value).map_err(failed(step))?),
            None => drop(table.remove((self.core, key)).map_err(failed(step))?),
        }
        Ok(())
    }

    /// Who signs the core, as far as it is known in this transaction.
    pub(crate) fn verifier(&self, key: &crate::crypto::Hash) -> Result<Option<Verifier>, StoreError> {
        let step = "read a core's manifest";
        let table = self.txn.open_table(MANIFESTS).map_err(failed(step))?;
        super::decode_verifier(self.core, key, table.get(self.core).map_err(failed(step))?)
    }
}
