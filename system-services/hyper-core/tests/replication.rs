//! Cores of this process replicate with each other.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use hyper_core::core::CoreOptions;
use hyper_core::corestore::Corestore;
use hyper_core::crypto::{self, KeyPair};
use hyper_core::link::Link;
use hyper_core::merkle::Seek;
use hyper_core::messages::{Message, Open, PROTOCOL, Want};
use hyper_core::mux::{ChannelSpec, Mux};
use hyper_core::replicate::Replication;
use hyper_core::session::{DownloadRange, Session};
use hyper_core::store::Store;

/// A peer with one core.
struct Node {
    replication: Replication,
    session: Session,
}

impl Node {
    fn new(options: CoreOptions) -> Self {
        let store = Store::in_memory().unwrap();
        let session = Session::new(store.core(options).unwrap()).unwrap();
        let replication = Replication::default();
        replication.add(&session);
        Self { replication, session }
    }

    fn writer() -> Self {
        Self::new(CoreOptions::from_key_pair(KeyPair::from_seed(&[7; 32])))
    }

    fn reader_of(&self) -> Self {
        Self::new(CoreOptions::from_key(*self.session.key()))
    }

    fn connect(&self, other: &Self) {
        let (a, b) = Link::pair();
        self.replication.attach(a);
        other.replication.attach(b);
    }
}

fn blocks(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| format!("block {number}")).collect()
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what).await.unwrap()
}

async fn until(session: &Session, length: u64) {
    let mut changes = session.changes();
    within(changes.wait_for(|state| state.length >= length))
        .await
        .unwrap();
}

#[tokio::test]
async fn everything_is_downloaded_and_what_is_appended_later_too() {
    let writer = Node::writer();
    writer.session.append(&blocks(0..1000)).await.unwrap();
    let reader = writer.reader_of();
    reader.connect(&writer);
    until(&reader.session, 1000).await;
    let mut all = reader.session.download(DownloadRange::from(0..1005));
    let later = reader.session.clone();
    let waiting = tokio::spawn(async move { later.get(1002).await });
    writer.session.append(&blocks(1000..1005)).await.unwrap();
    assert_eq!(within(waiting).await.unwrap().unwrap(), b"block 1002");
    within(all.done()).await.unwrap();
    assert_eq!((reader.session.peers(), writer.session.peers()), (1, 1));
    let info = reader.session.info().unwrap();
    assert_eq!(info.contiguous_length, 1005);
    assert_eq!(info.tree_hash, writer.session.info().unwrap().tree_hash);
}

#[tokio::test]
async fn single_blocks_come_without_the_others() {
    let writer = Node::writer();
    writer.session.append(&blocks(0..500)).await.unwrap();
    let reader = writer.reader_of();
    writer.connect(&reader);
    let mut tasks = Vec::new();
    for block in [3, 499, 77, 250] {
        let session = reader.session.clone();
        tasks.push(tokio::spawn(
            async move { (block, session.get(block).await.unwrap()) },
        ));
    }
    for task in tasks {
        let (block, value) = within(task).await.unwrap();
        assert_eq!(value, format!("block {block}").into_bytes());
    }
    assert!(!reader.session.has(100).unwrap());
}

#[tokio::test]
async fn an_update_says_whether_the_core_grew() {
    let writer = Node::writer();
    writer.session.append(&blocks(0..3)).await.unwrap();
    let reader = writer.reader_of();
    assert!(!within(reader.session.update(true)).await.unwrap());
    reader.connect(&writer);
    tokio::task::yield_now().await;
    within(reader.session.update(true)).await.unwrap();
    assert_eq!(reader.session.length(), 3);
    assert!(!within(reader.session.update(true)).await.unwrap());
}

#[tokio::test]
async fn a_byte_is_found_without_the_blocks_before_it() {
    let writer = Node::writer();
    writer.session.append(&vec!["0123456789"; 1000]).await.unwrap();
    let reader = writer.reader_of();
    reader.connect(&writer);
    until(&reader.session, 1000).await;
    let found = within(reader.session.seek(5678)).await.unwrap();
    assert_eq!(
        found,
        Seek::Block {
            block: 567,
            offset: 8
        }
    );
    assert!(!reader.session.has(567).unwrap());
}

#[tokio::test]
async fn a_truncation_is_followed_and_the_new_fork_is_read() {
    let writer = Node::writer();
    writer.session.append(&blocks(0..20)).await.unwrap();
    let reader = writer.reader_of();
    reader.connect(&writer);
    until(&reader.session, 20).await;
    within(reader.session.download(DownloadRange::from(0..20)).done())
        .await
        .unwrap();
    writer.session.truncate(7, None).await.unwrap();
    writer.session.append(&["other", "blocks"]).await.unwrap();
    let mut changes = reader.session.changes();
    within(changes.wait_for(|state| (state.fork, state.length) == (1, 9)))
        .await
        .unwrap();
    assert_eq!(within(reader.session.get(8)).await.unwrap(), b"blocks");
    assert_eq!(reader.session.get(6).await.unwrap(), b"block 6");
    let fresh = writer.reader_of();
    fresh.connect(&writer);
    assert_eq!(within(fresh.session.get(7)).await.unwrap(), b"other");
}

#[tokio::test]
async fn a_reader_gives_what_it_has_to_others_who_take_the_rest_elsewhere() {
    let writer = Node::writer();
    writer.session.append(&blocks(0..300)).await.unwrap();
    let (first, second) = (writer.reader_of(), writer.reader_of());
    first.connect(&writer);
    until(&first.session, 300).await;
    within(first.session.download(DownloadRange::from(100..300)).done())
        .await
        .unwrap();
    writer.session.clear(100..200).await.unwrap();
    second.connect(&writer);
    second.connect(&first);
    until(&second.session, 300).await;
    within(second.session.download(DownloadRange::from(0..300)).done())
        .await
        .unwrap();
    assert_eq!(second.session.info().unwrap().contiguous_length, 300);
}

#[tokio::test]
async fn a_corestore_gives_a_core_that_only_a_peer_asks_for() {
    let (here, there) = (Corestore::in_memory().unwrap(), Corestore::in_memory().unwrap());
    let key = {
        let session = here.get_by_name("a").unwrap();
        session.append(&["hello"]).await.unwrap();
        *session.key()
    };
    let (a, b) = Link::pair();
    here.replicate(a);
    there.replicate(b);
    tokio::task::yield_now().await;
    let session = there.get_by_key(&key).unwrap();
    assert_eq!(within(session.get(0)).await.unwrap(), b"hello");
    let opened_later = there.get_by_name("b").unwrap();
    opened_later.append(&["more"]).await.unwrap();
    let copy = here.get_by_key(opened_later.key()).unwrap();
    assert_eq!(within(copy.get(0)).await.unwrap(), b"more");
}

/// A connection whose other end is in our hands: a peer that does what it likes. Says why it was ended.
async fn ended_after(frames: impl FnOnce(&Node, &Link) -> Vec<Vec<u8>>) -> String {
    let node = Node::writer();
    node.session.append(&blocks(0..5)).await.unwrap();
    let (ours, theirs) = Link::pair();
    let running = node.replication.attach(ours);
    let frames = frames(&node, &theirs);
    let mut theirs = theirs;
    for frame in frames {
        // It may have been cut off already.
        let _ = theirs.outgoing.send(frame).await;
    }
    let error = within(async {
        loop {
            tokio::select! {
                Some(_) = theirs.incoming.recv() => {}
                else => break,
            }
        }
        running.await
    });
    let error = error.await.unwrap().unwrap_err();
    let error: &dyn std::error::Error = &error;
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn opening(node: &Node, link: &Link, capability: bool) -> Mux {
    let key = node.session.key();
    let mut handshake = Open {
        seeks: true,
        capability: crypto::capability(link.is_initiator, key, &link.handshake_hash),
    };
    handshake.capability[0] ^= u8::from(!capability);
    let mut mux = Mux::default();
    let id = node.session.discovery_key();
    let spec = ChannelSpec {
        id: &id,
        ..ChannelSpec::new(PROTOCOL)
    };
    mux.open(spec, &handshake.encode()).unwrap();
    mux
}

fn frames_of(mut mux: Mux) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| mux.poll_frame()).collect()
}

#[tokio::test]
async fn a_peer_that_does_not_know_the_key_is_dropped() {
    let said = ended_after(|node, link| frames_of(opening(node, link, false))).await;
    assert!(
        said.contains("did not prove that it knows the core's key"),
        "{said}"
    );
}

#[tokio::test]
async fn a_peer_that_sends_malformed_frames_is_dropped_with_a_sentence() {
    let said = ended_after(|_, _| vec![vec![0xff; 9]]).await;
    assert!(said.starts_with("the connection to peer 0"), "{said}");
    let said = ended_after(|node, link| {
        let mut mux = opening(node, link, true);
        let channel = mux.channels().next().unwrap();
        mux.send(channel, 0, &[1]).unwrap();
        frames_of(mux)
    })
    .await;
    assert!(
        said.contains("core ") && said.contains("malformed Sync message"),
        "{said}"
    );
}

#[tokio::test]
async fn a_peer_that_floods_with_requests_and_takes_no_answer_is_dropped() {
    let said = ended_after(|node, link| {
        let mut mux = opening(node, link, true);
        let channel = mux.channels().next().unwrap();
        mux.cork();
        for start in 0..5000 {
            let want = Want {
                start: 32 * start,
                length: 32,
                any: false,
            };
            let message = Message::Want(want);
            mux.send(channel, message.kind(), &message.encode()).unwrap();
        }
        mux.uncork();
        frames_of(mux)
    })
    .await;
    assert!(said.contains("more than 2048 requests waiting"), "{said}");
}

#[tokio::test]
async fn a_core_that_nobody_wants_is_closed_and_opened_again_when_somebody_does() {
    let writer = Corestore::in_memory().unwrap();
    let session = writer.get_by_name("a").unwrap();
    session.append(&["x"]).await.unwrap();
    let key = *session.key();
    drop(session);
    let reader = Corestore::in_memory().unwrap();
    let (a, b) = Link::pair();
    writer.replicate(a);
    reader.replicate(b);
    // Only the peer asks for it; again and again.
    for _ in 0..3 {
        let session = reader.get_by_key(&key).unwrap();
        assert_eq!(within(session.get(0)).await.unwrap(), b"x");
    }
    drop(writer.get_by_key(&key).unwrap());
    let again = reader.get_by_key(&key).unwrap();
    let session = writer.get_by_key(&key).unwrap();
    session.append(&["y"]).await.unwrap();
    assert_eq!(within(again.get(1)).await.unwrap(), b"y");
}

#[tokio::test]
async fn an_update_waits_for_the_first_peer_as_long_as_peers_are_looked_for() {
    let writer = Node::writer();
    writer.session.append(&blocks(0..3)).await.unwrap();
    let reader = writer.reader_of();
    let finding = reader.session.finding_peers();
    let session = reader.session.clone();
    let updating = tokio::spawn(async move { session.update(true).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!updating.is_finished());
    reader.connect(&writer);
    assert!(within(updating).await.unwrap().unwrap());
    // There was one: who looks for more need not be waited for.
    assert!(!within(reader.session.update(true)).await.unwrap());
    drop(finding);
    let alone = writer.reader_of();
    let finding = alone.session.finding_peers();
    let session = alone.session.clone();
    let updating = tokio::spawn(async move { session.update(true).await });
    tokio::task::yield_now().await;
    drop(finding);
    assert!(!within(updating).await.unwrap().unwrap());
}
