//! The disk below `grow`, and the one growing that may run at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk_layout::SectorWrite;
use ipc::boot_facts::BootFacts;
use ipc::provisioner::{Growth, StorageStatus};
use rustix::fs::OFlags;

use crate::ext4::{SUPERBLOCK_AT, SUPERBLOCK_BYTES};
use crate::grow::{self, GrowError, Target};
use crate::places::Places;

/// The kernel's disk, partition and mount.
#[derive(Debug)]
struct KernelDisk {
    disk: File,
    partition: File,
    mount: File,
}

impl KernelDisk {
    fn open(paths: &Paths, writable: bool) -> io::Result<Self> {
        let flags = if writable { OFlags::DSYNC } else { OFlags::empty() };
        let disk = File::options()
            .read(true)
            .write(writable)
            .custom_flags(flags.bits().cast_signed())
            .open(&paths.disk)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", paths.disk.display())))?;
        Ok(Self {
            disk,
            partition: File::open(&paths.data_device)?,
            mount: File::open(&paths.mount)?,
        })
    }
}

impl Target for KernelDisk {
    fn disk_bytes(&mut self) -> io::Result<u64> {
        os_io::block::size_bytes(&self.disk).map_err(|e| e.source)
    }
    fn read_sectors(&mut self, lba: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.read_exact_at(into, lba * disk_layout::SECTOR as u64)
    }
    fn write_sectors(&mut self, write: &SectorWrite) -> io::Result<()> {
        self.disk.write_all_at(&write.bytes, write.byte_offset())
    }
    fn partition_bytes(&mut self) -> io::Result<u64> {
        os_io::block::size_bytes(&self.partition).map_err(|e| e.source)
    }
    fn resize_partition(&mut self, number: u32, start_bytes: u64, len_bytes: u64) -> io::Result<()> {
        os_io::block::resize_partition(&self.disk, number, start_bytes, len_bytes).map_err(|e| e.source)
    }
    fn superblock(&mut self) -> io::Result<Vec<u8>> {
        let mut raw = vec![0; SUPERBLOCK_BYTES];
        self.partition.read_exact_at(&mut raw, SUPERBLOCK_AT)?;
        Ok(raw)
    }
    fn resize_file_system(&mut self, blocks: u64) -> io::Result<()> {
        os_io::ext4::resize(&self.mount, blocks).map_err(|e| e.source)
    }
}

#[derive(Debug, Clone)]
struct Paths {
    disk: PathBuf,
    data_device: PathBuf,
    mount: PathBuf,
}

/// Starts growing at most once at a time and remembers how it goes.
#[derive(Debug)]
pub struct Growths {
    paths: Paths,
    /// `Growing` while a thread runs, `Failed` after one that failed, else `None`: then the disk itself is asked.
    current: Arc<Mutex<Option<Growth>>>,
}

impl Growths {
    /// For the disk of this boot.
    pub fn new(places: &Places, facts: &BootFacts) -> Self {
        let paths = Paths {
            disk: places.at(&facts.disk),
            data_device: places.at(&facts.data_device),
            mount: places.at(ipc::paths::DATA),
        };
        Self {
            paths,
            current: Arc::default(),
        }
    }

    /// Starts growing on a thread, unless that is under way.
    pub fn start(&self) {
        let mut current = lock(&self.current);
        if let Some(Growth::Growing { .. }) = *current {
            return;
        }
        // Sizes are not known before the disk was read; the first progress report has them.
        *current = Some(Growth::Growing {
            done_bytes: 0,
            total_bytes: 0,
        });
        let (paths, shared) = (self.paths.clone(), Arc::clone(&self.current));
        tokio::task::spawn_blocking(move || {
            let result = run(&paths, |done_bytes, total_bytes| {
                *lock(&shared) = Some(Growth::Growing {
                    done_bytes,
                    total_bytes,
                });
            });
            *lock(&shared) = match result {
                Ok(()) => {
                    tracing::info!("data reaches the end of the disk");
                    None
                }
                Err(e) => {
                    let cause = std::error::Error::source(&e)
                        .map(|e| format!(": {e}"))
                        .unwrap_or_default();
                    tracing::error!("growing data: {e}{cause}");
                    Some(Growth::Failed {
                        reason: format!("The storage could not be enlarged ({e}{cause})."),
                    })
                }
            };
        });
    }

    /// Sizes and growing, as they are now.
    pub fn status(&self) -> Result<StorageStatus, GrowError> {
        let open = |source| GrowError::Io {
            action: "open the disk",
            source,
        };
        let mut disk = KernelDisk::open(&self.paths, false).map_err(open)?;
        let survey = grow::survey(&mut disk)?;
        let free = rustix::fs::fstatvfs(&disk.mount).map_err(|e| GrowError::Io {
            action: "ask for the free space of data",
            source: e.into(),
        })?;
        let growth = match lock(&self.current).clone() {
            Some(Growth::Growing { total_bytes: 0, .. }) => Growth::Growing {
                done_bytes: survey.file_system.bytes(),
                total_bytes: survey.final_partition_bytes,
            },
            Some(growth) => growth,
            None if survey.is_complete() => Growth::Complete,
            None => Growth::Possible,
        };
        Ok(StorageStatus {
            disk: self.paths.disk.display().to_string(),
            disk_bytes: survey.disk_bytes,
            data_bytes: survey.file_system.bytes(),
            data_free_bytes: free.f_bavail.saturating_mul(free.f_frsize),
            growth,
        })
    }
}

fn run(paths: &Paths, progress: impl FnMut(u64, u64)) -> Result<(), GrowError> {
    let open = |source| GrowError::Io {
        action: "open the disk",
        source,
    };
    let mut disk = KernelDisk::open(paths, true).map_err(open)?;
    grow::grow(&mut disk, progress)
}

/// A thread that panicked leaves a value that is still true.
fn lock(current: &Mutex<Option<Growth>>) -> MutexGuard<'_, Option<Growth>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}
