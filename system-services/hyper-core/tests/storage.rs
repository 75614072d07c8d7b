//! How a store lies on the disk: what it costs to open and to write, who waits for whom, what damage does, what is given back.

#![allow(clippy::unwrap_used, missing_docs)]

mod disk;

use std::time::Duration;

use disk::{Disk, Image};
use hyper_core::core::{Core, CoreOptions};
use hyper_core::crypto::KeyPair;
use hyper_core::flat_tree::Position;
use hyper_core::store::{DamagedPart, Durability, Store, StoreError, StoreOptions};
use redb::{Database, ReadableTable, TableDefinition};

fn core(store: &Store, seed: u8) -> Core {
    let pair = KeyPair::from_seed(&[seed; 32]);
    store.core(CoreOptions::from_key_pair(pair)).unwrap()
}

/// Blocks that are the same in no two cores.
fn blocks(seed: u8, count: usize, bytes: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|i| {
            (0..bytes)
                .map(|j| (i * 7 + j * 3 + usize::from(seed) * 31 + j / 251) as u8)
                .collect()
        })
        .collect()
}

fn with(durability: Durability) -> StoreOptions {
    StoreOptions {
        durability,
        ..StoreOptions::default()
    }
}

/// A store with a core of so many blocks of 1000 bytes, cut off from its power before it was closed.
fn cut_off_with(count: usize) -> Disk {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    core(&store, 0).append(&blocks(0, count, 1000)).unwrap();
    disk.copy()
}

#[test]
fn opening_needs_no_walk_through_the_index_after_a_power_cut() {
    let options = StoreOptions {
        log_bytes: 10_000,
        ..StoreOptions::default()
    };
    let disk = Disk::default();
    let store = disk.open_with(options).unwrap();
    for seed in 0..40 {
        core(&store, seed).append(&blocks(seed, 3, 200)).unwrap();
    }
    let opened = Database::builder()
        .set_repair_callback(redb::RepairSession::abort)
        .create_with_backend(disk.copy().index_file());
    opened.unwrap();
    // The test of the test: a commit without the allocator's state does need it.
    let disk = Disk::default();
    let database = disk.index();
    let txn = database.begin_write().unwrap();
    txn.open_table(TableDefinition::<u64, u64>::new("x"))
        .unwrap()
        .insert(1, 1)
        .unwrap();
    txn.commit().unwrap();
    let opened = Database::builder()
        .set_repair_callback(redb::RepairSession::abort)
        .create_with_backend(disk.copy().index_file());
    assert!(matches!(opened, Err(redb::DatabaseError::RepairAborted)));
}

#[test]
fn opening_a_large_core_reads_as_little_as_opening_a_small_one() {
    let read_at_open = |count: usize| {
        let disk = cut_off_with(count);
        drop(disk.open().unwrap());
        disk.state().bytes_read = 0;
        let store = disk.open().unwrap();
        let before = disk.state().bytes_read;
        assert_eq!(store.core_by_number(0).unwrap().length().unwrap(), count as u64);
        let state = disk.state();
        (before, state.bytes_read, state.image.bytes())
    };
    let (small, large) = (read_at_open(50), read_at_open(20_000));
    println!("read by the store and then by the core, of bytes: {small:?} and {large:?}");
    assert!(large.2 > 20_000_000);
    // (With redb's own debug assertions, which the profile turns off, it walks through all it has when it is opened.)
    assert!(large.1 < small.1 + 200_000);
    assert!(large.1 - large.0 < 200_000);
}

#[test]
fn an_append_is_one_flush_whatever_the_number_of_blocks_and_two_if_they_are_large() {
    let disk = Disk::default();
    let core = core(&disk.open().unwrap(), 0);
    core.append(&blocks(0, 100, 100)).unwrap();
    for (count, bytes, flushes) in [(1, 10, 1), (10, 1000, 1), (50, 4000, 1), (20, 65_536, 2)] {
        let before = disk.state().flushes;
        core.append(&blocks(1, count, bytes)).unwrap();
        assert_eq!(disk.state().flushes - before, flushes);
    }
}

#[test]
fn what_a_change_writes_does_not_grow_with_the_store() {
    let disk = Disk::default();
    let core = core(&disk.open().unwrap(), 0);
    let mut written = Vec::new();
    for _ in 0..3 {
        for block in blocks(0, 20, 1000) {
            let before = disk.state().bytes_written;
            core.append(&[block]).unwrap();
            written.push(disk.state().bytes_written - before);
        }
        core.append(&blocks(1, 3000, 1000)).unwrap();
    }
    println!("written for 1000 bytes: {written:?}");
    assert!(written.iter().all(|bytes| *bytes < 3500));
}

#[test]
fn those_who_write_at_the_same_time_share_a_flush() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    let cores: Vec<_> = (0..8).map(|seed| core(&store, seed)).collect();
    disk.state().flush_takes = Duration::from_millis(5);
    let before = disk.state().flushes;
    std::thread::scope(|scope| {
        for (core, seed) in cores.iter().zip(0..) {
            scope.spawn(move || {
                for block in blocks(seed, 10, 300) {
                    core.append(&[block]).unwrap();
                }
            });
        }
    });
    let flushes = disk.state().flushes - before;
    println!("80 appends: {flushes} flushes");
    assert!(flushes < 50, "{flushes}");
    let again = disk.copy().open().unwrap();
    for (number, core) in cores.iter().enumerate() {
        assert_eq!(core.length().unwrap(), 10);
        let again = again.core_by_number(number as u64).unwrap();
        assert_eq!(again.info().unwrap().tree_hash, core.info().unwrap().tree_hash);
    }
}

#[test]
fn nobody_is_told_that_a_change_is_done_before_it_is_flushed() {
    let disk = Disk::new(disk::Image::default(), true);
    let store = disk.open().unwrap();
    let cores: Vec<_> = (0..8).map(|seed| core(&store, seed)).collect();
    disk.state().flush_takes = Duration::from_millis(2);
    let log = disk.state().image.names["log"];
    std::thread::scope(|scope| {
        for (core, seed) in cores.iter().zip(0u8..) {
            let disk = &disk;
            scope.spawn(move || {
                for round in 0..20u8 {
                    // Found in no other record, whatever stands beside it there.
                    let block = hyper_core::crypto::hash(&[&[seed, round]]);
                    core.append(&[&block]).unwrap();
                    let state = disk.state();
                    let written = state.log.iter().rposition(|op| match op {
                        disk::Op::Write(file, _, data) => {
                            *file == log && data.windows(block.len()).any(|bytes| bytes == block)
                        }
                        _ => false,
                    });
                    let after = &state.log[written.unwrap()..];
                    let flush = |op: &disk::Op| matches!(op, disk::Op::Flush(file) if *file == log);
                    assert!(after.iter().any(flush));
                }
            });
        }
    });
}

#[test]
fn nobody_sees_what_a_power_cut_could_still_take_back() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    let core = core(&store, 0);
    disk.state().flush_takes = Duration::from_millis(100);
    std::thread::scope(|scope| {
        let flushes = disk.state().flushes;
        let append = scope.spawn(|| core.append(&["x"]).unwrap());
        while disk.state().flushes == flushes {
            std::thread::yield_now();
        }
        assert_eq!(store.core_by_number(0).unwrap().length().unwrap(), 0);
        assert_eq!(append.join().unwrap().length, 1);
    });
    assert_eq!(core.length().unwrap(), 1);
}

#[test]
fn without_a_flush_for_each_change_there_is_none_but_at_checkpoints() {
    let disk = Disk::default();
    let options = with(Durability::ProcessCrash);
    let store = disk.open_with(options).unwrap();
    let core = core(&store, 0);
    let before = disk.state().flushes;
    for block in blocks(0, 50, 500) {
        core.append(&[block]).unwrap();
    }
    assert_eq!(disk.state().flushes, before);
    // The process may end: what it wrote is with the kernel.
    let again = disk.copy().open_with(options).unwrap();
    assert_eq!(again.core_by_number(0).unwrap().length().unwrap(), 50);
}

#[test]
fn room_of_cleared_blocks_is_given_back_when_no_snapshot_sees_them() {
    let disk = Disk::default();
    let options = StoreOptions {
        log_bytes: 100_000,
        block_file_bytes: 1_000_000,
        ..StoreOptions::default()
    };
    let store = disk.open_with(options).unwrap();
    let core = core(&store, 0);
    for round in 0..5 {
        core.append(&blocks(round, 10, 65_536)).unwrap();
    }
    let files = |disk: &Disk| {
        let state = disk.state();
        let names = state.image.names.keys();
        names.filter(|name| name.starts_with("blocks-")).count()
    };
    assert_eq!(files(&disk), 4);
    let snapshot = core.snapshot().unwrap();
    core.clear(2..5).unwrap();
    core.clear(13..45).unwrap();
    assert_eq!((files(&disk), disk.state().bytes_punched), (4, 0));
    assert_eq!(snapshot.get(30).unwrap().unwrap(), blocks(3, 1, 65_536)[0]);
    drop(snapshot);
    // The next checkpoint finds nobody who sees them.
    core.clear(45..46).unwrap();
    core.append(&blocks(9, 2, 65_536)).unwrap();
    assert_eq!(files(&disk), 2);
    let punched = disk.state().bytes_punched;
    assert!(punched >= 5 * 65_536, "{punched}");
    for (block, there) in [(1, true), (2, false), (12, true), (46, true), (51, true)] {
        assert_eq!(core.get(block).unwrap().is_some(), there);
    }
    drop((core, store));
    let store = disk.open_with(options).unwrap();
    let core = store.core_by_number(0).unwrap();
    assert_eq!(core.snapshot().unwrap().audit(0..100).unwrap(), []);
    core.truncate(0, None).unwrap();
    core.append(&blocks(8, 1, 10)).unwrap();
    drop((core, store));
    drop(disk.open_with(options).unwrap());
    assert_eq!(files(&disk), 1);
}

#[test]
fn neighbours_that_are_cleared_one_by_one_are_given_back_together() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    let core = core(&store, 0);
    core.append(&blocks(0, 64, 1000)).unwrap();
    for block in (0..64).step_by(2).chain((1..64).step_by(2)) {
        core.clear(block..block + 1).unwrap();
    }
    drop((core, store));
    let punched = disk.state().bytes_punched;
    assert!(punched >= 60_000, "{punched}");
}

#[test]
fn a_full_disk_is_said_and_damages_nothing() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    let core = core(&store, 0);
    core.append(&blocks(0, 5, 1000)).unwrap();
    for writes in 0..2 {
        disk.state().writes_left = Some(writes);
        let error = core.append(&blocks(1, 1, 1000)).unwrap_err();
        assert!(error.to_string().contains("disk was full"), "{error}");
        disk.state().writes_left = None;
        let again = disk.copy().open().unwrap();
        assert_eq!(again.core_by_number(0).unwrap().length().unwrap(), 5 + writes);
        // Once there is room again, nothing is in the way.
        core.append(&blocks(2, 1, 1000)).unwrap();
    }
    assert_eq!(core.length().unwrap(), 7);
    // A checkpoint that has no room: the log has all, and the store goes on when it is opened with room.
    disk.state().writes_left = Some(0);
    drop((core, store));
    disk.state().writes_left = None;
    let store = disk.open().unwrap();
    let core = store.core_by_number(0).unwrap();
    assert_eq!(core.snapshot().unwrap().audit(0..10).unwrap(), []);
    assert_eq!(core.append(&["on"]).unwrap().length, 8);
}

#[test]
fn damage_is_named_and_the_rest_is_whole() {
    type Bytes = TableDefinition<'static, (u64, u64), &'static [u8]>;
    const CHUNKS: Bytes = TableDefinition::new("chunks");
    const BITFIELDS: Bytes = TableDefinition::new("bitfields");
    const HEADS: TableDefinition<u64, &[u8]> = TableDefinition::new("heads");
    const MANIFESTS: TableDefinition<u64, &[u8]> = TableDefinition::new("manifests");
    const KEY_PAIRS: TableDefinition<u64, &[u8]> = TableDefinition::new("key-pairs");
    let disk = Disk::default();
    let store = disk.open().unwrap();
    for seed in 0..9 {
        core(&store, seed).append(&blocks(seed, 6, 90)).unwrap();
    }
    core(&store, 1).clear(4..5).unwrap();
    drop(store);
    let wrong = blocks(1, 3, 90).pop().unwrap();
    let mut state = disk.state();
    let file = state.image.file("blocks-00000000").unwrap();
    let at = file.windows(90).position(|bytes| bytes == wrong).unwrap();
    file[at + 50] ^= 1;
    drop(state);
    let database = disk.index();
    let txn = database.begin_write().unwrap();
    {
        let mut bitfields = txn.open_table(BITFIELDS).unwrap();
        // Full: it is said that every block is stored.
        bitfields.insert((1, 0), &b""[..]).unwrap();
        bitfields.insert((2, 0), &b"rot"[..]).unwrap();
        let mut heads = txn.open_table(HEADS).unwrap();
        for (core, byte) in [(3, 30), (4, 60)] {
            let mut head = heads.get(core).unwrap().unwrap().value().to_vec();
            head[byte] ^= 1;
            heads.insert(core, &head[..]).unwrap();
        }
        heads.insert(5, &b"rot"[..]).unwrap();
        let mut chunks = txn.open_table(CHUNKS).unwrap();
        chunks.insert((0, 0), &b"rot"[..]).unwrap();
        let mut chunk = chunks.get((8, 0)).unwrap().unwrap().value().to_vec();
        // The second node: the first has one byte of size and 32 of hash, after four bytes that say which there are.
        chunk[4 + 33 + 1] ^= 1;
        // And the leaf of block 4, behind seven nodes, of which one has three bytes of size.
        chunk[4 + 7 * 33 + 2 + 1] ^= 1;
        chunks.insert((8, 0), &chunk[..]).unwrap();
        let mut manifests = txn.open_table(MANIFESTS).unwrap();
        manifests.insert(6, &b"rot"[..]).unwrap();
        let mut pairs = txn.open_table(KEY_PAIRS).unwrap();
        pairs.insert(7, &b"rot"[..]).unwrap();
    }
    txn.commit().unwrap();
    drop(database);
    let store = disk.open().unwrap();
    let part = |result: Result<(), StoreError>| match result {
        Err(StoreError::Damaged { core, part }) => (core, part),
        other => panic!("{other:?}"),
    };
    let core = |number| store.core_by_number(number).unwrap();
    let whole = |seed: u8, block: usize| blocks(seed, block + 1, 90).pop();
    let nodes = DamagedPart::Nodes { first_block: 0 };
    assert_eq!(part(core(0).get(3).map(drop)), (0, nodes));
    assert_eq!(part(core(1).get(2).map(drop)), (1, DamagedPart::Block(2)));
    assert_eq!(part(core(1).get(4).map(drop)), (1, DamagedPart::MissingBlock(4)));
    assert_eq!(core(1).get(3).unwrap(), whole(1, 3));
    let page = DamagedPart::Bitfield { page: 0 };
    assert_eq!(part(core(2).has(1).map(drop)), (2, page));
    assert_eq!(core(2).get(3).unwrap(), whole(2, 3));
    let roots = DamagedPart::Roots { length: 6 };
    assert_eq!(part(core(3).info().map(drop)), (3, roots));
    assert_eq!(part(core(4).info().map(drop)), (4, roots));
    assert_eq!(part(core(5).info().map(drop)), (5, DamagedPart::Head));
    assert_eq!(core(5).get(3).unwrap(), whole(5, 3));
    let manifest = part(store.core_by_number(6).map(drop));
    assert_eq!(manifest, (6, DamagedPart::Manifest));
    assert_eq!(part(store.core_by_number(7).map(drop)), (7, DamagedPart::KeyPair));
    assert_eq!(part(store.core_by_number(9).map(drop)), (9, DamagedPart::Key));
    let audit = |number| core(number).snapshot().unwrap().audit(0..u64::MAX).unwrap();
    let bad_node = |index| DamagedPart::Node(Position::new(index).unwrap());
    assert_eq!(audit(1), [DamagedPart::Block(2), DamagedPart::MissingBlock(4)]);
    assert_eq!(audit(2), [page]);
    let (leaf, parent) = (DamagedPart::Block(4), bad_node(9));
    assert_eq!(audit(8), [bad_node(1), bad_node(3), leaf, parent]);
    assert_eq!(core(8).get(4).unwrap(), whole(8, 4));
    assert_eq!(core(8).append(&["on"]).unwrap().length, 7);
    // What can be fetched again is mended by clearing it.
    core(1).clear(2..5).unwrap();
    assert_eq!(core(1).get(2).unwrap(), None);
}

#[test]
fn a_block_file_that_is_gone_or_cut_off_costs_its_blocks_only() {
    for cut in [Some(3000), None] {
        let disk = Disk::default();
        let store = disk.open().unwrap();
        core(&store, 0).append(&blocks(0, 6, 1000)).unwrap();
        drop(store);
        match cut {
            Some(size) => disk.state().image.file("blocks-00000000").unwrap().truncate(size),
            None => drop(disk.state().image.names.remove("blocks-00000000")),
        }
        let store = disk.open().unwrap();
        let core = store.core_by_number(0).unwrap();
        assert!(matches!(
            core.get(5),
            Err(StoreError::Damaged {
                core: 0,
                part: DamagedPart::Block(5)
            })
        ));
        assert_eq!(core.get(1).is_ok(), cut.is_some());
        let length = core.append(&["goes on"]).unwrap().length;
        assert_eq!((length, core.get(6).unwrap().unwrap()), (7, b"goes on".to_vec()));
    }
}

#[test]
fn a_rotten_page_of_the_index_is_named_and_the_rest_is_whole() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    for seed in 0..60 {
        core(&store, seed).append(&blocks(seed, 40, 30)).unwrap();
    }
    drop(store);
    let pages = disk.state().image.file("index").unwrap().len() / 4096;
    let (mut named, mut whole) = (0, 0);
    for rotten in 0..pages {
        let disk = disk.copy();
        let mut state = disk.state();
        let index = state.image.file("index").unwrap();
        let page = &mut index[4096 * rotten..][..4096];
        page.iter_mut()
            .enumerate()
            .for_each(|(at, byte)| *byte ^= (at * 31 + 7) as u8);
        drop(state);
        for number in 0..60 {
            let read = || {
                let core = disk.open()?.core_by_number(number)?;
                Ok((core.length()?, core.get(39)?))
            };
            match read() {
                Ok((length, block)) => {
                    assert_eq!((length, block), (40, blocks(number as u8, 40, 30).pop()));
                    whole += 1;
                }
                Err(StoreError::DamagedIndex { page, offset }) => {
                    // A page, or the one with its checksum.
                    let place = offset / 4096;
                    assert!(
                        place == rotten as u64 || rotten == 0,
                        "{rotten}: {page} at {offset}"
                    );
                    named += 1;
                }
                // The first page of the database has copies and checksums of its own.
                Err(_) if rotten == 1 => {}
                Err(other) => panic!("page {rotten}, core {number}: {other:?}"),
            }
        }
    }
    println!("{pages} pages: {named} named, {whole} whole");
    assert!(named > 200 && whole > 40 * pages, "{named} named, {whole} whole");
}

/// What a power cut leaves of twelve appends to a core, each of which was durable before the next if `durability` says so; and where
/// in the log the last one begins.
fn twelve_appends(durability: Durability) -> (Image, usize) {
    let disk = Disk::default();
    let store = disk.open_with(with(durability)).unwrap();
    let core = core(&store, 1);
    let log_bytes = || disk.state().image.file("log").unwrap().len();
    let mut last = 0;
    for block in blocks(1, 12, 300) {
        last = log_bytes();
        core.append(&[block]).unwrap();
    }
    let image = disk.state().image.clone();
    (image, last)
}

#[test]
fn changes_that_a_disk_lost_are_missed_and_not_written_over_unasked() {
    let (mut left, last) = twelve_appends(Durability::PowerCut);
    let log_bytes = left.file("log").unwrap().len();
    for at in (0..log_bytes).step_by(97) {
        let mut image = left.clone();
        image.file("log").unwrap()[at] ^= 0x10;
        let disk = Disk::new(image, false);
        let store = disk.open().unwrap();
        let Some(lost) = store.lost_changes().unwrap() else {
            // Nothing tells that the last one was durable.
            assert!(at >= last, "byte {at}");
            assert_eq!(
                store.core_by_number(0).unwrap().append(&["on"]).unwrap().length,
                12
            );
            continue;
        };
        assert!(
            lost.offset <= at as u64 && lost.at_least > 0,
            "byte {at}: {lost:?}"
        );
        let length = |store: &Store| match store.cores().unwrap() {
            0 => 0,
            _ => store.core_by_number(0).unwrap().info().unwrap().length,
        };
        let whole = length(&store);
        assert!(
            whole + lost.at_least >= 11 && whole < 12,
            "byte {at}: {whole}, {lost:?}"
        );
        if whole > 0 {
            let core = store.core_by_number(0).unwrap();
            assert_eq!(core.snapshot().unwrap().audit(0..whole).unwrap(), []);
            let refused = core.append(&["on"]).unwrap_err().to_string();
            assert!(
                refused.contains(&format!("damaged at byte {}", lost.offset)),
                "{refused}"
            );
        }
        drop(store);
        let store = disk.open().unwrap();
        assert_eq!(
            store.lost_changes().unwrap(),
            Some(lost),
            "closing it changes nothing"
        );
        store.give_up_lost_changes().unwrap();
        assert_eq!(core(&store, 1).append(&["on"]).unwrap().length, whole + 1);
        // Also not after another power cut.
        let store = disk.copy().open().unwrap();
        assert_eq!((store.lost_changes().unwrap(), length(&store)), (None, whole + 1));
    }
}

#[test]
fn what_was_not_flushed_is_not_missed() {
    // Not even where the block files are flushed meanwhile, so that a checkpoint finds little left.
    let disk = Disk::default();
    let store = disk.open_with(with(Durability::ProcessCrash)).unwrap();
    let large = core(&store, 2);
    for block in blocks(2, 10, 1 << 20) {
        large.append(&[block]).unwrap();
    }
    while disk.state().flushes == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    while large.append(&[[7; 100]]).unwrap().length < 20 {}
    let mut image = disk.state().image.clone();
    image.file("log").unwrap()[900] ^= 1;
    let store = Disk::new(image, false).open().unwrap();
    assert_eq!(store.lost_changes().unwrap(), None);
    assert!(store.core_by_number(0).is_err() || store.core_by_number(0).unwrap().length().unwrap() < 20);

    let (mut left, _) = twelve_appends(Durability::ProcessCrash);
    let log_bytes = left.file("log").unwrap().len();
    for at in (0..log_bytes).step_by(97) {
        let mut image = left.clone();
        image.file("log").unwrap()[at] ^= 0x10;
        let store = Disk::new(image, false).open().unwrap();
        assert_eq!(store.lost_changes().unwrap(), None, "byte {at}");
        core(&store, 1).append(&["on"]).unwrap();
    }
}

#[test]
fn an_index_without_its_log_is_refused() {
    let disk = cut_off_with(5);
    disk.state().image.names.remove("log");
    assert!(matches!(disk.open(), Err(StoreError::NoLog)));
}

#[test]
fn the_database_of_another_program_is_not_touched() {
    let disk = Disk::default();
    let database = disk.index();
    let txn = database.begin_write().unwrap();
    txn.open_table(TableDefinition::<u64, u64>::new("other")).unwrap();
    txn.commit().unwrap();
    drop(database);
    assert!(matches!(disk.open(), Err(StoreError::Foreign)));
}

#[test]
fn a_store_of_a_newer_format_is_not_touched() {
    const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
    let disk = Disk::default();
    drop(disk.open().unwrap());
    let database = disk.index();
    let txn = database.begin_write().unwrap();
    txn.open_table(META).unwrap().insert("format", 4).unwrap();
    txn.commit().unwrap();
    drop(database);
    assert!(matches!(disk.open(), Err(StoreError::Format(4))));
}

#[test]
fn a_folder_is_one_stores_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cores");
    let store = Store::open(&path).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(error.to_string().contains("is in use by another"), "{error}");
    drop(store);
    drop(Store::open(&path).unwrap());
}

#[cfg(unix)]
#[test]
fn the_files_with_the_key_pairs_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cores");
    let store = Store::open(&path).unwrap();
    core(&store, 0).append(&["x"]).unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.clone()), 0o700);
    for file in ["index", "log", "blocks-00000000"] {
        assert_eq!(mode(path.join(file)), 0o600);
    }
}

#[test]
fn a_file_that_is_no_index_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cores");
    std::fs::create_dir(&path).unwrap();
    for bytes in [&b""[..], b"not a database", &[7; 10_000]] {
        std::fs::write(path.join("index"), bytes).unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(error.to_string().contains("cannot be opened"), "{error}");
        assert_eq!(std::fs::read(path.join("index")).unwrap(), bytes);
    }
}
