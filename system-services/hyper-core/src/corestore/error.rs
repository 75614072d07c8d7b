//! Why a corestore gives no core.

use std::path::PathBuf;

use crate::store::StoreError;

/// Something a corestore does not do.
#[derive(Debug, thiserror::Error)]
pub enum CorestoreError {
    /// The store failed or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder cannot be made.
    #[error("the folder {path} of the corestore cannot be made: check who may write there", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a primary key")]
    Random(#[source] getrandom::Error),
    /// The store belongs to another secret.
    #[error(
        "the corestore has another primary key than the one that was given: leave it out, or choose another folder"
    )]
    OtherPrimaryKey,
}
