//! Streams over real sockets, on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(10);

struct End {
    udx: Udx,
    socket: Socket,
    datagrams: mpsc::Receiver<Datagram>,
}

fn end(address: &str) -> End {
    let udx = Udx::new();
    let (socket, datagrams) = udx.bind(address.parse().unwrap()).unwrap();
    End {
        udx,
        socket,
        datagrams,
    }
}

fn stream(end: &End) -> (UdxStream, mpsc::Receiver<Arrival>) {
    end.udx.create_stream(&StreamOptions::default()).unwrap()
}

fn connected(a: &End, b: &End) -> [UdxStream; 2] {
    let ((left, _), (right, _)) = (stream(a), stream(b));
    let connect = |from: &UdxStream, by: &End, to: &UdxStream, at: &End| {
        from.handle()
            .connect(&by.socket, to.handle().local_id(), at.socket.local_addr())
            .unwrap();
    };
    connect(&left, a, &right, b);
    connect(&right, b, &left, a);
    [left, right]
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

async fn sends_and_echoes(a: &End, b: &End, len: usize) {
    let [left, mut right] = connected(a, b);
    let bytes = pattern(len);
    let (mut from_peer, mut to_peer) = tokio::io::split(left);
    let sending = async {
        to_peer.write_all(&bytes).await.unwrap();
        to_peer.shutdown().await.unwrap();
    };
    let receiving = async {
        let mut got = Vec::new();
        from_peer.read_to_end(&mut got).await.unwrap();
        assert!(got == bytes, "bytes differ");
    };
    let echoing = async {
        let mut got = Vec::new();
        right.read_to_end(&mut got).await.unwrap();
        right.write_all(&got).await.unwrap();
        right.shutdown().await.unwrap();
        assert_eq!(right.handle().closed().await, CloseReason::Finished);
    };
    tokio::join!(sending, receiving, echoing);
}

#[tokio::test]
async fn all_bytes_come_and_go_over_ipv4_and_ipv6_and_between_them() {
    for [a, b] in [["127.0.0.1:0", "127.0.0.1:0"], ["[::1]:0", "[::1]:0"]] {
        let (a, b) = (end(a), end(b));
        timeout(SOON, sends_and_echoes(&a, &b, 3_000_000)).await.unwrap();
    }
    let (a, mut b) = (end("[::]:0"), end("127.0.0.1:0"));
    let port = a.socket.local_addr().port();
    let to_a = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    a.socket.try_send_to(b"mapped", b.socket.local_addr()).unwrap();
    let datagram = b.datagrams.recv().await.unwrap();
    assert_eq!((&datagram.bytes[..], datagram.from), (&b"mapped"[..], to_a));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_share_two_sockets_on_two_threads() {
    let (a, b) = (end("127.0.0.1:0"), end("127.0.0.1:0"));
    let (a, b) = (std::sync::Arc::new(a), std::sync::Arc::new(b));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (a, b) = (a.clone(), b.clone());
        tasks.spawn(async move { sends_and_echoes(&a, &b, 10_000 * n).await });
    }
    timeout(SOON, tasks.join_all()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_udx_comes_out_beside_also_with_few_hops() {
    let (a, mut b) = (end("127.0.0.1:0"), end("127.0.0.1:0"));
    let to = b.socket.local_addr();
    a.socket.try_send_to(b"dht", to).unwrap();
    a.socket.try_send_to_ttl(&[0], to, 5).unwrap();
    a.socket.try_send_to(&[255; 30], to).unwrap();
    for expected in [&b"dht"[..], &[0], &[255; 30]] {
        let datagram = timeout(SOON, b.datagrams.recv()).await.unwrap().unwrap();
        assert_eq!(
            (&datagram.bytes[..], datagram.from),
            (expected, a.socket.local_addr())
        );
    }
}

#[tokio::test]
async fn a_stream_is_connected_because_its_first_packet_came() {
    let (a, b) = (end("127.0.0.1:0"), end("127.0.0.1:0"));
    let (mut left, _) = stream(&a);
    let (mut right, mut arrivals) = stream(&b);
    left.write_all(b"knock").await.unwrap();
    left.handle()
        .connect(&a.socket, right.handle().local_id(), b.socket.local_addr())
        .unwrap();
    let arrival = timeout(SOON, arrivals.recv()).await.unwrap().unwrap();
    assert_eq!(
        (&arrival.socket, arrival.from),
        (&b.socket, a.socket.local_addr())
    );
    right
        .handle()
        .connect(&arrival.socket, left.handle().local_id(), arrival.from)
        .unwrap();
    let mut got = [0; 5];
    right.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"knock");
    right.write_all(b"come in").await.unwrap();
    let mut got = [0; 7];
    timeout(SOON, left.read_exact(&mut got)).await.unwrap().unwrap();
    let again = right.handle().connect(&b.socket, 1, a.socket.local_addr());
    assert!(matches!(again, Err(UdxError::Connected { .. })));
}

#[tokio::test]
async fn a_stream_goes_another_way_without_losing_a_byte() {
    let (a, b) = (end("127.0.0.1:0"), end("127.0.0.1:0"));
    let [mut left, mut right] = connected(&a, &b);
    let (new_a, _a) = a.udx.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (new_b, _b) = b.udx.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let bytes = pattern(100_000);
    let moved = std::cell::Cell::new(false);
    let control = [left.handle().clone(), right.handle().clone()];
    let changing = async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let [left, right] = &control;
        let there = left
            .change_remote(&new_a, right.local_id(), new_b.local_addr())
            .unwrap();
        let back = right
            .change_remote(&new_b, left.local_id(), new_a.local_addr())
            .unwrap();
        timeout(SOON, there).await.unwrap().unwrap();
        timeout(SOON, back).await.unwrap().unwrap();
        assert_eq!(left.remote_addr(), Some(new_b.local_addr()));
        moved.set(true);
    };
    let sending = async {
        let mut rounds = 0;
        // On both ways, and while it changes from one to the other.
        while rounds < 20 || !moved.get() {
            left.write_all(&bytes).await.unwrap();
            rounds += 1;
        }
        left.shutdown().await.unwrap();
        // The old way has served.
        left.read_to_end(&mut Vec::new()).await.unwrap();
    };
    let receiving = async {
        let mut got = Vec::new();
        right.read_to_end(&mut got).await.unwrap();
        assert!(got.len() >= 20 * bytes.len());
        assert!(
            got.chunks(bytes.len()).all(|chunk| chunk == bytes),
            "bytes differ"
        );
        right.shutdown().await.unwrap();
    };
    timeout(SOON, async { tokio::join!(changing, sending, receiving) })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_relay_passes_packets_on_unread_until_one_end_is_destroyed() {
    let (a, b, relay) = (end("127.0.0.1:0"), end("127.0.0.1:0"), end("127.0.0.1:0"));
    let ((mut left, _), (mut right, _)) = (stream(&a), stream(&b));
    let ((for_left, _), (for_right, _)) = (stream(&relay), stream(&relay));
    let join = |end: &UdxStream, by: &End, at_relay: &UdxStream| {
        let (end, at_relay) = (end.handle(), at_relay.handle());
        end.connect(&by.socket, at_relay.local_id(), relay.socket.local_addr())
            .unwrap();
        at_relay
            .connect(&relay.socket, end.local_id(), by.socket.local_addr())
            .unwrap();
    };
    for_left.handle().relay_to(for_right.handle()).unwrap();
    for_right.handle().relay_to(for_left.handle()).unwrap();
    join(&left, &a, &for_left);
    join(&right, &b, &for_right);
    let bytes = pattern(300_000);
    let sending = async { left.write_all(&bytes).await.unwrap() };
    let receiving = async {
        let mut got = vec![0; bytes.len()];
        right.read_exact(&mut got).await.unwrap();
        assert!(got == bytes, "bytes differ");
    };
    timeout(SOON, async { tokio::join!(sending, receiving) })
        .await
        .unwrap();
    drop(left);
    let over = timeout(SOON, right.handle().closed()).await.unwrap();
    assert_eq!(over, CloseReason::Reset);
    timeout(SOON, for_right.handle().closed()).await.unwrap();
    timeout(SOON, for_left.handle().closed()).await.unwrap();
}

#[tokio::test]
async fn a_relay_that_gives_up_ends_nothing_for_ends_that_have_left_it() {
    let (a, b, relay) = (end("127.0.0.1:0"), end("127.0.0.1:0"), end("127.0.0.1:0"));
    let ((mut left, _), (mut right, _)) = (stream(&a), stream(&b));
    let ((for_left, _), (for_right, _)) = (stream(&relay), stream(&relay));
    for (end, by, at_relay) in [(&left, &a, &for_left), (&right, &b, &for_right)] {
        let (end, at_relay) = (end.handle(), at_relay.handle());
        end.connect(&by.socket, at_relay.local_id(), relay.socket.local_addr())
            .unwrap();
        at_relay
            .connect(&relay.socket, end.local_id(), by.socket.local_addr())
            .unwrap();
    }
    for_left.handle().relay_to(for_right.handle()).unwrap();
    for_right.handle().relay_to(for_left.handle()).unwrap();
    left.write_all(b"some").await.unwrap();
    right.read_exact(&mut [0; 4]).await.unwrap();
    let (one, other) = (left.handle().clone(), right.handle().clone());
    let (to_right, to_left) = (b.socket.local_addr(), a.socket.local_addr());
    let moved = one.change_remote(&a.socket, other.local_id(), to_right).unwrap();
    let other_moved = other.change_remote(&b.socket, one.local_id(), to_left).unwrap();
    moved.await.unwrap();
    other_moved.await.unwrap();
    drop(for_left);
    timeout(SOON, for_right.handle().closed()).await.unwrap();
    // Nothing has come to this end yet: it would believe any word.
    left.write_all(b"more").await.unwrap();
    timeout(SOON, right.read_exact(&mut [0; 4]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((one.close_reason(), other.close_reason()), (None, None));
}

#[tokio::test]
async fn messages_go_beside_the_bytes() {
    let (a, b) = (end("127.0.0.1:0"), end("127.0.0.1:0"));
    let [left, right] = connected(&a, &b);
    assert!(left.handle().send_message(b"beside"));
    let message = timeout(SOON, right.handle().recv_message()).await.unwrap();
    assert_eq!(message.as_deref(), Some(&b"beside"[..]));
    drop(left);
    assert_eq!(timeout(SOON, right.handle().recv_message()).await.unwrap(), None);
}

#[tokio::test]
async fn a_finished_stream_that_is_dropped_still_brings_everything() {
    let (a, b) = (end("127.0.0.1:0"), end("127.0.0.1:0"));
    let [mut left, mut right] = connected(&a, &b);
    let bytes = pattern(200_000);
    left.write_all(&bytes).await.unwrap();
    left.shutdown().await.unwrap();
    drop((left, a.socket, a.datagrams));
    let draining = timeout(SOON, a.udx.drained());
    let receiving = async {
        let mut got = vec![0; bytes.len()];
        right.read_exact(&mut got).await.unwrap();
        assert!(got == bytes, "bytes differ");
    };
    let (drained, ()) = tokio::join!(draining, receiving);
    drained.unwrap();
}

#[tokio::test]
async fn a_socket_is_closed_when_nobody_has_it_and_its_numbers_are_free() {
    let mut a = end("127.0.0.1:0");
    let address = a.socket.local_addr();
    let (unconnected, _) = stream(&a);
    assert_eq!(a.udx.stream_count(), 1);
    drop(unconnected);
    assert_eq!(a.udx.stream_count(), 0);
    let mut b = end("127.0.0.1:0");
    let [left, right] = connected(&a, &b);
    let handle = left.handle().clone();
    drop((left, a.socket));
    assert_eq!(
        timeout(SOON, right.handle().closed()).await.unwrap(),
        CloseReason::Reset
    );
    drop((right, b.socket));
    assert_eq!(timeout(SOON, b.datagrams.recv()).await.unwrap(), None);
    assert_eq!(handle.close_reason(), Some(CloseReason::Destroyed));
    assert_eq!(timeout(SOON, a.datagrams.recv()).await.unwrap(), None);
    let again = timeout(SOON, async {
        loop {
            if let Ok(bound) = a.udx.bind(address) {
                break bound;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    again.await.unwrap();
}
