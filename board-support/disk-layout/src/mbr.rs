//! Sector 0.

use crate::{SECTOR, Table};

/// What sector 0 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mbr {
    /// One entry that covers the disk: for UEFI firmware.
    Protective,
    /// The partition of this number (from 1) also as FAT32: the boot ROM of the Pi 3 reads only MBR tables.
    /// Beside it the entry that Linux and U-Boot want to see before they believe in the GPT: type 0xEE, beginning
    /// at sector 1 (`is_pmbr_valid` in Linux `block/partitions/efi.c` and U-Boot `disk/part_efi.c`).
    Hybrid {
        /// Number of the FAT partition.
        firmware: u32,
    },
}

const FAT32_LBA: u8 = 0x0c;
const PROTECTIVE: u8 = 0xee;

/// The sector; `None` when there is no such partition, or it lies where an MBR cannot point to.
pub(crate) fn sector(kind: Mbr, table: &Table) -> Option<[u8; SECTOR]> {
    let mut bytes = [0; SECTOR];
    match kind {
        // Not the size of the disk, though it is known: so that growing never has to touch this sector.
        Mbr::Protective => put(&mut bytes, 0, PROTECTIVE, 1, u32::MAX),
        Mbr::Hybrid { firmware } => {
            let partition = table.partitions().iter().find(|p| p.number == firmware)?;
            let first = u32::try_from(partition.first_lba).ok()?;
            let sectors = u32::try_from(partition.sectors()).ok()?;
            put(&mut bytes, 0, FAT32_LBA, first, sectors);
            put(&mut bytes, 1, PROTECTIVE, 1, first - 1);
        }
    }
    bytes[510..].copy_from_slice(&[0x55, 0xaa]);
    Some(bytes)
}

fn put(bytes: &mut [u8; SECTOR], index: usize, kind: u8, first: u32, sectors: u32) {
    let at = 446 + index * 16;
    // Cylinders, heads, sectors: "beyond what these can say", except for the start that UEFI demands of 0xEE.
    let start = if kind == PROTECTIVE {
        [0x00, 0x02, 0x00]
    } else {
        [0xfe, 0xff, 0xff]
    };
    bytes[at + 1..at + 4].copy_from_slice(&start);
    bytes[at + 4] = kind;
    bytes[at + 5..at + 8].copy_from_slice(&[0xff, 0xff, 0xff]);
    bytes[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
    bytes[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
}
