//! Properties of reading, growing and repairing, on disks in memory.

use disk_layout::{
    Guid, Mbr, Partition, SECTOR, SectorWrite, Table, TableError, grow_last, read_slice, repair_primary,
    types,
};
use proptest::prelude::*;

const SECTORS: u64 = 512;

fn partition(number: u32, name: &str, first_lba: u64, sectors: u64) -> Partition {
    Partition {
        number,
        name: name.into(),
        type_guid: if number == 1 {
            types::EFI_SYSTEM
        } else {
            types::LINUX_DATA
        },
        unique_guid: Guid::from_u128(0x1000 + u128::from(number)),
        first_lba,
        last_lba: first_lba + sectors - 1,
        attributes: 0,
    }
}

fn table(disk_sectors: u64) -> Table {
    let partitions = vec![
        partition(1, "firmware", 40, 20),
        partition(2, "bootstate", 60, 8),
        partition(3, "data", 80, 96),
    ];
    Table::new(Guid::from_u128(7), disk_sectors, partitions).expect("a valid table")
}

fn disk(table: &Table, sectors: u64) -> Vec<u8> {
    let mut disk = vec![0xa5; sectors as usize * SECTOR];
    let primary = table
        .primary(Mbr::Hybrid { firmware: 1 })
        .expect("room in the MBR");
    disk[..primary.len()].copy_from_slice(&primary);
    let end = table.disk_sectors() as usize * SECTOR;
    let backup = table.backup();
    disk[end - backup.len()..end].copy_from_slice(&backup);
    disk
}

fn apply(disk: &mut [u8], write: &SectorWrite, bytes: usize) {
    let at = write.byte_offset() as usize;
    disk[at..at + bytes].copy_from_slice(&write.bytes[..bytes]);
}

/// The states of the disk when writing stops after each byte of each write.
/// Sectors of the write behind the tear may be old; within the torn sector the rest is old too.
fn after_every_cut(start: &[u8], writes: &[SectorWrite], mut check: impl FnMut(&[u8], usize)) {
    let mut disk = start.to_vec();
    for (index, write) in writes.iter().enumerate() {
        for bytes in 0..write.bytes.len() {
            // The run of zeros behind the entries changes nothing: its beginning and end are enough.
            if bytes > 600 && bytes % SECTOR > 2 {
                continue;
            }
            let mut cut = disk.clone();
            apply(&mut cut, write, bytes);
            check(&cut, index);
        }
        apply(&mut disk, write, write.bytes.len());
    }
    check(&disk, writes.len());
}

#[test]
fn what_was_written_reads_back() {
    let table = table(SECTORS);
    let found = read_slice(&disk(&table, SECTORS)).unwrap();
    assert_eq!((&found.table, found.primary_damage), (&table, None));
    assert_eq!(table.by_name("data").unwrap().byte_offset(), 80 * 512);
    assert_eq!(table.by_name("none"), None);
}

#[test]
fn a_cut_while_growing_leaves_the_old_table_or_the_new_one() {
    let old = table(SECTORS / 2);
    let start = disk(&old, SECTORS);
    let growth = grow_last(&read_slice(&start).unwrap(), SECTORS).unwrap().unwrap();
    assert_eq!(
        growth.table.by_name("data").unwrap().last_lba,
        SECTORS - 33 - 1 - 7
    );
    assert!(
        growth.writes.iter().all(|write| write.lba > 0),
        "the hybrid MBR is not touched"
    );
    let mut seen = [false; 2];
    after_every_cut(&start, &growth.writes, |cut, _| {
        let found = read_slice(cut).unwrap();
        assert!(found.table == old || found.table == growth.table);
        seen[usize::from(found.table == growth.table)] = true;
        // Wherever it stopped, doing it again from what is found completes it.
        let mut again = cut.to_vec();
        if let Some(rest) = grow_last(&found, SECTORS).unwrap() {
            rest.writes
                .iter()
                .for_each(|write| apply(&mut again, write, write.bytes.len()));
        }
        let whole = read_slice(&again).unwrap();
        assert_eq!((&whole.table, whole.primary_damage), (&growth.table, None));
    });
    assert_eq!(seen, [true; 2]);
}

#[test]
fn growing_twice_does_nothing() {
    let old = table(SECTORS / 2);
    let mut disk = disk(&old, SECTORS);
    let growth = grow_last(&read_slice(&disk).unwrap(), SECTORS).unwrap().unwrap();
    growth
        .writes
        .iter()
        .for_each(|write| apply(&mut disk, write, write.bytes.len()));
    assert_eq!(grow_last(&read_slice(&disk).unwrap(), SECTORS).unwrap(), None);
}

#[test]
fn a_cut_while_growing_from_a_repaired_primary_leaves_a_table() {
    let old = table(SECTORS);
    let mut start = disk(&old, SECTORS);
    start[SECTOR * 2 + 40] ^= 1;
    let growth = grow_last(&read_slice(&start).unwrap(), SECTORS).unwrap().unwrap();
    assert_eq!(growth.writes.len(), 6);
    after_every_cut(&start, &growth.writes, |cut, _| {
        let found = read_slice(cut).unwrap();
        assert!(found.table == old || found.table == growth.table);
    });
}

#[test]
fn a_torn_primary_is_read_from_the_last_sectors_and_mended() {
    let table = table(SECTORS);
    let whole = disk(&table, SECTORS);
    for at in (SECTOR..SECTOR + 92).chain(2 * SECTOR..2 * SECTOR + 3 * 128) {
        let mut torn = whole.clone();
        torn[at] ^= 0x20;
        let found = read_slice(&torn).unwrap();
        assert_eq!(found.table, table);
        assert!(found.primary_damage.is_some(), "byte {at}");
        if at % 64 == 0 {
            after_every_cut(&torn, &repair_primary(&found.table), |cut, _| {
                assert_eq!(read_slice(cut).unwrap().table, table);
            });
        }
        repair_primary(&found.table)
            .iter()
            .for_each(|write| apply(&mut torn, write, write.bytes.len()));
        assert_eq!(torn, whole);
    }
}

#[test]
fn a_disk_smaller_than_its_table_is_not_believed() {
    let whole = disk(&table(SECTORS), SECTORS);
    assert!(read_slice(&whole[..whole.len() - SECTOR]).is_err());
}

#[test]
fn an_empty_and_a_tiny_disk_have_no_table() {
    for sectors in [0, 1, 2, 34, 67, 68] {
        assert!(read_slice(&vec![0; sectors * SECTOR]).is_err());
    }
}

#[test]
fn overlapping_and_outlying_partitions_are_refused() {
    let with = |change: &dyn Fn(&mut Vec<Partition>)| {
        let mut partitions = table(SECTORS).partitions().to_vec();
        change(&mut partitions);
        Table::new(Guid::from_u128(7), SECTORS, partitions).map(|_| ())
    };
    assert_eq!(with(&|_| ()), Ok(()));
    assert_eq!(with(&|p| p[0].last_lba = 60), Err(TableError::Overlap(1, 2)));
    assert_eq!(with(&|p| p[0].first_lba = 33), Err(TableError::Bounds(1)));
    assert_eq!(
        with(&|p| p[2].last_lba = SECTORS - 33),
        Err(TableError::Bounds(3))
    );
    assert_eq!(with(&|p| p[2].last_lba = SECTORS - 34), Ok(()));
    assert_eq!(with(&|p| p[2].first_lba = u64::MAX), Err(TableError::Bounds(3)));
    assert_eq!(with(&|p| p[1].number = 1), Err(TableError::Number(1)));
    assert_eq!(with(&|p| p[2].number = 129), Err(TableError::Number(129)));
    assert_eq!(with(&|p| p[1].name = "x".repeat(37)), Err(TableError::Name(2)));
    assert_eq!(with(&|p| p[1].type_guid = Guid::ZERO), Err(TableError::Type(2)));
}

#[test]
fn guids_read_as_they_are_written() {
    let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    assert_eq!(Guid::parse(text), Some(types::EFI_SYSTEM));
    assert_eq!(Guid::parse(&text.to_uppercase()), Some(types::EFI_SYSTEM));
    assert_eq!(types::EFI_SYSTEM.to_string(), text);
    assert_eq!(types::EFI_SYSTEM.to_disk()[..4], [0x28, 0x73, 0x2a, 0xc1]);
    for bad in ["", "c12a7328", &text.replace('-', "+"), &text.replace('c', "g")] {
        assert_eq!(Guid::parse(bad), None);
    }
}

proptest! {
    /// Within one write the device may put sectors on the medium in any order, and tear one of them.
    #[test]
    fn sectors_of_the_cut_write_in_any_order_leave_a_table(
        extra in 1..SECTORS / 2,
        stop in 0..4_usize,
        landed in prop::collection::vec(any::<bool>(), 32),
        torn in 0..32_usize,
        torn_at in 0..SECTOR,
    ) {
        let old = table(SECTORS / 2);
        let sectors = SECTORS / 2 + extra;
        let mut disk = disk(&old, sectors);
        let growth = grow_last(&read_slice(&disk).unwrap(), sectors).unwrap().unwrap();
        growth.writes[..stop].iter().for_each(|write| apply(&mut disk, write, write.bytes.len()));
        let cut = &growth.writes[stop];
        let at = cut.byte_offset() as usize;
        for (index, sector) in cut.bytes.chunks(SECTOR).enumerate() {
            let len = if index == torn { torn_at } else if landed[index] { SECTOR } else { 0 };
            disk[at + index * SECTOR..][..len].copy_from_slice(&sector[..len]);
        }
        let found = read_slice(&disk).unwrap();
        prop_assert!(found.table == old || found.table == growth.table);
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_believe_in_partitions_outside(
        changes in prop::collection::vec((SECTOR..SECTOR * 3, any::<u8>()), 0..6),
        crc in any::<bool>(),
        sectors in 0..SECTORS,
    ) {
        let mut disk = disk(&table(SECTORS / 2), SECTORS);
        for (at, value) in changes {
            disk[at] = value;
        }
        if crc {
            // Make the damage pass the checksum, to reach what is behind it.
            disk[SECTOR + 16..SECTOR + 20].fill(0);
            let sum = crc32fast::hash(&disk[SECTOR..SECTOR + 92]);
            disk[SECTOR + 16..SECTOR + 20].copy_from_slice(&sum.to_le_bytes());
        }
        disk.truncate(sectors as usize * SECTOR);
        if let Ok(found) = read_slice(&disk) {
            for partition in found.table.partitions() {
                prop_assert!(partition.last_lba < sectors);
            }
        }
    }
}
