//! What hostile nodes can do.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::{Answer, Event, Node, NodeConfig};
use crate::dht::rpc::command::Command;
use crate::dht::rpc::message::Message;
use crate::dht::rpc::query::{QueryOptions, Question};
use crate::dht::rpc::requests::{MAX_REQUESTS, SocketId};
use crate::dht::rpc::table::K;

/// Datagrams that may follow from one: an answer, the next steps of a query, hints.
const MAX_TRANSMITS: usize = 512;

/// For fuzzing: `bytes` are datagrams, each after its length in one byte and after another with what happens besides. A response
/// is given the number of a request under way, a request the address that it comes from.
/// Must not panic, nor hold or send more than the limits allow.
pub fn fuzz_node(bytes: &[u8]) {
    let mut now = Instant::now();
    let peer = |number: u8| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, number), 1000);
    let config = NodeConfig {
        bootstrap: vec![peer(0)],
        ephemeral: bytes.first().is_some_and(|byte| byte & 1 == 0).then_some(false),
        ..NodeConfig::default()
    };
    let mut node = Node::new(config, &[7; 128], 7, now);
    node.start(4000, now);
    let mut asked: Vec<(SocketAddrV4, u16)> = Vec::new();
    let mut rest = bytes;
    while let [step, len, after @ ..] = rest {
        let (datagram, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        let mut datagram = datagram.to_vec();
        let mut from = peer(step >> 3);
        if datagram.first() == Some(&0x13)
            && let Some(place) = datagram.get_mut(2..4)
            && let Some((to, tid)) = asked.pop()
        {
            place.copy_from_slice(&tid.to_le_bytes());
            from = to;
        }
        let socket = if step & 4 == 0 {
            SocketId::CLIENT
        } else {
            SocketId::SERVER
        };
        node.receive(socket, from, &datagram, now);
        match step % 4 {
            0 => now += Duration::from_millis(20),
            1 => now = node.poll_timeout().max(now),
            2 => now += Duration::from_secs(5),
            _ => {
                let question = Question {
                    target: [*step; 32],
                    command: Command::Lookup,
                    value: None,
                };
                node.query(question, QueryOptions::default(), now);
            }
        }
        node.handle_timeout(now);
        drain(&mut node, &mut asked);
    }
    node.suspend();
    drain(&mut node, &mut asked);
    assert!(
        node.requests.is_empty() && node.queries.is_empty(),
        "nothing is under way"
    );
}

fn drain(node: &mut Node, asked: &mut Vec<(SocketAddrV4, u16)>) {
    while let Some(event) = node.poll_event() {
        if let Event::Request(incoming) = event {
            node.respond(&incoming, Answer::value(incoming.value.clone()));
        }
    }
    let mut sent = 0;
    while let Some(transmit) = node.poll_transmit() {
        sent += 1;
        match Message::decode(&transmit.bytes) {
            Some(Ok(Message::Request(request))) => asked.push((transmit.to, request.tid)),
            Some(Ok(Message::Response(_))) => {}
            _ => panic!("what is sent can be read"),
        }
    }
    assert!(sent < MAX_TRANSMITS, "{sent} datagrams follow from one");
    asked.truncate(64);
    assert!(node.table.len() <= 256 * K && node.requests.len() <= MAX_REQUESTS);
    assert!(node.upkeep.held() <= super::incoming::MAX_DELAYED_PINGS);
}
