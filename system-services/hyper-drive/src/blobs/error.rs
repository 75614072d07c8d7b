//! Why a blob is not written or read.

use hyper_core::crypto::Hash;
use hyper_core::session::{Session, SessionError};

use super::{InvalidBlobId, MAX_MAP_BLOCKS, MapError};

/// Something that fails with a blob. The core is named by the start of its key.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The core gives or takes nothing.
    #[error("the core {core} of the blobs fails")]
    Core {
        /// Its key, shortened.
        core: String,
        /// Why.
        #[source]
        source: Box<SessionError>,
    },
    /// An id that cannot be.
    #[error("the blob cannot be: {0}")]
    Id(InvalidBlobId),
    /// A block that is not here and is not to be fetched.
    #[error("block {block} of the core {core} is not stored here")]
    NotStored {
        /// Its key, shortened.
        core: String,
        /// The block.
        block: u64,
    },
    /// The id points to blocks that nobody has.
    #[error("the blob ends at block {end}, but the core {core} has {length} blocks")]
    OutsideCore {
        /// Its key, shortened.
        core: String,
        /// The block after the blob.
        end: u64,
        /// Blocks of the core.
        length: u64,
    },
    /// Blocks and bytes of the id contradict each other.
    #[error("byte {byte} of the blob is not in its blocks: the id of the blob is wrong")]
    WrongOffset {
        /// Byte within the core.
        byte: u64,
    },
    /// The blocks hold fewer bytes than the id says.
    #[error("the blob ends {missing} bytes before its end: the id of the blob is wrong")]
    EndsEarly {
        /// Bytes that are not there.
        missing: u64,
    },
    /// A map that is too long.
    #[error("the list of the blob's blocks has {0} blocks itself, {MAX_MAP_BLOCKS} are the most")]
    LongMap(u64),
    /// A map that cannot be read.
    #[error("block {block} is no list of a blob's blocks")]
    Map {
        /// The block.
        block: u64,
        /// Why.
        #[source]
        source: MapError,
    },
    /// More than the caller wants in memory.
    #[error("the blob has more than the {0} bytes that are read at once: read it piece by piece")]
    TooLong(u64),
    /// Someone else appended to the core.
    #[error("the core {core} was changed by another writer while the blob was written: write the blob again")]
    OtherWriter {
        /// Its key, shortened.
        core: String,
    },
}

impl BlobError {
    /// Says which core failed.
    pub(super) fn core(core: &Session) -> impl FnOnce(SessionError) -> Self {
        let core = short(core.key());
        |source| Self::Core {
            core,
            source: Box::new(source),
        }
    }

    pub(super) fn not_stored(core: &Session, block: u64) -> Self {
        Self::NotStored {
            core: short(core.key()),
            block,
        }
    }

    pub(super) fn outside(core: &Session, end: u64) -> Self {
        Self::OutsideCore {
            core: short(core.key()),
            end,
            length: core.length(),
        }
    }
}

/// The first bytes of a key, enough to tell cores apart.
pub(crate) fn short(key: &Hash) -> String {
    key[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}
