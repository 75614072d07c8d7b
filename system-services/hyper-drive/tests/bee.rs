//! What holds of every bee: it is what a sorted map would be, each of its versions stays what it was, and blocks that lie are
//! noticed.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use hyper_core::core::CoreOptions;
use hyper_core::crypto::KeyPair;
use hyper_core::session::{GetOptions, Session};
use hyper_core::store::Store;
use hyper_drive::bee::{Bee, BeeError, BeeOptions, BlockFault, Change, Header, KeyRange, Metadata};
use proptest::prelude::*;
use tokio::time::{Duration, timeout};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn session() -> Session {
    let store = Store::in_memory().unwrap();
    let options = CoreOptions::from_key_pair(KeyPair::from_seed(&[1; 32]));
    Session::new(store.core(options).unwrap()).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

#[derive(Debug, Clone)]
enum Operation {
    Put(Vec<u8>, Vec<u8>),
    Del(Vec<u8>),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&b"\0ab\xff"[..]), 0..4)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => (key(), prop::collection::vec(any::<u8>(), 0..4)).prop_map(|(key, value)| Operation::Put(key, value)),
        2 => key().prop_map(Operation::Del),
    ]
}

/// Batches of changes, most of them small.
fn batches() -> impl Strategy<Value = Vec<Vec<Operation>>> {
    prop::collection::vec(prop::collection::vec(operation(), 1..12), 1..25)
}

fn range() -> impl Strategy<Value = (Bound<Vec<u8>>, Bound<Vec<u8>>)> {
    let bound = || {
        prop_oneof![
            Just(Bound::Unbounded),
            key().prop_map(Bound::Included),
            key().prop_map(Bound::Excluded)
        ]
    };
    (bound(), bound())
}

fn key_range((start, end): &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> KeyRange {
    let range = match start {
        Bound::Included(key) => KeyRange::ALL.gte(key),
        Bound::Excluded(key) => KeyRange::ALL.gt(key),
        Bound::Unbounded => KeyRange::ALL,
    };
    match end {
        Bound::Included(key) => range.lte(key),
        Bound::Excluded(key) => range.lt(key),
        Bound::Unbounded => range,
    }
}

fn is_within(key: &Vec<u8>, (start, end): &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> bool {
    let after = match start {
        Bound::Included(start) => key >= start,
        Bound::Excluded(start) => key > start,
        Bound::Unbounded => true,
    };
    after
        && match end {
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
            Bound::Unbounded => true,
        }
}

async fn apply(bee: &Bee, model: &mut Model, batch: &[Operation]) {
    let mut writes = bee.batch();
    for operation in batch {
        match operation {
            Operation::Put(key, value) => {
                writes.put(key, value).await.unwrap();
                model.insert(key.clone(), value.clone());
                assert_eq!(writes.get(key).await.unwrap().unwrap().value.unwrap(), value);
            }
            Operation::Del(key) => {
                let there = model.remove(key).is_some();
                assert_eq!(writes.del(key).await.unwrap().is_some(), there);
                assert_eq!(writes.get(key).await.unwrap(), None);
            }
        }
    }
    writes.flush().await.unwrap();
}

async fn entries(bee: &Bee, range: KeyRange, reverse: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = bee.range(range).unwrap();
    let mut entries = if reverse { entries.reversed() } else { entries };
    let mut out = Vec::new();
    while let Some(entry) = entries.next().await.unwrap() {
        out.push((entry.key.to_vec(), entry.value.unwrap().to_vec()));
    }
    out
}

type Sides = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

async fn differences(left: &Bee, right: &Bee, range: KeyRange) -> Vec<Sides> {
    let mut differences = left.diff(right, range).unwrap();
    let mut out = Vec::new();
    while let Some(found) = differences.next().await.unwrap() {
        let one = found.left.as_ref().or(found.right.as_ref()).unwrap();
        let key = one.key.to_vec();
        let value = |side: Option<hyper_drive::bee::Entry>| side.map(|entry| entry.value.unwrap().to_vec());
        // The same value put again is a difference too; the model does not know of it.
        let (left, right) = (value(found.left), value(found.right));
        if left != right {
            out.push((key, left, right));
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn every_version_is_the_map_that_its_changes_make(batches in batches(), range in range(), tiny_cache in any::<bool>()) {
        block_on(async {
            let cache_bytes = if tiny_cache { 0 } else { 1 << 20 };
            let bee = Bee::with_options(session(), BeeOptions { cache_bytes, ..BeeOptions::default() });
            let mut model = Model::new();
            let mut versions = vec![(1, model.clone())];
            for batch in &batches {
                apply(&bee, &mut model, batch).await;
                versions.push((bee.version(), model.clone()));
            }
            for (version, model) in &versions {
                let then = bee.checkout(*version).unwrap();
                let mut expected: Vec<_> =
                    model.iter().filter(|(key, _)| is_within(key, &range)).map(|(k, v)| (k.clone(), v.clone())).collect();
                assert_eq!(entries(&then, key_range(&range), false).await, expected);
                expected.reverse();
                assert_eq!(entries(&then, key_range(&range), true).await, expected);
                for (key, value) in model {
                    assert_eq!(&then.get(key).await.unwrap().unwrap().value.unwrap(), value);
                }
            }
            let middle = &versions[versions.len() / 2];
            for (left, right) in [(middle, versions.last().unwrap()), (versions.last().unwrap(), middle)] {
                let keys = left.1.keys().chain(right.1.keys()).filter(|key| is_within(key, &range));
                let sides = |key: &Vec<u8>| (key.clone(), left.1.get(key).cloned(), right.1.get(key).cloned());
                let mut expected: Vec<_> = keys.map(sides).filter(|(_, left, right)| left != right).collect();
                expected.sort();
                expected.dedup();
                let (left, right) = (bee.checkout(left.0).unwrap(), bee.checkout(right.0).unwrap());
                assert_eq!(differences(&left, &right, key_range(&range)).await, expected);
            }
        });
    }

    #[test]
    fn the_history_makes_the_same_map(batches in batches()) {
        block_on(async {
            let bee = Bee::new(session());
            let mut model = Model::new();
            for batch in &batches {
                apply(&bee, &mut model, batch).await;
            }
            let mut history = bee.history(..).unwrap();
            let mut replayed = Model::new();
            let mut forwards = Vec::new();
            while let Some(found) = history.next().await.unwrap() {
                let key = found.entry.key.to_vec();
                match found.change {
                    Change::Put => replayed.insert(key, found.entry.value.clone().unwrap().to_vec()),
                    Change::Del => replayed.remove(&key),
                };
                forwards.push(found);
            }
            assert_eq!(replayed, model);
            let mut history = bee.history(..).unwrap().reversed();
            while let Some(found) = history.next().await.unwrap() {
                assert_eq!(Some(found), forwards.pop());
            }
            assert!(forwards.is_empty());
        });
    }

    #[test]
    fn what_the_newest_version_does_not_need_can_be_cleared(batches in batches(), share in 0.0..1.0) {
        block_on(async {
            let bee = Bee::with_options(session(), BeeOptions { cache_bytes: 0, ..BeeOptions::default() });
            let mut model = Model::new();
            for batch in &batches {
                apply(&bee, &mut model, batch).await;
            }
            // A part of the history first, then all of it.
            let version = bee.version();
            let part = (version as f64 * share) as u64;
            bee.clear_unlinked(part..version).await.unwrap();
            bee.clear_unlinked(0..version).await.unwrap();
            let local = bee.with_get_options(GetOptions { wait: false, timeout: None });
            assert_eq!(entries(&local, KeyRange::ALL, false).await, model.into_iter().collect::<Vec<_>>());
        });
    }

    #[test]
    fn blocks_that_lie_end_in_an_error_or_in_the_end(
        lies in prop::collection::vec((0usize..40, 0usize..60, any::<u8>()), 1..12),
        order in prop::collection::vec(1usize..40, 0..6),
    ) {
        block_on(async {
            let honest = session();
            let bee = Bee::new(honest.clone());
            let mut batch = bee.batch();
            for i in 0..39u8 {
                batch.put([i.wrapping_mul(37)], [i]).await.unwrap();
            }
            batch.flush().await.unwrap();
            let mut blocks = Vec::new();
            for seq in 0..honest.length() {
                blocks.push(honest.get(seq).await.unwrap());
            }
            for (block, at, byte) in lies {
                if let Some(place) = blocks[block].get_mut(at) {
                    *place = byte;
                }
            }
            let again: Vec<_> = order.iter().map(|seq| blocks[*seq].clone()).collect();
            blocks.extend(again);
            let lying = session();
            lying.append(&blocks).await.unwrap();
            let bee = Bee::new(lying).with_get_options(GetOptions { wait: false, timeout: None });
            let walk = walk_everything(&bee);
            timeout(Duration::from_secs(5), walk).await.expect("a walk went on and on");
        });
    }
}

/// Reads in every way, until the end or the first error.
async fn walk_everything(bee: &Bee) {
    for reverse in [false, true] {
        let entries = bee.range(KeyRange::ALL.gte([3])).unwrap();
        let mut entries = if reverse { entries.reversed() } else { entries };
        let mut given = 0;
        while let Ok(Some(_)) = entries.next().await {
            given += 1;
            assert!(given < bee.version(), "more entries than blocks");
        }
    }
    let _ = bee.get([5]).await;
    let mut history = bee.history(..).unwrap();
    while let Ok(Some(_)) = history.next().await {}
    for version in [2, bee.version() / 2, bee.version()] {
        let mut differences = bee.diff(&bee.checkout(version).unwrap(), KeyRange::ALL).unwrap();
        while let Ok(Some(_)) = differences.next().await {}
    }
    for i in 0..=255 {
        let mut batch = bee.batch();
        let _ = batch.del([i]).await;
        drop(batch);
        let mut batch = bee.batch();
        let _ = batch.put([i], []).await;
    }
    let _ = bee.clear_unlinked(0..bee.version()).await;
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

/// A block whose only node has these keys and children.
fn block(key: &[u8], keys: &[u8], children: &[u8]) -> Vec<u8> {
    let node = [field(1, keys), field(2, children)].concat();
    [field(1, &field(1, &node)), field(2, key), field(3, b"v")].concat()
}

async fn lying(blocks: &[Vec<u8>]) -> Bee {
    let session = session();
    let header = Header::default().encode();
    session.append(&[header]).await.unwrap();
    session.append(blocks).await.unwrap();
    Bee::new(session)
}

async fn fault(bee: &Bee) -> (u64, BlockFault) {
    match bee.range(KeyRange::ALL).unwrap().next().await {
        Err(BeeError::Damaged { seq, fault, .. }) => (seq, fault),
        other => panic!("not noticed: {other:?}"),
    }
}

#[tokio::test]
async fn a_node_that_is_its_own_child_is_refused() {
    let bee = lying(&[block(b"a", &[1], &[1, 0, 1, 0])]).await;
    assert_eq!(fault(&bee).await, (1, BlockFault::TooDeep));
    assert!(matches!(bee.get("b").await, Err(BeeError::Damaged { .. })));
}

#[tokio::test]
async fn a_pointer_to_a_later_block_or_to_the_header_is_refused() {
    for to in [0, 9] {
        let bee = lying(&[block(b"a", &[to], &[])]).await;
        let to = u64::from(to);
        assert_eq!(fault(&bee).await, (1, BlockFault::WrongPointer { node: 0, to }));
    }
}

#[tokio::test]
async fn too_many_keys_and_a_missing_child_are_refused() {
    let bee = lying(&[block(b"a", &[1; 9], &[])]).await;
    assert_eq!(fault(&bee).await, (1, BlockFault::TooManyKeys(0)));
    let bee = lying(&[block(b"a", &[1], &[1, 0])]).await;
    let wrong = BlockFault::WrongChildren {
        node: 0,
        keys: 1,
        children: 1,
    };
    assert_eq!(fault(&bee).await, (1, wrong));
    let bee = lying(&[block(b"a", &[1], &[1, 7, 1, 7])]).await;
    assert_eq!(fault(&bee).await, (1, BlockFault::NoNode(7)));
}

#[tokio::test]
async fn keys_out_of_order_end_a_scan_and_the_error_names_block_and_core() {
    let bee = lying(&[block(b"b", &[1], &[]), block(b"a", &[1, 2], &[])]).await;
    let mut entries = bee.range(KeyRange::ALL).unwrap();
    assert_eq!(entries.next().await.unwrap().unwrap().key, "b");
    let error = entries.next().await.unwrap_err().to_string();
    let core = hyper_core::key::to_hex(bee.session().key());
    assert!(error.contains(&core) && error.contains("block 2"), "{error}");
}

#[tokio::test]
async fn a_core_that_is_no_bee_says_so() {
    let session = session();
    session.append(&["hello"]).await.unwrap();
    assert!(!Bee::is_bee(&session).await.unwrap());
    let bee = lying(&[]).await;
    assert!(Bee::is_bee(bee.session()).await.unwrap());
    assert_eq!(bee.header().await.unwrap(), Header::default());
    assert_eq!((bee.version(), bee.get("a").await.unwrap()), (1, None));
}

#[tokio::test]
async fn metadata_is_written_with_the_first_entry() {
    let metadata = Metadata {
        content_feed: Some(Bytes::from_static(&[7; 32])),
        user_data: None,
    };
    let options = BeeOptions {
        metadata: Some(metadata.clone()),
        ..BeeOptions::default()
    };
    let bee = Bee::with_options(session(), options);
    bee.put("a", "1").await.unwrap();
    assert_eq!(
        Bee::new(bee.session().clone()).header().await.unwrap().metadata,
        Some(metadata)
    );
}

#[tokio::test]
async fn a_condition_decides_about_a_change() {
    let bee = Bee::new(session());
    let absent = |old: Option<&hyper_drive::bee::Entry>| old.is_none();
    assert_eq!(bee.put_if("a", "1", absent).await.unwrap(), Some(1));
    assert_eq!(bee.put_if("a", "2", absent).await.unwrap(), None);
    assert_eq!(
        bee.del_if("a", |old| old.value.as_deref() == Some(b"2"))
            .await
            .unwrap(),
        None
    );
    let grow = bee.put_if("a", "2", |old| old.is_some_and(|old| old.seq == 1));
    assert_eq!(grow.await.unwrap(), Some(2));
    assert_eq!(
        bee.del_if("a", |old| old.value.as_deref() == Some(b"2"))
            .await
            .unwrap(),
        Some(3)
    );
    assert_eq!(
        bee.del_if("a", |_| panic!("asked about nothing")).await.unwrap(),
        None
    );
    assert_eq!(bee.version(), 4);
}

#[tokio::test]
async fn without_duplicates_the_same_value_is_not_put_again() {
    let options = BeeOptions {
        duplicates: false,
        ..BeeOptions::default()
    };
    let bee = Bee::with_options(session(), options);
    assert_eq!(bee.put("a", "1").await.unwrap(), Some(1));
    assert_eq!(bee.put("a", "1").await.unwrap(), None);
    assert_eq!(bee.put("a", "2").await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_batch_is_one_append_and_a_dropped_one_is_none() {
    let bee = Bee::new(session());
    bee.put("a", "1").await.unwrap();
    let mut changes = bee.session().changes();
    changes.borrow_and_update();
    let mut batch = bee.batch();
    for i in 0..100u8 {
        batch.put([i], [i]).await.unwrap();
    }
    assert_eq!((batch.len(), bee.version()), (100, 2));
    drop(batch);
    assert_eq!(
        bee.range(KeyRange::ALL)
            .unwrap()
            .limit(9)
            .next()
            .await
            .unwrap()
            .unwrap()
            .key,
        "a"
    );
    let mut batch = bee.batch();
    batch.put("b", "2").await.unwrap();
    batch.del("a").await.unwrap();
    assert_eq!(batch.flush().await.unwrap(), 4);
    assert_eq!(bee.get("a").await.unwrap(), None);
}

#[tokio::test]
async fn writers_take_turns() {
    let bee = Bee::new(session());
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..50u8 {
        let bee = bee.clone();
        tasks.spawn(async move { bee.put([i], [i]).await.unwrap() });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(entries(&bee, KeyRange::ALL, false).await.len(), 50);
}

#[tokio::test]
async fn a_write_whose_caller_goes_away_is_whole_or_not_there() {
    let bee = Bee::new(session());
    for i in 0..200u8 {
        let put = bee.put([i], [i]);
        let _ = timeout(Duration::from_micros(u64::from(i)), put).await;
    }
    bee.put("z", "").await.unwrap();
    let mut entries = bee.range(KeyRange::ALL).unwrap();
    while let Some(entry) = entries.next().await.unwrap() {
        assert_eq!(bee.get_by_seq(entry.seq).await.unwrap(), entry);
    }
}

#[tokio::test]
async fn a_sub_database_sees_its_own_entries_only() {
    let bee = Bee::new(session());
    let (one, two) = (bee.sub("one"), bee.sub("two"));
    let deep = one.sub("deep");
    for (bee, value) in [(&bee, "0"), (&one, "1"), (&two, "2"), (&deep, "3")] {
        bee.put("key", value).await.unwrap();
        bee.put("", value).await.unwrap();
    }
    assert_eq!(
        bee.get("one\0deep\0key").await.unwrap().unwrap().value.unwrap(),
        "3"
    );
    assert_eq!(two.get("key").await.unwrap().unwrap().key, "key");
    let keys = |entries: Vec<(Vec<u8>, Vec<u8>)>| entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(
        keys(entries(&two, KeyRange::ALL, false).await),
        [&b""[..], b"key"]
    );
    assert_eq!(
        keys(entries(&one, KeyRange::ALL.gt("d"), true).await),
        [&b"key"[..], b"deep\0key", b"deep\0"]
    );
    let mut history = two.history(..).unwrap();
    let mut changes = 0;
    while let Some(found) = history.next().await.unwrap() {
        assert_eq!(found.entry.value.unwrap(), "2");
        changes += 1;
    }
    assert_eq!(changes, 2);
    let before = two.snapshot().unwrap();
    one.del("key").await.unwrap();
    assert_eq!(
        two.diff(&before, KeyRange::ALL).unwrap().next().await.unwrap(),
        None
    );
    let found = one
        .diff(&before.clone(), KeyRange::ALL)
        .unwrap()
        .next()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.left, found.right.unwrap().key),
        (None, Bytes::from_static(b"key"))
    );
}

#[tokio::test]
async fn json_is_put_and_read() {
    let bee = Bee::new(session());
    bee.put_json("a", &serde_json::json!({"b": [1, 2]}))
        .await
        .unwrap();
    let entry = bee.get("a").await.unwrap().unwrap();
    assert_eq!(
        (entry.key_text().unwrap(), &entry.value.as_ref().unwrap()[..]),
        ("a", &br#"{"b":[1,2]}"#[..])
    );
    assert_eq!(entry.json::<serde_json::Value>().unwrap()["b"][1], 2);
    assert!(matches!(
        entry.json::<String>(),
        Err(BeeError::NotJson { seq: 1, .. })
    ));
}

#[tokio::test]
async fn a_version_is_not_written() {
    let bee = Bee::new(session());
    bee.put("a", "1").await.unwrap();
    let error = bee.snapshot().unwrap().put("a", "2").await.unwrap_err();
    assert!(matches!(error, BeeError::ReadOnly(_)));
}

#[tokio::test]
async fn a_watcher_tells_of_changes_in_its_range_only() {
    let bee = Bee::new(session());
    bee.put("a", "1").await.unwrap();
    let mut watcher = bee.watch(KeyRange::ALL.gte("b")).unwrap();
    let mut entry = bee.get_and_watch("b").await.unwrap();
    assert_eq!(entry.entry(), None);
    bee.put("a", "2").await.unwrap();
    let soon = Duration::from_millis(50);
    assert!(timeout(soon, watcher.next()).await.is_err() && timeout(soon, entry.next()).await.is_err());
    bee.put("b", "3").await.unwrap();
    let (now, before) = watcher.next().await.unwrap();
    assert_eq!((now.version(), before.version()), (4, 3));
    assert_eq!(before.get("b").await.unwrap(), None);
    assert_eq!(entry.next().await.unwrap().unwrap().seq, 3);
    let writer = tokio::spawn({
        let bee = bee.clone();
        async move { bee.del("b").await.unwrap() }
    });
    assert_eq!(entry.next().await.unwrap(), None);
    watcher.next().await.unwrap();
    writer.await.unwrap();
    bee.session().truncate(2, None).await.unwrap();
    let (now, _) = watcher.next().await.unwrap();
    assert_eq!(now.version(), 2);
}

#[tokio::test]
async fn a_live_history_waits_for_what_comes() {
    let bee = Bee::new(session());
    let mut history = bee.live_history(1).unwrap();
    assert!(timeout(Duration::from_millis(20), history.next()).await.is_err());
    for i in 0..5u8 {
        bee.put([i], []).await.unwrap();
    }
    for i in 0..5u8 {
        assert_eq!(
            history.next().await.unwrap().unwrap().entry.key,
            Bytes::from(vec![i])
        );
    }
}

#[tokio::test]
async fn a_truncated_bee_is_read_and_written_as_it_then_is() {
    let bee = Bee::new(session());
    for i in 0..30u8 {
        bee.put([i], [1]).await.unwrap();
    }
    let old = bee.snapshot().unwrap();
    bee.session().truncate(11, None).await.unwrap();
    for i in 0..20u8 {
        bee.put([i], [2]).await.unwrap();
    }
    let expected: Vec<_> = (0..20u8).map(|i| (vec![i], vec![2])).collect();
    assert_eq!(entries(&bee, KeyRange::ALL, false).await, expected);
    // The old snapshot gives what it still has, and never what is not its own.
    for i in 0..30u8 {
        if let Ok(found) = old.get([i]).await {
            assert_eq!(found.unwrap().value.unwrap(), [1][..]);
        }
    }
}

#[test]
fn two_bees_on_one_core_that_write_at_the_same_time_lose_nothing() {
    const KEYS: u64 = 300;
    let core = session();
    std::thread::scope(|scope| {
        for name in ["one", "other"] {
            let bee = Bee::new(core.clone());
            scope.spawn(move || {
                block_on(async {
                    for i in 0..KEYS {
                        bee.put(format!("{name} {i}"), name).await.unwrap();
                    }
                });
            });
        }
    });
    let bee = Bee::new(core);
    for (name, i) in ["one", "other"]
        .into_iter()
        .flat_map(|name| (0..KEYS).map(move |i| (name, i)))
    {
        let found = block_on(bee.get(format!("{name} {i}"))).unwrap();
        assert_eq!(found.unwrap().value.unwrap(), name);
    }
    assert_eq!(bee.version(), 1 + 2 * KEYS);
}

#[tokio::test]
async fn a_batch_is_refused_whole_when_something_else_changed_the_core_meanwhile() {
    let core = session();
    let bee = Bee::new(core.clone());
    bee.put("a", "1").await.unwrap();
    let mut batch = bee.batch();
    batch.put("b", "2").await.unwrap();
    core.append(&["no block of a bee"]).await.unwrap();
    let refused = batch.flush().await;
    assert!(
        matches!(refused, Err(BeeError::Interleaved { length: 2, .. })),
        "{refused:?}"
    );
    assert_eq!(core.length(), 3);
    core.truncate(2, None).await.unwrap();
    bee.put("b", "3").await.unwrap();
    let mut batch = bee.batch();
    batch.put("c", "4").await.unwrap();
    core.truncate(2, None).await.unwrap();
    core.append(&[core.get(1).await.unwrap()]).await.unwrap();
    assert!(matches!(batch.flush().await, Err(BeeError::Interleaved { .. })));
}
