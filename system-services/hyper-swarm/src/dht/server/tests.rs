//! Servers and clients on a DHT of their own, over loopback.

use std::sync::Arc;
use std::time::Duration;

use hyper_core::crypto::KeyPair;

use super::*;
use crate::dht::Command;
use crate::dht::connect::{ClientHandshake, ConnectError, ConnectOptions, PathKind};
use crate::dht::messages::{Firewall, HandshakeMessage, Mode, NoisePayload, UdxInfo};
use crate::dht::rpc::message::Request;
use crate::dht::tests::{guest, testnet, within};

fn key_pair(byte: u8) -> KeyPair {
    KeyPair::from_seed(&[byte; 32])
}

/// Sends back what each connection says.
fn echo(mut server: Server) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(connection) = server.accept().await {
            tokio::spawn(async move {
                let mut link = connection.connection.link;
                while let Some(message) = link.incoming.recv().await {
                    if link.outgoing.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}

/// Says a mebibyte in messages of 64 KiB and hears it again.
async fn converse(connection: PeerConnection) {
    let mut link = connection.connection.link;
    let messages: Vec<_> = (0..16_u8).map(|n| vec![n; 64 << 10]).collect();
    let outgoing = link.outgoing.clone();
    let said = messages.clone();
    let speaking = tokio::spawn(async move {
        for message in said {
            outgoing.send(message).await.unwrap();
        }
    });
    for message in &messages {
        assert!(link.incoming.recv().await.as_ref() == Some(message));
    }
    speaking.await.unwrap();
}

#[tokio::test]
async fn a_client_reaches_a_server_by_its_key_and_both_know_each_other() {
    let nodes = within(10, testnet(4)).await;
    let (host, guest) = (guest(&nodes).await, guest(&nodes).await);
    let server = within(5, host.listen(&key_pair(1), ServerOptions::default()))
        .await
        .unwrap();
    assert!(!server.relay_addresses().is_empty());
    let echo = echo(server);
    let server = key_pair(1).public_key();
    for _ in 0..2 {
        let options = ConnectOptions::default();
        let client = key_pair(2);
        let connecting = guest.connect(server, &client, &options);
        let connection = within(5, connecting).await.unwrap();
        assert_eq!(connection.remote_public_key(), &server);
        assert_eq!(connection.path, PathKind::Direct);
        within(10, converse(connection)).await;
    }
    echo.abort();
}

#[tokio::test]
async fn who_is_kept_out_hears_nothing_and_who_is_not_there_is_not_found() {
    let nodes = within(10, testnet(4)).await;
    let (host, guest) = (guest(&nodes).await, guest(&nodes).await);
    let friend = key_pair(2).public_key();
    let firewall: FirewallRule = Arc::new(move |asker| asker.public_key != &friend);
    let options = ServerOptions {
        firewall: Some(firewall),
        ..ServerOptions::default()
    };
    let server = within(5, host.listen(&key_pair(1), options)).await.unwrap();
    let key = *server.public_key();
    let _echo = echo(server);
    let options = ConnectOptions::default();
    let (friend, stranger) = (key_pair(2), key_pair(3));
    within(5, guest.connect(key, &friend, &options)).await.unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(1), guest.connect(key, &stranger, &options));
    assert!(refused.await.is_err(), "it waits for an answer");
    let absent = within(10, guest.connect(key_pair(9).public_key(), &friend, &options)).await;
    assert!(matches!(absent, Err(ConnectError::NotFound(_))), "{absent:?}");
}

#[tokio::test]
async fn a_key_has_one_server_and_a_closed_one_is_not_found_any_more() {
    let nodes = within(10, testnet(4)).await;
    let (host, guest) = (guest(&nodes).await, guest(&nodes).await);
    let keys = key_pair(1);
    let server = host.listen(&keys, ServerOptions::default()).await.unwrap();
    let second = host.listen(&keys, ServerOptions::default()).await;
    assert_eq!(second.err(), Some(ListenError::KeyInUse));
    within(5, server.close()).await;
    let client = key_pair(2);
    let options = ConnectOptions::default();
    let gone = within(10, guest.connect(keys.public_key(), &client, &options)).await;
    assert!(matches!(gone, Err(ConnectError::NotFound(_))), "{gone:?}");
    assert!(host.listen(&keys, ServerOptions::default()).await.is_ok());
}

#[tokio::test]
async fn a_flood_of_forged_handshakes_hurts_nobody() {
    let nodes = within(10, testnet(4)).await;
    let (host, guest) = (guest(&nodes).await, guest(&nodes).await);
    let keys = key_pair(1);
    let server = host.listen(&keys, ServerOptions::default()).await.unwrap();
    let echo = echo(server);
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for n in 0..2000_u32 {
        let mut garbage = vec![0; 200];
        garbage[..4].copy_from_slice(&n.to_le_bytes());
        // A message without sense, one with a Noise message that is none, and both kinds of request.
        let framed = [&[0, 0, 200][..], &garbage].concat();
        for value in [garbage, framed] {
            for command in [Command::PeerHandshake, Command::PeerHolepunch] {
                let request = Request {
                    tid: n as u16,
                    to: host.local_address(),
                    id: None,
                    token: None,
                    command,
                    target: Some(crypto::hash(&[&keys.public_key()])),
                    value: Some(value.clone()),
                };
                stranger
                    .send_to(&request.encode(), host.local_address())
                    .await
                    .unwrap();
            }
        }
        tokio::task::yield_now().await;
    }
    // The server takes new handshakes again after a while.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let options = ConnectOptions::default();
    let client = key_pair(2);
    let connecting = guest.connect(keys.public_key(), &client, &options);
    let connection = within(15, connecting).await.unwrap();
    within(10, converse(connection)).await;
    echo.abort();
}

/// Sends valid handshakes of clients that are not there, each with a key of its own, as if a node had passed them on.
async fn flood(host: &Dht, server: &KeyPair, clients: impl Iterator<Item = SocketAddrV4>) {
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let payload = NoisePayload {
        // The server begins the connection at once.
        firewall: Firewall::Open,
        udx: Some(UdxInfo {
            reusable_socket: false,
            id: 1,
            seq: 0,
        }),
        secret_stream: Some(1),
        ..NoisePayload::default()
    };
    for (number, client) in clients.enumerate() {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        let keys = noise::KeyPair::from_seed(&seed);
        let handshake = ClientHandshake::new(&keys, server.public_key(), seed, &payload).unwrap();
        let message = HandshakeMessage {
            mode: Mode::FromRelay,
            noise: handshake.request().to_vec(),
            peer_address: Some(client),
            relay_address: None,
        };
        let request = Request {
            tid: number as u16,
            to: host.local_address(),
            id: None,
            token: None,
            command: Command::PeerHandshake,
            target: Some(crypto::hash(&[&server.public_key()])),
            value: Some(message.encode()),
        };
        stranger
            .send_to(&request.encode(), host.local_address())
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn clients_that_shake_hands_and_are_not_heard_of_take_bounded_room_and_are_let_go() {
    let nodes = within(10, testnet(4)).await;
    let (host, guest) = (guest(&nodes).await, guest(&nodes).await);
    let keys = key_pair(1);
    let server = host.listen(&keys, ServerOptions::default()).await.unwrap();
    let echo = echo(server);
    // One host, with a port for each of its clients: others have room.
    let one = (1..300).map(|port| SocketAddrV4::new([192, 0, 2, 1].into(), port));
    within(10, flood(&host, &keys, one)).await;
    assert_eq!(host.udx().stream_count(), table::MAX_SESSIONS_OF_HOST);
    let (client, options) = (key_pair(2), ConnectOptions::default());
    let connecting = guest.connect(keys.public_key(), &client, &options);
    within(10, converse(within(5, connecting).await.unwrap())).await;
    // Many hosts: there is an end to it.
    let many = (0..1000_u16).map(|n| SocketAddrV4::new([192, 0, 2, (n % 250) as u8].into(), 1 + n));
    within(20, flood(&host, &keys, many)).await;
    let streams = host.udx().stream_count();
    assert!((100..=table::MAX_SESSIONS).contains(&streams), "{streams}");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(12)).await;
    tokio::time::resume();
    let gone = async {
        while host.udx().stream_count() > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(5, gone).await;
    echo.abort();
}
