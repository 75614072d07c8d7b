//! A core as it was at one moment.

use std::ops::Range;
use std::sync::Arc;

use redb::ReadOnlyTable;

use super::change::is_gone;
use super::chunk::{StoredBlock, checksum};
use super::engine::{Engine, View};
use super::error::failed;
use super::tables::{BITFIELDS, HEADS, Key, StoredNodes, load_head, next_missing, page, stored_block};
use super::{DamagedPart, Head, StoreError};
use crate::bitfield::{PAGE_BLOCKS, Page};
use crate::flat_tree::{MAX_BLOCKS, Position};
use crate::merkle::{Node, ReadError, Tree, TreeNodes};

/// A core as it was when the snapshot was taken, whatever is written meanwhile. While it lives, the room of what is removed is not
/// used again: keep it no longer than needed.
pub struct Snapshot {
    stored: Stored,
    head: Head,
    tree: Tree,
}

/// What is stored of a core at one moment.
pub(crate) struct Stored {
    engine: Arc<Engine>,
    view: Arc<View>,
    core: u64,
}

impl Stored {
    pub(super) fn new(engine: &Arc<Engine>, core: u64) -> Self {
        Self {
            engine: Arc::clone(engine),
            view: engine.view(),
            core,
        }
    }

    fn bitfield(&self) -> Result<ReadOnlyTable<Key, &'static [u8]>, StoreError> {
        self.view
            .open_table(BITFIELDS)
            .map_err(failed("read which blocks are stored"))
    }

    pub(crate) fn has(&self, block: u64) -> Result<bool, StoreError> {
        let page = page(&self.bitfield()?, self.core, block / PAGE_BLOCKS)?;
        Ok(page.get(block % PAGE_BLOCKS))
    }

    pub(crate) fn get(&self, block: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let damaged = |part| StoreError::Damaged {
            core: self.core,
            part,
        };
        let Some(StoredBlock {
            extent,
            checksum: expected,
        }) = stored_block(self.view.chunks()?, self.core, block)?
        else {
            return match self.has(block)? {
                true => Err(damaged(DamagedPart::MissingBlock(block))),
                false => Ok(None),
            };
        };
        match self.engine.segments.read(&extent) {
            Ok(value) if checksum(&value) == expected => Ok(Some(value)),
            Ok(_) => Err(damaged(DamagedPart::Block(block))),
            Err(error) if is_gone(&error) => Err(damaged(DamagedPart::Block(block))),
            Err(error) => Err(failed("read a block")(error)),
        }
    }
}

impl TreeNodes for Snapshot {
    fn node(&self, at: Position) -> Result<Option<Node>, ReadError> {
        StoredNodes {
            table: self.stored.view.chunks().map_err(|source| ReadError {
                at,
                source: Box::new(source),
            })?,
            core: self.stored.core,
        }
        .node(at)
    }
}

impl Snapshot {
    pub(super) fn new(engine: &Arc<Engine>, core: u64) -> Result<Self, StoreError> {
        let stored = Stored::new(engine, core);
        let heads = stored.view.open_table(HEADS).map_err(failed("open a core"))?;
        let (head, tree) = load_head(&heads, core)?;
        Ok(Self { stored, head, tree })
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
        self.stored.has(block)
    }

    /// A block, whose bytes are those that were stored; `None` if it is not stored. [`Snapshot::audit`] compares them with the tree too.
    pub fn get(&self, block: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.stored.get(block)
    }

    /// The first block from `from` on that is not stored: the core's length if all are.
    pub fn next_missing(&self, from: u64) -> Result<u64, StoreError> {
        let length = self.tree.length();
        if from >= length {
            return Ok(length);
        }
        Ok(next_missing(&self.stored.bitfield()?, self.stored.core, from)?.min(length))
    }

    /// The first block in a range that is stored.
    pub fn next_stored(&self, within: Range<u64>) -> Result<Option<u64>, StoreError> {
        let end = within.end.min(self.tree.length());
        if within.start >= end {
            return Ok(None);
        }
        let (core, bitfield) = (self.stored.core, self.stored.bitfield()?);
        let pages = (core, within.start / PAGE_BLOCKS)..=(core, (end - 1) / PAGE_BLOCKS);
        let step = "read which blocks are stored";
        for entry in bitfield.range(pages).map_err(failed(step))? {
            let number = entry.map_err(failed(step))?.0.value().1;
            let first = number * PAGE_BLOCKS;
            let found = page(&bitfield, core, number)?.next(within.start.saturating_sub(first), true);
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
        page(&self.stored.bitfield()?, self.stored.core, number)
    }
}
