use super::*;
use crate::flash::bmap::tests::document;
use disk_layout::{Guid, Mbr, Partition, Table, types};
use image_builder::progress::Console;
use std::cell::Cell;
use std::path::PathBuf;
use tempfile::TempDir;

const MIB: usize = 1 << 20;
const BLOCK: usize = 4096;
const IMAGE: usize = 7 * MIB;
const DISK: usize = 9 * MIB;
/// Where the second block of the slot is: empty.
const HOLE: usize = 2 * MIB + BLOCK;

/// An image with a firmware partition (1 MiB), a slot (2 MiB) and `data` (2 MiB); each begins with a block of its own.
fn image_bytes() -> Vec<u8> {
    let lba = |mib: usize| (mib * MIB / SECTOR) as u64;
    let part = |number, name: &str, from: usize, to: usize| Partition {
        number,
        name: name.into(),
        type_guid: types::LINUX_DATA,
        unique_guid: Guid::from_u128(number.into()),
        first_lba: lba(from),
        last_lba: lba(to) - 1,
        attributes: 0,
    };
    let partitions = vec![
        part(1, "firmware", 1, 2),
        part(2, "root-a", 2, 4),
        part(3, "data", 4, 6),
    ];
    let table = Table::new(Guid::from_u128(7), lba(7), partitions).unwrap();
    let mut image = vec![0; IMAGE];
    let primary = table.primary(Mbr::Protective).unwrap();
    image[..primary.len()].copy_from_slice(&primary);
    let backup = table.backup();
    image[IMAGE - backup.len()..].copy_from_slice(&backup);
    for (byte, mib) in [(1, 1), (2, 2), (3, 4)] {
        image[mib * MIB..mib * MIB + BLOCK].fill(byte);
    }
    image
}

fn block_map(image: &[u8]) -> String {
    let hex = |bytes: &[u8]| {
        Sha256::digest(bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    };
    let blocks: Vec<_> = image
        .chunks(BLOCK)
        .enumerate()
        .filter(|(_, b)| b.iter().any(|b| *b != 0))
        .map(|(i, b)| (i.to_string(), hex(b)))
        .collect();
    let ranges: Vec<_> = blocks
        .iter()
        .map(|(i, hash)| (i.as_str(), hash.clone()))
        .collect();
    document(image.len() as u64, BLOCK as u64, ranges.len() as u64, &ranges)
}

/// An image in a folder, and a disk full of old bytes.
struct Bench {
    folder: TempDir,
    bytes: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            bytes: image_bytes(),
        };
        std::fs::write(bench.path("x.img"), &bench.bytes).unwrap();
        std::fs::write(
            bench.path("x.img.zst"),
            zstd::encode_all(&bench.bytes[..], 1).unwrap(),
        )
        .unwrap();
        std::fs::write(bench.path("x.img.bmap"), block_map(&bench.bytes)).unwrap();
        bench.fresh_disk();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fresh_disk(&self) {
        std::fs::write(self.path("disk"), vec![0xee; DISK]).unwrap();
    }

    fn disk(&self) -> Vec<u8> {
        std::fs::read(self.path("disk")).unwrap()
    }

    fn flash(&self, image: &Image, stop: &dyn Fn() -> bool) -> Result<()> {
        let disk = open(&self.path("disk")).unwrap();
        check(image, &Console, &|| false)?;
        write(image, &disk, DISK as u64, &Console, stop)
    }

    fn image(&self) -> Image {
        Image::open(&self.path("x.img")).unwrap()
    }
}

#[test]
fn what_is_flashed_is_the_image_and_old_bytes_stay_only_where_a_slot_is_empty() {
    let bench = Bench::new();
    let zst = bench.path("x.img.zst");
    // zstd's one-shot encoder does not write the size: the map has it.
    bench.flash(&Image::open(&zst).unwrap(), &|| false).unwrap();
    let disk = bench.disk();
    assert_eq!(disk[..HOLE], bench.bytes[..HOLE]);
    assert!(
        disk[HOLE..4 * MIB].iter().all(|b| *b == 0xee),
        "the empty part of the slot was written"
    );
    assert_eq!(disk[4 * MIB..IMAGE], bench.bytes[4 * MIB..]);
    assert!(
        disk[DISK - MIB..].iter().all(|b| *b == 0),
        "an old backup table may have survived"
    );
}

#[test]
fn without_a_map_or_a_table_everything_is_written() {
    let bench = Bench::new();
    std::fs::remove_file(bench.path("x.img.bmap")).unwrap();
    bench.flash(&bench.image(), &|| false).unwrap();
    assert_eq!(bench.disk()[..IMAGE], bench.bytes);
    let map = crate::flash::bmap::parse(&block_map(&bench.bytes)).unwrap();
    assert_eq!(skippable(&[0; MIB], IMAGE as u64, Some(&map)), []);
    assert_eq!(
        skippable(&bench.bytes[..MIB], IMAGE as u64, Some(&map)),
        std::slice::from_ref(&(HOLE as u64..4 << 20))
    );
}

#[test]
fn a_disk_of_the_very_size_of_the_image_keeps_its_backup_table() {
    let bench = Bench::new();
    std::fs::write(bench.path("disk"), vec![0xee; IMAGE]).unwrap();
    let disk = open(&bench.path("disk")).unwrap();
    write(&bench.image(), &disk, IMAGE as u64, &Console, &|| false).unwrap();
    assert_eq!(bench.disk()[4 * MIB..], bench.bytes[4 * MIB..]);
    assert_eq!(bench.disk().len(), IMAGE);
}

#[test]
fn stopped_at_any_moment_the_disk_has_no_partition_table() {
    let bench = Bench::new();
    let image = bench.image();
    let mut finished = false;
    for moment in 0..100 {
        bench.fresh_disk();
        let polls = Cell::new(0);
        let stop = || polls.replace(polls.get() + 1) == moment;
        if bench.flash(&image, &stop).is_ok() {
            finished = true;
            break;
        }
        let disk = bench.disk();
        // The last moment is the reading back of the first MiB: whole by then.
        if disk[..MIB] != bench.bytes[..MIB] {
            assert!(disk[..MIB].iter().all(|b| *b == 0), "moment {moment}");
            assert!(disk_layout::read_slice(&disk).is_err(), "moment {moment}");
        } else {
            assert_eq!(disk[..HOLE], bench.bytes[..HOLE], "moment {moment}");
            assert_eq!(disk[4 * MIB..IMAGE], bench.bytes[4 * MIB..], "moment {moment}");
        }
    }
    assert!(finished, "never came to its end");
}

#[test]
fn a_byte_that_flips_on_the_disk_is_found_and_the_table_stays_away() {
    let bench = Bench::new();
    let other = OpenOptions::new().write(true).open(bench.path("disk")).unwrap();
    let polls = Cell::new(0);
    // After seven chunks were written the reading back begins: one bit is another one by then.
    let stop = || {
        if polls.replace(polls.get() + 1) == 7 {
            other.write_all_at(&[0x03 ^ 0x10], 4 * MIB as u64).unwrap();
            other.sync_all().unwrap();
        }
        false
    };
    let error = format!("{:#}", bench.flash(&bench.image(), &stop).unwrap_err());
    assert!(error.contains("come back other"), "{error}");
    assert!(bench.disk()[..MIB].iter().all(|b| *b == 0));
}

#[test]
fn a_damaged_image_leaves_the_disk_as_it_was() {
    let bench = Bench::new();
    let refused = |bytes: &[u8], file: &str, words: &str| {
        std::fs::write(bench.path(file), bytes).unwrap();
        let result = Image::open(&bench.path(file)).and_then(|image| bench.flash(&image, &|| false));
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.contains(words), "{error}");
        assert!(bench.disk().iter().all(|b| *b == 0xee), "{words}");
    };
    let changed = |at: usize, to: u8| {
        let mut bytes = bench.bytes.clone();
        bytes[at] = to;
        bytes
    };
    refused(&changed(4 * MIB, 4), "x.img", "SHA-256");
    refused(&changed(HOLE, 4), "x.img", "is not, near byte");
    refused(&bench.bytes[..IMAGE - 512], "x.img", "another build");
    let short = zstd::encode_all(&bench.bytes[..IMAGE - MIB], 1).unwrap();
    refused(&short, "x.img.zst", "x.img.zst");
    let long = zstd::encode_all(&[&bench.bytes[..], &[0; 512]].concat()[..], 1).unwrap();
    refused(&long, "x.img.zst", "x.img.zst");
    let packed = zstd::encode_all(&bench.bytes[..], 1).unwrap();
    refused(&packed[..packed.len() / 2], "x.img.zst", "damaged");
    refused(&[0; 1024], "y.img", "not the image of a disk");
    refused(&[0; 1000], "y.img", "not a disk image");
}

#[test]
fn pieces_are_what_holes_leave() {
    assert_eq!(
        without(10..20, &[0..5, 5..10, 12..14, 18..30, 40..50]),
        [10..12, 14..18]
    );
    assert_eq!(without(10..20, &[0..100, 100..200]), [0..0; 0]);
    assert_eq!(without(10..20, &[0..10, 20..30]), without(10..20, &[]));
}
