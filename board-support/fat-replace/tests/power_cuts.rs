//! A cut after every sector write, with what was not flushed torn and reordered: always the old or the new content.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

mod common;

use common::{
    Disk, Event, FORMATS, Files, Format, Random, Target, after, bring, content, files_of, fsck, make,
    mtools_agree, target,
};

/// Subsets of the unflushed writes that are tried at every cut.
const TORN: usize = 3;

#[derive(Debug, Default)]
struct Counts {
    cuts: usize,
    torn: usize,
    repeated: usize,
    cuts_of_repeats: usize,
}

/// Checks one disk as a cut left it: sound, nothing else touched, every path old or new and in the order given.
fn check(disk: &mut Disk, before: &Files, wanted: &Target, what: &str) {
    let found = files_of(disk).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut behind = false;
    for (path, new) in wanted {
        let (old, is) = (before.get(path), found.get(path));
        let (is_old, is_new) = (is == old, is == new.as_ref());
        assert!(is_old || is_new, "{what}: {path} is neither the old nor the new");
        assert!(
            !behind || is_old,
            "{what}: {path} is new before one that comes first"
        );
        behind |= !is_new;
    }
    let touched = |path: &String| wanted.iter().any(|(p, _)| p == path);
    let rest = |files: &Files| -> Files {
        let kept = files.iter().filter(|(p, _)| !touched(p));
        kept.map(|(p, c)| (p.clone(), c.clone())).collect()
    };
    assert!(rest(&found) == rest(before), "{what}: another file changed");
}

/// The same work again reaches the target, and once more has nothing to do.
fn repeat(disk: &Disk, before: &Files, wanted: &Target, what: &str) -> Disk {
    let mut again = disk.fresh();
    bring(&mut again, wanted).unwrap_or_else(|e| panic!("{what}: repeated: {e}"));
    let reached = files_of(&mut again).unwrap();
    assert!(
        reached == after(before, wanted),
        "{what}: repeated, and not complete"
    );
    let mut idle = again.fresh();
    let changes = bring(&mut idle, wanted).unwrap();
    let wrote = idle.events.iter().any(|e| matches!(e, Event::Write(..)));
    assert!(
        changes.is_empty() && !wrote,
        "{what}: not idempotent: {changes:?}"
    );
    again
}

/// Every prefix of the recorded writes, each also with subsets of what was not flushed, in any order.
fn every_cut(
    start: &Disk,
    events: &[Event],
    random: &mut Random,
    seen: &mut dyn FnMut(&mut Disk, bool, String),
) {
    let mut durable = start.fresh();
    let mut open: Vec<(u64, std::rc::Rc<[u8]>)> = Vec::new();
    let mut now = start.fresh();
    seen(&mut now, false, "before the first write".into());
    for (number, event) in events.iter().enumerate() {
        match event {
            Event::Flush => {
                durable = now.clone();
                open.clear();
            }
            Event::Write(sector, bytes) => {
                now.apply(*sector, bytes);
                open.push((*sector, bytes.clone()));
                seen(&mut now.clone(), false, format!("cut after event {number}"));
                for torn in 0..if open.len() > 1 { TORN } else { 0 } {
                    let mut disk = durable.clone();
                    let mut rest = open.clone();
                    // The newest alone, all but one, and as many as chance will have it.
                    let (keep, newest) = match torn {
                        0 => (1, true),
                        1 => (rest.len() - 1, false),
                        _ => (random.below(rest.len() + 1), false),
                    };
                    for _ in 0..keep {
                        let at = if newest {
                            rest.len() - 1
                        } else {
                            random.below(rest.len())
                        };
                        let (sector, bytes) = rest.swap_remove(at);
                        disk.apply(sector, &bytes);
                    }
                    seen(&mut disk, true, format!("cut after event {number}, torn {torn}"));
                }
            }
        }
    }
}

fn prove(format: &Format, before: &Files, wanted: &Target, seed: u64) -> Counts {
    let mut disk = Disk::new(make(format, before));
    prove_on(&mut disk, format.name, before, wanted, seed)
}

fn prove_on(disk: &mut Disk, name: &str, before: &Files, wanted: &Target, seed: u64) -> Counts {
    let start = disk.fresh();
    bring(disk, wanted).unwrap_or_else(|e| panic!("{name}: {e}"));
    let events = std::mem::take(&mut disk.events);
    assert!(
        matches!(events.last(), Some(Event::Flush)),
        "{name}: the end is not flushed"
    );
    let reached = after(before, wanted);
    assert!(files_of(disk).unwrap() == reached);
    fsck(&disk.image(), name);
    mtools_agree(&disk.image(), &reached);
    let mut counts = Counts::default();
    let mut random = Random(seed);
    let mut inner = Random(seed + 1);
    every_cut(&start, &events, &mut random, &mut |cut, torn, what| {
        let what = format!("{name}, seed {seed}: {what}");
        counts.cuts += 1;
        counts.torn += usize::from(torn);
        check(cut, before, wanted, &what);
        if counts.cuts % 4 != 1 {
            return;
        }
        let again = repeat(cut, before, wanted, &what);
        counts.repeated += 1;
        if again.base.len() < 4 << 20 {
            fsck(&again.image(), &what);
        }
        if counts.cuts % 64 != 1 {
            return;
        }
        mtools_agree(&cut.image(), &files_of(cut).unwrap());
        // The plug is pulled in the repeated work, too.
        let mut third = cut.fresh();
        bring(&mut third, wanted).unwrap();
        let events = std::mem::take(&mut third.events);
        let stride = events.len() / 24 + 1;
        let mut number = 0;
        every_cut(&cut.fresh(), &events, &mut inner, &mut |second, _, place| {
            number += 1;
            if number % stride == 0 {
                check(second, before, wanted, &format!("{what}; then {place}"));
                counts.cuts_of_repeats += 1;
            }
        });
    });
    println!("{name}: {counts:?}");
    counts
}

fn firmware() -> Files {
    let list = [
        ("config.txt", content(1, 300)),
        ("bcm2711-rpi-4-b.dtb", content(2, 9_000)),
        ("u-boot.bin", content(3, 20_000)),
        ("EFI/BOOT/BOOTAA64.EFI", content(4, 15_000)),
        ("overlays/miniuart-bt.dtbo", content(5, 1_500)),
        ("EMPTY", Vec::new()),
    ];
    list.map(|(p, c)| (p.to_string(), c)).into()
}

#[test]
fn every_cut_of_an_update_leaves_each_path_old_or_new() {
    let mut cuts = 0;
    for format in FORMATS {
        let wanted = target(&[
            ("bcm2711-rpi-4-b.dtb", Some(content(12, 9_600))),
            ("overlays/disable-bt.dtbo", Some(content(13, 700))),
            (
                "overlays/a/much longer name of an overlay.dtbo",
                Some(content(14, 2_000)),
            ),
            ("EMPTY", Some(content(15, 513))),
            ("overlays/miniuart-bt.dtbo", None),
            ("u-boot.bin", Some(content(16, 12_000))),
            ("config.txt", Some(Vec::new())),
            ("EFI/BOOT/BOOTAA64.EFI", Some(content(17, 17_001))),
        ]);
        let counts = prove(&format, &firmware(), &wanted, 41);
        cuts += counts.cuts + counts.cuts_of_repeats;
    }
    println!("{cuts} cuts");
    assert!(cuts > 2000);
}

#[test]
fn every_cut_while_a_folder_grows_leaves_it_whole() {
    for format in FORMATS {
        let mut before = firmware();
        for i in 0..9 {
            before.insert(format!("overlays/overlay number {i}.dtbo"), content(i, 40));
        }
        // Names of up to 21 entries, more than a sector holds; they fill clusters and cross sectors.
        let wanted: Target = (0..5)
            .map(|i| {
                let name = format!("overlays/{}{i}.dtbo", "long".repeat(12 * i as usize));
                (name, Some(content(60 + i, 30)))
            })
            .chain([(format!("overlays/{}", "y".repeat(255)), Some(content(70, 5)))])
            .collect();
        prove(&format, &before, &wanted, 43);
    }
}

/// An entry of FAT12 has 12 bits: those of clusters 341, 682 … lie in two sectors of the table.
#[test]
fn a_folder_whose_table_entry_lies_in_two_sectors_grows_in_one_step() {
    for cluster in [341_u16, 682] {
        let mut files = Files::new();
        files.insert(
            "A".into(),
            content(1, (usize::from(cluster) - 2) * common::SECTOR),
        );
        for i in 0..4 {
            files.insert(format!("overlays/overlay number {i}.dtbo"), content(i, 40));
        }
        let image = make(&FORMATS[0], &files);
        let entry = image
            .windows(10)
            .position(|w| w == b"OVERLAYS  " || w == b"OVERLA~1  ")
            .unwrap();
        assert_eq!(
            image[entry + 26..entry + 28],
            cluster.to_le_bytes(),
            "the folder is elsewhere"
        );
        let wanted = target(&[(
            "overlays/one that needs another cluster.dtbo",
            Some(content(9, 600)),
        )]);
        let mut disk = Disk::new(image);
        prove_on(&mut disk, "fat12", &files, &wanted, 59);
    }
}

/// The label, 13 short names, and four entries of a long name that begin in the first sector of the root folder and end
/// in the second.
fn crowded() -> (Files, String) {
    let crossing = format!("{}.dtb", "crossing".repeat(4));
    let mut files: Files = (b'A'..=b'M')
        .map(|c| (char::from(c).to_string(), content(c.into(), 40)))
        .collect();
    files.insert(crossing.clone(), content(1, 900));
    files.insert("~".into(), content(2, 10));
    (files, crossing)
}

#[test]
fn a_gap_across_two_sectors_is_not_taken_for_a_name_that_must_appear_at_once() {
    let (files, crossing) = crowded();
    let mut disk = Disk::new(make(&FORMATS[2], &files));
    let removed = target(&[(&crossing, None)]);
    bring(&mut disk, &removed).unwrap();
    let files = after(&files, &removed);
    let wanted = target(&[(&crossing, Some(content(4, 900)))]);
    prove_on(&mut Disk::new(disk.image()), "fat16", &files, &wanted, 61);
}

#[test]
fn a_long_name_that_lost_its_file_is_removed() {
    let (mut files, crossing) = crowded();
    let mut image = make(&FORMATS[2], &files);
    let entry = image.windows(6).position(|w| w == b"CROSSI").unwrap();
    image[entry] = 0xe5;
    files.remove(&crossing);
    let mut disk = Disk::new(image);
    bring(&mut disk, &Target::new()).unwrap();
    let image = disk.image();
    for slot in [3, 2, 1].map(|n| entry - n * 32) {
        assert_eq!((image[slot], image[slot + 11]), (0xe5, 0x0f));
    }
    assert!(files_of(&mut disk).unwrap() == files);
    fsck(&image, "a long name that lost its file"); // its clusters were lost, too
}

#[test]
fn what_stands_behind_the_end_of_a_folder_never_comes_into_view() {
    let (mut files, crossing) = crowded();
    files.remove(&crossing);
    let mut image = make(&FORMATS[2], &files);
    let sectors = |at: usize| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let root = (sectors(14) + 2 * sectors(22)) * common::SECTOR;
    let end = (root..).step_by(32).find(|at| image[*at] == 0).unwrap();
    let root_end = root + sectors(17) * 32;
    image[end + 32..root_end].fill(b'A');
    let wanted = target(&[(&crossing, Some(content(4, 900))), ("Y", Some(content(5, 20)))]);
    let mut disk = Disk::new(image);
    let start = disk.fresh();
    bring(&mut disk, &wanted).unwrap();
    assert!(files_of(&mut disk).unwrap() == after(&files, &wanted));
    let mut random = Random(67);
    for _ in 0..8 {
        every_cut(&start, &disk.events, &mut random, &mut |cut, _, what| {
            check(cut, &files, &wanted, &what);
            repeat(cut, &files, &wanted, &what);
        });
    }
}

#[test]
fn every_cut_of_a_removal_leaves_the_file_or_none() {
    for format in FORMATS {
        let mut before = firmware();
        for i in 0..4 {
            before.insert(
                format!("overlays/{}{i}", "remove me ".repeat(9 + 3 * i)),
                content(i as u32, 600),
            );
        }
        let wanted = before
            .keys()
            .filter(|p| p.contains("remove"))
            .map(|p| (p.clone(), None))
            .collect();
        prove(&format, &before, &wanted, 47);
    }
}

#[test]
fn random_changes_one_after_the_other_survive_every_cut() {
    for (number, format) in FORMATS.iter().enumerate() {
        let mut random = Random(1000 + number as u64);
        let mut files = firmware();
        let mut disk = Disk::new(make(format, &files));
        for round in 0..4 {
            let mut wanted = Target::new();
            for i in 0..4 {
                let known: Vec<&String> = files.keys().collect();
                let path = match random.below(3) {
                    0 => format!(
                        "new folder {}/{} {round}{i}.bin",
                        random.below(2),
                        "n".repeat(random.below(60))
                    ),
                    _ => known[random.below(known.len())].clone(),
                };
                let len = random.below(6000);
                let new = (random.below(4) > 0).then(|| content(random.below(1 << 30) as u32, len));
                if !wanted.iter().any(|(p, _)| *p == path) {
                    wanted.push((path, new));
                }
            }
            let mut at = disk.fresh();
            prove_on(&mut at, format.name, &files, &wanted, 51 + round);
            files = after(&files, &wanted);
            disk = Disk::new(at.image());
        }
    }
}
