//! Large values in a core: a blob is a run of blocks, and its id says which (hyperblobs 2.12).
//!
//! Blobs are written and read as streams, in blocks of 64 KiB, in memory that does not depend on their size.

mod append;
mod error;
mod id;
mod map;
mod read;
mod write;

pub use error::BlobError;
pub use id::{BlobId, InvalidBlobId};
pub use map::{BlockMap, ENTRIES_OF_BLOCK, MAX_MAP_BLOCKS, MapError, MappedBlock, fuzz_block_map};
pub use read::{BlobReader, ReadOptions};
pub use write::{BlobWriter, WriteOptions};

pub(crate) use append::{Appender, Position};

use std::ops::{Range, RangeBounds};
use std::sync::Arc;

use hyper_core::session::{GetOptions, Session};
use tokio::sync::Mutex;

/// Bytes of a block of a blob, except its last.
pub const BLOCK_BYTES: usize = 64 << 10;

/// Runs of listed blocks that are fetched at the same time.
const RUNS_AT_ONCE: usize = 256;

/// The blobs of a core. Clones share the right to write: one blob is written at a time.
///
/// Blobs of one core that were made apart do not know of each other: if two of them write at once, one gets an error.
#[derive(Clone)]
pub struct Blobs {
    core: Session,
    writing: Arc<Mutex<()>>,
}

impl Blobs {
    /// The blobs of a core.
    pub fn new(core: Session) -> Self {
        Self {
            core,
            writing: Arc::default(),
        }
    }

    /// The core.
    pub fn core(&self) -> &Session {
        &self.core
    }

    /// Writes a blob.
    pub async fn put(&self, content: &[u8]) -> Result<BlobId, BlobError> {
        let mut writer = self.writer(WriteOptions::default());
        writer.write(content).await?;
        writer.finish().await
    }

    /// Writes a blob piece by piece.
    pub fn writer(&self, options: WriteOptions) -> BlobWriter {
        BlobWriter::new(self, options)
    }

    pub(crate) fn appender(&self) -> Appender {
        Appender::new(self.core.clone(), Arc::clone(&self.writing))
    }

    /// Reads a blob, or these bytes of it. What is not stored is fetched: only the blocks that are needed, ahead of the reader.
    pub fn read(&self, id: &BlobId, bytes: impl RangeBounds<u64>) -> BlobReader {
        self.read_with(id, bytes, ReadOptions::default())
    }

    /// Reads a blob, or these bytes of it.
    pub fn read_with(&self, id: &BlobId, bytes: impl RangeBounds<u64>, options: ReadOptions) -> BlobReader {
        BlobReader::new(self.core.clone(), *id, bytes, options)
    }

    /// A whole blob. One of more than `max_bytes` is refused before it is in memory.
    pub async fn get(&self, id: &BlobId, max_bytes: u64) -> Result<Vec<u8>, BlobError> {
        self.read(id, ..).to_vec(max_bytes).await
    }

    /// Bytes of the content: the id says so, unless its blocks are listed in a map.
    pub async fn byte_length(&self, id: &BlobId) -> Result<u64, BlobError> {
        if !id.block_map {
            return Ok(id.byte_length);
        }
        let mut sum: u64 = 0;
        for part in self.map_blocks(id)? {
            let map = read_map(&self.core, part, GetOptions::default()).await?;
            sum = map
                .blocks
                .iter()
                .fold(sum, |sum, block| sum.saturating_add(block.byte_length));
        }
        Ok(sum)
    }

    /// Whether all blocks of a blob are stored here.
    pub async fn has(&self, id: &BlobId) -> Result<bool, BlobError> {
        if !self.has_all(id.blocks())? {
            return Ok(false);
        }
        if id.block_map {
            for part in self.map_blocks(id)? {
                let map = read_map(&self.core, part, GetOptions::default()).await?;
                for block in map.blocks {
                    if !self.has_all(block.index..block.index.saturating_add(1))? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// The id of a foreign drive may claim any number of blocks: only those of the core are looked for.
    fn has_all(&self, mut blocks: Range<u64>) -> Result<bool, BlobError> {
        if blocks.end > self.core.length() {
            return Ok(false);
        }
        blocks.try_fold(true, |all, block| {
            Ok(all && self.core.has(block).map_err(BlobError::core(&self.core))?)
        })
    }

    /// Fetches all blocks of a blob, and waits until they are stored here.
    pub async fn download(&self, id: &BlobId) -> Result<(), BlobError> {
        id.check().map_err(BlobError::Id)?;
        self.fetch(id.blocks()).await?;
        if id.block_map {
            for part in self.map_blocks(id)? {
                let map = read_map(&self.core, part, GetOptions::default()).await?;
                for runs in map.runs().chunks(RUNS_AT_ONCE) {
                    let mut downloads: Vec<_> = runs
                        .iter()
                        .map(|run| self.core.download(run.clone().into()))
                        .collect();
                    for download in &mut downloads {
                        download.done().await.map_err(BlobError::core(&self.core))?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn fetch(&self, blocks: Range<u64>) -> Result<(), BlobError> {
        if blocks.end > self.core.length() && self.core.is_writable() {
            return Err(BlobError::outside(&self.core, blocks.end));
        }
        let mut download = self.core.download(blocks.into());
        download.done().await.map_err(BlobError::core(&self.core))
    }

    /// Frees the room of a blob. Where it is not stored whole it goes on to exist at other peers, and is fetched when it is read again.
    ///
    /// Of a blob whose blocks are listed, the listed blocks go too, as the peers do: those that it shares with other blobs as well.
    pub async fn clear(&self, id: &BlobId) -> Result<(), BlobError> {
        if id.block_map {
            for part in self.map_blocks(id)? {
                let stored =
                    part < self.core.length() && self.core.has(part).map_err(BlobError::core(&self.core))?;
                if stored {
                    let map = read_map(&self.core, part, GetOptions::default()).await?;
                    for run in map.runs() {
                        self.clear_blocks(run).await?;
                    }
                }
            }
        }
        self.clear_blocks(id.blocks()).await
    }

    async fn clear_blocks(&self, blocks: Range<u64>) -> Result<(), BlobError> {
        let end = blocks.end.min(self.core.length());
        if blocks.start >= end {
            return Ok(());
        }
        let cleared = self.core.clear(blocks.start..end).await;
        cleared.map_err(BlobError::core(&self.core))
    }

    fn map_blocks(&self, id: &BlobId) -> Result<Range<u64>, BlobError> {
        if id.block_length > MAX_MAP_BLOCKS {
            return Err(BlobError::LongMap(id.block_length));
        }
        Ok(id.blocks())
    }
}

/// Reads one block of a map.
async fn read_map(core: &Session, block: u64, options: GetOptions) -> Result<BlockMap, BlobError> {
    let bytes = core
        .get_with(block, options)
        .await
        .map_err(BlobError::core(core))?;
    let bytes = bytes.ok_or_else(|| BlobError::not_stored(core, block))?;
    BlockMap::decode(&bytes).map_err(|source| BlobError::Map { block, source })
}

/// Blocks, joined where they follow each other.
fn runs(blocks: impl Iterator<Item = u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for block in blocks {
        match runs.last_mut() {
            Some(run) if run.end == block => run.end += 1,
            _ => runs.push(block..block.saturating_add(1)),
        }
    }
    runs
}
