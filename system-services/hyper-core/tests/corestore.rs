//! A corestore: names, namespaces, what is open, what is kept.

#![allow(clippy::unwrap_used)]

use hyper_core::core::CoreOptions;
use hyper_core::corestore::{Corestore, CorestoreError, PrimaryKey};
use hyper_core::crypto::KeyPair;
use hyper_core::store::Store;

#[tokio::test]
async fn a_store_is_found_again_as_it_was_left() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("inner/store");
    let store = Corestore::open(&folder).unwrap();
    let primary_key = store.primary_key().clone();
    let session = store.namespace("app").get_by_name("log").unwrap();
    session.append(&["one"]).await.unwrap();
    let key = *session.key();
    drop((session, store));

    let store = Corestore::open_with(&folder, &primary_key).unwrap();
    let session = store.namespace("app").get_by_name("log").unwrap();
    assert_eq!(*session.key(), key);
    assert_eq!(session.get(0).await.unwrap(), b"one");
    drop((session, store));

    let other = PrimaryKey::random().unwrap();
    let refused = Corestore::open_with(&folder, &other).err();
    assert!(matches!(refused, Some(CorestoreError::OtherPrimaryKey)));
}

#[test]
fn a_store_that_is_open_elsewhere_is_said_to_be_in_use() {
    let scratch = tempfile::tempdir().unwrap();
    let _store = Corestore::open(scratch.path()).unwrap();
    let refused = Corestore::open(scratch.path()).err().unwrap().to_string();
    assert!(refused.contains("in use by another program"), "{refused}");
}

#[cfg(unix)]
#[test]
fn the_folder_and_what_is_in_it_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("store");
    let _store = Corestore::open(&folder).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&file.unwrap().path()) & 0o077, 0);
    }
}

#[tokio::test]
async fn sessions_of_one_core_share_it() {
    let store = Corestore::in_memory().unwrap();
    let named = store.get_by_name("log").unwrap();
    let by_key = store.get_by_key(named.key()).unwrap();
    let found = store
        .get_by_discovery_key(&named.discovery_key())
        .unwrap()
        .unwrap();
    let mut changes = by_key.changes();
    named.append(&["one"]).await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(changes.borrow_and_update().length, 1);
    assert_eq!(found.length(), 1);
    assert_eq!(store.open_cores(), 1);
    drop((named, by_key, found));
    assert_eq!(store.open_cores(), 0);
}

#[tokio::test]
async fn a_core_that_is_open_for_reading_becomes_writable_with_its_key_pair() {
    let store = Corestore::in_memory().unwrap();
    let pair = KeyPair::from_seed(&[1; 32]);
    let key = *CoreOptions::from_key_pair(pair.clone()).core_key();
    let reader = store.get_by_key(&key).unwrap();
    assert!(!reader.is_writable());
    store
        .get_by_key_pair(pair)
        .unwrap()
        .append(&["one"])
        .await
        .unwrap();
    assert_eq!(reader.get(0).await.unwrap(), b"one");
}

#[test]
fn equal_names_in_different_namespaces_are_different_cores() {
    let store = Corestore::in_memory().unwrap();
    let inner = store.namespace("inner");
    let (a, b) = (
        store.get_by_name("log").unwrap(),
        inner.get_by_name("log").unwrap(),
    );
    assert_ne!(a.key(), b.key());
    assert_eq!(store.names().unwrap(), vec![("log".to_owned(), *a.key())]);
    assert_eq!(inner.names().unwrap(), vec![("log".to_owned(), *b.key())]);
    let mut both = vec![a.discovery_key(), b.discovery_key()];
    both.sort();
    assert_eq!(store.list().unwrap(), both);
}

#[test]
fn a_name_stays_with_the_core_it_was_first_given_to() {
    let store = Corestore::in_memory().unwrap();
    let compat = store.get_by_name_compat("log").unwrap();
    assert_eq!(*compat.key(), store.key_pair("log").public_key());
    assert_eq!(store.get_by_name("log").unwrap().key(), compat.key());
}

#[test]
fn the_first_primary_key_of_a_store_stays() {
    let store = Store::in_memory().unwrap();
    let first = Corestore::of_store(store.clone()).unwrap();
    let second = Corestore::of_store(store).unwrap();
    assert_eq!(first.primary_key().as_bytes(), second.primary_key().as_bytes());
}

#[test]
fn cores_that_are_not_open_cost_nothing() {
    let store = Corestore::in_memory().unwrap();
    for name in 0..300 {
        store.get_by_name(&name.to_string()).unwrap();
    }
    assert_eq!(store.list().unwrap().len(), 300);
    assert_eq!(store.open_cores(), 0);
    let _one = store.get_by_name("150").unwrap();
    assert_eq!(store.open_cores(), 1);
}
