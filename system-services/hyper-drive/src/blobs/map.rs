//! The list of a blob's blocks, where they do not lie in a row (hyperblobs 2.12, `block-map.js`).
//!
//! Written at the end of the blob, as one block or, beyond [`ENTRIES_OF_BLOCK`] entries, several: a version (0), a count, and index
//! and length of each block, all as numbers of variable width. The format says nothing of who wrote it: an index may point anywhere.

use std::ops::Range;

use hyper_core::messages::MalformedMessage;
use hyper_core::messages::codec::{Reader, put_uint};

use super::runs;

/// Entries in one block of a map, except the last.
pub const ENTRIES_OF_BLOCK: usize = 8192;

/// The most blocks of one map; the peers' own limit.
pub const MAX_MAP_BLOCKS: u64 = 64;

/// The most entries that are read from one block. The peers write [`ENTRIES_OF_BLOCK`].
const MAX_ENTRIES: u64 = 8 * ENTRIES_OF_BLOCK as u64;

/// A block that is no part of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] MalformedMessage),
    /// A version that came later.
    #[error("version {0} is not known: this program reads version 0")]
    Version(u64),
    /// More entries than anyone writes.
    #[error("it announces {0} entries, {MAX_ENTRIES} are the most")]
    TooMany(u64),
}

/// One block of a blob's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedBlock {
    /// Which block of the core.
    pub index: u64,
    /// Its bytes.
    pub byte_length: u64,
}

/// Part of a map: what one block of it lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockMap {
    /// The blocks of the content, in order.
    pub blocks: Vec<MappedBlock>,
}

impl BlockMap {
    /// Reads one block of a map. Bytes after the entries are ignored, as the peers do.
    pub fn decode(bytes: &[u8]) -> Result<Self, MapError> {
        let reader = &mut Reader::new("BlockMap", bytes);
        let version = reader.uint("version")?;
        if version != 0 {
            return Err(MapError::Version(version));
        }
        let count = reader.uint("blocks")?;
        if count > MAX_ENTRIES {
            return Err(MapError::TooMany(count));
        }
        // Each entry has at least two bytes: no more is reserved than is there.
        let mut blocks = Vec::with_capacity((count as usize).min(bytes.len() / 2));
        for _ in 0..count {
            let index = reader.uint("index")?;
            let byte_length = reader.uint("byte_length")?;
            blocks.push(MappedBlock { index, byte_length });
        }
        Ok(Self { blocks })
    }

    /// The blocks, joined where they follow each other.
    pub(super) fn runs(&self) -> Vec<Range<u64>> {
        runs(self.blocks.iter().map(|block| block.index))
    }

    /// The blocks of a whole map.
    pub fn encode(blocks: &[MappedBlock]) -> Vec<Vec<u8>> {
        blocks.chunks(ENTRIES_OF_BLOCK).map(encode_part).collect()
    }
}

fn encode_part(blocks: &[MappedBlock]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 * blocks.len() + 8);
    put_uint(&mut out, 0);
    put_uint(&mut out, blocks.len() as u64);
    for block in blocks {
        put_uint(&mut out, block.index);
        put_uint(&mut out, block.byte_length);
    }
    out
}

/// Whether bytes are part of a map; checks that it is written again as it was read. For fuzzing.
pub fn fuzz_block_map(bytes: &[u8]) -> bool {
    let Ok(map) = BlockMap::decode(bytes) else {
        return false;
    };
    let again = BlockMap::encode(&map.blocks)
        .into_iter()
        .map(|part| BlockMap::decode(&part));
    let again: Result<Vec<_>, _> = again.collect();
    let again = again.map(|parts| parts.into_iter().flat_map(|part| part.blocks).collect());
    assert_eq!(again, Ok(map.blocks), "it is read otherwise the second time");
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use hyper_core::messages::MAX_UINT;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in proptest::collection::vec((0..=MAX_UINT, 0..=MAX_UINT), 0..300)) {
            let blocks: Vec<_> = entries.into_iter().map(|(index, byte_length)| MappedBlock { index, byte_length }).collect();
            let read: Vec<_> = BlockMap::encode(&blocks).iter().flat_map(|part| BlockMap::decode(part).unwrap().blocks).collect();
            prop_assert_eq!(read, blocks);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = BlockMap::decode(&bytes);
        }
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        assert_eq!(
            BlockMap::decode(&[0, 0xfe, 0xff, 0xff, 0xff, 0x7f]),
            Err(MapError::TooMany(0x7fff_ffff))
        );
        assert!(matches!(
            BlockMap::decode(&[0, 0xfd, 0, 0x80, 1, 1]),
            Err(MapError::Malformed(_))
        ));
        assert_eq!(BlockMap::decode(&[1, 0]), Err(MapError::Version(1)));
        assert!(matches!(BlockMap::decode(&[]), Err(MapError::Malformed(_))));
    }
}
