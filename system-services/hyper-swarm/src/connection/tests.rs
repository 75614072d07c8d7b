//! Connections over pipes in memory.

use tokio::io::DuplexStream;

use super::*;

fn keys(n: u8) -> KeyPair {
    KeyPair::from_seed(&[n; 32])
}

async fn connected(options: &Options, pipe_bytes: usize) -> [Connection; 2] {
    let (a, b) = tokio::io::duplex(pipe_bytes);
    let (alice, bob) = (keys(1), keys(2));
    let (alice, bob) = tokio::join!(initiate(a, &alice, options), accept(b, &bob, options));
    [alice.unwrap(), bob.unwrap()]
}

fn sessions() -> [Session; 2] {
    let mut alice = Handshake::ik_initiator(&keys(1), keys(2).public_key(), b"", [3; 32]).unwrap();
    let mut bob = Handshake::ik_responder(&keys(2), b"", [4; 32]).unwrap();
    bob.read(&alice.write(b"").unwrap()).unwrap();
    alice.read(&bob.write(b"").unwrap()).unwrap();
    [alice.finish().unwrap(), bob.finish().unwrap()]
}

#[tokio::test]
async fn messages_of_every_length_come_whole_and_in_order_and_both_ends_close() {
    let [alice, mut bob] = connected(&Options::default(), 1000).await;
    assert_eq!(&alice.link.remote_public_key, keys(2).public_key());
    assert_eq!(alice.link.handshake_hash, bob.link.handshake_hash);
    assert!(alice.link.is_initiator && !bob.link.is_initiator);
    let lengths = [0, 1, 17, 70_000, 3, 400_000, 300_000, 65_536];
    let sending = async {
        for length in lengths {
            alice
                .link
                .outgoing
                .send(vec![length as u8; length])
                .await
                .unwrap();
        }
        drop(alice.link);
    };
    let receiving = async {
        for length in lengths {
            assert_eq!(bob.link.incoming.recv().await, Some(vec![length as u8; length]));
        }
        assert_eq!(bob.link.incoming.recv().await, None);
        drop(bob.link);
    };
    tokio::join!(sending, receiving);
    alice.handle.closed().await.unwrap();
    bob.handle.closed().await.unwrap();
}

#[tokio::test]
async fn a_handshake_made_elsewhere_needs_no_answer_before_the_first_message() {
    let (a, b) = tokio::io::duplex(1 << 16);
    let [alice, bob] = sessions();
    let alice = start(a, &alice, &Options::hyperdht()).unwrap();
    alice.link.outgoing.send(b"early".to_vec()).await.unwrap();
    let mut bob = start(b, &bob, &Options::hyperdht()).unwrap();
    assert_eq!(bob.link.incoming.recv().await.as_deref(), Some(&b"early"[..]));
    bob.link.outgoing.send(b"answer".to_vec()).await.unwrap();
    let mut incoming = alice.link.incoming;
    assert_eq!(incoming.recv().await.as_deref(), Some(&b"answer"[..]));
}

#[tokio::test]
async fn who_does_not_take_messages_is_not_sent_more_than_the_buffers_hold() {
    let [alice, bob] = connected(&Options::default(), 1000).await;
    let sending = async {
        let mut sent = 0_usize;
        while tokio::time::timeout(
            Duration::from_millis(50),
            alice.link.outgoing.send(vec![0; 10_000]),
        )
        .await
        .is_ok()
        {
            sent += 1;
        }
        sent
    };
    let sent = sending.await;
    // Two channels, one message in the reader's hands, one batch in the writer's, and the next waiting.
    assert!(
        (2 * LINK_MESSAGES..2 * LINK_MESSAGES + 12).contains(&sent),
        "{sent}"
    );
    drop(bob);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_dropped_and_one_that_keeps_alive_is_not() {
    let timeout = Some(Duration::from_secs(20));
    let silent = Options {
        timeout,
        ..Options::default()
    };
    let (a, b) = tokio::io::duplex(1000);
    let [alice, bob] = sessions();
    let alice = start(a, &alice, &silent).unwrap();
    let bob = start(b, &bob, &Options::default()).unwrap();
    let error = alice.handle.closed().await.unwrap_err();
    assert!(matches!(&*error, ConnectionError::TimedOut { .. }), "{error}");
    drop(bob);

    let alive = Options {
        timeout,
        ..Options::hyperdht()
    };
    let [alice, mut bob] = connected(&alive, 1000).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    alice.link.outgoing.send(b"still here".to_vec()).await.unwrap();
    assert_eq!(
        bob.link.incoming.recv().await.as_deref(),
        Some(&b"still here"[..])
    );
}

#[tokio::test]
async fn a_destroyed_connection_ends_at_both_ends_and_says_why() {
    let [mut alice, mut bob] = connected(&Options::default(), 1000).await;
    alice.handle.destroy();
    assert_eq!(alice.link.incoming.recv().await, None);
    assert_eq!(bob.link.incoming.recv().await, None);
    let error = alice.handle.closed().await.unwrap_err();
    assert!(matches!(&*error, ConnectionError::Destroyed { .. }), "{error}");
    assert!(alice.handle.is_closed());
    assert!(alice.link.outgoing.send(Vec::new()).await.is_err());
}

#[tokio::test]
async fn a_changed_byte_ends_the_connection_and_names_the_peer() {
    let (a, mut wire) = tokio::io::duplex(1 << 16);
    let [alice, bob] = sessions();
    let mut connection = start(a, &alice, &Options::default()).unwrap();
    let mut bytes = Vec::new();
    let mut stream = SecretStream::new(
        &bob,
        &stream_random().unwrap(),
        secret_stream::Options::default(),
        &mut bytes,
    );
    stream.sender.send(b"right", &mut bytes).unwrap();
    stream.sender.send(b"wrong", &mut bytes).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    wire.write_all(&bytes).await.unwrap();
    assert_eq!(
        connection.link.incoming.recv().await.as_deref(),
        Some(&b"right"[..])
    );
    assert_eq!(connection.link.incoming.recv().await, None);
    let error = connection.handle.closed().await.unwrap_err();
    assert!(matches!(
        &*error,
        ConnectionError::Stream {
            source: StreamError::NotAuthentic,
            ..
        }
    ));
    assert!(error.to_string().contains("peer "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_shake_hands_is_given_up() {
    async fn outcome(io: DuplexStream) -> ConnectionError {
        accept(io, &keys(1), &Options::default()).await.unwrap_err()
    }
    let (silent, _kept) = tokio::io::duplex(100);
    assert!(matches!(outcome(silent).await, ConnectionError::TimedOut { .. }));
    let (gone, _) = tokio::io::duplex(100);
    assert!(matches!(
        outcome(gone).await,
        ConnectionError::Stream {
            source: StreamError::BrokeOff,
            ..
        } | ConnectionError::Io { .. }
    ));
    let (liar, mut wire) = tokio::io::duplex(100);
    wire.write_all(&[255; 50]).await.unwrap();
    assert!(matches!(outcome(liar).await, ConnectionError::Stream { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_link_ends_even_if_the_peer_does_not() {
    let [alice, bob] = connected(&Options::default(), 1000).await;
    drop(alice.link);
    alice.handle.closed().await.unwrap();
    let error: Arc<ConnectionError> = {
        let _incoming = bob.link.incoming;
        bob.link.outgoing.send(vec![0; 5000]).await.unwrap();
        bob.handle.closed().await.unwrap_err()
    };
    assert!(matches!(&*error, ConnectionError::Io { .. }), "{error}");
}

/// A peer that says what it likes when it likes: its end of the wire, and what it has to say.
async fn liar(options: &Options) -> (Connection, DuplexStream, SecretStream) {
    let (a, mut wire) = tokio::io::duplex(1 << 10);
    let [alice, bob] = sessions();
    let connection = start(a, &alice, options).unwrap();
    let mut greeting = Vec::new();
    let stream = SecretStream::new(
        &bob,
        &stream_random().unwrap(),
        secret_stream::Options::default(),
        &mut greeting,
    );
    wire.write_all(&greeting).await.unwrap();
    (connection, wire, stream)
}

/// Says as much of it as is read, and leaves the rest.
async fn say(wire: &mut DuplexStream, bytes: &mut &[u8]) {
    while !bytes.is_empty() {
        let writing = tokio::time::timeout(Duration::from_secs(1), wire.write(bytes));
        match writing.await {
            Ok(Ok(written)) => *bytes = &bytes[written..],
            _ => return,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn connections_share_the_memory_for_large_messages_and_small_ones_need_none() {
    const LARGE: usize = 600 << 10;
    let options = Options {
        budget: Budget::new(1 << 20),
        ..Options::default()
    };
    let sealed = |stream: &mut SecretStream, length| {
        let mut out = Vec::new();
        stream.sender.send(&vec![7; length], &mut out).unwrap();
        out
    };
    let (mut first, mut first_wire, mut stream) = liar(&options).await;
    let message = sealed(&mut stream, LARGE);
    let (mut half, mut rest) = message.split_at(LARGE / 2);
    say(&mut first_wire, &mut half).await;
    assert!(half.is_empty());
    // A second one is read to where it says how much is to come.
    let (mut second, mut second_wire, mut stream) = liar(&options).await;
    let message = sealed(&mut stream, LARGE);
    let mut waiting = message.as_slice();
    say(&mut second_wire, &mut waiting).await;
    assert!(waiting.len() > LARGE - (100 << 10), "{}", waiting.len());
    // A third one, with messages of the usual length, is not held up.
    let (mut third, mut third_wire, mut stream) = liar(&options).await;
    let message = sealed(&mut stream, 256 << 10);
    say(&mut third_wire, &mut message.as_slice()).await;
    assert!(third.link.incoming.recv().await.is_some());
    // When the first is complete, it is the second's turn.
    say(&mut first_wire, &mut rest).await;
    assert_eq!(first.link.incoming.recv().await.map(|m| m.len()), Some(LARGE));
    say(&mut second_wire, &mut waiting).await;
    assert_eq!(second.link.incoming.recv().await.map(|m| m.len()), Some(LARGE));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_get_on_with_a_large_message_is_dropped_and_others_have_their_turn() {
    const LARGE: usize = 600 << 10;
    let options = Options {
        budget: Budget::new(1 << 20),
        ..Options::default()
    };
    let (stalls, mut stalled_wire, mut stream) = liar(&options).await;
    let mut message = Vec::new();
    stream.sender.send(&vec![7; LARGE], &mut message).unwrap();
    say(&mut stalled_wire, &mut &message[..LARGE / 2]).await;
    let (mut waits, mut wire, mut stream) = liar(&options).await;
    let mut message = Vec::new();
    stream.sender.send(&vec![7; LARGE], &mut message).unwrap();
    tokio::spawn(async move { wire.write_all(&message).await.map(|()| wire) });
    assert_eq!(waits.link.incoming.recv().await.map(|m| m.len()), Some(LARGE));
    let error = stalls.handle.closed().await.unwrap_err();
    let ConnectionError::Slow { bytes, after, .. } = &*error else {
        panic!("{error}");
    };
    assert_eq!(*bytes, LARGE);
    assert!(after.as_secs() < 60, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_a_large_message_is_not_brought_another() {
    const LARGE: usize = 600 << 10;
    let (mut connection, mut wire, mut stream) = liar(&Options::default()).await;
    let mut messages = Vec::new();
    for _ in 0..2 {
        stream.sender.send(&vec![7; LARGE], &mut messages).unwrap();
    }
    let mut messages = messages.as_slice();
    say(&mut wire, &mut messages).await;
    assert!(messages.len() > LARGE - (100 << 10), "{}", messages.len());
    for _ in 0..2 {
        assert!(connection.link.incoming.recv().await.is_some());
        say(&mut wire, &mut messages).await;
    }
}
