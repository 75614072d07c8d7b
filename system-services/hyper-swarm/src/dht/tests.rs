//! A DHT of its own in one process, over loopback.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use hyper_core::crypto::KeyPair;

use super::rpc::address::compare;
use super::rpc::message::{Message, Response};
use super::*;

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A first node, and others that began with it.
pub(crate) async fn testnet(size: usize) -> Vec<Dht> {
    let first = DhtOptions {
        address: Some(SocketAddrV4::new(LOCALHOST, 1)),
        ephemeral: Some(false),
        firewalled: false,
        ..DhtOptions::loopback([])
    };
    let first = Dht::bind(first).await.unwrap();
    first.bootstrapped().await;
    let mut nodes = vec![first];
    grow(&mut nodes, size).await;
    nodes
}

/// Lets nodes join until there are so many.
async fn grow(nodes: &mut Vec<Dht>, size: usize) {
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
}

/// A node that nobody names.
pub(crate) async fn guest(nodes: &[Dht]) -> Dht {
    guest_of(nodes[0].local_address()).await
}

async fn guest_of(node: SocketAddrV4) -> Dht {
    let guest = Dht::bind(DhtOptions::loopback([node])).await.unwrap();
    guest.bootstrapped().await;
    guest
}

pub(crate) async fn within<T>(seconds: u64, what: impl Future<Output = T>) -> T {
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
    for command in [Command::Unknown(99), Command::UnknownInternal(99)] {
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

#[tokio::test]
async fn what_is_stored_is_found_by_others() {
    let nodes = within(10, testnet(8)).await;
    let (writer, reader) = (within(5, guest(&nodes)).await, within(5, guest(&nodes)).await);
    let hash = within(5, writer.immutable_put(b"value")).await.unwrap();
    let value = within(5, reader.immutable_get(hash)).await;
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
    assert_eq!(within(5, reader.immutable_get([1; 32])).await, None);

    let owner = KeyPair::from_seed(&[1; 32]);
    within(5, writer.mutable_put(&owner, b"one", 1)).await.unwrap();
    within(5, writer.mutable_put(&owner, b"two", 2)).await.unwrap();
    let error = within(5, writer.mutable_put(&owner, b"old", 1))
        .await
        .unwrap_err();
    let QueryError::NobodyStored {
        last: Some(NotStored::Refused { code, .. }),
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(code, records::ERROR_SEQ_TOO_LOW);
    let found = within(5, reader.mutable_get(&owner.public_key(), 0))
        .await
        .unwrap();
    assert_eq!((found.seq, &found.value[..]), (2, &b"two"[..]));
    assert_eq!(within(5, reader.mutable_get(&owner.public_key(), 3)).await, None);
}

/// A node that answers everything with the same value, under its own id or the one given.
async fn liar(value: Vec<u8>, id: Option<[u8; 32]>) -> (SocketAddrV4, tokio::task::JoinHandle<()>) {
    let socket = tokio::net::UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let address = SocketAddrV4::new(LOCALHOST, socket.local_addr().unwrap().port());
    let answering = tokio::spawn(async move {
        let mut buffer = [0; 2000];
        loop {
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            let SocketAddr::V4(to) = from else { continue };
            let Some(Ok(Message::Request(request))) = Message::decode(&buffer[..len]) else {
                continue;
            };
            let response = Response {
                tid: request.tid,
                to,
                id: Some(id.unwrap_or(node_id(address))),
                token: Some([7; 32]),
                closer_nodes: Vec::new(),
                error: 0,
                value: Some(value.clone()),
            };
            socket.send_to(&response.encode(), from).await.unwrap();
        }
    });
    (address, answering)
}

#[tokio::test]
async fn a_node_that_claims_to_be_where_it_is_not_is_not_among_the_closest() {
    let target = [9; 32];
    for (claimed, closest) in [(None, 1), (Some(target), 0)] {
        let (node, answering) = liar(Vec::new(), claimed).await;
        let guest = within(5, guest_of(node)).await;
        let found = within(5, guest.find_node(target).finish()).await;
        assert_eq!((found.len(), guest.nodes(10).len()), (closest, closest));
        answering.abort();
    }
}

#[tokio::test]
async fn a_node_that_forges_values_is_not_believed() {
    let (owner, other) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
    let record = records::MutableRecord::sign(3, b"value".to_vec(), &owner).encode();
    let (node, answering) = liar(record.clone(), None).await;
    let reader = within(5, guest_of(node)).await;
    let found = within(5, reader.mutable_get(&owner.public_key(), 0)).await;
    assert_eq!(found.map(|found| found.value).as_deref(), Some(&b"value"[..]));
    assert_eq!(
        within(5, reader.mutable_get(&owner.public_key(), 4)).await,
        None,
        "too old"
    );
    // Signed by somebody else, under the hash of something else.
    assert_eq!(within(5, reader.mutable_get(&other.public_key(), 0)).await, None);
    assert_eq!(within(5, reader.immutable_get([9; 32])).await, None);
    let hash = hyper_core::crypto::hash(&[&record]);
    assert_eq!(within(5, reader.immutable_get(hash)).await, Some(record));
    answering.abort();
}

#[tokio::test]
async fn who_announces_is_found_until_it_takes_it_back() {
    let nodes = within(10, testnet(8)).await;
    let (peer, other) = (within(5, guest(&nodes)).await, within(5, guest(&nodes)).await);
    let topic = [3; 32];
    let key_pair = KeyPair::from_seed(&[2; 32]);
    let relay = nodes[2].local_address();
    let options = AnnounceOptions {
        relay_addresses: vec![relay],
        ..AnnounceOptions::default()
    };
    within(5, peer.announce(topic, &key_pair, &options))
        .await
        .unwrap();
    let reply = within(5, other.lookup(topic).next()).await.unwrap();
    assert_eq!(reply.peers[0].public_key, key_pair.public_key());
    assert_eq!(reply.peers[0].relay_addresses, [relay]);
    within(5, peer.unannounce(topic, &key_pair)).await;
    assert_eq!(within(5, other.lookup(topic).next()).await, None);
}

#[tokio::test]
async fn an_announcer_names_its_relays_and_takes_itself_back() {
    let nodes = within(10, testnet(8)).await;
    let (peer, other) = (within(5, guest(&nodes)).await, within(5, guest(&nodes)).await);
    let key_pair = KeyPair::from_seed(&[4; 32]);
    let public_key = key_pair.public_key();
    let announcer = within(5, Announcer::start(&peer, key_pair)).await;
    let relays = announcer.relays();
    assert_eq!(relays.len(), 3);
    let own = peer.socket_address(peer.current_socket());
    assert!(relays.iter().all(|relay| relay.peer_address == own));
    assert!(announcer.is_relay(relays[0].relay_address) && !announcer.is_relay(own));
    let found = within(5, other.find_peer(&public_key).next()).await.unwrap();
    assert_eq!(found.peer.public_key, public_key);
    let relay = nodes
        .iter()
        .find(|node| node.local_address() == found.from)
        .unwrap();
    assert_eq!(relay.forward(announcer.target()).unwrap().relay, Some(own));
    within(5, announcer.stop()).await;
    assert_eq!(within(5, other.find_peer(&public_key).next()).await, None);
}

/// Each is stopped at another moment of an announcement with nodes that it did not know before.
#[tokio::test]
async fn an_announcer_that_is_stopped_while_it_announces_leaves_nothing_behind() {
    let mut nodes = within(10, testnet(4)).await;
    let peer = within(5, guest(&nodes)).await;
    let mut announcers = Vec::new();
    for seed in 0..16 {
        let key_pair = KeyPair::from_seed(&[seed; 32]);
        announcers.push(within(5, Announcer::start(&peer, key_pair)).await);
    }
    let targets: Vec<_> = announcers.iter().map(|announcer| *announcer.target()).collect();
    within(10, grow(&mut nodes, 30)).await;
    for (number, announcer) in announcers.into_iter().enumerate() {
        announcer.refresh();
        tokio::time::sleep(Duration::from_millis(number as u64)).await;
        within(5, announcer.stop()).await;
    }
    let left = |target: &&_| nodes.iter().any(|node| node.forward(target).is_some());
    assert_eq!(targets.iter().filter(left).count(), 0);
}

#[tokio::test]
async fn garbage_does_not_disturb_a_node() {
    let nodes = within(10, testnet(4)).await;
    let node = &nodes[1];
    let attacker = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let mut random = rpc::random::Random::new(5);
    let known = node.nodes(100).len();
    for number in 0..20_000_usize {
        let mut datagram: Vec<u8> = (0..random.below(120)).map(|_| random.number() as u8).collect();
        if let Some(first) = datagram.first_mut() {
            *first = [0x03, 0x13, 0xff, *first][number % 4];
        }
        attacker.send_to(&datagram, node.local_address()).unwrap();
        if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let asker = within(5, guest(&nodes)).await;
    let pong = within(5, asker.ping(node.local_address())).await.unwrap();
    assert_eq!(pong.from_id, node.state().id);
    assert!(node.nodes(100).len() <= known + 1);
}
