//! What the table says, checked, and its bytes.

use crate::header::Header;
use crate::mbr::{self, Mbr};
use crate::{BACKUP_SECTORS, ENTRY_LEN, ENTRY_SECTORS, Guid, MAX_PARTITIONS, PRIMARY_SECTORS, SECTOR};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use thiserror::Error;

/// Longest name, in UTF-16 units.
const MAX_NAME: usize = 36;

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1: place in the table.
    pub number: u32,
    /// Label, as in `/dev/disk/by-partlabel`.
    pub name: String,
    /// What it is for.
    pub type_guid: Guid,
    /// Which one it is.
    pub unique_guid: Guid,
    /// First sector.
    pub first_lba: u64,
    /// Last sector, inclusive.
    pub last_lba: u64,
    /// Attribute bits; 0 is usual.
    pub attributes: u64,
}

impl Partition {
    /// Number of sectors.
    pub fn sectors(&self) -> u64 {
        self.last_lba - self.first_lba + 1
    }

    /// First byte on the disk.
    pub fn byte_offset(&self) -> u64 {
        self.first_lba * SECTOR as u64
    }

    /// Number of bytes.
    pub fn byte_len(&self) -> u64 {
        self.sectors() * SECTOR as u64
    }
}

/// Why a table is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    /// The disk has no room for a table, or more sectors than 2^63 / 512.
    #[error("a disk of {0} sectors cannot have a table")]
    DiskSize(u64),
    /// A number is 0, above 128 or not ascending.
    #[error("partition number {0} is out of order or out of range")]
    Number(u32),
    /// The name is longer than 36 UTF-16 units or has a NUL in it.
    #[error("partition {0}: the name does not fit")]
    Name(u32),
    /// The type is zero, which means "unused".
    #[error("partition {0}: the type is zero")]
    Type(u32),
    /// The partition is empty or reaches outside of the usable sectors.
    #[error("partition {0}: outside of the usable sectors")]
    Bounds(u32),
    /// Two partitions share a sector.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u32, u32),
    /// The partition for the hybrid MBR does not exist or lies beyond 2 TiB.
    #[error("the MBR cannot name that partition")]
    Mbr,
}

/// A table whose partitions are in bounds and do not overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    disk_guid: Guid,
    disk_sectors: u64,
    partitions: Vec<Partition>,
}

impl Table {
    /// Checks a table for a disk of `disk_sectors` sectors. Partitions are in the order of their numbers.
    pub fn new(disk_guid: Guid, disk_sectors: u64, partitions: Vec<Partition>) -> Result<Self, TableError> {
        if disk_sectors <= PRIMARY_SECTORS + BACKUP_SECTORS || disk_sectors > i64::MAX as u64 / SECTOR as u64
        {
            return Err(TableError::DiskSize(disk_sectors));
        }
        let usable = PRIMARY_SECTORS..=disk_sectors - BACKUP_SECTORS - 1;
        let mut previous = 0;
        for partition in &partitions {
            let number = partition.number;
            if number <= previous || number as usize > MAX_PARTITIONS {
                return Err(TableError::Number(number));
            }
            previous = number;
            if partition.name.encode_utf16().count() > MAX_NAME || partition.name.contains('\0') {
                return Err(TableError::Name(number));
            }
            if partition.type_guid == Guid::ZERO {
                return Err(TableError::Type(number));
            }
            let (first, last) = (partition.first_lba, partition.last_lba);
            if first > last || !usable.contains(&first) || !usable.contains(&last) {
                return Err(TableError::Bounds(number));
            }
        }
        let mut by_place: Vec<_> = partitions.iter().collect();
        by_place.sort_by_key(|p| p.first_lba);
        for pair in by_place.windows(2) {
            if pair[0].last_lba >= pair[1].first_lba {
                return Err(TableError::Overlap(pair[0].number, pair[1].number));
            }
        }
        Ok(Self {
            disk_guid,
            disk_sectors,
            partitions,
        })
    }

    /// Identity of the disk.
    pub fn disk_guid(&self) -> Guid {
        self.disk_guid
    }

    /// Size of the disk **that this table was written for**; the disk may be bigger (an image on a card).
    pub fn disk_sectors(&self) -> u64 {
        self.disk_sectors
    }

    /// The partitions in the order of their numbers.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The only partition of that name; `None` when there is none, or more than one.
    pub fn by_name(&self, name: &str) -> Option<&Partition> {
        let mut all = self.partitions.iter().filter(|p| p.name == name);
        all.next().filter(|_| all.next().is_none())
    }

    /// Sectors 0 to 33: MBR, header, entries.
    pub fn primary(&self, kind: Mbr) -> Result<Vec<u8>, TableError> {
        let mut bytes = mbr::sector(kind, self).ok_or(TableError::Mbr)?.to_vec();
        bytes.extend_from_slice(&self.primary_header());
        bytes.extend_from_slice(&self.entries());
        Ok(bytes)
    }

    /// The last 33 sectors of the disk: entries, header.
    pub fn backup(&self) -> Vec<u8> {
        let mut bytes = self.entries();
        bytes.extend_from_slice(&self.backup_header());
        bytes
    }

    pub(crate) fn primary_header(&self) -> [u8; SECTOR] {
        self.header(1, self.disk_sectors - 1, 2)
    }

    pub(crate) fn backup_header(&self) -> [u8; SECTOR] {
        self.header(self.disk_sectors - 1, 1, self.disk_sectors - BACKUP_SECTORS)
    }

    fn header(&self, my_lba: u64, alternate_lba: u64, entries_lba: u64) -> [u8; SECTOR] {
        Header {
            my_lba,
            alternate_lba,
            first_usable: PRIMARY_SECTORS,
            last_usable: self.disk_sectors - BACKUP_SECTORS - 1,
            disk_guid: self.disk_guid,
            entries_lba,
            entry_count: MAX_PARTITIONS as u32,
            entries_crc: crc32fast::hash(&self.entries()),
        }
        .encode()
    }

    pub(crate) fn entries(&self) -> Vec<u8> {
        let mut bytes = vec![0; ENTRY_SECTORS as usize * SECTOR];
        for partition in &self.partitions {
            let entry = &mut bytes[(partition.number as usize - 1) * ENTRY_LEN..][..ENTRY_LEN];
            entry[..16].copy_from_slice(&partition.type_guid.to_disk());
            entry[16..32].copy_from_slice(&partition.unique_guid.to_disk());
            entry[32..40].copy_from_slice(&partition.first_lba.to_le_bytes());
            entry[40..48].copy_from_slice(&partition.last_lba.to_le_bytes());
            entry[48..56].copy_from_slice(&partition.attributes.to_le_bytes());
            for (unit, place) in partition.name.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
                place.copy_from_slice(&unit.to_le_bytes());
            }
        }
        bytes
    }
}

/// One entry; `None` when it is unused. What is no text in its name becomes U+FFFD, one unit for one unit.
pub(crate) fn parse_entry(number: u32, entry: &[u8; ENTRY_LEN]) -> Option<Partition> {
    let guid = |at: usize| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&entry[at..at + 16]);
        Guid::from_disk(bytes)
    };
    let number_at = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&entry[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    if guid(0) == Guid::ZERO {
        return None;
    }
    let units = entry[56..]
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let name = char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Some(Partition {
        number,
        name,
        type_guid: guid(0),
        unique_guid: guid(16),
        first_lba: number_at(32),
        last_lba: number_at(40),
        attributes: number_at(48),
    })
}
