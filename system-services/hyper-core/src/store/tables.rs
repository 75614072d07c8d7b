//! The tables of the database. Everything of a core is under its number, so that a core's data lie together.

use redb::{ReadableTable, TableDefinition};

use super::error::failed;
use super::pieces::PieceKey;
use super::{DamagedPart, Head, StoreError};
use crate::bitfield::{PAGE_BLOCKS, Page};
use crate::crypto::Hash;
use crate::flat_tree::Position;
use crate::merkle::{Node, ReadError, Tree, TreeError, TreeNodes};

/// Core number, then number of the block, the tree node or the page.
pub(super) type Place = (u64, u64);
/// Bytes below a tree node, and its hash.
pub(super) type NodeValue = (u64, Hash);

/// `format` and `cores` (the next number that is free).
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(super) const NAMES: TableDefinition<&str, u64> = TableDefinition::new("names");
pub(super) const DISCOVERY_KEYS: TableDefinition<Hash, u64> = TableDefinition::new("discovery-keys");
pub(super) const KEYS: TableDefinition<u64, Hash> = TableDefinition::new("keys");
pub(super) const MANIFESTS: TableDefinition<u64, &[u8]> = TableDefinition::new("manifests");
pub(super) const KEY_PAIRS: TableDefinition<u64, &[u8]> = TableDefinition::new("key-pairs");
pub(super) const HEADS: TableDefinition<u64, &[u8]> = TableDefinition::new("heads");
pub(super) const NODES: TableDefinition<Place, NodeValue> = TableDefinition::new("tree-nodes");
pub(super) const BLOCKS: TableDefinition<PieceKey, &[u8]> = TableDefinition::new("blocks");
pub(super) const BITFIELDS: TableDefinition<Place, &[u8]> = TableDefinition::new("bitfields");
pub(super) const USER_DATA: TableDefinition<(u64, &str), &[u8]> = TableDefinition::new("user-data");

/// The tree nodes of one core in a table.
pub(super) struct StoredNodes<'a, T> {
    pub(super) table: &'a T,
    pub(super) core: u64,
}

impl<T: ReadableTable<Place, NodeValue>> TreeNodes for StoredNodes<'_, T> {
    fn node(&self, at: Position) -> Result<Option<Node>, ReadError> {
        let value = self
            .table
            .get((self.core, at.index()))
            .map_err(failed("read a tree node"))
            .map_err(|source| ReadError {
                at,
                source: Box::new(source),
            })?;
        Ok(value.map(|value| {
            let (size, hash) = value.value();
            Node {
                position: at,
                size,
                hash,
            }
        }))
    }
}

/// The head of a core, and its tree, whose roots must hash to what the head says.
pub(super) fn load_head(
    heads: &impl ReadableTable<u64, &'static [u8]>,
    nodes: &impl ReadableTable<Place, NodeValue>,
    core: u64,
) -> Result<(Head, Tree), StoreError> {
    let damaged = |part| StoreError::Damaged { core, part };
    let stored = heads.get(core).map_err(failed("read a core's head"))?;
    let head = stored
        .and_then(|bytes| Head::decode(bytes.value()))
        .ok_or(damaged(DamagedPart::Head))?;
    let length = head.length;
    let tree = match Tree::load(head.fork, length, &StoredNodes { table: nodes, core }) {
        Ok(tree) => tree,
        Err(TreeError::Read(error)) => {
            return Err(match error.source.downcast::<StoreError>() {
                Ok(error) => *error,
                Err(_) => damaged(DamagedPart::Node(error.at)),
            });
        }
        Err(_) => return Err(damaged(DamagedPart::Roots { length })),
    };
    if tree.hash() != head.tree_hash {
        return Err(damaged(DamagedPart::Roots { length }));
    }
    Ok((head, tree))
}

/// A page of a core's bitfield.
pub(super) fn page(
    table: &impl ReadableTable<Place, &'static [u8]>,
    core: u64,
    page: u64,
) -> Result<Page, StoreError> {
    match table
        .get((core, page))
        .map_err(failed("read which blocks are stored"))?
    {
        None => Ok(Page::Empty),
        Some(bytes) => Page::decode(bytes.value()).ok_or(StoreError::Damaged {
            core,
            part: DamagedPart::Bitfield { page },
        }),
    }
}

/// The first block from `from` on that is not stored.
pub(super) fn next_missing(
    table: &impl ReadableTable<Place, &'static [u8]>,
    core: u64,
    from: u64,
) -> Result<u64, StoreError> {
    let (mut number, mut place) = (from / PAGE_BLOCKS, from % PAGE_BLOCKS);
    loop {
        if let Some(found) = page(table, core, number)?.next(place, false) {
            return Ok(number * PAGE_BLOCKS + found);
        }
        (number, place) = (number + 1, 0);
    }
}
