//! What is at hand of a wanted image.

use std::io;

use super::chunker::Chunker;
use super::index::ChunkIndex;
use crate::verity::sha256;

/// Where the chunks of one wanted image were found.
///
/// Only wanted chunks are remembered, so the memory depends on the wanted image (at most 60 bytes a chunk), not on
/// what is scanned.
#[derive(Debug, Clone)]
pub struct Seeds {
    /// The wanted chunks sorted by digest, equal ones in ascending order of their place.
    sorted: Vec<u32>,
    /// For every wanted chunk, the number of the first that is equal to it.
    first_equal: Vec<u32>,
    /// For every wanted chunk: the target has it where it belongs.
    kept: Vec<bool>,
    /// For the first of equal chunks: the last place in the target that has it.
    in_target: Vec<Option<u64>>,
    /// For the first of equal chunks: a seed that has it, and where.
    in_seed: Vec<Option<(u32, u64)>>,
}

impl Seeds {
    /// Nothing found yet.
    pub fn new(wanted: &ChunkIndex) -> Self {
        let mut sorted: Vec<u32> = (0..wanted.len() as u32).collect();
        sorted.sort_by_key(|chunk| (wanted.digest(*chunk as usize), *chunk));
        let mut first_equal = vec![0; wanted.len()];
        for same in sorted.chunk_by(|a, b| wanted.digest(*a as usize) == wanted.digest(*b as usize)) {
            for chunk in same {
                first_equal[*chunk as usize] = same[0];
            }
        }
        Self {
            sorted,
            first_equal,
            kept: vec![false; wanted.len()],
            in_target: vec![None; wanted.len()],
            in_seed: vec![None; wanted.len()],
        }
    }

    /// Scans what the target holds now, from its first byte on. Anything may be there: an older image, or the
    /// beginning of the wanted one from a download that was cut.
    pub fn scan_target(&mut self, wanted: &ChunkIndex, target: impl io::Read) -> io::Result<()> {
        let offsets: Vec<u64> = wanted.chunks().map(|chunk| chunk.offset).collect();
        scan(wanted, target, &mut |offset, digest| {
            for chunk in self.equal(wanted, digest) {
                if offsets[chunk] == offset {
                    self.kept[chunk] = true;
                }
                if self.first_equal[chunk] as usize == chunk {
                    // The last place is the best: it is overwritten last.
                    self.in_target[chunk] = Some(offset);
                }
            }
        })
    }

    /// Scans another image, such as the running one; `seed` is its number in the list that [`execute`](super::execute)
    /// gets.
    pub fn scan_seed(&mut self, wanted: &ChunkIndex, seed: u32, image: impl io::Read) -> io::Result<()> {
        scan(wanted, image, &mut |offset, digest| {
            self.found(wanted, seed, offset, digest)
        })
    }

    /// As [`Seeds::scan_seed`], for an image whose index was kept. It need not be right: what is copied is hashed. Of no
    /// use when it was cut with other parameters.
    pub fn add_index(&mut self, wanted: &ChunkIndex, seed: u32, index: &ChunkIndex) {
        for chunk in index.chunks() {
            self.found(wanted, seed, chunk.offset, chunk.digest);
        }
    }

    fn found(&mut self, wanted: &ChunkIndex, seed: u32, offset: u64, digest: &[u8; 32]) {
        if let Some(chunk) = self.equal(wanted, digest).next() {
            self.in_seed[chunk].get_or_insert((seed, offset));
        }
    }

    /// The wanted chunks with this digest, ascending.
    fn equal(&self, wanted: &ChunkIndex, digest: &[u8; 32]) -> impl Iterator<Item = usize> + use<> {
        let start = self
            .sorted
            .partition_point(|chunk| wanted.digest(*chunk as usize) < digest);
        let same = self.sorted[start..]
            .iter()
            .take_while(|chunk| wanted.digest(**chunk as usize) == digest);
        same.map(|chunk| *chunk as usize).collect::<Vec<_>>().into_iter()
    }

    pub(super) fn first_equal(&self, chunk: usize) -> usize {
        self.first_equal[chunk] as usize
    }

    pub(super) fn is_kept(&self, chunk: usize) -> bool {
        self.kept[chunk]
    }

    pub(super) fn in_target(&self, chunk: usize) -> Option<u64> {
        self.in_target[self.first_equal(chunk)]
    }

    pub(super) fn in_seed(&self, chunk: usize) -> Option<(u32, u64)> {
        self.in_seed[self.first_equal(chunk)]
    }
}

/// Chunks a stream as the wanted image was; `each` gets place and digest of every chunk.
fn scan(
    wanted: &ChunkIndex,
    mut stream: impl io::Read,
    each: &mut dyn FnMut(u64, &[u8; 32]),
) -> io::Result<()> {
    let mut chunker = Chunker::new(wanted.parameters());
    let mut offset = 0;
    let mut chunk_seen = |chunk: &[u8]| {
        each(offset, &sha256(chunk));
        offset += chunk.len() as u64;
    };
    let mut piece = vec![0; 128 * 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => chunker.feed(&piece[..length], &mut chunk_seen),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunker.finish(&mut chunk_seen);
    Ok(())
}
