//! A writer that signs two trees: the core is frozen wherever both are seen, and nowhere else.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use hyper_core::core::{Conflict, CoreOptions};
use hyper_core::crypto::KeyPair;
use hyper_core::link::Link;
use hyper_core::replicate::Replication;
use hyper_core::session::{DownloadRange, Session, SessionError};
use hyper_core::store::Store;

struct Node {
    store: Store,
    replication: Replication,
    session: Session,
}

impl Node {
    fn new(store: Store, options: CoreOptions) -> Self {
        let session = Session::new(store.core(options).unwrap()).unwrap();
        let replication = Replication::default();
        replication.add(&session);
        Self {
            store,
            replication,
            session,
        }
    }

    /// All have the same key pair.
    async fn writer(text: &str, blocks: u64) -> Self {
        let options = CoreOptions::from_key_pair(KeyPair::from_seed(&[7; 32]));
        let node = Self::new(Store::in_memory().unwrap(), options);
        let blocks: Vec<_> = (0..blocks).map(|number| format!("{text} {number}")).collect();
        node.session.append(&blocks).await.unwrap();
        node
    }

    /// Has all blocks of `self` but block 5.
    async fn reader(&self) -> Self {
        let options = CoreOptions::from_key(*self.session.key());
        let reader = Self::new(Store::in_memory().unwrap(), options);
        reader.connect(self);
        let length = self.session.length();
        let mut changes = reader.session.changes();
        within(changes.wait_for(|state| state.length == length))
            .await
            .unwrap();
        for blocks in [0..5, 6..length] {
            within(reader.session.download(blocks.into()).done())
                .await
                .unwrap();
        }
        reader
    }

    fn connect(&self, other: &Self) {
        let (a, b) = Link::pair();
        self.replication.attach(a);
        other.replication.attach(b);
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what).await.unwrap()
}

async fn frozen(session: &Session) -> Conflict {
    let mut changes = session.changes();
    loop {
        if let Some(conflict) = session.conflict() {
            return conflict;
        }
        within(changes.changed()).await.unwrap();
    }
}

fn is_frozen(result: Result<impl Sized, SessionError>, session: &Session) -> bool {
    match result {
        Err(SessionError::Frozen { key, conflict }) => {
            key == *session.key() && Some(conflict) == session.conflict()
        }
        _ => false,
    }
}

/// The reader of one tree asks for a block of the other.
async fn meet(ours: u64, theirs: u64) -> (Node, Node, Node) {
    let first = Node::writer("one", ours).await;
    let second = Node::writer("other", theirs).await;
    let reader = first.reader().await;
    first.session.clear(5..6).await.unwrap();
    let mut more = reader.session.download(DownloadRange::from(0..1000));
    let waiting = reader.session.get(5);
    reader.connect(&second);
    assert!(is_frozen(within(waiting).await, &reader.session));
    assert!(is_frozen(within(more.done()).await, &reader.session));
    (first, second, reader)
}

#[tokio::test]
async fn who_sees_two_signed_trees_freezes_the_core_and_shows_the_other_writer_why() {
    for (ours, theirs) in [(10, 10), (10, 13), (13, 10)] {
        let (first, second, reader) = meet(ours, theirs).await;
        let conflict = Conflict { fork: 0, length: 8 };
        assert_eq!(reader.session.conflict(), Some(conflict));
        assert_eq!(frozen(&second.session).await, conflict);
        // It has seen but one of them.
        assert_eq!(first.session.conflict(), None);
        assert!(is_frozen(second.session.append(&["more"]).await, &second.session));
        assert!(is_frozen(second.session.truncate(1, None).await, &second.session));
    }
}

#[tokio::test]
async fn a_frozen_core_is_read_and_stays_closed_to_peers_after_a_restart_too() {
    let (first, _, reader) = meet(10, 10).await;
    let Node { store, session, .. } = reader;
    assert_eq!(session.get(0).await.unwrap(), b"one 0");
    let conflict = session.conflict();
    let again = Node::new(store, CoreOptions::from_key(*session.key()));
    assert_eq!(again.session.conflict(), conflict);
    assert_eq!(again.session.get(0).await.unwrap(), b"one 0");
    let waited = [
        within(again.session.get(5)).await.err(),
        within(again.session.update(true)).await.err(),
        within(again.session.download(DownloadRange::LIVE).done())
            .await
            .err(),
    ];
    assert!(
        waited
            .into_iter()
            .all(|error| is_frozen(Err::<(), _>(error.unwrap()), &again.session))
    );
    again.connect(&first);
    let writer = first.replication.clone();
    while writer.links() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((again.session.peers(), first.session.peers()), (0, 0));
}
