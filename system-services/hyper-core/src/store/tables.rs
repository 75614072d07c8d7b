//! The tables of the index. Everything of a core is under its number, so that a core's data lie together.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::chunk::{CHUNK_BLOCKS, Chunk, StoredBlock, chunk_of};
use super::error::failed;
use super::head::StoredHead;
use super::{DamagedPart, FORMAT, Head, StoreError, reclaim};
use crate::bitfield::{PAGE_BLOCKS, Page};
use crate::crypto::Hash;
use crate::flat_tree::Position;
use crate::merkle::{Node, ReadError, Tree, TreeNodes};

/// Core number, then number of the chunk or the page.
pub(super) type Key = (u64, u64);

/// `format` and `cores` (the next number that is free).
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// What the log continues: its generation, and the block file and the offset in it where the next block goes.
pub(super) const STATE: TableDefinition<(), (u64, u32, u64)> = TableDefinition::new("state");
pub(super) const NAMES: TableDefinition<&str, u64> = TableDefinition::new("names");
pub(super) const DISCOVERY_KEYS: TableDefinition<Hash, u64> = TableDefinition::new("discovery-keys");
pub(super) const KEYS: TableDefinition<u64, Hash> = TableDefinition::new("keys");
pub(super) const MANIFESTS: TableDefinition<u64, &[u8]> = TableDefinition::new("manifests");
pub(super) const KEY_PAIRS: TableDefinition<u64, &[u8]> = TableDefinition::new("key-pairs");
pub(super) const HEADS: TableDefinition<u64, &[u8]> = TableDefinition::new("heads");
pub(super) const CHUNKS: TableDefinition<Key, &[u8]> = TableDefinition::new("chunks");
pub(super) const BITFIELDS: TableDefinition<Key, &[u8]> = TableDefinition::new("bitfields");
pub(super) const USER_DATA: TableDefinition<(u64, &str), &[u8]> = TableDefinition::new("user-data");
pub(super) const SECRETS: TableDefinition<&str, &[u8]> = TableDefinition::new("secrets");

pub(super) fn create_tables(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(STATE)?;
    txn.open_table(NAMES)?;
    txn.open_table(DISCOVERY_KEYS)?;
    txn.open_table(KEYS)?;
    txn.open_table(MANIFESTS)?;
    txn.open_table(KEY_PAIRS)?;
    txn.open_table(HEADS)?;
    txn.open_table(CHUNKS)?;
    txn.open_table(BITFIELDS)?;
    txn.open_table(USER_DATA)?;
    txn.open_table(SECRETS)?;
    reclaim::create_tables(txn)?;
    txn.open_table(META)?.insert("format", FORMAT)?;
    Ok(())
}

/// A chunk of a core.
pub(super) fn chunk(
    table: &impl ReadableTable<Key, &'static [u8]>,
    core: u64,
    number: u64,
) -> Result<Option<Chunk>, StoreError> {
    let stored = table.get((core, number)).map_err(failed("read tree nodes"))?;
    stored
        .map(|bytes| decode_chunk(core, number, bytes.value()))
        .transpose()
}

/// Where a block of a core lies; `None` if it is not stored.
pub(super) fn stored_block(
    table: &impl ReadableTable<Key, &'static [u8]>,
    core: u64,
    block: u64,
) -> Result<Option<StoredBlock>, StoreError> {
    let number = block / CHUNK_BLOCKS;
    let chunk = table
        .get((core, number))
        .map_err(failed("read where a block lies"))?;
    let found =
        chunk.map(|bytes| Chunk::decode_block(bytes.value(), block).ok_or(damaged_chunk(core, number)));
    Ok(found.transpose()?.flatten())
}

pub(super) fn decode_chunk(core: u64, number: u64, bytes: &[u8]) -> Result<Chunk, StoreError> {
    Chunk::decode(bytes).ok_or(damaged_chunk(core, number))
}

fn damaged_chunk(core: u64, number: u64) -> StoreError {
    let first_block = number * CHUNK_BLOCKS;
    StoreError::Damaged {
        core,
        part: DamagedPart::Nodes { first_block },
    }
}

/// The tree nodes of one core in a table.
pub(super) struct StoredNodes<'a, T> {
    pub(super) table: &'a T,
    pub(super) core: u64,
}

impl<T: ReadableTable<Key, &'static [u8]>> TreeNodes for StoredNodes<'_, T> {
    fn node(&self, at: Position) -> Result<Option<Node>, ReadError> {
        let (core, number) = (self.core, chunk_of(at));
        let node = || {
            let stored = self
                .table
                .get((core, number))
                .map_err(failed("read a tree node"))?;
            let Some(bytes) = stored else {
                return Ok(None);
            };
            Chunk::decode_node(bytes.value(), at).ok_or(damaged_chunk(core, number))
        };
        node().map_err(|source| ReadError {
            at,
            source: Box::new(source),
        })
    }
}

/// The head of a core, and its tree, whose roots must hash to what the head says.
pub(super) fn load_head(
    heads: &impl ReadableTable<u64, &'static [u8]>,
    core: u64,
) -> Result<(Head, Tree), StoreError> {
    let damaged = |part| StoreError::Damaged { core, part };
    let stored = heads.get(core).map_err(failed("read a core's head"))?;
    let stored = stored
        .and_then(|bytes| StoredHead::decode(bytes.value()))
        .ok_or(damaged(DamagedPart::Head))?;
    let length = stored.head.length;
    stored
        .into_checked()
        .ok_or(damaged(DamagedPart::Roots { length }))
}

/// A page of a core's bitfield.
pub(super) fn page(
    table: &impl ReadableTable<Key, &'static [u8]>,
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
    table: &impl ReadableTable<Key, &'static [u8]>,
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
