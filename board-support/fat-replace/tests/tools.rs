//! dosfstools and mtools agree; hostile volumes are refused with a sentence.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

mod common;

use common::{
    Disk, FORMATS, Files, Format, SECTOR, after, bring, content, files_of, fsck, make, mtools_agree, target,
};
use fat_replace::{ChangeKind, Fat, FatError, Kind, MemoryVolume, check_image};

fn small() -> Files {
    let list = [
        ("config.txt", content(1, 700)),
        ("EFI/BOOT/BOOTX64.EFI", content(2, 5_000)),
        ("a name in two cases.Txt", content(3, 10)),
    ];
    list.map(|(p, c)| (p.to_string(), c)).into()
}

#[test]
fn a_firmware_partition_as_the_image_has_it_is_updated_and_fsck_agrees() {
    let format = Format {
        name: "firmware",
        kib: 64 * 1024,
        options: &["-F", "32", "-s", "1"],
    };
    let files = small();
    let mut volume = MemoryVolume::new(make(&format, &files));
    let fat = Fat::open(&mut volume).unwrap();
    assert_eq!(fat.kind(), Kind::Fat32);
    let wanted = target(&[
        ("EFI/BOOT/BOOTX64.EFI", Some(content(20, 3_000_000))),
        ("overlays/vc4-kms-v3d.dtbo", Some(content(21, 3_000))),
    ]);
    let changes = bring(&mut volume, &wanted).unwrap();
    let kinds: Vec<ChangeKind> = changes.iter().map(|c| c.kind).collect();
    assert_eq!(kinds, [ChangeKind::Replaced, ChangeKind::Added]);
    let image = volume.into_bytes();
    fsck(&image, "firmware");
    mtools_agree(&image, &after(&files, &wanted));
}

#[test]
fn large_clusters_and_large_sectors_work_too() {
    let shapes: [(&[&str], u32, usize); 3] = [
        (&["-F", "16", "-s", "16"], 64 * 1024, 512),
        (&["-F", "32", "-s", "2"], 68 * 1024, 512),
        (&["-F", "16", "-s", "1", "-S", "4096"], 20 * 1024, 4096),
    ];
    for (options, kib, sector_size) in shapes {
        let name = "large clusters";
        let format = Format { name, kib, options };
        let files = small();
        let mut volume = MemoryVolume::with_sector_size(make(&format, &files), sector_size);
        let wanted = target(&[
            ("x/y/z.bin", Some(content(5, 100_000))),
            ("config.txt", Some(content(6, 9_000))),
        ]);
        bring(&mut volume, &wanted).unwrap();
        let image = volume.into_bytes();
        fsck(&image, name);
        mtools_agree(&image, &after(&files, &wanted));
    }
}

#[test]
fn names_match_in_any_case_and_by_their_alias() {
    for format in FORMATS {
        let mut disk = Disk::new(make(&format, &small()));
        let wanted = target(&[
            ("A NAME IN two cases.TXT", Some(content(9, 99))),
            ("efi/boot/bootx64.efi", None),
        ]);
        let changes = bring(&mut disk, &wanted).unwrap();
        assert_eq!(changes[0].kind, ChangeKind::Replaced);
        let files = files_of(&mut disk).unwrap();
        assert_eq!(files.get("a name in two cases.Txt"), Some(&content(9, 99)));
        assert!(!files.contains_key("EFI/BOOT/BOOTX64.EFI"));
        let fat = Fat::open(&mut disk).unwrap();
        assert_eq!(fat.len_of("ANAMEI~1.TXT").unwrap(), Some(99));
    }
}

#[test]
fn no_room_is_said_with_numbers_before_the_first_write() {
    for format in FORMATS {
        let mut disk = Disk::new(make(&format, &small()));
        let free = Fat::open(&mut disk).unwrap().free_bytes() as usize;
        let wanted = target(&[
            ("config.txt", Some(content(9, 99))),
            ("big", Some(content(1, free + 4096))),
        ]);
        let said = bring(&mut disk, &wanted).unwrap_err().to_string();
        assert!(
            said.contains("big") && said.contains("are free") && disk.events.is_empty(),
            "{said}"
        );
    }
}

#[test]
fn a_volume_filled_to_its_last_cluster_is_sound() {
    for format in FORMATS {
        let files = small();
        let mut disk = Disk::new(make(&format, &files));
        let free = Fat::open(&mut disk).unwrap().free_bytes() as usize;
        let first = target(&[("FILLER", Some(content(1, free / 2)))]);
        bring(&mut disk, &first).unwrap();
        let rest = Fat::open(&mut disk).unwrap().free_bytes() as usize;
        // The second takes exactly what is left, in place of an old file.
        let second = target(&[("config.txt", Some(content(2, rest)))]);
        bring(&mut disk, &second).unwrap();
        let image = disk.image();
        fsck(&image, format.name);
        mtools_agree(&image, &after(&after(&files, &first), &second));
    }
}

#[test]
fn content_that_is_not_as_announced_leaves_the_old_file() {
    let announced = content(1, 5_000);
    for given in [content(2, 5_000), content(1, 4_999), content(1, 5_001)] {
        let mut disk = Disk::new(make(&FORMATS[3], &small()));
        let mut reader = &given[..];
        let sha256 = <sha2::Sha256 as sha2::Digest>::digest(&announced).into();
        let mut fat = Fat::open(&mut disk).unwrap();
        let time = fat_replace::Timestamp::from_unix(common::TIME);
        assert!(fat.put("config.txt", 5_000, &sha256, &mut reader, time).is_err());
        assert!(files_of(&mut disk).unwrap() == small());
    }
}

#[test]
fn contradicting_wishes_are_refused_before_the_first_write() {
    let some = || Some(content(1, 10));
    for list in [
        [("EFI", some()), ("config.txt", None)],
        [("config.txt/x", some()), ("b", None)],
        [("new", some()), ("NEW", None)],
        [("new", some()), ("new/x", some())],
        [("../x", some()), ("b", None)],
    ] {
        let mut disk = Disk::new(make(&FORMATS[0], &small()));
        let said = bring(&mut disk, &target(&list)).unwrap_err();
        assert!(
            matches!(said, FatError::Path { .. }) && disk.events.is_empty(),
            "{said}"
        );
    }
}

/// First cluster of `config.txt` and the byte offset of table 0, on the FAT16 volume.
fn fat16() -> (Vec<u8>, usize, usize) {
    let image = make(&FORMATS[2], &small());
    let entry = image
        .windows(11)
        .position(|w| w == b"CONFIG  TXT" || w == b"CONFIG~1TXT")
        .unwrap();
    let cluster = usize::from(u16::from_le_bytes([image[entry + 26], image[entry + 27]]));
    let reserved = usize::from(u16::from_le_bytes([image[14], image[15]]));
    (image, cluster, reserved * SECTOR)
}

#[test]
fn broken_chains_are_refused_with_their_path() {
    let (image, cluster, table) = fat16();
    for (value, word) in [
        (cluster as u16, "used twice"), // a loop
        (0, "breaks off"),
        (0xfff7, "breaks off"),
        (0xfff0, "outside"),
        (1, "outside"),
        (0xffff, "more than its chain"),
    ] {
        let mut image = image.clone();
        image[table + 2 * cluster..][..2].copy_from_slice(&value.to_le_bytes());
        let said = check_image(&image).unwrap_err().to_string();
        assert!(
            said.contains(word) && said.contains("config.txt"),
            "{value:#x}: {said}"
        );
    }
}

#[test]
fn two_files_that_share_a_cluster_are_refused() {
    let (image, cluster, table) = fat16();
    let mut image = image;
    let next = usize::from(u16::from_le_bytes([
        image[table + 2 * cluster],
        image[table + 2 * cluster + 1],
    ]));
    // The neighbour's chain is led into the second cluster of config.txt.
    let other = (2..200)
        .find(|c| *c != cluster && image[table + 2 * c..][..2] == [0xff, 0xff] && *c != next)
        .unwrap();
    image[table + 2 * other..][..2].copy_from_slice(&(next as u16).to_le_bytes());
    let said = check_image(&image).unwrap_err().to_string();
    assert!(said.contains("used twice"), "{said}");
}

#[test]
fn no_flipped_byte_of_a_volume_makes_a_panic_or_an_endless_loop() {
    for (format, rounds) in FORMATS.iter().zip([800, 800, 400, 40]) {
        let image = make(format, &small());
        let reach = image.len().min(40 * SECTOR);
        let mut random = common::Random(5);
        for _ in 0..rounds {
            let mut bytes = image.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(reach);
                bytes[at] = random.below(256) as u8;
            }
            let _ = check_image(&bytes);
        }
    }
    assert!(check_image(&[]).is_err());
}
