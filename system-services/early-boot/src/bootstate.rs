//! The sequence number in `bootstate`: tells two cards with the same image apart.

use std::fs::File;
use std::os::unix::fs::FileExt;

use boot_state::{Bootstate, COPY_OFFSETS, SECTOR_LEN};
use disk_layout::Partition;

/// Label of the partition.
pub const PARTITION: &str = "bootstate";

/// Sequence number of the newest valid copy; `None` when there is no valid one or the disk cannot be read.
pub fn sequence(disk: &File, partition: &Partition) -> Option<u64> {
    let mut copies = [[0; SECTOR_LEN]; 2];
    for (copy, offset) in copies.iter_mut().zip(COPY_OFFSETS) {
        if offset + SECTOR_LEN as u64 > partition.byte_len() {
            return None;
        }
        disk.read_exact_at(copy, partition.byte_offset() + offset).ok()?;
    }
    let store = Bootstate::load([&copies[0], &copies[1]]);
    (!store.is_default()).then(|| store.sequence())
}

#[cfg(test)]
mod tests {
    use disk_layout::{Guid, types};

    use super::*;

    #[test]
    fn the_newest_valid_copy_counts_and_none_is_none() {
        let partition = Partition {
            number: 2,
            name: PARTITION.into(),
            type_guid: types::LINUX_DATA,
            unique_guid: Guid::ZERO,
            first_lba: 8,
            last_lba: 8 + 2047,
            attributes: 0,
        };
        let at = |copy: usize| (8 * 512 + COPY_OFFSETS[copy]) as usize;
        let mut disk = vec![0; 8 * 512 + (1 << 20)];
        let folder = tempfile::tempdir().unwrap();
        let read = |disk: &[u8]| {
            std::fs::write(folder.path().join("disk"), disk).unwrap();
            sequence(&File::open(folder.path().join("disk")).unwrap(), &partition)
        };
        assert_eq!(read(&disk), None);
        let copies = Bootstate::initial();
        for copy in [0, 1] {
            disk[at(copy)..at(copy) + SECTOR_LEN].copy_from_slice(&copies[copy]);
        }
        assert_eq!(read(&disk), Some(2));
        disk[at(1) + 100] ^= 1;
        assert_eq!(read(&disk), Some(1));
        assert_eq!(read(&disk[..at(1)]), None, "the disk ends before the second copy");
    }
}
