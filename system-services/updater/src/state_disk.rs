//! The `bootstate` partition: read past the page cache, written durably, read back.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use boot_state::{Bootstate, COPY_OFFSETS, SECTOR_LEN, SectorWrite};
use os_io::block;
use rustix::fs::OFlags;
use thiserror::Error;

/// Direct reads want whole pages; a copy has the first sector of one.
const READ_BYTES: usize = 4096;

/// Why the boot state was not read or written.
#[derive(Debug, Error)]
pub enum StateDiskError {
    /// A copy cannot be read.
    #[error("read the boot state")]
    Read(#[source] os_io::Error),
    /// The write failed.
    #[error("write the boot state to {}", device.display())]
    Write {
        /// The partition.
        device: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The medium took the write and has something else: a card at its end.
    #[error("{} does not keep what is written to it", device.display())]
    NotKept {
        /// The partition.
        device: PathBuf,
    },
}

/// The partition.
#[derive(Debug, Clone)]
pub struct StateDisk {
    device: PathBuf,
}

impl StateDisk {
    /// By its node.
    pub fn at(device: impl AsRef<Path>) -> Self {
        Self {
            device: device.as_ref().to_owned(),
        }
    }

    /// Reads both copies.
    pub fn load(&self) -> Result<Bootstate, StateDiskError> {
        let [first, second] = COPY_OFFSETS;
        let (first, second) = (self.read(first)?, self.read(second)?);
        Ok(Bootstate::load([&first, &second]))
    }

    /// Carries out a write; returns once the medium has it and gives it back.
    pub fn write(&self, write: &SectorWrite) -> Result<(), StateDiskError> {
        let bytes = write.bytes();
        let put = || -> io::Result<()> {
            let flags = OFlags::DSYNC.bits().cast_signed();
            let file = File::options()
                .write(true)
                .custom_flags(flags)
                .open(&self.device)?;
            file.write_all_at(&bytes, write.offset())?;
            file.sync_data()
        };
        put().map_err(|source| StateDiskError::Write {
            device: self.device.clone(),
            source,
        })?;
        if self.read(write.offset())? != bytes {
            return Err(StateDiskError::NotKept {
                device: self.device.clone(),
            });
        }
        Ok(())
    }

    fn read(&self, offset: u64) -> Result<[u8; SECTOR_LEN], StateDiskError> {
        let page = block::read_uncached(&self.device, offset, READ_BYTES).map_err(StateDiskError::Read)?;
        let mut sector = [0; SECTOR_LEN];
        sector.copy_from_slice(&page[..SECTOR_LEN]);
        Ok(sector)
    }
}
