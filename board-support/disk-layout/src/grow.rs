//! Changes to a table on a disk, as writes that may be cut anywhere.

use crate::header::Copy;
use crate::{BACKUP_SECTORS, Found, Partition, SECTOR, Table, TableError};
use alloc::vec;
use alloc::vec::Vec;
use thiserror::Error;

/// One write of whole sectors. **Flush the disk after each, in their order**, or a power cut can hit both copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectorWrite {
    /// First sector.
    pub lba: u64,
    /// A whole number of sectors.
    pub bytes: Vec<u8>,
}

impl SectorWrite {
    /// First byte on the disk.
    pub fn byte_offset(&self) -> u64 {
        self.lba * SECTOR as u64
    }
}

/// A bigger table, and how to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// The table once all is written.
    pub table: Table,
    /// The writes in their order.
    pub writes: Vec<SectorWrite>,
}

/// Why a table cannot grow.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GrowError {
    /// The disk is smaller than the table says.
    #[error("the disk has {disk} sectors, its table was written for {table}")]
    SmallerDisk {
        /// Sectors of the disk.
        disk: u64,
        /// Sectors in the table.
        table: u64,
    },
    /// There is no partition to grow.
    #[error("the table is empty")]
    Empty,
    /// The result would not be a table.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Grows the last partition on the disk to the end of a disk of `disk_sectors` sectors, and mends a damaged primary.
///
/// `None` when there is nothing to do. After any prefix of the writes, the last one torn at any byte,
/// [`crate::read`] finds the old table or the new one: the backup goes to the new end first; only when it is whole
/// the primary is touched. A damaged primary is repaired before. Sector 0 is never written.
pub fn grow_last(found: &Found, disk_sectors: u64) -> Result<Option<Growth>, GrowError> {
    let old = &found.table;
    if disk_sectors < old.disk_sectors() {
        return Err(GrowError::SmallerDisk {
            disk: disk_sectors,
            table: old.disk_sectors(),
        });
    }
    let mut partitions = old.partitions().to_vec();
    let last: &mut Partition = partitions
        .iter_mut()
        .max_by_key(|p| p.first_lba)
        .ok_or(GrowError::Empty)?;
    // File systems count in blocks of 4096 bytes: keep the size a multiple of that.
    let room = (disk_sectors - BACKUP_SECTORS).saturating_sub(last.first_lba) / 8 * 8;
    let grows = room > last.sectors();
    if grows {
        last.last_lba = last.first_lba + room - 1;
    }
    let table = Table::new(old.disk_guid(), disk_sectors, partitions)?;
    let mut writes = if found.primary_damage.is_some() {
        repair_primary(old)
    } else {
        Vec::new()
    };
    // A few sectors more do not make the partition bigger, yet the backup belongs into the last one.
    if grows || disk_sectors > old.disk_sectors() {
        writes.extend(copy_writes(&table, Copy::Backup));
        writes.extend(copy_writes(&table, Copy::Primary));
    }
    Ok((!writes.is_empty()).then_some(Growth { table, writes }))
}

/// The writes that make a damaged primary copy whole from the table that was found in the backup.
/// The MBR is not part of it.
pub fn repair_primary(table: &Table) -> Vec<SectorWrite> {
    copy_writes(table, Copy::Primary)
}

/// Entries first: until the header is written too, the copy as a whole is not valid.
fn copy_writes(table: &Table, copy: Copy) -> Vec<SectorWrite> {
    let (entries_lba, header_lba, header) = match copy {
        Copy::Primary => (2, 1, table.primary_header()),
        Copy::Backup => {
            let sectors = table.disk_sectors();
            (sectors - BACKUP_SECTORS, sectors - 1, table.backup_header())
        }
    };
    vec![
        SectorWrite {
            lba: entries_lba,
            bytes: table.entries(),
        },
        SectorWrite {
            lba: header_lba,
            bytes: header.to_vec(),
        },
    ]
}
