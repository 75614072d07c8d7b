//! The power goes at any moment: after any write, with any part of what was not flushed lost or torn. Then the store opens, and
//! everything that was acknowledged is there; the step under way happened as a whole or not at all.

#![allow(clippy::unwrap_used, missing_docs)]

mod disk;

use disk::{Disk, Op};
use hyper_core::core::{Core, CoreOptions, Incoming, Info};
use hyper_core::crypto::KeyPair;
use hyper_core::flat_tree::Position;
use hyper_core::manifest::Verifier;
use hyper_core::merkle::{NodeRequest, ProofRequest, TreeNodes, UpgradeRequest, missing_nodes_at_most};
use hyper_core::store::Store;

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// The state of a core as far as anyone can see it.
type Seen = (Info, Vec<u8>, Vec<Option<Vec<u8>>>, Option<Vec<u8>>, usize);

fn see(store: &Store) -> Vec<Seen> {
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
    let Op::Write(offset, data) = op else {
        return op.clone();
    };
    let to_boundary = SECTOR - *offset as usize % SECTOR;
    if data.len() <= to_boundary {
        return op.clone();
    }
    let sectors = (data.len() - to_boundary).div_ceil(SECTOR) as u64;
    let cut = to_boundary + SECTOR * chance.next(sectors) as usize;
    if chance.next(2) == 0 {
        Op::Write(*offset, data[..cut].to_vec())
    } else {
        Op::Write(offset + cut as u64, data[cut..].to_vec())
    }
}

/// Calls `then` with the bytes of the disk for cuts after each `every`th operation from `from` on: nothing of what was not flushed is there, all of
/// it, and twice any part of it, in any order, torn. Says how many there were.
fn cuts(
    base: &[u8],
    log: &[Op],
    (from, every): (usize, usize),
    chance: &mut Chance,
    mut then: impl FnMut(usize, Vec<u8>),
) -> usize {
    let (mut flushed, mut pending, mut count) = (base.to_vec(), 0, 0);
    for cut in 0..=log.len() {
        if cut >= from && (cut % every == 0 || cut == log.len()) {
            let waiting = &log[pending..cut];
            let variants = if waiting.is_empty() { 1 } else { 4 };
            for variant in 0..variants {
                let mut bytes = flushed.clone();
                let mut lucky: Vec<Op> = match variant {
                    0 => Vec::new(),
                    1 => waiting.to_vec(),
                    _ => waiting
                        .iter()
                        .filter_map(|op| match chance.next(4) {
                            0 | 1 => Some(op.clone()),
                            2 => Some(torn(op, chance)),
                            _ => None,
                        })
                        .collect(),
                };
                if variant == 3 {
                    for place in (1..lucky.len()).rev() {
                        lucky.swap(place, chance.next(place as u64 + 1) as usize);
                    }
                }
                lucky.iter().for_each(|op| op.apply(&mut bytes));
                then(cut, bytes);
                count += 1;
            }
        }
        if let Some(Op::Sync) = log.get(cut) {
            log[pending..cut].iter().for_each(|op| op.apply(&mut flushed));
            pending = cut + 1;
        }
    }
    count
}

/// What was seen once so many operations were done.
type Acknowledged = Vec<(usize, Vec<Seen>)>;

struct Run {
    disk: Disk,
    store: Store,
    /// Operations until the store was there: before that, a file has another name.
    created: usize,
    acknowledged: Acknowledged,
}

impl Run {
    fn new() -> Self {
        let disk = Disk::new(Vec::new(), true);
        let store = Store::with_backend(disk.clone()).unwrap();
        let created = disk.state().log.len();
        Self {
            disk,
            store,
            created,
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
        self.store = Store::with_backend(self.disk.clone()).unwrap();
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
fn run() -> Run {
    let elsewhere = Store::in_memory().unwrap();
    let remote = elsewhere
        .core(CoreOptions::from_key_pair(KeyPair::from_seed(&[2; 32])))
        .unwrap();
    remote.append(&blocks(0, 40, 300)).unwrap();
    let mut run = Run::new();
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
            // The file has to grow.
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
    let run = run();
    let log = std::mem::take(&mut run.disk.state().log);
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    let (mut seen_before, mut seen_after, mut again) = (0, 0, 0);
    let mut second_cuts = Chance(77);
    let mut number = 0;
    let count = cuts(&[], &log, (run.created, 1), &mut chance, |cut, bytes| {
        let done = run.acknowledged.partition_point(|(done, _)| *done <= cut);
        let before = &run.acknowledged[done - 1].1;
        let after = run.acknowledged.get(done).map_or(before, |(_, seen)| seen);
        number += 1;
        let second = number % 100 == 0;
        let disk = Disk::new(bytes.clone(), second);
        let store = Store::with_backend(disk.clone()).unwrap_or_else(|error| panic!("cut {cut}: {error:?}"));
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
            let log = std::mem::take(&mut disk.state().log);
            let appended = see(&store);
            again += cuts(&bytes, &log, (0, 5), &mut second_cuts, |_, bytes| {
                let store = Store::with_backend(Disk::new(bytes, false)).unwrap();
                let twice = see(&store);
                assert!(twice == seen || twice == appended);
            });
        }
    });
    println!(
        "{count} cuts, {again} second cuts in {} operations: {seen_before} before, {seen_after} after",
        log.len()
    );
    assert!(
        count > 2000 && seen_after > 50,
        "{count} cuts, {seen_after} after"
    );
}

#[test]
fn a_disk_that_lies_about_its_flushes_is_found_out() {
    // The test of the test: without any flush, cuts must lose something.
    let run = run();
    let mut log = std::mem::take(&mut run.disk.state().log);
    log.retain(|op| !matches!(op, Op::Sync));
    let mut lost = 0;
    let count = cuts(&[], &log, (run.created, 20), &mut Chance(5), |_, bytes| {
        let found = std::panic::catch_unwind(|| {
            Store::with_backend(Disk::new(bytes, false)).map(|store| store.cores())
        });
        lost += usize::from(!matches!(found, Ok(Ok(Ok(2)))));
    });
    assert!(lost > count / 4, "{lost} of {count}");
}
