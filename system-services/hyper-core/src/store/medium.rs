//! Where the files of a store lie: in a folder, in memory, or in a test's hands.

use std::fmt::Debug;
use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::StoreError;
use super::error::failed;

/// The files of one store, each under a name without folders. What is done to names is durable when the call returns; what is
/// written to files is durable once they are flushed.
pub trait Medium: Debug + Send + Sync {
    /// Opens a file, `None` if there is none of this name.
    fn open(&self, name: &str) -> Result<Option<Box<dyn MediumFile>>>;

    /// Makes an empty file, in place of any other of this name.
    fn create(&self, name: &str) -> Result<Box<dyn MediumFile>>;

    /// Gives a file another name, in place of any other of that name. Who has it open keeps it.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file, if there is one of this name.
    fn remove(&self, name: &str) -> Result<()>;
}

/// A file of a store.
pub trait MediumFile: Debug + Send + Sync {
    /// Bytes.
    fn size(&self) -> Result<u64>;

    /// Reads as many bytes as the buffer has; fewer are [`ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;

    /// Writes all bytes. A gap before them reads as zeros.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Cuts the file off, or fills it up with zeros.
    fn set_size(&self, size: u64) -> Result<()>;

    /// What was written before survives a power cut once this returns.
    fn flush(&self) -> Result<()>;

    /// Gives the room of these bytes back; they read as zeros or as they were. Flushed with the rest, or not: it may be lost.
    fn punch(&self, bytes: Range<u64>) -> Result<()>;
}

/// A folder of the disk that is one store's alone.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Held for as long as the store is open.
    _lock: File,
}

impl Folder {
    /// Opens the folder, or makes it, and keeps other processes out. Only its owner reads it: key pairs lie in it.
    pub(super) fn open(path: &Path) -> std::result::Result<Self, StoreError> {
        let failed = |source| StoreError::Open {
            path: path.into(),
            source: Box::new(failed("open its folder")(source)),
        };
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => sync_folder(path.parent().unwrap_or(path)).map_err(failed)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let lock = options()
            .truncate(false)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.into() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self {
            path: path.into(),
            _lock: lock,
        })
    }
}

fn options() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn sync_folder(path: &Path) -> Result<()> {
    let here = Path::new(".");
    let path = if path.as_os_str().is_empty() { here } else { path };
    File::open(path)?.sync_all()
}

impl Medium for Folder {
    fn open(&self, name: &str) -> Result<Option<Box<dyn MediumFile>>> {
        match File::options().read(true).write(true).open(self.path.join(name)) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> Result<Box<dyn MediumFile>> {
        let file = options().truncate(true).open(self.path.join(name))?;
        sync_folder(&self.path)?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))?;
        sync_folder(&self.path)
    }

    fn remove(&self, name: &str) -> Result<()> {
        match std::fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => sync_folder(&self.path),
        }
    }
}

impl MediumFile for File {
    fn size(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.set_len(size)
    }

    fn flush(&self) -> Result<()> {
        self.sync_data()
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn punch(&self, bytes: Range<u64>) -> Result<()> {
        use rustix::fs::FallocateFlags;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let Some(length) = bytes.end.checked_sub(bytes.start).filter(|length| *length > 0) else {
            return Ok(());
        };
        match rustix::fs::fallocate(self, flags, bytes.start, length).map_err(Error::from) {
            // The file system cannot: the room stays taken until the whole file goes.
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
            other => other,
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn punch(&self, _: Range<u64>) -> Result<()> {
        Ok(())
    }
}
