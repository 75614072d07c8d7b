//! Reading data whose every block is checked against a signed root before it is handed out.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{BLOCK, DIGEST, DIGESTS_PER_BLOCK, TreeError, digest, level_blocks, tree_size};
use crate::source::ReadAt;

/// Hash blocks kept in memory: 1 MiB, enough for 128 MiB of data around the place that is read.
const CACHED_HASH_BLOCKS: usize = 256;

/// What is signed about the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verity {
    /// Digest of the top block.
    pub root: [u8; 32],
    /// Salt.
    pub salt: [u8; 32],
    /// Bytes of data: whole blocks of 4096, at least two of them. The tree is right behind.
    pub data_size: u64,
}

/// What is wrong with the data or its tree. Inside an [`io::Error`] of the kind `InvalidData`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerityError {
    /// The data cannot have a tree.
    #[error(transparent)]
    Size(#[from] TreeError),
    /// Data and tree are not what the source has.
    #[error("data and hash tree need {needed} bytes, there are {size}")]
    SourceSize {
        /// Bytes of data and tree.
        needed: u64,
        /// Bytes there are.
        size: u64,
    },
    /// A data block is not the one that was signed.
    #[error("data block {block} does not match the hash tree")]
    Data {
        /// Number of the block, from 0.
        block: u64,
    },
    /// A hash block is not the one that was signed.
    #[error("block {block} of the hash tree does not match the {} above it", if *block == 0 { "signed root" } else { "block" })]
    Hash {
        /// Number of the block from the beginning of the tree, from 0 (the top).
        block: u64,
    },
    /// Something hides behind the last digest.
    #[error("block {block} of the hash tree is not padded with zeros")]
    Padding {
        /// Number of the block from the beginning of the tree, from 0 (the top).
        block: u64,
    },
}

impl VerityError {
    /// The verity error inside an I/O error, if that is what it is.
    pub fn find(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<VerityError> for io::Error {
    fn from(error: VerityError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

type HashBlock = Arc<[u8; BLOCK]>;

/// One level of the tree.
#[derive(Debug)]
struct Level {
    /// Its first hash block, counted from the beginning of the tree.
    first: u64,
    /// Digests that are used in it: blocks of the level below.
    digests: u64,
}

/// The data area of a source, with every block checked when it is read.
///
/// Memory: 1 MiB of hash blocks and one data block, however big the data is. Reads that begin or end inside a block
/// keep that block, so that it is neither read nor hashed again by the read that follows.
pub struct VerifiedReader<S> {
    source: S,
    verity: Verity,
    /// Lowest level (digests of data) first.
    levels: Vec<Level>,
    hashes: Mutex<HashCache>,
    last: Mutex<Option<(u64, Box<[u8]>)>>,
}

#[derive(Default)]
struct HashCache {
    /// Verified hash blocks and when each was last used.
    blocks: BTreeMap<u64, (u64, HashBlock)>,
    clock: u64,
}

impl<S: ReadAt> VerifiedReader<S> {
    /// Data and tree from the beginning of `source`, which must be exactly as long as both. Nothing is read yet.
    pub fn new(source: S, verity: Verity) -> Result<Self, VerityError> {
        let needed = verity.data_size.saturating_add(tree_size(verity.data_size)?);
        if source.size() != needed {
            return Err(VerityError::SourceSize {
                needed,
                size: source.size(),
            });
        }
        let data_blocks = verity.data_size / BLOCK as u64;
        let counts = level_blocks(data_blocks);
        let mut first = counts.iter().sum::<u64>();
        let mut digests = data_blocks;
        let mut levels = Vec::with_capacity(counts.len());
        for count in counts {
            first -= count;
            levels.push(Level { first, digests });
            digests = count;
        }
        Ok(Self {
            source,
            verity,
            levels,
            hashes: Mutex::default(),
            last: Mutex::default(),
        })
    }

    /// What it is verified against.
    pub fn verity(&self) -> &Verity {
        &self.verity
    }

    /// Checks every hash block, also those that no read has needed; ends at the first that is wrong.
    pub fn verify_tree(&self) -> io::Result<()> {
        for level in (0..self.levels.len()).rev() {
            for index in 0..self.levels[level].digests.div_ceil(DIGESTS_PER_BLOCK as u64) {
                self.hash_block(level, index)?;
            }
        }
        Ok(())
    }

    /// Digest that block `index` of the level below `level` must have.
    fn expected(&self, level: usize, index: u64) -> io::Result<[u8; 32]> {
        if level == self.levels.len() {
            return Ok(self.verity.root);
        }
        let parent = self.hash_block(level, index / DIGESTS_PER_BLOCK as u64)?;
        Ok(digest_at(&parent, index))
    }

    /// Hash block `index` of a level, verified. The way up ends at a cached block or at the root.
    fn hash_block(&self, level: usize, index: u64) -> io::Result<HashBlock> {
        let block = self.levels[level].first + index;
        if let Some(found) = lock(&self.hashes).get(block) {
            return Ok(found);
        }
        let expected = self.expected(level + 1, index)?;
        let mut bytes = Box::new([0; BLOCK]);
        self.source
            .read_exact_at(&mut bytes[..], self.verity.data_size + block * BLOCK as u64)?;
        if digest(&self.verity.salt, &bytes[..]) != expected {
            return Err(VerityError::Hash { block }.into());
        }
        let used =
            (self.levels[level].digests - index * DIGESTS_PER_BLOCK as u64).min(DIGESTS_PER_BLOCK as u64);
        if bytes[used as usize * DIGEST..].iter().any(|byte| *byte != 0) {
            return Err(VerityError::Padding { block }.into());
        }
        let bytes: HashBlock = Arc::from(bytes);
        lock(&self.hashes).insert(block, Arc::clone(&bytes));
        Ok(bytes)
    }

    /// Reads whole data blocks straight into `buf` and checks them.
    fn read_blocks(&self, buf: &mut [u8], first: u64) -> io::Result<()> {
        self.source.read_exact_at(buf, first * BLOCK as u64)?;
        let mut parent: Option<(u64, HashBlock)> = None;
        for (block, bytes) in (first..).zip(buf.chunks_exact(BLOCK)) {
            let index = block / DIGESTS_PER_BLOCK as u64;
            let expected = match &parent {
                _ if self.levels.is_empty() => self.verity.root,
                Some((at, hashes)) if *at == index => digest_at(hashes, block),
                _ => {
                    let hashes = self.hash_block(0, index)?;
                    let expected = digest_at(&hashes, block);
                    parent = Some((index, hashes));
                    expected
                }
            };
            if digest(&self.verity.salt, bytes) != expected {
                return Err(VerityError::Data { block }.into());
            }
        }
        Ok(())
    }

    /// Copies a part of one block.
    fn read_part(&self, buf: &mut [u8], block: u64, start: usize) -> io::Result<()> {
        let mut last = lock(&self.last);
        let bytes = match last.take() {
            Some((at, bytes)) if at == block => bytes,
            other => {
                let mut bytes = other.map_or_else(|| vec![0; BLOCK].into_boxed_slice(), |(_, bytes)| bytes);
                self.read_blocks(&mut bytes, block)?;
                bytes
            }
        };
        buf.copy_from_slice(&bytes[start..start + buf.len()]);
        *last = Some((block, bytes));
        Ok(())
    }

    fn read_verified(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            let (block, start) = (offset / BLOCK as u64, (offset % BLOCK as u64) as usize);
            let length = match buf.len() {
                length if start == 0 && length >= BLOCK => length / BLOCK * BLOCK,
                length => length.min(BLOCK - start),
            };
            let (now, rest) = buf.split_at_mut(length);
            if length.is_multiple_of(BLOCK) {
                self.read_blocks(now, block)?;
            } else {
                self.read_part(now, block, start)?;
            }
            buf = rest;
            offset += length as u64;
        }
        Ok(())
    }
}

impl<S: ReadAt> ReadAt for VerifiedReader<S> {
    fn size(&self) -> u64 {
        self.verity.data_size
    }

    /// A block that does not verify is an `InvalidData` error with a [`VerityError`]; `buf` then holds only zeros.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.verity.data_size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let read = self.read_verified(buf, offset);
        if read.is_err() {
            buf.fill(0);
        }
        read
    }

    /// Announces the data blocks and the hash blocks above them that are not known yet.
    fn will_read(&self, ranges: &[Range<u64>]) {
        let mut wanted: Vec<Range<u64>> = Vec::new();
        let cache = lock(&self.hashes);
        for range in ranges {
            let range = range.start..range.end.min(self.verity.data_size);
            if range.is_empty() {
                continue;
            }
            let mut blocks = range.start / BLOCK as u64..range.end.div_ceil(BLOCK as u64);
            push_blocks(&mut wanted, 0, blocks.clone());
            for level in &self.levels {
                blocks =
                    blocks.start / DIGESTS_PER_BLOCK as u64..blocks.end.div_ceil(DIGESTS_PER_BLOCK as u64);
                for index in blocks
                    .clone()
                    .filter(|index| !cache.blocks.contains_key(&(level.first + index)))
                {
                    let block = level.first + index;
                    push_blocks(&mut wanted, self.verity.data_size, block..block + 1);
                }
            }
        }
        drop(cache);
        self.source.will_read(&merged(wanted));
    }
}

/// Adds blocks as a byte range, to the last range where they continue it.
fn push_blocks(ranges: &mut Vec<Range<u64>>, base: u64, blocks: Range<u64>) {
    let range = base + blocks.start * BLOCK as u64..base + blocks.end * BLOCK as u64;
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

/// Ascending and without overlaps.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

fn digest_at(block: &[u8; BLOCK], index: u64) -> [u8; 32] {
    let start = (index % DIGESTS_PER_BLOCK as u64) as usize * DIGEST;
    super::array(&block[start..start + DIGEST])
}

/// A cache is as good after a panic elsewhere as before it: it holds only verified blocks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HashCache {
    fn get(&mut self, block: u64) -> Option<HashBlock> {
        self.clock += 1;
        let (used, bytes) = self.blocks.get_mut(&block)?;
        *used = self.clock;
        Some(Arc::clone(bytes))
    }

    /// The least recently used block makes room; that search costs less than the hash that was just computed.
    fn insert(&mut self, block: u64, bytes: HashBlock) {
        if self.blocks.len() >= CACHED_HASH_BLOCKS
            && let Some(oldest) = self
                .blocks
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(block, _)| *block)
        {
            self.blocks.remove(&oldest);
        }
        self.blocks.insert(block, (self.clock, bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::verity::hash_tree;

    fn data(blocks: usize) -> Vec<u8> {
        (0..blocks * BLOCK).map(|i| (i / 3 + i / 4096) as u8).collect()
    }

    fn protected(data: &[u8]) -> (Vec<u8>, Verity) {
        let tree = hash_tree(data).unwrap();
        let verity = Verity {
            root: tree.root,
            salt: tree.salt,
            data_size: data.len() as u64,
        };
        ([data, &tree.tree].concat(), verity)
    }

    /// Counts the bytes that are read and keeps what was announced.
    struct Counting(Vec<u8>, AtomicU64, Mutex<Vec<Range<u64>>>);

    impl ReadAt for Counting {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
            let announced = self.2.lock().unwrap();
            let range = offset..offset + buf.len() as u64;
            assert!(
                announced.is_empty()
                    || announced
                        .iter()
                        .any(|r| r.start <= range.start && range.end <= r.end),
                "{range:?} was not announced"
            );
            self.0.read_exact_at(buf, offset)
        }
        fn will_read(&self, ranges: &[Range<u64>]) {
            *self.2.lock().unwrap() = ranges.to_vec();
        }
    }

    #[test]
    fn every_flipped_bit_in_data_and_tree_is_refused() {
        let plain = data(300);
        let (good, verity) = protected(&plain);
        for at in (0..good.len()).step_by(31_000) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let reader = VerifiedReader::new(bad, verity).unwrap();
            let mut out = vec![1; plain.len()];
            let read = reader
                .read_exact_at(&mut out, 0)
                .and_then(|()| reader.verify_tree());
            let error = read.expect_err("a flipped bit");
            let found = VerityError::find(&error).unwrap();
            match at / BLOCK {
                block if block < 300 => assert_eq!(*found, VerityError::Data { block: block as u64 }),
                block => assert_eq!(
                    *found,
                    VerityError::Hash {
                        block: block as u64 - 300
                    }
                ),
            }
            assert!(
                at >= plain.len() || out.iter().all(|byte| *byte == 0),
                "unverified bytes were handed out"
            );
        }
    }

    #[test]
    fn bytes_behind_the_last_digest_are_refused_even_with_a_root_that_matches_them() {
        let (mut good, mut verity) = protected(&data(2));
        good[3 * BLOCK - 1] = 1;
        verity.root = digest(&verity.salt, &good[2 * BLOCK..]);
        let reader = VerifiedReader::new(good, verity).unwrap();
        let error = reader.read_exact_at(&mut [0; 1], 0).unwrap_err();
        assert_eq!(
            VerityError::find(&error),
            Some(&VerityError::Padding { block: 0 })
        );
    }

    #[test]
    fn a_source_of_another_size_is_refused() {
        let (mut good, verity) = protected(&data(2));
        good.push(0);
        let refused = VerifiedReader::new(good, verity).map(|_| ()).unwrap_err();
        assert_eq!(
            refused,
            VerityError::SourceSize {
                needed: 3 * 4096,
                size: 3 * 4096 + 1
            }
        );
    }

    #[test]
    fn a_read_beyond_the_data_does_not_reach_the_tree() {
        let (good, verity) = protected(&data(2));
        let reader = VerifiedReader::new(good, verity).unwrap();
        for (offset, length) in [(2 * 4096, 1), (4096, 4097), (u64::MAX, 2)] {
            let error = reader.read_exact_at(&mut vec![0; length], offset).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn a_sequence_of_small_reads_reads_every_block_once() {
        let plain = data(300);
        let (good, verity) = protected(&plain);
        let total = good.len() as u64;
        let reader =
            VerifiedReader::new(Counting(good, AtomicU64::new(0), Mutex::default()), verity).unwrap();
        let mut out = vec![0; plain.len()];
        for (index, part) in out.chunks_mut(1000).enumerate() {
            reader.read_exact_at(part, index as u64 * 1000).unwrap();
        }
        assert!(out == plain);
        assert_eq!(reader.source.1.load(Ordering::Relaxed), total);
    }

    #[test]
    fn memory_for_hash_blocks_is_bounded() {
        let mut cache = HashCache::default();
        for block in 0..2000 {
            cache.insert(block, Arc::new([0; BLOCK]));
            assert!(cache.get(0).is_some(), "what is used stays");
        }
        assert_eq!(cache.blocks.len(), CACHED_HASH_BLOCKS);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_read_gives_the_data_and_was_announced(blocks in 2usize..300, reads in prop::collection::vec((0f64..1.0, 0usize..20_000), 1..10)) {
            let plain = data(blocks);
            let (good, verity) = protected(&plain);
            let reader = VerifiedReader::new(Counting(good, AtomicU64::new(0), Mutex::default()), verity).unwrap();
            for (at, length) in reads {
                let start = (at * plain.len() as f64) as usize;
                let length = length.min(plain.len() - start);
                reader.will_read(std::slice::from_ref(&(start as u64..(start + length) as u64)));
                let mut out = vec![0; length];
                reader.read_exact_at(&mut out, start as u64).unwrap();
                prop_assert!(out == plain[start..start + length]);
            }
        }
    }
}
