//! Why a volume or a change was refused.

use std::io;

use thiserror::Error;

/// Result of this crate.
pub type Result<T, E = FatError> = std::result::Result<T, E>;

/// Why a volume or a change was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FatError {
    /// The device failed.
    #[error(
        "cannot {action} sector {sector} of the boot partition: replace the card or disk if this comes again"
    )]
    Device {
        /// `read`, `write` or `flush after`.
        action: &'static str,
        /// Sector, counted from the start of the volume.
        sector: u64,
        /// What the device said.
        #[source]
        source: io::Error,
    },
    /// No FAT volume, or one of a kind that is not written.
    #[error("this is no FAT volume that can be updated: {0}; flash the appliance anew if it shall be one")]
    NotFat(String),
    /// The volume contradicts itself.
    #[error(
        "{place}: {problem}; the volume must be repaired (fsck.fat) or flashed anew before it is updated"
    )]
    Damaged {
        /// The path, or the part of the volume.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// A path that FAT cannot store, or that contradicts another.
    #[error("the path {path:?} cannot be used: {problem}")]
    Path {
        /// As it was given.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no such file.
    #[error("the volume has no file {0:?}")]
    NotFound(String),
    /// Not enough free clusters. Nothing was written.
    #[error(
        "no room for {path}: it needs {needed_bytes} bytes in free clusters, {free_bytes} are free; nothing was changed"
    )]
    NoSpace {
        /// The file.
        path: String,
        /// What it takes, with the folder entries it may need.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// The folder takes no further entries.
    #[error("the folder {0:?} is full: remove a file from it")]
    FolderFull(String),
    /// The new content is not what was announced. The file on the volume is still the old one.
    #[error("the new content of {path} was refused: {problem}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The new content could not be read. The file on the volume is still the old one.
    #[error("cannot read the new content of {path}")]
    Source {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was read from the volume could not be passed on.
    #[error("cannot pass on the content of {path}")]
    Sink {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FatError {
    pub(crate) fn damaged(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Damaged {
            place: place.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn path(path: &str, problem: impl Into<String>) -> Self {
        Self::Path {
            path: path.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn content(path: &str, problem: impl Into<String>) -> Self {
        Self::Content {
            path: path.into(),
            problem: problem.into(),
        }
    }
}
