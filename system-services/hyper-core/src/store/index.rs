//! The index: the database with all that is known of cores, except the bytes of their blocks.

use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Builder, Database, ReadableDatabase, StorageBackend};

use super::checked_file::CheckedFile;
use super::engine::LOG_FILE;
use super::error::failed;
use super::late_file::LateFile;
use super::medium::Medium;
use super::tables::{META, STATE, create_tables};
use super::{FORMAT, StoreError};

const INDEX_FILE: &str = "index";
const NEW_INDEX_FILE: &str = "index.new";

/// Memory for pages of the index, shared by all cores. A transfer of small blocks fills it, and may take 16 MiB in all.
const CACHE_BYTES: usize = 6 << 20;

/// The database, and the switch that stops it from writing.
pub(super) struct Index {
    pub(super) database: Database,
    pub(super) frozen: Arc<AtomicBool>,
}

/// A file of the database.
struct IndexFile {
    file: LateFile,
    frozen: Arc<AtomicBool>,
}

impl fmt::Debug for IndexFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl IndexFile {
    fn must_not_be_frozen(&self) -> Result<()> {
        match self.frozen.load(Ordering::Acquire) {
            true => Err(Error::other("the store takes no changes any more")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for IndexFile {
    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.must_not_be_frozen()?;
        self.file.set_len(length)
    }

    fn sync_data(&self) -> Result<()> {
        self.must_not_be_frozen()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.must_not_be_frozen()?;
        self.file.write(offset, data)
    }
}

impl Index {
    /// Opens the index of a store, or makes a new store. A new index gets its name when it is whole: a database whose
    /// creation was cut off cannot be opened again.
    pub(super) fn open(medium: &dyn Medium) -> std::result::Result<Self, StoreError> {
        let step = "open its index";
        if let Some(file) = medium.open(INDEX_FILE).map_err(failed(step))? {
            let file = CheckedFile::new(file);
            // The database would take it for a new one.
            if file.len().is_ok_and(|length| length == 0) {
                return Err(StoreError::Foreign);
            }
            let index = Self::of(file)?;
            index.check_format()?;
            return Ok(index);
        }
        let step = "make its index";
        let file = medium.create(NEW_INDEX_FILE).map_err(failed(step))?;
        let index = Self::of(CheckedFile::new(file))?;
        let mut txn = index.database.begin_write().map_err(failed(step))?;
        txn.set_quick_repair(true);
        create_tables(&txn).map_err(failed(step))?;
        txn.open_table(STATE)
            .map_err(failed(step))?
            .insert((), (super::engine::random()?, 0, 0))
            .map_err(failed(step))?;
        txn.commit().map_err(failed(step))?;
        medium.create(LOG_FILE).map_err(failed(step))?;
        medium.rename(NEW_INDEX_FILE, INDEX_FILE).map_err(failed(step))?;
        Ok(index)
    }

    fn of(file: CheckedFile) -> std::result::Result<Self, StoreError> {
        let frozen = Arc::new(AtomicBool::new(false));
        let file = IndexFile {
            file: LateFile::new(file),
            frozen: Arc::clone(&frozen),
        };
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(file)
            .map_err(|error| match failed("open its index")(error) {
                StoreError::Database { source, .. } if is_no_database(&source) => StoreError::Foreign,
                error => error,
            })?;
        Ok(Self { database, frozen })
    }

    fn check_format(&self) -> std::result::Result<(), StoreError> {
        let step = "read its format";
        let read = self.database.begin_read().map_err(failed(step))?;
        let meta = match read.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Err(StoreError::Foreign),
            meta => meta.map_err(failed(step))?,
        };
        match meta
            .get("format")
            .map_err(failed(step))?
            .map(|format| format.value())
        {
            Some(FORMAT) => Ok(()),
            Some(other) => Err(StoreError::Format(other)),
            None => Err(StoreError::Foreign),
        }
    }
}

/// Whether a file does not begin as databases do.
fn is_no_database(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData)
}
