//! Reading a table from a disk.

use crate::header::{Copy, CopyError, Header};
use crate::table::parse_entry;
use crate::{ENTRY_LEN, SECTOR, Table};
use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;
use thiserror::Error;

/// A table, and which copy it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The table.
    pub table: Table,
    /// Why the primary copy could not be used: then the table is the backup, and [`crate::repair_primary`] mends it.
    pub primary_damage: Option<CopyError>,
}

/// Why there is no table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError<E> {
    /// The disk could not be read.
    #[error("the disk cannot be read")]
    Io(#[source] E),
    /// Neither copy is usable.
    #[error("no partition table: primary: {primary}; backup: {backup}")]
    NoTable {
        /// What is wrong with the primary copy.
        primary: CopyError,
        /// What is wrong with the backup in the last sector.
        backup: CopyError,
    },
}

/// Reads the table of a disk of `disk_sectors` sectors: the primary copy, else the backup in the last sector.
///
/// `read_at(lba, buffer)` fills the buffer, a whole number of sectors, from sector `lba` on.
pub fn read<E>(
    disk_sectors: u64,
    mut read_at: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Found, ReadError<E>> {
    let primary = match read_copy(Copy::Primary, 1, disk_sectors, &mut read_at).map_err(ReadError::Io)? {
        Ok(table) => {
            return Ok(Found {
                table,
                primary_damage: None,
            });
        }
        Err(error) => error,
    };
    let last = disk_sectors.saturating_sub(1);
    match read_copy(Copy::Backup, last, disk_sectors, &mut read_at).map_err(ReadError::Io)? {
        Ok(table) => Ok(Found {
            table,
            primary_damage: Some(primary),
        }),
        Err(backup) => Err(ReadError::NoTable { primary, backup }),
    }
}

/// Reads the table of a disk (or image) in memory. Bytes beyond the last whole sector do not exist.
pub fn read_slice(disk: &[u8]) -> Result<Found, ReadError<Infallible>> {
    read((disk.len() / SECTOR) as u64, |lba, into: &mut [u8]| {
        // `read` stays within the sectors it was told of.
        let at = lba as usize * SECTOR;
        into.copy_from_slice(&disk[at..at + into.len()]);
        Ok(())
    })
}

fn read_copy<E>(
    copy: Copy,
    lba: u64,
    disk_sectors: u64,
    read_at: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Result<Table, CopyError>, E> {
    if lba == 0 || lba >= disk_sectors {
        return Ok(Err(CopyError::Signature));
    }
    let mut sector = [0; SECTOR];
    read_at(lba, &mut sector)?;
    let header = match Header::parse(&sector, copy, lba, disk_sectors) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error)),
    };
    let mut entries = vec![0; header.entry_sectors() as usize * SECTOR];
    read_at(header.entries_lba, &mut entries)?;
    entries.truncate(header.entry_count as usize * ENTRY_LEN);
    Ok(parse_entries(&header, &entries))
}

fn parse_entries(header: &Header, entries: &[u8]) -> Result<Table, CopyError> {
    if crc32fast::hash(entries) != header.entries_crc {
        return Err(CopyError::EntriesCrc);
    }
    let (entries, _) = entries.as_chunks::<ENTRY_LEN>();
    let partitions: Vec<_> = (1..)
        .zip(entries)
        .filter_map(|(number, entry)| parse_entry(number, entry))
        .collect();
    let outside =
        |p: &&crate::Partition| p.first_lba < header.first_usable || p.last_lba > header.last_usable;
    if let Some(partition) = partitions.iter().find(outside) {
        return Err(CopyError::Table(crate::TableError::Bounds(partition.number)));
    }
    Table::new(header.disk_guid, header.table_sectors(), partitions).map_err(CopyError::Table)
}
