//! One of the two headers.

use crate::{ENTRY_LEN, Guid, MAX_PARTITIONS, PRIMARY_SECTORS, SECTOR, TableError};
use thiserror::Error;

const SIGNATURE: [u8; 8] = *b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const LEN: usize = 92;

/// Why one copy of the table was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CopyError {
    /// No `EFI PART`: not a GPT, or torn.
    #[error("no GPT header")]
    Signature,
    /// A revision or size of header or entries that is not known here.
    #[error("GPT header of an unknown shape")]
    Shape,
    /// CRC-32 of the header.
    #[error("damaged header (CRC differs)")]
    HeaderCrc,
    /// CRC-32 of the entries.
    #[error("damaged entries (CRC differs)")]
    EntriesCrc,
    /// A sector number in the header is not where it may be.
    #[error("{0} in the header is out of bounds")]
    Bounds(&'static str),
    /// The partitions contradict each other.
    #[error(transparent)]
    Table(TableError),
}

/// The fields of a header, in bounds once parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub my_lba: u64,
    pub alternate_lba: u64,
    pub first_usable: u64,
    pub last_usable: u64,
    pub disk_guid: Guid,
    pub entries_lba: u64,
    pub entry_count: u32,
    pub entries_crc: u32,
}

/// Which of the two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    Primary,
    Backup,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &SIGNATURE);
        put(8, &REVISION.to_le_bytes());
        put(12, &(LEN as u32).to_le_bytes());
        put(24, &self.my_lba.to_le_bytes());
        put(32, &self.alternate_lba.to_le_bytes());
        put(40, &self.first_usable.to_le_bytes());
        put(48, &self.last_usable.to_le_bytes());
        put(56, &self.disk_guid.to_disk());
        put(72, &self.entries_lba.to_le_bytes());
        put(80, &self.entry_count.to_le_bytes());
        put(84, &(ENTRY_LEN as u32).to_le_bytes());
        put(88, &self.entries_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..LEN]);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header in sector `lba` of a disk of `disk_sectors` sectors.
    pub(crate) fn parse(
        bytes: &[u8; SECTOR],
        copy: Copy,
        lba: u64,
        disk_sectors: u64,
    ) -> Result<Self, CopyError> {
        if bytes[..8] != SIGNATURE {
            return Err(CopyError::Signature);
        }
        if u32_at(bytes, 8) != REVISION
            || u32_at(bytes, 12) as usize != LEN
            || u32_at(bytes, 84) as usize != ENTRY_LEN
        {
            return Err(CopyError::Shape);
        }
        let mut zeroed = *bytes;
        zeroed[16..20].fill(0);
        if crc32fast::hash(&zeroed[..LEN]) != u32_at(bytes, 16) {
            return Err(CopyError::HeaderCrc);
        }
        let mut guid = [0; 16];
        guid.copy_from_slice(&bytes[56..72]);
        let header = Self {
            my_lba: u64_at(bytes, 24),
            alternate_lba: u64_at(bytes, 32),
            first_usable: u64_at(bytes, 40),
            last_usable: u64_at(bytes, 48),
            disk_guid: Guid::from_disk(guid),
            entries_lba: u64_at(bytes, 72),
            entry_count: u32_at(bytes, 80),
            entries_crc: u32_at(bytes, 88),
        };
        header.check_bounds(copy, lba, disk_sectors)?;
        Ok(header)
    }

    fn check_bounds(&self, copy: Copy, lba: u64, disk_sectors: u64) -> Result<(), CopyError> {
        let bounds = |ok: bool, what| if ok { Ok(()) } else { Err(CopyError::Bounds(what)) };
        bounds(self.my_lba == lba, "its own sector")?;
        bounds(
            (1..=MAX_PARTITIONS as u32).contains(&self.entry_count),
            "the number of entries",
        )?;
        let alternate_ok = match copy {
            Copy::Primary => self.alternate_lba > lba && self.alternate_lba < disk_sectors,
            Copy::Backup => self.alternate_lba == 1,
        };
        bounds(alternate_ok, "the other copy's sector")?;
        let end = self.table_sectors() - 1;
        bounds(
            // What is below is ours to write: a partition there would be overwritten by a repair.
            self.first_usable >= PRIMARY_SECTORS
                && self.first_usable <= self.last_usable
                && self.last_usable < end,
            "the usable range",
        )?;
        let entries_end = self.entries_lba.checked_add(self.entry_sectors());
        let entries_ok = match copy {
            Copy::Primary => self.entries_lba >= 2 && entries_end.is_some_and(|end| end <= self.first_usable),
            Copy::Backup => self.entries_lba > self.last_usable && entries_end.is_some_and(|e| e <= end),
        };
        bounds(entries_ok, "the entries' sector")
    }

    /// Sectors of the disk that this header was written for.
    pub(crate) fn table_sectors(&self) -> u64 {
        self.my_lba.max(self.alternate_lba) + 1
    }

    pub(crate) fn entry_sectors(&self) -> u64 {
        (u64::from(self.entry_count) * ENTRY_LEN as u64).div_ceil(SECTOR as u64)
    }
}

fn u32_at(bytes: &[u8; SECTOR], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; SECTOR], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
