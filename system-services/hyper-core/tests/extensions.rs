//! Programs talk to each other along a core.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use hyper_core::core::CoreOptions;
use hyper_core::crypto::{Hash, KeyPair};
use hyper_core::link::Link;
use hyper_core::replicate::Replication;
use hyper_core::session::{
    DownloadRange, Extension, ExtensionError, MAX_EXTENSION_BYTES, MAX_EXTENSION_NAME_BYTES, Session,
};
use hyper_core::store::Store;

/// A peer with one core.
struct Node {
    replication: Replication,
    session: Session,
    key: Hash,
}

impl Node {
    fn new(number: u8, options: CoreOptions) -> Self {
        let store = Store::in_memory().unwrap();
        let session = Session::new(store.core(options).unwrap()).unwrap();
        let replication = Replication::default();
        replication.add(&session);
        let key = [number; 32];
        Self {
            replication,
            session,
            key,
        }
    }

    fn writer() -> Self {
        Self::new(0, CoreOptions::from_key_pair(KeyPair::from_seed(&[7; 32])))
    }

    /// Connected to `self`.
    async fn reader(&self, number: u8) -> Self {
        let reader = Self::new(number, CoreOptions::from_key(*self.session.key()));
        let (mut a, mut b) = Link::pair();
        (a.remote_public_key, b.remote_public_key) = (reader.key, self.key);
        self.replication.attach(a);
        reader.replication.attach(b);
        while !self.session.peer_keys().contains(&reader.key) || reader.session.peers() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        reader
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what).await.unwrap()
}

async fn hears_nothing(extension: &Extension) -> bool {
    let soon = Duration::from_millis(30);
    tokio::time::timeout(soon, extension.recv()).await.is_err()
}

#[tokio::test]
async fn messages_come_in_order_from_who_sent_them() {
    let writer = Node::writer();
    let (one, two) = (writer.reader(1).await, writer.reader(2).await);
    let ours = writer.session.extension("chat").unwrap();
    let (first, second) = (
        one.session.extension("chat").unwrap(),
        two.session.extension("chat").unwrap(),
    );
    for text in ["a", "b", ""] {
        first.send(&writer.key, text.as_bytes()).await.unwrap();
    }
    for text in ["a", "b", ""] {
        assert_eq!(within(ours.recv()).await, (one.key, text.as_bytes().to_vec()));
    }
    ours.send(&two.key, b"to two").await.unwrap();
    assert_eq!(within(second.recv()).await, (writer.key, b"to two".to_vec()));
    assert!(hears_nothing(&first).await);
    assert_eq!(ours.broadcast(b"to all"), Ok(2));
    for extension in [&first, &second] {
        assert_eq!(within(extension.recv()).await, (writer.key, b"to all".to_vec()));
    }
}

#[tokio::test]
async fn a_name_that_nobody_registered_is_ignored_and_one_that_is_dropped_is_free_again() {
    let writer = Node::writer();
    let reader = writer.reader(1).await;
    let (one, other) = (
        writer.session.extension("one").unwrap(),
        writer.session.extension("other").unwrap(),
    );
    let ours = reader.session.extension("one").unwrap();
    let taken = reader.session.extension("one").err();
    assert_eq!(taken, Some(ExtensionError::Registered { name: "one".into() }));
    assert_eq!(other.broadcast(b"to nobody"), Ok(1));
    assert_eq!(one.broadcast(b"heard"), Ok(1));
    assert_eq!(within(ours.recv()).await.1, b"heard");
    drop(ours);
    assert_eq!(one.broadcast(b"to nobody"), Ok(1));
    // What is sent after a block is heard after it: by now the message before is dropped.
    writer.session.append(&["a"]).await.unwrap();
    within(reader.session.get(0)).await.unwrap();
    let again = reader.session.extension("one").unwrap();
    assert_eq!(one.broadcast(b"again"), Ok(1));
    assert_eq!(within(again.recv()).await.1, b"again");
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_a_reason() {
    let writer = Node::writer();
    let reader = writer.reader(1).await;
    let name = "x".repeat(MAX_EXTENSION_NAME_BYTES + 1);
    assert_eq!(
        writer.session.extension(&name).err(),
        Some(ExtensionError::Name { bytes: 257 })
    );
    assert_eq!(
        writer.session.extension("").err(),
        Some(ExtensionError::Name { bytes: 0 })
    );
    let ours = writer.session.extension("chat").unwrap();
    let theirs = reader.session.extension("chat").unwrap();
    let peer = [9; 32];
    assert_eq!(
        ours.send(&peer, b"hello").await,
        Err(ExtensionError::NoPeer { peer })
    );
    let mut message = vec![5; MAX_EXTENSION_BYTES + 1];
    let too_long = ExtensionError::TooLong { bytes: message.len() };
    assert_eq!(ours.send(&reader.key, &message).await, Err(too_long.clone()));
    assert_eq!(ours.broadcast(&message), Err(too_long));
    message.pop();
    ours.send(&reader.key, &message).await.unwrap();
    assert_eq!(within(theirs.recv()).await, (writer.key, message));
}

#[tokio::test]
async fn a_flood_that_nobody_reads_holds_up_neither_blocks_nor_the_messages_of_others() {
    const MESSAGE_BYTES: usize = 10_000;
    let writer = Node::writer();
    let blocks: Vec<_> = (0..2000).map(|number| format!("block {number}")).collect();
    writer.session.append(&blocks).await.unwrap();
    let reader = writer.reader(1).await;
    let heard = reader.session.extension("chat").unwrap();
    let flood = writer.session.extension("chat").unwrap();
    let to = reader.key;
    let flooding = tokio::spawn(async move {
        for _ in 0..2000 {
            flood.send(&to, &[0; MESSAGE_BYTES]).await.unwrap();
        }
        flood
    });
    let mut download = reader.session.download(DownloadRange::from(0..2000));
    within(download.done()).await.unwrap();
    let _flood = within(flooding).await.unwrap();
    let polite = reader.reader(2).await;
    let chat = polite.session.extension("chat").unwrap();
    for text in ["one", "two", "three"] {
        chat.send(&reader.key, text.as_bytes()).await.unwrap();
    }
    let (mut bytes, mut texts) = (0, Vec::new());
    while texts.len() < 3 {
        let (from, message) = within(heard.recv()).await;
        if from == polite.key {
            texts.push(message);
        } else {
            bytes += message.len();
        }
    }
    assert_eq!(texts, [&b"one"[..], b"two", b"three"]);
    while let Ok((_, message)) = tokio::time::timeout(Duration::from_millis(100), heard.recv()).await {
        bytes += message.len();
    }
    assert!((500_000..=1 << 20).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn who_waits_for_room_is_told_that_the_peer_is_gone() {
    let writer = Node::writer();
    let reader = Node::new(1, CoreOptions::from_key(*writer.session.key()));
    let (mut near, mut far) = Link::pair();
    near.remote_public_key = reader.key;
    // Between the two stands something that takes frames until it is told to stop.
    let (middle, mut end) = Link::pair();
    let (to_reader, mut from_reader) = (middle.outgoing, middle.incoming);
    end.is_initiator = false;
    end.remote_public_key = writer.key;
    writer.replication.attach(near);
    reader.replication.attach(end);
    let stop = tokio::sync::Notify::new();
    let ours = writer.session.extension("chat").unwrap();
    let carry = async {
        let stopped = stop.notified();
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                Some(frame) = far.incoming.recv() => to_reader.send(frame).await.unwrap(),
                Some(frame) = from_reader.recv() => far.outgoing.send(frame).await.unwrap(),
            }
        }
        // Takes nothing for a while, then breaks.
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(far);
    };
    let fill = async {
        while writer.session.peers() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.notify_one();
        loop {
            if let Err(error) = ours.send(&reader.key, &[0; 100_000]).await {
                break error;
            }
        }
    };
    let ((), error) = within(async { tokio::join!(carry, fill) }).await;
    assert_eq!(error, ExtensionError::NoPeer { peer: reader.key });
}
