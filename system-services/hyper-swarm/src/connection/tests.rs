//! Connections over pipes in memory.

use std::sync::Arc;

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
