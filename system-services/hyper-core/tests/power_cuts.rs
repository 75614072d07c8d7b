//! The power goes at any moment: after any write, with any part of what was not flushed lost or torn. Then the store opens, and
//! everything that was acknowledged is there; the step under way happened as a whole or not at all.

#![allow(clippy::unwrap_used, missing_docs)]

mod disk;

use disk::{Disk, Image, Op};
use hyper_core::core::{Core, CoreOptions, Incoming, Info};
use hyper_core::crypto::KeyPair;
use hyper_core::flat_tree::Position;
use hyper_core::manifest::Verifier;
use hyper_core::merkle::{NodeRequest, ProofRequest, TreeNodes, UpgradeRequest, missing_nodes_at_most};
use hyper_core::store::{Durability, Store, StoreOptions};

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// The state of a core as far as anyone can see it.
type Seen = (Info, Vec<u8>, Vec<Option<Vec<u8>>>, Option<Vec<u8>>, usize);

fn see(store: &Store) -> Vec<Seen> {
    // No power cut is taken for a disk that lost what it had flushed.
    assert_eq!(store.lost_changes().unwrap(), None);
    (0..store.cores().unwrap())
        .map(|number| {
            let core = store.core_by_number(number).unwrap();
            let snapshot = core.snapshot().unwrap();
            let length = snapshot.tree().length();
            let blocks = (0..length).map(|block| snapshot.get(block).unwrap()).collect();
            let nodes = (0..2 * length + 64)
                .filter(|index| snapshot.node(Position::new(*index).unwrap()).unwrap().is_some())
                .count();
            (
                core.info().unwrap(),
                snapshot.head().signature.clone(),
                blocks,
                core.user_data("app").unwrap(),
                nodes,
            )
        })
        .collect()
}

/// What a store on this disk has. The disk is left as it is.
fn see_after(image: Image, options: StoreOptions) -> Vec<Seen> {
    let disk = Disk::new(image, false);
    let store = disk.open_with(options).unwrap();
    disk.fill();
    see(&store)
}

/// A generator that is the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A part of a write: whole sectors of it.
fn torn(op: &Op, chance: &mut Chance) -> Op {
    let Op::Write(file, offset, data) = op else {
        return op.clone();
    };
    let to_boundary = SECTOR - *offset as usize % SECTOR;
    if data.len() <= to_boundary {
        return op.clone();
    }
    let sectors = (data.len() - to_boundary).div_ceil(SECTOR) as u64;
    let cut = to_boundary + SECTOR * chance.next(sectors) as usize;
    if chance.next(2) == 0 {
        Op::Write(*file, *offset, data[..cut].to_vec())
    } else {
        Op::Write(*file, offset + cut as u64, data[cut..].to_vec())
    }
}

/// Calls `then` with what is on the disk for cuts after each `every`th operation: nothing of what was not flushed, all of it, and
/// `parts` times any part of it, every other time in any order over all files, torn. Says how many there were.
fn cuts(
    base: &Image,
    log: &[Op],
    every: usize,
    parts: usize,
    chance: &mut Chance,
    mut then: impl FnMut(usize, Image),
) -> usize {
    let (mut flushed, mut waiting, mut count) = (base.clone(), Vec::<&Op>::new(), 0);
    for cut in 0..=log.len() {
        if cut % every == 0 || cut == log.len() {
            let variants = if waiting.is_empty() { 1 } else { 2 + parts };
            for variant in 0..variants {
                let mut image = flushed.clone();
                let mut lucky: Vec<Op> = match variant {
                    0 => Vec::new(),
                    1 => waiting.iter().map(|op| (*op).clone()).collect(),
                    _ => waiting
                        .iter()
                        .filter_map(|op| match chance.next(4) {
                            0 | 1 => Some((*op).clone()),
                            2 => Some(torn(op, chance)),
                            _ => None,
                        })
                        .collect(),
                };
                if variant >= 2 && variant % 2 == 1 {
                    for place in (1..lucky.len()).rev() {
                        lucky.swap(place, chance.next(place as u64 + 1) as usize);
                    }
                }
                lucky.iter().for_each(|op| image.apply(op));
                then(cut, image);
                count += 1;
            }
        }
        match log.get(cut) {
            Some(Op::Flush(file)) => waiting.retain(|op| {
                let waits = op.waits_for() != Some(*file);
                if !waits {
                    flushed.apply(op);
                }
                waits
            }),
            Some(op) if op.waits_for().is_some() => waiting.push(op),
            Some(op) => flushed.apply(op),
            None => {}
        }
    }
    count
}

/// What was seen once so many operations were done.
type Acknowledged = Vec<(usize, Vec<Seen>)>;

/// Small, so that checkpoints are made and block files end while a test runs.
fn options(durability: Durability) -> StoreOptions {
    StoreOptions {
        durability,
        log_bytes: 64 * 1024,
        block_file_bytes: 300_000,
    }
}

struct Run {
    disk: Disk,
    store: Store,
    options: StoreOptions,
    acknowledged: Acknowledged,
}

impl Run {
    fn new(durability: Durability) -> Self {
        let (disk, options) = (Disk::new(Image::default(), true), options(durability));
        let store = disk.open_with(options).unwrap();
        Self {
            disk,
            store,
            options,
            acknowledged: vec![(0, Vec::new())],
        }
    }

    fn step(&mut self, step: impl FnOnce(&Store)) {
        step(&self.store);
        let done = self.disk.state().log.len();
        self.acknowledged.push((done, see(&self.store)));
    }

    fn reopen(&mut self) {
        self.store = Store::in_memory().unwrap();
        self.store = self.disk.open_with(self.options).unwrap();
    }
}

fn writer(store: &Store) -> Core {
    store.core_by_name("log").unwrap().unwrap()
}

fn blocks(from: u64, count: u64, bytes: usize) -> Vec<Vec<u8>> {
    (from..from + count)
        .map(|i| (0..bytes).map(|j| (i as usize * 7 + j * 3) as u8).collect())
        .collect()
}

/// Fetches blocks of the second core from one who has them, after an upgrade to all he has; one commit.
fn fetch(store: &Store, remote: &Core, blocks: &[u64]) {
    let copy = store.core_by_name("copy").unwrap().unwrap();
    let (start, theirs) = (copy.length().unwrap(), remote.length().unwrap());
    let upgrade = ProofRequest {
        upgrade: Some(UpgradeRequest {
            start,
            length: theirs - start,
        }),
        ..ProofRequest::default()
    };
    let wishes = blocks.iter().map(|block| {
        let nodes = missing_nodes_at_most(Position::of_block(*block).unwrap(), theirs);
        ProofRequest {
            node: Some(NodeRequest::Block { block: *block, nodes }),
            ..ProofRequest::default()
        }
    });
    let answers: Vec<_> = std::iter::once(upgrade)
        .chain(wishes)
        .map(|wish| remote.prove(&wish).unwrap())
        .collect();
    let manifest = remote.verifier().unwrap().map(Verifier::manifest);
    let incoming: Vec<_> = answers
        .iter()
        .map(|(proof, value)| Incoming {
            proof,
            value: value.as_deref(),
            manifest,
        })
        .collect();
    for applied in copy.apply_all(&incoming).unwrap() {
        applied.unwrap();
    }
}

/// Everything a core can be made to do, in small and in large.
fn run(durability: Durability) -> Run {
    let elsewhere = Store::in_memory().unwrap();
    let remote = elsewhere
        .core(CoreOptions::from_key_pair(KeyPair::from_seed(&[2; 32])))
        .unwrap();
    remote.append(&blocks(0, 40, 300)).unwrap();
    let mut run = Run::new(durability);
    run.step(|store| {
        drop(
            store
                .core(CoreOptions::from_key_pair(KeyPair::from_seed(&[1; 32])).name("log"))
                .unwrap(),
        )
    });
    let key = *remote.key();
    run.step(|store| drop(store.core(CoreOptions::from_key(key).name("copy")).unwrap()));
    for round in 0..5 {
        for i in 0..4 {
            run.step(|store| drop(writer(store).append(&blocks(i, 1, 100 * i as usize)).unwrap()));
        }
        run.step(|store| drop(writer(store).append(&blocks(9, 12, 2000)).unwrap()));
        run.step(|store| writer(store).set_user_data("app", Some(&[round; 50])).unwrap());
        run.step(|store| writer(store).clear(2..5).unwrap());
        run.step(|store| {
            fetch(
                store,
                &remote,
                &[0, u64::from(round) * 3 + 1, 20 + u64::from(round)],
            )
        });
        if round % 2 == 0 {
            let to = 3 + 5 * u64::from(round);
            run.step(|store| drop(writer(store).truncate(to, None).unwrap()));
        }
        if round == 1 {
            // More than goes into the log, and into one block file.
            run.step(|store| drop(writer(store).append(&blocks(1, 30, 40_000)).unwrap()));
        }
        if round == 2 {
            run.reopen();
        }
        remote.append(&blocks(40, 5, 200)).unwrap();
    }
    run
}

#[test]
fn a_power_cut_at_any_write_loses_nothing_that_was_acknowledged() {
    let run = run(Durability::PowerCut);
    let log = std::mem::take(&mut run.disk.state().log);
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    let (mut seen_before, mut seen_after, mut again) = (0, 0, 0);
    let mut second_cuts = Chance(77);
    let mut number = 0;
    let count = cuts(&Image::default(), &log, 1, 8, &mut chance, |cut, image| {
        let done = run.acknowledged.partition_point(|(done, _)| *done <= cut);
        let before = &run.acknowledged[done - 1].1;
        let after = run.acknowledged.get(done).map_or(before, |(_, seen)| seen);
        number += 1;
        let second = number % 100 == 0;
        let disk = Disk::new(image.clone(), second);
        let store = disk
            .open_with(run.options)
            .unwrap_or_else(|error| panic!("cut {cut}: {error:?}"));
        let seen = see(&store);
        assert!(
            seen == *before || seen == *after,
            "cut {cut}: {seen:?} is neither {before:?} nor {after:?}"
        );
        if seen == *before {
            seen_before += 1;
        } else {
            seen_after += 1;
        }
        if number % 10 == 0 && !seen.is_empty() {
            let length = writer(&store).length().unwrap();
            assert_eq!(writer(&store).append(&["goes on"]).unwrap().length, length + 1);
        }
        if second {
            // The power goes once more while the store is opened and written after the first cut.
            let appended = see(&store);
            drop(store);
            let log = std::mem::take(&mut disk.state().log);
            again += cuts(&image, &log, 3, 2, &mut second_cuts, |_, image| {
                let twice = see_after(image, run.options);
                assert!(twice == seen || twice == appended);
            });
            return;
        }
        disk.fill();
    });
    let checkpoints = log.iter().filter(|op| matches!(op, Op::Flush(0))).count() / 2;
    println!(
        "{count} cuts, {again} second cuts in {} operations with {checkpoints} checkpoints: {seen_before} before, {seen_after} after",
        log.len()
    );
    assert!(
        count > 2500 && seen_after > 500,
        "{count} cuts, {seen_after} after"
    );
}

#[test]
fn a_power_cut_between_flushes_leaves_what_the_store_was_at_some_time() {
    let run = run(Durability::ProcessCrash);
    let log = std::mem::take(&mut run.disk.state().log);
    let mut lost = 0;
    let count = cuts(&Image::default(), &log, 2, 2, &mut Chance(3), |cut, image| {
        let seen = see_after(image, run.options);
        let done = run.acknowledged.partition_point(|(done, _)| *done <= cut);
        let (until_now, later) = run.acknowledged.split_at(done);
        let next = later.first().into_iter();
        assert!(
            until_now.iter().chain(next).any(|(_, other)| *other == seen),
            "cut {cut}: {seen:?}"
        );
        lost += usize::from(until_now.last().is_some_and(|(_, last)| *last != seen));
    });
    assert!(lost > count / 10, "{lost} of {count}");
}

#[test]
fn the_end_of_the_process_at_any_write_loses_nothing_that_was_acknowledged() {
    let run = run(Durability::ProcessCrash);
    let log = std::mem::take(&mut run.disk.state().log);
    let mut image = Image::default();
    for (cut, op) in log.iter().enumerate() {
        let seen = see_after(image.clone(), run.options);
        let done = run.acknowledged.partition_point(|(done, _)| *done <= cut);
        let before = &run.acknowledged[done - 1].1;
        let after = run.acknowledged.get(done).map_or(before, |(_, seen)| seen);
        assert!(seen == *before || seen == *after, "cut {cut}: {seen:?}");
        image.apply(op);
    }
}

#[test]
fn a_disk_that_lies_about_its_flushes_is_found_out() {
    // The test of the test: without any flush, cuts must lose something.
    let run = run(Durability::PowerCut);
    let mut log = std::mem::take(&mut run.disk.state().log);
    log.retain(|op| !matches!(op, Op::Flush(_)));
    let mut lost = 0;
    let count = cuts(&Image::default(), &log, 20, 2, &mut Chance(5), |_, image| {
        let found = std::panic::catch_unwind(|| {
            Disk::new(image, false)
                .open_with(run.options)
                .map(|store| store.cores())
        });
        lost += usize::from(!matches!(found, Ok(Ok(Ok(2)))));
    });
    assert!(lost > count / 4, "{lost} of {count}");
}
