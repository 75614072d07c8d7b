//! `NAME.chunks`: which chunks an image consists of.
//!
//! All numbers little endian:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `HTHCHUNK` |
//! | 8 | 2 | version: 1 (FastCDC 2020, normalization 1, SHA-256) |
//! | 10 | 2 | flags: bit 0 = a dm-verity tree is behind the chunked data |
//! | 12 | 4, 4, 4 | least, average and greatest length of a chunk |
//! | 24 | 8 | bytes of the image |
//! | 32 | 8 | bytes that are chunked; less than the image only with bit 0 |
//! | 40 | 32 | salt of the tree; zeros without bit 0 |
//! | 72 | 4 | number of chunks |
//! | 76 | 4 | zero |
//! | 80 | 36 each | length (4) and SHA-256 (32) of each chunk |

use std::io;

use super::chunker::{Chunker, Parameters, ParametersError};
use crate::source::ReadAt;
use crate::verity::{BLOCK, TreeBuilder, array, sha256, tree_size};

const MAGIC: [u8; 8] = *b"HTHCHUNK";
const VERSION: u16 = 1;
const HAS_TREE: u16 = 1;
const HEADER: usize = 80;
const ENTRY: usize = 36;
/// Entries that are read at once.
const PIECE: usize = 1024;

/// How much of an index is taken into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexLimits {
    /// Chunks: 36 bytes of memory each, and 60 more in [`Seeds`](super::Seeds). The default of 262144 is 4 GiB of image.
    pub chunks: u32,
}

impl Default for IndexLimits {
    fn default() -> Self {
        Self { chunks: 256 * 1024 }
    }
}

/// A dm-verity tree at the end of an image. It is not chunked, since it is computed from the data before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeTail {
    /// Bytes of data before the tree.
    pub data_size: u64,
    /// Salt of the tree.
    pub salt: [u8; 32],
}

/// Why an index is refused or cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The source failed.
    #[error("cannot read the chunk index")]
    Read(#[from] io::Error),
    /// Another file, or a version from the future.
    #[error("this is no chunk index of a version that is known here")]
    Unknown,
    /// More chunks than allowed.
    #[error("the chunk index has {count} chunks; {limit} are allowed")]
    TooMany {
        /// Chunks in it.
        count: u32,
        /// How many are allowed.
        limit: u32,
    },
    /// Lengths of chunks that cannot be.
    #[error("the chunk index cannot be used")]
    Parameters(#[from] ParametersError),
    /// Values that contradict each other.
    #[error("the chunk index is damaged: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// The end of the image is not the tree of its data.
    #[error(
        "the end of the image is not the hash tree of the data before it; check data size and salt of the tree"
    )]
    NotItsTree,
}

/// The chunks of an image, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkIndex {
    parameters: Parameters,
    image_size: u64,
    tree: Option<TreeTail>,
    lengths: Vec<u32>,
    digests: Vec<[u8; 32]>,
}

/// A chunk and its place in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Its first byte in the image.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// SHA-256 of them.
    pub digest: &'a [u8; 32],
}

impl ChunkIndex {
    /// Chunks an image. The bytes of a tree are computed and compared with those at the end of the image.
    pub fn of(
        mut image: impl io::Read,
        parameters: Parameters,
        tree: Option<TreeTail>,
    ) -> Result<Self, IndexError> {
        let mut builder = IndexBuilder::new(parameters, tree);
        let mut piece = vec![0; 128 * 1024];
        loop {
            match image.read(&mut piece) {
                Ok(0) => return builder.finish(),
                Ok(length) => builder.update(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads and checks an index.
    pub fn read<R: ReadAt + ?Sized>(source: &R, limits: &IndexLimits) -> Result<Self, IndexError> {
        if source.size() < HEADER as u64 {
            return Err(IndexError::Unknown);
        }
        let mut header = [0; HEADER];
        source.read_exact_at(&mut header, 0)?;
        let (mut index, data_size, count) = parse_header(&header)?;
        if count > limits.chunks {
            return Err(IndexError::TooMany {
                count,
                limit: limits.chunks,
            });
        }
        if source.size() != HEADER as u64 + u64::from(count) * ENTRY as u64 {
            return Err(IndexError::Malformed {
                what: "its length does not fit the number of its chunks",
            });
        }
        index.lengths.reserve_exact(count as usize);
        index.digests.reserve_exact(count as usize);
        let mut piece = vec![0; PIECE * ENTRY];
        for first in (0..count as usize).step_by(PIECE) {
            let piece = &mut piece[..(count as usize - first).min(PIECE) * ENTRY];
            source.read_exact_at(piece, (HEADER + first * ENTRY) as u64)?;
            for entry in piece.chunks_exact(ENTRY) {
                index.lengths.push(number(entry));
                index.digests.push(array(&entry[4..]));
            }
        }
        index.check(data_size)?;
        Ok(index)
    }

    /// The bytes of `NAME.chunks`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.lengths.len() * ENTRY);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(if self.tree.is_some() { HAS_TREE } else { 0 }).to_le_bytes());
        for length in [
            self.parameters.min(),
            self.parameters.average(),
            self.parameters.max(),
        ] {
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.extend_from_slice(&self.image_size.to_le_bytes());
        out.extend_from_slice(&self.data_size().to_le_bytes());
        out.extend_from_slice(&self.tree.map_or([0; 32], |tree| tree.salt));
        out.extend_from_slice(&(self.lengths.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for (length, digest) in self.lengths.iter().zip(&self.digests) {
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(digest);
        }
        out
    }

    /// How the image was cut.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// Bytes of the image.
    pub fn image_size(&self) -> u64 {
        self.image_size
    }

    /// Bytes that are chunked: the image without its tree.
    pub fn data_size(&self) -> u64 {
        self.tree.map_or(self.image_size, |tree| tree.data_size)
    }

    /// The tree behind the data.
    pub fn tree(&self) -> Option<TreeTail> {
        self.tree
    }

    /// Number of chunks.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// True for an image of no bytes.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    pub(super) fn digest(&self, chunk: usize) -> &[u8; 32] {
        &self.digests[chunk]
    }

    /// The chunks, in order and without gaps.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> {
        self.lengths
            .iter()
            .zip(&self.digests)
            .scan(0, |at, (length, digest)| {
                let offset = *at;
                *at += u64::from(*length);
                Some(Chunk {
                    offset,
                    length: *length,
                    digest,
                })
            })
    }

    fn check(&self, data_size: u64) -> Result<(), IndexError> {
        let malformed = |what| Err(IndexError::Malformed { what });
        match self.tree {
            None if data_size != self.image_size => return malformed("a part of the image is in no chunk"),
            Some(_) => {
                let tree = tree_size(data_size).map_err(|_| IndexError::Malformed {
                    what: "its tree has no data",
                })?;
                if data_size <= BLOCK as u64 || data_size.checked_add(tree) != Some(self.image_size) {
                    return malformed("data and tree are not the image");
                }
            }
            None => {}
        }
        if let Some((last, others)) = self.lengths.split_last() {
            let possible = self.parameters.min()..=self.parameters.max();
            if !others.iter().all(|length| possible.contains(length))
                || !(1..=self.parameters.max()).contains(last)
            {
                return malformed("a chunk has an impossible length");
            }
        }
        if self.lengths.iter().map(|length| u64::from(*length)).sum::<u64>() != data_size {
            return malformed("its chunks are not as long as the image");
        }
        Ok(())
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .take(4)
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// An index without chunks, the bytes that are chunked, and the number of chunks that follow.
fn parse_header(header: &[u8; HEADER]) -> Result<(ChunkIndex, u64, u32), IndexError> {
    let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let u32_at = |at: usize| number(&header[at..at + 4]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if header[..8] != MAGIC || u16_at(8) != VERSION || u16_at(10) & !HAS_TREE != 0 {
        return Err(IndexError::Unknown);
    }
    let (data_size, salt) = (u64_at(32), array(&header[40..72]));
    let has_tree = u16_at(10) & HAS_TREE != 0;
    if u32_at(76) != 0 || (!has_tree && salt != [0; 32]) {
        return Err(IndexError::Malformed {
            what: "bytes without a meaning are not zero",
        });
    }
    let index = ChunkIndex {
        parameters: Parameters::new(u32_at(12), u32_at(16), u32_at(20))?,
        image_size: u64_at(24),
        tree: has_tree.then_some(TreeTail { data_size, salt }),
        lengths: Vec::new(),
        digests: Vec::new(),
    };
    Ok((index, data_size, u32_at(72)))
}

/// Chunks an image that is fed in order. Memory: the index, and the tree where there is one.
pub struct IndexBuilder {
    chunker: Chunker,
    tree: Option<(TreeTail, TreeBuilder, ring::digest::Context)>,
    index: ChunkIndex,
    /// Bytes so far.
    at: u64,
}

impl IndexBuilder {
    /// At the beginning of an image.
    pub fn new(parameters: Parameters, tree: Option<TreeTail>) -> Self {
        let with_state = |tail: TreeTail| {
            (
                tail,
                TreeBuilder::new(tail.salt),
                ring::digest::Context::new(&ring::digest::SHA256),
            )
        };
        Self {
            chunker: Chunker::new(parameters),
            tree: tree.map(with_state),
            index: ChunkIndex {
                parameters,
                image_size: 0,
                tree,
                lengths: Vec::new(),
                digests: Vec::new(),
            },
            at: 0,
        }
    }

    /// The next bytes of the image.
    pub fn update(&mut self, bytes: &[u8]) {
        let data_left = self
            .tree
            .as_ref()
            .map_or(u64::MAX, |(tail, ..)| tail.data_size.saturating_sub(self.at));
        let split = usize::try_from(data_left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (data, behind) = bytes.split_at(split);
        self.chunker.feed(data, &mut |chunk| self.index.push(chunk));
        if let Some((_, builder, stored)) = &mut self.tree {
            builder.update(data);
            stored.update(behind);
        }
        self.at += bytes.len() as u64;
    }

    /// The end of the image.
    pub fn finish(mut self) -> Result<ChunkIndex, IndexError> {
        self.chunker.finish(&mut |chunk| self.index.push(chunk));
        self.index.image_size = self.at;
        if let Some((_, builder, stored)) = self.tree {
            let computed = builder.finish().map_err(|_| IndexError::NotItsTree)?;
            if array(stored.finish().as_ref()) != sha256(&computed.tree) {
                return Err(IndexError::NotItsTree);
            }
        }
        self.index.check(self.index.data_size())?;
        Ok(self.index)
    }
}

impl ChunkIndex {
    fn push(&mut self, chunk: &[u8]) {
        self.lengths.push(chunk.len() as u32);
        self.digests.push(sha256(chunk));
    }
}
