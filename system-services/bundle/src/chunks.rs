//! The delta: an image as content-defined chunks, and how to make it from what is there already.
//!
//! Our root images are packed, so a change moves everything behind it by any number of bytes, and an index of 4-KiB
//! blocks (RAUC's `block-hash-index`) finds nothing there any more. Chunks that end where their *content* says so
//! (FastCDC, 2020) are found wherever they moved to.
//!
//! The bundle holds `NAME.chunks` for an image `NAME`: a [`ChunkIndex`]. [`Seeds`] says which of its chunks are at
//! hand, found by chunking the slots in the same way; [`Plan`] says what to keep, copy and fetch, in ascending order
//! of the target; [`execute`] does it. A download that was cut is resumed by planning anew: what was written is kept.

mod chunker;
mod execute;
mod index;
mod plan;
mod seeds;

pub use chunker::{Chunker, Parameters, ParametersError};
pub use execute::{ExecuteError, Progress, Target, execute};
pub use index::{Chunk, ChunkIndex, IndexBuilder, IndexError, IndexLimits, TreeTail};
pub use plan::{Plan, Source, Step, Totals};
pub use seeds::Seeds;

/// What `NAME.chunks` is called.
pub const SUFFIX: &str = ".chunks";
