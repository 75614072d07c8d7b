//! A core as it was at one moment.

use std::ops::Range;

use redb::{ReadOnlyTable, ReadTransaction};

use super::error::failed;
use super::pieces::{self, PieceKey};
use super::tables::{
    BITFIELDS, BLOCKS, HEADS, NODES, NodeValue, Place, StoredNodes, load_head, next_missing, page,
};
use super::{DamagedPart, Head, StoreError};
use crate::bitfield::{PAGE_BLOCKS, Page};
use crate::flat_tree::{MAX_BLOCKS, Position};
use crate::merkle::{Node, ReadError, Tree, TreeNodes};

/// A core as it was when the snapshot was taken, whatever is written meanwhile. While it lives, the room of what is removed is not
/// used again: keep it no longer than needed.
pub struct Snapshot {
    core: u64,
    head: Head,
    tree: Tree,
    nodes: ReadOnlyTable<Place, NodeValue>,
    blocks: ReadOnlyTable<PieceKey, &'static [u8]>,
    bitfield: ReadOnlyTable<Place, &'static [u8]>,
}

impl TreeNodes for Snapshot {
    fn node(&self, at: Position) -> Result<Option<Node>, ReadError> {
        StoredNodes {
            table: &self.nodes,
            core: self.core,
        }
        .node(at)
    }
}

impl Snapshot {
    pub(super) fn new(read: &ReadTransaction, core: u64) -> Result<Self, StoreError> {
        let step = "open a core";
        let heads = read.open_table(HEADS).map_err(failed(step))?;
        let nodes = read.open_table(NODES).map_err(failed(step))?;
        let (head, tree) = load_head(&heads, &nodes, core)?;
        Ok(Self {
            core,
            head,
            tree,
            nodes,
            blocks: read.open_table(BLOCKS).map_err(failed(step))?,
            bitfield: read.open_table(BITFIELDS).map_err(failed(step))?,
        })
    }

    /// Length, fork and signature.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Whether a block is stored.
    pub fn has(&self, block: u64) -> Result<bool, StoreError> {
        Ok(page(&self.bitfield, self.core, block / PAGE_BLOCKS)?.get(block % PAGE_BLOCKS))
    }

    /// A block, checked against its leaf in the tree; `None` if it is not stored.
    pub fn get(&self, block: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let step = "read a block";
        let stored = pieces::get(&self.blocks, self.core, block)?;
        let damaged = |part| StoreError::Damaged {
            core: self.core,
            part,
        };
        let Some(value) = stored else {
            return match self.has(block)? {
                true => Err(damaged(DamagedPart::MissingBlock(block))),
                false => Ok(None),
            };
        };
        let leaf = Position::of_block(block).map(|at| (at, self.nodes.get((self.core, at.index()))));
        let whole = match leaf {
            Some((at, leaf)) => leaf.map_err(failed(step))?.is_some_and(|leaf| {
                let (size, hash) = leaf.value();
                Node::leaf(at, &value)
                    == Node {
                        position: at,
                        size,
                        hash,
                    }
            }),
            None => false,
        };
        whole
            .then_some(Some(value))
            .ok_or(damaged(DamagedPart::Block(block)))
    }

    /// The first block from `from` on that is not stored: the core's length if all are.
    pub fn next_missing(&self, from: u64) -> Result<u64, StoreError> {
        let length = self.tree.length();
        if from >= length {
            return Ok(length);
        }
        Ok(next_missing(&self.bitfield, self.core, from)?.min(length))
    }

    /// The first block in a range that is stored.
    pub fn next_stored(&self, within: Range<u64>) -> Result<Option<u64>, StoreError> {
        let end = within.end.min(self.tree.length());
        if within.start >= end {
            return Ok(None);
        }
        let pages = (self.core, within.start / PAGE_BLOCKS)..=(self.core, (end - 1) / PAGE_BLOCKS);
        let step = "read which blocks are stored";
        for entry in self.bitfield.range(pages).map_err(failed(step))? {
            let number = entry.map_err(failed(step))?.0.value().1;
            let first = number * PAGE_BLOCKS;
            let found =
                page(&self.bitfield, self.core, number)?.next(within.start.saturating_sub(first), true);
            if let Some(place) = found {
                return Ok(Some(first + place).filter(|block| *block < end));
            }
        }
        Ok(None)
    }

    /// The bits of [`PAGE_BLOCKS`] blocks, as peers are told of them.
    pub fn bitfield_page(&self, number: u64) -> Result<Page, StoreError> {
        if number >= MAX_BLOCKS / PAGE_BLOCKS {
            return Ok(Page::Empty);
        }
        page(&self.bitfield, self.core, number)
    }
}
