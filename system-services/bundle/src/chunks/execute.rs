//! Doing what a plan says.

use std::io;
use std::ops::{ControlFlow, Range};

use super::index::{Chunk, ChunkIndex};
use super::plan::{Plan, Source, Step};
use crate::source::ReadAt;
use crate::verity::{BLOCK, TreeBuilder, sha256};

/// Bytes that are fetched, or read back for the tree, at once.
const PIECE: u64 = 256 * 1024;

/// What is written: a slot.
pub trait Target {
    /// Fills `buf` from `offset` on, with what was last written there.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` from `offset` on.
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

/// How far it is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Of the image, in order.
    pub done: u64,
    /// Read from the bundle.
    pub fetched: u64,
    /// Copied from the target or a seed.
    pub copied: u64,
    /// Left as they were.
    pub kept: u64,
}

/// Why a plan was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// The bundle failed, or what it gave does not verify.
    #[error("cannot fetch bytes {offset} to {} of the image", offset + length)]
    Fetch {
        /// Where in the image.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The target cannot be read.
    #[error("cannot read back the target at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The target cannot be written.
    #[error("cannot write the target at byte {offset}")]
    Write {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The progress callback asked for it.
    #[error("stopped on request")]
    Stopped,
    /// A plan for another image, or an image of another size.
    #[error("the plan does not fit the image")]
    OtherImage,
}

/// Makes the image in `target`.
///
/// A chunk that is copied is hashed before it is written. One that is not what was scanned, or whose place cannot be
/// read, is fetched instead: a worn-out slot costs bytes, not the update. What is fetched is trusted as `image` is,
/// which verifies every block; the SHA-256 of the whole is the caller's last check. Memory: one piece of 256 KiB and
/// one chunk; for a [`Step::Tree`] the tree, 1/128 of the image.
pub fn execute<T: Target + ?Sized>(
    plan: &Plan,
    wanted: &ChunkIndex,
    target: &mut T,
    seeds: &[&dyn ReadAt],
    image: &dyn ReadAt,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Progress, ExecuteError> {
    if image.size() != wanted.image_size() || plan.totals().image != wanted.image_size() {
        return Err(ExecuteError::OtherImage);
    }
    let fetches: Vec<Range<u64>> = plan
        .steps()
        .iter()
        .filter(|step| matches!(step, Step::Fetch { .. }))
        .map(|step| step.offset()..step.offset() + step.length())
        .collect();
    image.will_read(&fetches);
    let mut run = Run {
        wanted,
        target,
        seeds,
        image,
        progress,
        state: Progress::default(),
        buf: Vec::new(),
    };
    let mut chunks = wanted.chunks().peekable();
    for step in plan.steps() {
        let end = step.offset() + step.length();
        match *step {
            Step::Keep { length, .. } => run.state.kept += length,
            Step::Zero { offset, length } => run.zeros(offset, length)?,
            Step::Fetch { offset, length } => run.fetch(offset, length)?,
            Step::Tree { offset, .. } => run.tree(offset)?,
            Step::Copy {
                source, from, offset, ..
            } => {
                while chunks.next_if(|chunk| chunk.offset < offset).is_some() {}
                while let Some(chunk) = chunks.next_if(|chunk| chunk.offset < end) {
                    run.copy(source, from + (chunk.offset - offset), chunk)?;
                }
            }
        }
        run.done(end)?;
    }
    Ok(run.state)
}

/// What the steps share.
struct Run<'a, T: ?Sized> {
    wanted: &'a ChunkIndex,
    target: &'a mut T,
    seeds: &'a [&'a dyn ReadAt],
    image: &'a dyn ReadAt,
    progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
    state: Progress,
    buf: Vec<u8>,
}

impl<T: Target + ?Sized> Run<'_, T> {
    fn done(&mut self, end: u64) -> Result<(), ExecuteError> {
        self.state.done = end;
        match (self.progress)(self.state) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExecuteError::Stopped),
        }
    }

    fn write(&mut self, offset: u64) -> Result<(), ExecuteError> {
        self.target
            .write_all_at(&self.buf, offset)
            .map_err(|source| ExecuteError::Write { offset, source })
    }

    fn zeros(&mut self, offset: u64, length: u64) -> Result<(), ExecuteError> {
        for (at, piece) in pieces(offset, length) {
            self.buf.clear();
            self.buf.resize(piece, 0);
            self.write(at)?;
        }
        Ok(())
    }

    fn fetch(&mut self, offset: u64, length: u64) -> Result<(), ExecuteError> {
        for (at, piece) in pieces(offset, length) {
            self.buf.resize(piece, 0);
            self.image
                .read_exact_at(&mut self.buf, at)
                .map_err(|source| ExecuteError::Fetch {
                    offset: at,
                    length: piece as u64,
                    source,
                })?;
            self.write(at)?;
            self.state.fetched += piece as u64;
            self.done(at + piece as u64)?;
        }
        Ok(())
    }

    fn copy(&mut self, source: Source, from: u64, chunk: Chunk<'_>) -> Result<(), ExecuteError> {
        self.buf.resize(chunk.length as usize, 0);
        let read = match source {
            Source::Target => self.target.read_exact_at(&mut self.buf, from),
            Source::Seed(seed) => match self.seeds.get(seed as usize) {
                Some(seed) => seed.read_exact_at(&mut self.buf, from),
                None => return Err(ExecuteError::OtherImage),
            },
        };
        if read.is_err() || sha256(&self.buf) != *chunk.digest {
            return self.fetch(chunk.offset, u64::from(chunk.length));
        }
        self.write(chunk.offset)?;
        self.state.copied += u64::from(chunk.length);
        self.done(chunk.offset + u64::from(chunk.length))
    }

    /// Reads the data back and writes its tree behind it.
    fn tree(&mut self, data_size: u64) -> Result<(), ExecuteError> {
        let tail = self.wanted.tree().ok_or(ExecuteError::OtherImage)?;
        let mut builder = TreeBuilder::new(tail.salt);
        for (at, piece) in pieces(0, data_size) {
            self.buf.resize(piece, 0);
            let read = self.target.read_exact_at(&mut self.buf, at);
            read.map_err(|source| ExecuteError::Read { offset: at, source })?;
            builder.update(&self.buf);
        }
        self.buf = builder.finish().map_err(|_| ExecuteError::OtherImage)?.tree;
        self.write(data_size)
    }
}

/// Places and lengths that end at whole blocks, so that no block is read for two pieces.
fn pieces(offset: u64, length: u64) -> impl Iterator<Item = (u64, usize)> {
    let end = offset + length;
    let mut at = offset;
    std::iter::from_fn(move || {
        let start = at;
        at = ((start + PIECE) / BLOCK as u64 * BLOCK as u64).min(end);
        (start < end).then_some((start, (at - start) as usize))
    })
}
