//! Writing a blob piece by piece.

use std::collections::HashMap;

use hyper_core::crypto::{self, Hash};
use hyper_core::session::GetOptions;

use super::append::{Appender, Position};
use super::{BLOCK_BYTES, BlobError, BlobId, Blobs, BlockMap, MappedBlock, read_map};

/// How a blob is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Blocks that were written before are not written again: the blob lists its blocks in a map. Costs 32 bytes of memory for each block.
    pub dedup: bool,
    /// An earlier version, whose blocks are taken into account.
    pub previous: Option<BlobId>,
}

/// Writes a blob. Its id exists only when all of it is stored: a writer that is dropped leaves nothing.
pub struct BlobWriter {
    blobs: Blobs,
    appender: Appender,
    /// The beginning of a block.
    partial: Vec<u8>,
    map: Option<Map>,
}

/// What a blob with a map remembers.
struct Map {
    previous: Option<BlobId>,
    known: HashMap<Hash, Known>,
    blocks: Vec<Known>,
}

/// A block of the content.
#[derive(Clone, Copy)]
enum Known {
    /// Written before.
    Stored(MappedBlock),
    /// Written by this writer, so many blocks after its first.
    New { at: u64, byte_length: u64 },
}

impl BlobWriter {
    pub(super) fn new(blobs: &Blobs, options: WriteOptions) -> Self {
        Self {
            appender: blobs.appender(),
            blobs: blobs.clone(),
            partial: Vec::new(),
            map: options.dedup.then(|| Map {
                previous: options.previous,
                known: HashMap::new(),
                blocks: Vec::new(),
            }),
        }
    }

    /// Adds bytes. Waits while those before are written.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        while !bytes.is_empty() {
            if self.partial.is_empty() && bytes.len() >= BLOCK_BYTES {
                let (block, rest) = bytes.split_at(BLOCK_BYTES);
                bytes = rest;
                self.push(block.to_vec()).await?;
                continue;
            }
            let room = BLOCK_BYTES - self.partial.len();
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            bytes = rest;
            self.partial.extend_from_slice(part);
            if self.partial.len() == BLOCK_BYTES {
                let block = std::mem::take(&mut self.partial);
                self.push(block).await?;
            }
        }
        Ok(())
    }

    async fn push(&mut self, block: Vec<u8>) -> Result<(), BlobError> {
        let Some(map) = &mut self.map else {
            return self.appender.push(block).await;
        };
        if let Some(previous) = map.previous.take() {
            map.known = known_blocks(&self.blobs, &previous).await?;
        }
        let new = Known::New {
            at: self.appender.position().blocks,
            byte_length: block.len() as u64,
        };
        let hash = crypto::hash(&[&block]);
        let entry = *map.known.entry(hash).or_insert(new);
        map.blocks.push(entry);
        match entry {
            Known::New { at, .. } if at == self.appender.position().blocks => self.appender.push(block).await,
            _ => Ok(()),
        }
    }

    /// Stores the rest, and says where the blob is.
    pub async fn finish(mut self) -> Result<BlobId, BlobError> {
        let last = std::mem::take(&mut self.partial);
        if !last.is_empty() {
            self.push(last).await?;
        }
        match self.map.take() {
            None => blob_since(&mut self.appender).await,
            Some(map) => self.finish_map(map.blocks).await,
        }
    }

    async fn finish_map(mut self, blocks: Vec<Known>) -> Result<BlobId, BlobError> {
        let first = self.appender.finish().await?.length;
        let list: Vec<_> = blocks.into_iter().map(|block| block.at(first)).collect();
        for part in BlockMap::encode(&list) {
            self.appender.push(part).await?;
        }
        let mut id = blob_since(&mut self.appender).await?;
        id.block_map = true;
        Ok(id)
    }
}

impl Known {
    fn at(self, first: u64) -> MappedBlock {
        match self {
            Self::Stored(block) => block,
            Self::New { at, byte_length } => MappedBlock {
                index: first + at,
                byte_length,
            },
        }
    }
}

/// Everything that was appended, as a blob.
pub(crate) async fn blob_since(appender: &mut Appender) -> Result<BlobId, BlobError> {
    let Position { blocks, bytes } = appender.position();
    let start = appender.finish().await?;
    Ok(BlobId {
        block_offset: start.length,
        block_length: blocks,
        byte_offset: start.byte_length,
        byte_length: bytes,
        block_map: false,
    })
}

/// The blocks of an earlier version by their hash. Those that are not stored here are not known.
async fn known_blocks(blobs: &Blobs, id: &BlobId) -> Result<HashMap<Hash, Known>, BlobError> {
    let core = blobs.core();
    let local = GetOptions {
        wait: false,
        timeout: None,
    };
    let mut known = HashMap::new();
    let mut learn = |block: u64| -> Result<(), BlobError> {
        if block < core.length()
            && let Some(bytes) = core.get_local(block).map_err(BlobError::core(core))?
        {
            let stored = MappedBlock {
                index: block,
                byte_length: bytes.len() as u64,
            };
            known.insert(crypto::hash(&[&bytes]), Known::Stored(stored));
        }
        Ok(())
    };
    if !id.block_map {
        id.blocks()
            .take_while(|block| *block < core.length())
            .try_for_each(&mut learn)?;
        return Ok(known);
    }
    for part in blobs.map_blocks(id)? {
        let map = read_map(core, part, local).await?;
        map.blocks.iter().try_for_each(|block| learn(block.index))?;
    }
    Ok(known)
}
