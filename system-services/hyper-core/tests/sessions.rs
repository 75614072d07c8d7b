//! Sessions without peers.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use hyper_core::core::CoreOptions;
use hyper_core::crypto::KeyPair;
use hyper_core::session::{CoreState, DownloadRange, GetOptions, Session, SessionError};
use hyper_core::store::Store;

fn session() -> Session {
    let store = Store::in_memory().unwrap();
    let options = CoreOptions::from_key_pair(KeyPair::from_seed(&[1; 32]));
    Session::new(store.core(options).unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_appended_is_read_and_watched() {
    let session = session();
    let mut changes = session.changes();
    assert_eq!(session.append(&["a", "bc"]).await.unwrap(), 2);
    assert_eq!(session.get(1).await.unwrap(), b"bc");
    let state = CoreState {
        length: 2,
        byte_length: 3,
        fork: 0,
        contiguous_length: 2,
    };
    assert!(changes.has_changed().unwrap());
    assert_eq!((*changes.borrow_and_update(), session.state()), (state, state));
}

#[tokio::test]
async fn a_block_that_is_not_there_is_waited_for_unless_that_is_not_wanted() {
    let session = session();
    let absent = GetOptions {
        wait: false,
        timeout: None,
    };
    assert_eq!(session.get_with(0, absent).await.unwrap(), None);
    let soon = GetOptions {
        wait: true,
        timeout: Some(Duration::from_millis(5)),
    };
    let late = session.get_with(0, soon).await;
    assert!(matches!(late, Err(SessionError::TimedOut { block: 0, .. })));
    let (waiter, writer) = (session.clone(), session.clone());
    let waiting = tokio::spawn(async move { waiter.get(1).await });
    let mut download = session.download(DownloadRange::from(0..2));
    writer.append(&["a"]).await.unwrap();
    writer.append(&["b"]).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), b"b");
    download.done().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_keeps_its_length_and_loses_what_is_truncated() {
    let session = session();
    session.append(&["a", "b", "c"]).await.unwrap();
    let snapshot = session.snapshot().unwrap();
    session.append(&["d"]).await.unwrap();
    assert_eq!((snapshot.length(), session.length()), (3, 4));
    let beyond = snapshot.get(3).await;
    assert!(matches!(beyond, Err(SessionError::BeyondSnapshot { .. })));
    session.truncate(2, None).await.unwrap();
    session.append(&["x"]).await.unwrap();
    assert_eq!(snapshot.get(1).await.unwrap(), b"b");
    let gone = snapshot.get(2).await;
    assert!(matches!(gone, Err(SessionError::Truncated { block: 2 })));
    assert!(matches!(
        snapshot.append(&["y"]).await,
        Err(SessionError::IsSnapshot)
    ));
    assert_eq!(session.fork(), 1);
}
