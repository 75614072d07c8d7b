//! The local log: what is appended, cleared, truncated and fetched is what is there, after opening again too.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;
mod disk;

use common::{hash, hex};
use disk::Disk;
use hyper_core::core::{Core, CoreError, CoreOptions, Incoming, NotApplied};
use hyper_core::crypto::KeyPair;
use hyper_core::flat_tree::Position;
use hyper_core::manifest::{Manifest, Verifier};
use hyper_core::merkle::{
    NodeRequest, ProofRequest, Reorg, Seek, TreeNodes, UpgradeRequest, VerifyError, missing_nodes,
};
use hyper_core::store::{Store, StoreError, StoreOptions};
use proptest::prelude::*;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/core.json")).unwrap()
}

/// Block `i` of every core in the vectors.
fn block(i: u64) -> Vec<u8> {
    let length = 8 + (i * 31) % 97;
    (0..length).map(|j| (i + 3 * j) as u8).collect()
}

fn blocks(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(block).collect()
}

fn pair() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

fn single(store: &Store) -> Core {
    store.core(CoreOptions::from_key_pair(pair())).unwrap()
}

fn clone_of(core: &Core, store: &Store) -> Core {
    store.core(CoreOptions::from_key(*core.key())).unwrap()
}

/// What `to` lacks for this block, and the upgrade to all that `from` has, as a replicator would ask.
fn request(from: &Core, to: &Core, block: Option<u64>) -> ProofRequest {
    let (theirs, mine) = (from.length().unwrap(), to.snapshot().unwrap());
    let start = mine.tree().length();
    let upgrade = (theirs > start).then(|| UpgradeRequest {
        start,
        length: theirs - start,
    });
    let node = block.map(|block| NodeRequest::Block {
        block,
        nodes: missing_nodes(Position::of_block(block).unwrap(), start, &mine).unwrap(),
    });
    ProofRequest {
        node,
        seek: None,
        upgrade,
    }
}

fn fetch(from: &Core, to: &Core, block: Option<u64>) {
    let (proof, value) = from.prove(&request(from, to, block)).unwrap();
    let manifest = from.verifier().unwrap().map(Verifier::manifest);
    let incoming = Incoming {
        proof: &proof,
        value: value.as_deref(),
        manifest,
    };
    let applied = to.apply(incoming).unwrap().unwrap();
    assert_eq!(applied.block, block);
}

#[test]
fn heads_and_signatures_are_the_peers() {
    let vectors = vectors();
    let store = Store::in_memory().unwrap();
    let core = single(&store);
    let compat = store.core(CoreOptions::compat(pair())).unwrap();
    assert_eq!(*core.key(), hash(&vectors["single"]["key"]));
    assert_eq!(*compat.key(), hash(&vectors["compat"]["key"]));
    let heads = vectors["single"]["heads"].as_array().unwrap();
    let compat_signatures = vectors["compat"]["signatures"].as_array().unwrap();
    for (i, (head, compat_signature)) in heads.iter().zip(compat_signatures).enumerate() {
        let ours = core.append(&[block(i as u64)]).unwrap();
        assert_eq!(
            (ours.length, ours.tree_hash, ours.signature),
            (i as u64 + 1, hash(&head[0]), hex(&head[2]))
        );
        assert_eq!(core.byte_length().unwrap(), head[1].as_u64().unwrap());
        let ours = compat.append(&[block(i as u64)]).unwrap();
        assert_eq!(ours.signature, hex(compat_signature));
    }
    let snapshot = core.snapshot().unwrap();
    for (index, theirs) in vectors["nodes"].as_array().unwrap().iter().enumerate() {
        let node = snapshot
            .node(Position::new(index as u64).unwrap())
            .unwrap()
            .unwrap();
        assert_eq!(
            (node.size, node.hash),
            (theirs[0].as_u64().unwrap(), hash(&theirs[1]))
        );
    }
}

#[test]
fn forks_and_large_cores_are_signed_as_the_peer_signs_them() {
    let vectors = vectors();
    let forked = &vectors["forked"];
    let store = Store::in_memory().unwrap();
    let core = single(&store);
    let heads = [
        core.append(&blocks(0..20)).unwrap(),
        core.truncate(7, None).unwrap(),
        core.append(&blocks(100..103)).unwrap(),
        core.truncate(4, Some(9)).unwrap(),
    ];
    for (ours, theirs) in heads.iter().zip(forked.as_array().unwrap()) {
        assert_eq!(ours.fork, theirs["fork"].as_u64().unwrap());
        assert_eq!(ours.length, theirs["length"].as_u64().unwrap());
        assert_eq!(ours.tree_hash, hash(&theirs["tree"]));
        assert_eq!(ours.signature, hex(&theirs["signature"]));
    }
    let store = Store::in_memory().unwrap();
    let core = single(&store);
    for theirs in vectors["large"].as_array().unwrap() {
        let length = theirs["length"].as_u64().unwrap();
        let ours = core.append(&blocks(core.length().unwrap()..length)).unwrap();
        assert_eq!(ours.tree_hash, hash(&theirs["tree"]));
        assert_eq!(ours.signature, hex(&theirs["signature"]));
        assert_eq!(ours.contiguous_length, length);
    }
}

#[test]
fn a_core_is_found_by_key_discovery_key_and_name_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cores");
    // A store whose creation was cut off.
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("index.new"), [0; 5000]).unwrap();
    let store = Store::open(&path).unwrap();
    let core = store
        .core(CoreOptions::from_key_pair(pair()).name("notes"))
        .unwrap();
    let other = store
        .core(CoreOptions::from_key_pair(KeyPair::from_seed(&[2; 32])))
        .unwrap();
    core.append(&["one", "two"]).unwrap();
    other.append(&["three"]).unwrap();
    core.set_user_data("app", Some(b"value")).unwrap();
    let taken = store.core(CoreOptions::from_key(*other.key()).name("notes"));
    assert!(matches!(taken, Err(StoreError::NameTaken(name)) if name == "notes"));
    let (key, discovery_key) = (*core.key(), core.discovery_key());
    drop((store, core, other));
    let store = Store::open(&path).unwrap();
    assert_eq!(store.cores().unwrap(), 2);
    for core in [
        store.core_by_key(&key).unwrap().unwrap(),
        store.core_by_discovery_key(&discovery_key).unwrap().unwrap(),
        store.core_by_name("notes").unwrap().unwrap(),
        store.core_by_number(0).unwrap(),
        store.core(CoreOptions::from_key(key)).unwrap(),
    ] {
        assert_eq!((core.number(), *core.key()), (0, key));
        assert_eq!(core.get(1).unwrap().unwrap(), b"two");
        assert_eq!(core.user_data("app").unwrap().unwrap(), b"value");
        assert!(core.info().unwrap().writable);
    }
    let core = store.core_by_key(&key).unwrap().unwrap();
    assert_eq!(core.append(&["more"]).unwrap().length, 3);
    core.set_user_data("app", None).unwrap();
    assert_eq!(core.user_data("app").unwrap(), None);
    assert!(store.core_by_key(&[9; 32]).unwrap().is_none());
    assert!(store.core_by_name("nothing").unwrap().is_none());
    assert_eq!(core.seek(4, 0).unwrap(), Seek::Block { block: 1, offset: 1 });
    assert_eq!(core.byte_range(2).unwrap(), 6..10);
}

#[test]
fn writers_wait_for_each_other_and_readers_for_nobody() {
    let store = Store::in_memory().unwrap();
    let core = single(&store);
    std::thread::scope(|scope| {
        for writer in 0..3u8 {
            let core = store.core_by_number(0).unwrap();
            scope.spawn(move || {
                for round in 0..20 {
                    core.append(&[[writer, round], [writer, round]]).unwrap();
                }
            });
        }
        for _ in 0..50 {
            let snapshot = core.snapshot().unwrap();
            let length = snapshot.tree().length();
            assert_eq!((length % 2, snapshot.next_missing(0).unwrap()), (0, length));
        }
    });
    assert_eq!(core.length().unwrap(), 120);
    let all: Vec<_> = (0..120).map(|block| core.get(block).unwrap().unwrap()).collect();
    for writer in 0..3 {
        let own: Vec<_> = all
            .iter()
            .filter(|block| block[0] == writer)
            .map(|block| block[1])
            .collect();
        assert_eq!(own, (0..20).flat_map(|round| [round, round]).collect::<Vec<_>>());
    }
    assert!(all.chunks(2).all(|batch| batch[0] == batch[1]));
}

#[test]
fn who_has_no_key_pair_writes_nothing() {
    let store = Store::in_memory().unwrap();
    let manifest = Manifest::single(pair().public_key());
    let core = store
        .core(CoreOptions::from_verifier(Verifier::of_manifest(manifest)))
        .unwrap();
    assert!(matches!(core.append(&["x"]), Err(CoreError::NotWritable)));
    assert!(matches!(
        core.append_signed(&["x"], &[0; 70]),
        Err(CoreError::Signature { .. })
    ));
    assert_eq!(core.length().unwrap(), 0);
    let core = core.with_key_pair(KeyPair::from_seed(&[2; 32]));
    assert!(matches!(core.append(&["x"]), Err(CoreError::Sign(_))));
    let core = core.with_key_pair(pair());
    assert_eq!(core.append(&["x"]).unwrap().length, 1);
    assert!(!store.core_by_number(0).unwrap().info().unwrap().writable);
    assert!(matches!(
        core.truncate(0, Some(0)),
        Err(CoreError::ForkNotNewer { ours: 0, asked: 0 })
    ));
    assert!(matches!(core.truncate(2, None), Err(CoreError::Tree(_))));
    let unknown = store
        .core(CoreOptions::from_key([7; 32]))
        .unwrap()
        .with_key_pair(pair());
    assert!(matches!(unknown.append(&["x"]), Err(CoreError::NoManifest)));
}

#[test]
fn a_snapshot_stays_what_it_was() {
    let store = Store::in_memory().unwrap();
    let core = single(&store);
    core.append(&blocks(0..10)).unwrap();
    let snapshot = core.snapshot().unwrap();
    core.clear(0..5).unwrap();
    core.truncate(3, None).unwrap();
    core.append(&blocks(50..60)).unwrap();
    assert_eq!(snapshot.tree().length(), 10);
    for i in 0..10 {
        assert_eq!(snapshot.get(i).unwrap(), Some(block(i)));
    }
    assert_eq!(core.get(0).unwrap(), None);
    assert_eq!(core.get(3).unwrap(), Some(block(50)));
}

#[test]
fn bad_proofs_are_refused_and_cost_no_flush_while_good_ones_beside_them_are_kept() {
    let (here, disk) = (Store::in_memory().unwrap(), Disk::default());
    let there = disk.open().unwrap();
    let core = single(&here);
    core.append(&blocks(0..30)).unwrap();
    let copy = clone_of(&core, &there);
    let (proof, value) = core.prove(&request(&core, &copy, Some(3))).unwrap();
    let manifest = core.verifier().unwrap().unwrap().manifest();
    let good = Incoming {
        proof: &proof,
        value: value.as_deref(),
        manifest: Some(manifest),
    };
    let wrong = Manifest::single([3; 32]);
    let flushes = disk.state().flushes;
    let without = Incoming {
        manifest: None,
        ..good
    };
    assert!(matches!(copy.apply(without).unwrap(), Err(NotApplied::Proof(_))));
    let other = Incoming {
        manifest: Some(&wrong),
        ..good
    };
    assert!(matches!(copy.apply(other).unwrap(), Err(NotApplied::Manifest(_))));
    let changed = Incoming {
        value: Some(b"changed"),
        ..good
    };
    assert!(matches!(
        copy.apply(changed).unwrap(),
        Err(NotApplied::Proof(VerifyError::Signature { .. }))
    ));
    assert!(copy.verifier().unwrap().is_none());
    assert_eq!((copy.length().unwrap(), disk.state().flushes), (0, flushes));
    let all = copy.apply_all(&[changed, good, changed]).unwrap();
    assert_eq!(
        all.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [false, true, false]
    );
    assert_eq!(copy.get(3).unwrap(), Some(block(3)));
    assert_eq!((copy.get(4).unwrap(), copy.length().unwrap()), (None, 30));
    assert_eq!(
        copy.snapshot().unwrap().head().signature,
        core.snapshot().unwrap().head().signature
    );
    assert_eq!(copy.verifier().unwrap(), core.verifier().unwrap());
}

#[test]
fn a_copy_moves_to_a_fork_and_goes_on_from_there() {
    for (length, to, more) in [(20, 7, 5), (20, 20, 0), (16, 8, 0), (9, 0, 3), (5, 3, 40)] {
        let (here, there) = (Store::in_memory().unwrap(), Store::in_memory().unwrap());
        let core = single(&here);
        core.append(&blocks(0..length)).unwrap();
        let copy = clone_of(&core, &there);
        for i in 0..length {
            fetch(&core, &copy, Some(i));
        }
        core.truncate(to, None).unwrap();
        core.append(&blocks(200..200 + more)).unwrap();
        let before = copy.snapshot().unwrap();
        let whole = ProofRequest {
            upgrade: Some(UpgradeRequest {
                start: 0,
                length: to + more,
            }),
            ..ProofRequest::default()
        };
        let (proof, _) = core.prove(&whole).unwrap();
        let verifier = core.verifier().unwrap().unwrap();
        let mut reorg = Reorg::new(before.tree(), verifier, &proof, None, &before).unwrap();
        while let Some(wish) = reorg.request() {
            let node = Some(NodeRequest::Hash {
                position: Position::of_block(wish.blocks.start).unwrap(),
                nodes: wish.nodes,
            });
            let (proof, _) = core
                .prove(&ProofRequest {
                    node,
                    ..ProofRequest::default()
                })
                .unwrap();
            reorg.update(&proof, None, &before).unwrap();
        }
        let reorged = reorg.finish().unwrap();
        let head = copy.reorg(&before, &reorged).unwrap();
        assert_eq!(
            (head.fork, head.length, head.contiguous_length),
            (1, to + more, to)
        );
        assert!(matches!(copy.reorg(&before, &reorged), Err(CoreError::Changed)));
        assert_eq!(head.tree_hash, core.info().unwrap().tree_hash);
        for i in 0..to + more {
            assert_eq!(copy.has(i).unwrap(), i < to);
            fetch(&core, &copy, Some(i));
            assert_eq!(copy.get(i).unwrap(), core.get(i).unwrap());
        }
        assert_eq!(copy.info().unwrap().contiguous_length, to + more);
    }
}

/// What is done to a core.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Vec<u8>>),
    /// Many blocks, so that pages of the bitfield are crossed and filled.
    AppendMany(u64),
    Clear(u64, u64),
    Truncate(u64),
    Reopen,
    /// The process ends without closing the store.
    Crash,
    UserData(u8, Option<Vec<u8>>),
    /// Fetch such blocks of another store's copy, given as shares of the length.
    Fetch(Vec<u64>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let step = prop_oneof![
        4 => prop::collection::vec(bytes(), 0..6).prop_map(Step::Append),
        1 => (1..9000u64).prop_map(Step::AppendMany),
        2 => (any::<u64>(), 0..6000u64).prop_map(|(at, count)| Step::Clear(at, count)),
        1 => any::<u64>().prop_map(Step::Truncate),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => (0..3u8, prop::option::of(bytes())).prop_map(|(key, value)| Step::UserData(key, value)),
        3 => prop::collection::vec(any::<u64>(), 1..8).prop_map(Step::Fetch),
    ];
    prop::collection::vec(step, 1..25)
}

fn check(core: &Core, fork: u64, model: &[Option<Vec<u8>>], sizes: &[u64]) {
    let info = core.info().unwrap();
    assert_eq!((info.fork, info.length), (fork, model.len() as u64));
    assert_eq!(info.byte_length, sizes.iter().sum::<u64>());
    let missing = |block: &&Option<Vec<u8>>| block.is_none();
    let contiguous = model.iter().take_while(|block| !missing(block)).count();
    assert_eq!(info.contiguous_length, contiguous as u64);
    let snapshot = core.snapshot().unwrap();
    let step = (model.len() / 50).max(1);
    for (i, value) in model.iter().enumerate().step_by(step) {
        let number = i as u64;
        assert_eq!(snapshot.get(number).unwrap().as_ref(), value.as_ref());
        assert_eq!(snapshot.has(number).unwrap(), value.is_some());
        let find = |stored: bool| model[i..].iter().position(|block| block.is_some() == stored);
        let next = find(false).map_or(model.len(), |more| i + more) as u64;
        assert_eq!(snapshot.next_missing(number).unwrap(), next);
        let next = find(true).map(|more| (i + more) as u64);
        assert_eq!(snapshot.next_stored(number..u64::MAX).unwrap(), next);
    }
    assert_eq!(snapshot.get(model.len() as u64).unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_core_is_what_a_plain_list_is(steps in steps()) {
        let mut disk = Disk::default();
        // Small, so that checkpoints are made and block files end.
        let options = StoreOptions { log_bytes: 20_000, block_file_bytes: 10_000, ..StoreOptions::default() };
        let mut store = disk.open_with(options).unwrap();
        let mut core = single(&store);
        let there = Store::in_memory().unwrap();
        let mut copies = 0;
        let (mut model, mut sizes, mut fork) = (Vec::<Option<Vec<u8>>>::new(), Vec::new(), 0);
        let mut user_data = [None, None, None];
        for step in steps {
            let length = model.len() as u64;
            match step {
                Step::Append(new) => {
                    core.append(&new).unwrap();
                    sizes.extend(new.iter().map(|block| block.len() as u64));
                    model.extend(new.into_iter().map(Some));
                }
                Step::AppendMany(count) => {
                    let new: Vec<_> = (0..count).map(|i| vec![i as u8; (i % 5) as usize]).collect();
                    core.append(&new).unwrap();
                    sizes.extend(new.iter().map(|block| block.len() as u64));
                    model.extend(new.into_iter().map(Some));
                }
                Step::Clear(at, count) => {
                    let start = at % (length + 1);
                    core.clear(start..start + count).unwrap();
                    model.iter_mut().skip(start as usize).take(count as usize).for_each(|block| *block = None);
                }
                Step::Truncate(to) => {
                    let to = to % (length + 1);
                    core.truncate(to, None).unwrap();
                    model.truncate(to as usize);
                    sizes.truncate(to as usize);
                    fork += 1;
                }
                Step::Crash => {
                    // What was there before is left as it is, to be seen by none.
                    disk = disk.copy();
                    store = disk.open_with(options).unwrap();
                    core = store.core_by_number(0).unwrap();
                }
                Step::Reopen => {
                    drop((core, store));
                    store = disk.open_with(options).unwrap();
                    core = store.core_by_number(0).unwrap();
                }
                Step::UserData(key, value) => {
                    core.set_user_data(&key.to_string(), value.as_deref()).unwrap();
                    user_data[usize::from(key)] = value;
                }
                Step::Fetch(_) if length == 0 || fork > 0 => {}
                Step::Fetch(places) => {
                    let copy = clone_of(&core, &there);
                    copies += 1;
                    for place in places {
                        let at = place % length;
                        if model[at as usize].is_some() {
                            fetch(&core, &copy, Some(at));
                            prop_assert_eq!(&copy.get(at).unwrap(), &model[at as usize]);
                            prop_assert_eq!(copy.snapshot().unwrap().audit(at..at + 20).unwrap(), []);
                        } else {
                            fetch(&core, &copy, None);
                        }
                        prop_assert_eq!(copy.info().unwrap().tree_hash, core.info().unwrap().tree_hash);
                    }
                }
            }
            check(&core, fork, &model, &sizes);
            let recent = model.len().saturating_sub(100) as u64;
            prop_assert_eq!(core.snapshot().unwrap().audit(recent..u64::MAX).unwrap(), []);
            for (key, value) in user_data.iter().enumerate() {
                prop_assert_eq!(&core.user_data(&key.to_string()).unwrap(), value);
            }
        }
        prop_assert!(copies == 0 || there.cores().unwrap() == 1);
    }
}
