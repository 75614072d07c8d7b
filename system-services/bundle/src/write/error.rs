//! Why no bundle was written.

use std::io;

use super::SignFailure;
use crate::chunks::IndexError;
use crate::container::OpenError;
use crate::manifest::{FileName, ManifestError};
use crate::verity::TreeError;

/// Why no bundle was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// An input cannot be read.
    #[error("cannot read {name}")]
    Input {
        /// The file.
        name: FileName,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An input of another size.
    #[error("{name} is not {expected} bytes long, as was said; was it changed while the bundle was made?")]
    InputSize {
        /// The file.
        name: FileName,
        /// Bytes that were announced.
        expected: u64,
    },
    /// A name twice, also one that an index would get.
    #[error("the bundle would hold {name} twice")]
    Twice {
        /// The name.
        name: FileName,
    },
    /// No name for an index.
    #[error("the name {name} is too long to have an index beside it")]
    NameTooLong {
        /// The file.
        name: FileName,
    },
    /// Too many files for one bundle.
    #[error("a bundle holds at most {limit} files; there are {count}")]
    TooManyFiles {
        /// Files with their indexes.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// RAUC's index needs whole blocks.
    #[error("{name} has {size} bytes; a block-hash-index needs a multiple of 4096")]
    NotWholeBlocks {
        /// The file.
        name: FileName,
        /// Its bytes.
        size: u64,
    },
    /// No chunk index.
    #[error("cannot make the chunk index of {name}")]
    Chunks {
        /// The file.
        name: FileName,
        /// Why.
        #[source]
        source: IndexError,
    },
    /// The output cannot be written or read back.
    #[error("cannot write the bundle")]
    Output(#[source] io::Error),
    /// No hash tree.
    #[error("cannot make the hash tree of the payload")]
    Tree(#[source] TreeError),
    /// The manifest is not complete.
    #[error("cannot complete the manifest")]
    Manifest(#[source] ManifestError),
    /// Nothing was signed.
    #[error("cannot sign the manifest")]
    Sign(#[source] SignFailure),
    /// The bundle to sign anew is none.
    #[error("cannot read the bundle that shall be signed anew")]
    Source(#[source] Box<OpenError>),
    /// The bundle to sign anew cannot be read.
    #[error("cannot read the payload of the bundle that shall be signed anew")]
    ReadSource(#[source] io::Error),
}
