//! A DHT of its own in one process, over loopback.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::rpc::address::compare;
use super::*;

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A first node, and others that began with it.
async fn testnet(size: usize) -> Vec<Dht> {
    let first = DhtOptions {
        address: Some(SocketAddrV4::new(LOCALHOST, 1)),
        ephemeral: Some(false),
        firewalled: false,
        ..DhtOptions::loopback([])
    };
    let first = Dht::bind(first).await.unwrap();
    first.bootstrapped().await;
    let mut nodes = vec![first];
    while nodes.len() < size {
        let options = DhtOptions {
            ephemeral: Some(false),
            firewalled: false,
            ..DhtOptions::loopback([nodes[0].local_address()])
        };
        let node = Dht::bind(options).await.unwrap();
        node.bootstrapped().await;
        nodes.push(node);
    }
    nodes
}

/// A node that nobody names.
async fn guest(nodes: &[Dht]) -> Dht {
    let guest = Dht::bind(DhtOptions::loopback([nodes[0].local_address()]))
        .await
        .unwrap();
    guest.bootstrapped().await;
    guest
}

async fn within<T>(seconds: u64, what: impl Future<Output = T>) -> T {
    let time = Duration::from_secs(seconds);
    tokio::time::timeout(time, what).await.expect("takes too long")
}

#[tokio::test]
async fn thirty_nodes_find_each_other() {
    let nodes = within(10, testnet(30)).await;
    let guest = within(5, guest(&nodes)).await;
    assert!(nodes.iter().all(|node| !node.state().is_ephemeral()));
    assert!(guest.state().is_ephemeral());
    for target in [[0; 32], [0xff; 32], node_id(nodes[7].local_address())] {
        let mut ids: Vec<_> = nodes.iter().map(|node| node_id(node.local_address())).collect();
        ids.sort_by(|a, b| compare(&target, a, b));
        ids.truncate(20);
        let closest = within(5, guest.find_node(target).finish()).await;
        let found: Vec<_> = closest.iter().filter_map(|reply| reply.from_id).collect();
        assert_eq!(found, ids);
    }
    let pong = within(5, guest.ping(nodes[3].local_address())).await.unwrap();
    assert_eq!(pong.to, guest.socket_address(guest.current_socket()));
    assert_eq!(pong.from_id, nodes[3].state().id);
}

#[tokio::test]
async fn an_unknown_command_is_answered_with_its_error_and_nodes() {
    let nodes = within(10, testnet(4)).await;
    let guest = within(5, guest(&nodes)).await;
    for command in [
        Command::Unknown(99),
        Command::UnknownInternal(99),
        Command::Plugin,
    ] {
        let mut outgoing = Outgoing::new(nodes[1].local_address(), command);
        outgoing.target = Some([7; 32]);
        let reply = within(5, guest.request(outgoing)).await.unwrap();
        assert_eq!(reply.error, 1);
        assert!(reply.closer_nodes.len() >= 2);
    }
}

#[tokio::test]
async fn who_does_not_answer_is_given_up() {
    let node = Dht::bind(DhtOptions::loopback([])).await.unwrap();
    let silent = tokio::net::UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let ping = Outgoing::new(SocketAddrV4::new(LOCALHOST, port), Command::Ping);
    let options = SendOptions {
        timeout: Duration::from_millis(20),
        ..SendOptions::default()
    };
    let error = within(5, node.request_with(ping, &options)).await.unwrap_err();
    assert!(matches!(error, RequestError::TimedOut(_)));
    let silent = silent.into_std().unwrap();
    let mut buffer = [0; 100];
    let datagrams = std::iter::from_fn(|| silent.recv(&mut buffer).ok()).count();
    assert_eq!(datagrams, 4, "sent again three times");
}
