//! The partition table of the appliance's disk: GPT (UEFI specification 2.10, chapter 5), with an entry in the MBR
//! for the boot ROM of the Pi 3. Read, write, grow, repair.
//!
//! Boot manager, early-boot, provisioner and image builder share this crate, because they must agree on what a
//! torn table is: [`read`] takes the primary copy, and if it is damaged the backup **in the last sector of the
//! disk**. Linux does the same only with `gpt` on its command line; ours carries it.
//!
//! Sectors have 512 bytes. `no_std` with `alloc`; the caller does the reading and writing:
//!
//! ```
//! # let disk = vec![0_u8; 1 << 20];
//! let found = disk_layout::read(disk.len() as u64 / 512, |lba, into: &mut [u8]| {
//!     let at = lba as usize * 512;
//!     into.copy_from_slice(&disk[at..at + into.len()]);
//!     Ok::<(), std::io::Error>(())
//! });
//! # assert!(found.is_err());
//! ```

#![no_std]

extern crate alloc;

mod grow;
mod guid;
mod header;
mod mbr;
mod read;
mod table;

pub use grow::{GrowError, Growth, SectorWrite, grow_last, repair_primary};
pub use guid::{Guid, types};
pub use header::CopyError;
pub use mbr::Mbr;
pub use read::{Found, ReadError, read, read_slice};
pub use table::{Partition, Table, TableError};

/// Bytes of a sector.
pub const SECTOR: usize = 512;
/// Most partitions, and the number of entries that are written.
pub const MAX_PARTITIONS: usize = 128;
/// Sectors at the beginning of the disk that belong to the table: MBR, header, entries.
pub const PRIMARY_SECTORS: u64 = 34;
/// Sectors at the end of the disk that belong to the table: entries, header.
pub const BACKUP_SECTORS: u64 = 33;

/// Sectors of the entries as written.
const ENTRY_SECTORS: u64 = 32;
/// Bytes of one entry.
const ENTRY_LEN: usize = 128;
