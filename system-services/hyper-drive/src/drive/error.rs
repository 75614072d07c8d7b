//! Why a drive does not do something: which drive, which path.

use std::fmt;

use hyper_core::corestore::CorestoreError;
use hyper_core::session::SessionError;

use super::{Drive, EntryError, PathError};
use crate::bee::{BeeError, CoreKey};
use crate::blobs::BlobError;

/// Something a drive does not do.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// A name that means no file.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The store gives no core.
    #[error(transparent)]
    Store(#[from] CorestoreError),
    /// The database fails.
    #[error("the drive {drive} fails at {place}")]
    Bee {
        /// The drive.
        drive: CoreKey,
        /// At what.
        place: String,
        /// Why.
        #[source]
        source: Box<BeeError>,
    },
    /// A content cannot be read or written.
    #[error("the drive {drive} fails at {place}")]
    Blob {
        /// The drive.
        drive: CoreKey,
        /// At what.
        place: String,
        /// Why.
        #[source]
        source: Box<BlobError>,
    },
    /// A core fails.
    #[error("the drive {drive} fails at {place}")]
    Core {
        /// The drive.
        drive: CoreKey,
        /// At what.
        place: String,
        /// Why.
        #[source]
        source: Box<SessionError>,
    },
    /// What is noted of a file makes no sense.
    #[error("what the drive {drive} notes of {path:?} in block {seq} is not valid")]
    Entry {
        /// The drive.
        drive: CoreKey,
        /// The file.
        path: String,
        /// The block of the database.
        seq: u64,
        /// What is wrong.
        #[source]
        source: EntryError,
    },
    /// Something that cannot be noted.
    #[error("nothing such can be noted of {path:?}")]
    Note {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: EntryError,
    },
    /// Links lead in a circle.
    #[error("in the drive {drive}, {path:?} leads from link to link without end")]
    TooManyLinks {
        /// The drive.
        drive: CoreKey,
        /// The first link.
        path: String,
    },
    /// Nothing says where the contents are.
    #[error(
        "where the drive {0} keeps its contents is not known: its core is neither a drive of hyperdrive 10 that names them, nor one with signers"
    )]
    NoBlobs(CoreKey),
    /// More than there is.
    #[error("the drive {drive} has {length} {what}, it cannot be cut to {to}")]
    Length {
        /// The drive.
        drive: CoreKey,
        /// Versions, or blocks of contents.
        what: &'static str,
        /// How many there are.
        length: u64,
        /// How many there should be.
        to: u64,
    },
    /// The task that does the work was cut off.
    #[error("the work on the drive {0} was cut off")]
    Interrupted(CoreKey),
}

/// What of a drive fails.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Database,
    Contents,
    Path(&'a str),
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database => f.write_str("its database"),
            Self::Contents => f.write_str("its contents"),
            Self::Path(path) => write!(f, "{path:?}"),
        }
    }
}

/// Says of which drive an error is, and of which part.
pub(super) trait At<T> {
    fn at(self, drive: &Drive, part: Part<'_>) -> Result<T, DriveError>;
}

impl<T> At<T> for Result<T, BeeError> {
    fn at(self, drive: &Drive, part: Part<'_>) -> Result<T, DriveError> {
        self.map_err(|source| DriveError::Bee {
            drive: drive.name(),
            place: part.to_string(),
            source: Box::new(source),
        })
    }
}

impl<T> At<T> for Result<T, BlobError> {
    fn at(self, drive: &Drive, part: Part<'_>) -> Result<T, DriveError> {
        self.map_err(|source| DriveError::Blob {
            drive: drive.name(),
            place: part.to_string(),
            source: Box::new(source),
        })
    }
}

impl<T> At<T> for Result<T, SessionError> {
    fn at(self, drive: &Drive, part: Part<'_>) -> Result<T, DriveError> {
        self.map_err(|source| DriveError::Core {
            drive: drive.name(),
            place: part.to_string(),
            source: Box::new(source),
        })
    }
}
