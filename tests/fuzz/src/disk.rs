//! The partition table.

use std::collections::BTreeMap;

use disk_layout::{Mbr, SECTOR, SectorWrite, Table, grow_last, read};

use crate::{accept, padded};

/// A disk of which only written sectors are kept.
struct Disk {
    sectors: u64,
    written: BTreeMap<u64, [u8; SECTOR]>,
}

impl Disk {
    fn write(&mut self, write: &SectorWrite) {
        let (sectors, rest) = write.bytes.as_chunks::<SECTOR>();
        assert!(
            rest.is_empty() && write.lba > 0,
            "sector 0 or a part of a sector would be written"
        );
        for (sector, lba) in sectors.iter().zip(write.lba..) {
            assert!(lba < self.sectors, "a write beyond the disk");
            self.written.insert(lba, *sector);
        }
    }

    fn read(&self) -> Result<disk_layout::Found, disk_layout::ReadError<std::convert::Infallible>> {
        read(self.sectors, |lba, into: &mut [u8]| {
            let (sectors, rest) = into.as_chunks_mut::<SECTOR>();
            assert!(rest.is_empty() && !sectors.is_empty());
            for (sector, lba) in sectors.iter_mut().zip(lba..) {
                assert!(lba < self.sectors, "a read beyond the disk");
                *sector = self.written.get(&lba).copied().unwrap_or([0; SECTOR]);
            }
            Ok(())
        })
    }
}

/// A disk: its sectors (8 bytes), primary header, backup header (512 each), entries for both.
///
/// Reads stay on the disk; partitions are in bounds and do not overlap; the table written out reads the same without damage;
/// grown to the end of the disk it reads as promised, from any damage, with writes that stay on the disk.
pub fn disk_layout(bytes: &[u8]) {
    let sectors = u64::from_le_bytes(padded(bytes, 0));
    let headers: [[u8; SECTOR]; 2] = [padded(bytes, 8), padded(bytes, 8 + SECTOR)];
    let entries = bytes.get(8 + 2 * SECTOR..).unwrap_or_default();
    for sealed in [false, true] {
        let mut disk = Disk {
            sectors,
            written: BTreeMap::new(),
        };
        let headers = headers.map(|header| if sealed { seal(header, entries) } else { header });
        for header in &headers {
            let entries_lba = u64::from_le_bytes(padded(header, 72));
            for (index, chunk) in (0..32).zip(entries.chunks(SECTOR)) {
                if let Some(lba) = entries_lba.checked_add(index) {
                    disk.written.insert(lba, padded(chunk, 0));
                }
            }
        }
        disk.written.insert(sectors.saturating_sub(1), headers[1]);
        disk.written.insert(1, headers[0]);
        check(disk);
    }
}

/// Both checksums of a header made right.
fn seal(mut header: [u8; SECTOR], entries: &[u8]) -> [u8; SECTOR] {
    let count = u32::from_le_bytes(padded(&header, 80)) as usize;
    let mut covered = entries.to_vec();
    covered.resize(count.min(disk_layout::MAX_PARTITIONS) * 128, 0);
    header[88..92].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
    header[16..20].fill(0);
    let crc = crc32fast::hash(&header[..92]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    header
}

fn check(mut disk: Disk) {
    let Ok(found) = disk.read() else {
        return;
    };
    accept();
    let table = &found.table;
    assert!(table.disk_sectors() <= disk.sectors);
    let mut places: Vec<_> = table
        .partitions()
        .iter()
        .map(|p| (p.first_lba, p.last_lba))
        .collect();
    places.sort_unstable();
    assert!(
        places
            .iter()
            .all(|(first, last)| *first >= 34 && first <= last && *last < table.disk_sectors() - 33)
    );
    assert!(
        places.windows(2).all(|pair| pair[0].1 < pair[1].0),
        "partitions overlap"
    );
    for partition in table.partitions() {
        assert_eq!(partition.byte_len(), partition.sectors() * SECTOR as u64);
        assert!(
            partition
                .byte_offset()
                .checked_add(partition.byte_len())
                .is_some()
        );
    }
    for kind in [Mbr::Protective, Mbr::Hybrid { firmware: 1 }] {
        if let Ok(primary) = table.primary(kind) {
            reads_back(table, primary, table.backup());
        }
    }
    let growth = grow_last(&found, disk.sectors);
    if let Ok(Some(growth)) = growth {
        assert_eq!(growth.table.disk_sectors(), disk.sectors);
        for write in &growth.writes {
            disk.write(write);
            let now = disk.read().expect("no table after a write").table;
            assert!(
                now == *table || now == growth.table,
                "neither the old table nor the new one"
            );
        }
        let grown = disk.read().expect("no table after growing");
        assert_eq!((grown.table, grown.primary_damage), (growth.table, None));
    }
}

fn reads_back(table: &Table, primary: Vec<u8>, backup: Vec<u8>) {
    let sectors = table.disk_sectors();
    let mut disk = Disk {
        sectors,
        written: BTreeMap::new(),
    };
    let backup_lba = sectors - disk_layout::BACKUP_SECTORS;
    disk.write(&SectorWrite {
        lba: 1,
        bytes: primary[SECTOR..].to_vec(),
    });
    disk.write(&SectorWrite {
        lba: backup_lba,
        bytes: backup,
    });
    let found = disk.read().expect("a table that was written cannot be read");
    assert!(found.table == *table && found.primary_damage.is_none());
    disk.written.remove(&1);
    let found = disk.read().expect("the backup cannot be read");
    assert!(found.table == *table && found.primary_damage.is_some());
}
