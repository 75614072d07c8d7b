//! Swarms on a DHT of their own, over loopback: what would wait for ever if tasks, locks or channels were in each other's way.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper_core::crypto::KeyPair;

use crate::dht::tests::{guest, testnet, within};
use crate::dht::{Dht, ServerOptions};
use crate::swarm::{JoinOptions, Swarm, SwarmConnection, SwarmOptions, Topic};

fn key_pair(number: u8) -> KeyPair {
    KeyPair::from_seed(&[number; 32])
}

async fn swarm(nodes: &[Dht], number: u8) -> (Swarm, tokio::sync::mpsc::Receiver<SwarmConnection>) {
    let options = SwarmOptions::new(key_pair(number));
    Swarm::start(guest(nodes).await, options).unwrap()
}

/// Whether anybody is announced under a topic.
async fn is_announced(node: &Dht, topic: Topic) -> bool {
    node.lookup(topic).next().await.is_some()
}

#[tokio::test]
async fn a_swarm_with_more_topics_than_room_for_commands_rests_and_closes_in_time() {
    let nodes = within(10, testnet(4)).await;
    let (swarm, _connections) = swarm(&nodes, 1).await;
    let mut topics = Vec::new();
    for number in 0..100 {
        topics.push(swarm.join([number; 32], JoinOptions::default()).await.unwrap());
    }
    within(15, swarm.suspend()).await.unwrap();
    within(15, swarm.resume()).await.unwrap();
    within(15, swarm.close()).await;
    within(5, topics.remove(0).leave()).await;
    assert!(!is_announced(&nodes[1], [50; 32]).await);
}

#[tokio::test]
async fn a_swarm_that_is_closed_while_its_server_starts_leaves_nothing_behind() {
    let nodes = within(10, testnet(4)).await;
    let (swarm, _connections) = swarm(&nodes, 1).await;
    let key = *swarm.public_key();
    let _topic = swarm.join([7; 32], JoinOptions::SERVER).await.unwrap();
    within(15, swarm.close()).await;
    assert!(nodes[1].find_peer(&key).next().await.is_none());
    assert!(!is_announced(&nodes[1], [7; 32]).await);
}

#[tokio::test]
async fn a_rule_of_the_program_may_ask_the_swarm() {
    let nodes = within(10, testnet(4)).await;
    let itself: Arc<OnceLock<Swarm>> = Arc::default();
    let asked = itself.clone();
    let options = SwarmOptions {
        firewall: Some(Arc::new(move |_| {
            let Some(swarm) = asked.get().cloned() else {
                return true;
            };
            // From a thread of its own: a lock that is held fails the test and does not stop it.
            let (sender, peers) = std::sync::mpsc::channel();
            std::thread::spawn(move || sender.send(swarm.peers()));
            peers.recv_timeout(Duration::from_secs(1)).is_err()
        })),
        ..SwarmOptions::new(key_pair(1))
    };
    let (server, mut connections) = Swarm::start(guest(&nodes).await, options).unwrap();
    itself.set(server.clone()).unwrap();
    let topic = server.join([7; 32], JoinOptions::SERVER).await.unwrap();
    within(10, topic.announced()).await;
    let (client, _connections) = swarm(&nodes, 2).await;
    client.join_peer(*server.public_key()).await.unwrap();
    assert!(within(10, connections.recv()).await.is_some());
}

#[tokio::test]
async fn an_attempt_that_is_given_up_does_not_hide_the_outcome_of_others() {
    let nodes = within(10, testnet(4)).await;
    let refuses = ServerOptions {
        firewall: Some(Arc::new(|_| true)),
        ..ServerOptions::default()
    };
    let (silent, host) = (guest(&nodes).await, guest(&nodes).await);
    let silent = within(10, silent.listen(&key_pair(1), refuses)).await.unwrap();
    let server = within(10, host.listen(&key_pair(2), ServerOptions::default()))
        .await
        .unwrap();
    let (swarm, mut connections) = swarm(&nodes, 3).await;
    for peer in [silent.public_key(), server.public_key()] {
        swarm.join_peer(*peer).await.unwrap();
    }
    // Its attempt ends before the other's, which takes some round trips.
    swarm.ban(*silent.public_key()).await.unwrap();
    assert!(within(5, connections.recv()).await.is_some());
}

#[tokio::test]
async fn a_topic_that_is_joined_again_at_once_stays_announced() {
    let nodes = within(10, testnet(8)).await;
    let (swarm, _connections) = swarm(&nodes, 1).await;
    for round in 0..5 {
        let topic = swarm.join([7; 32], JoinOptions::SERVER).await.unwrap();
        within(10, topic.announced()).await;
        // As a server and as a client in turn: what is wanted changes, or only who wants it.
        drop(topic);
        let options = if round % 2 == 0 {
            JoinOptions::SERVER
        } else {
            JoinOptions::default()
        };
        let again = swarm.join([7; 32], options).await.unwrap();
        within(10, again.announced()).await;
        // Whatever was on its way has arrived.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(within(5, is_announced(&nodes[1], [7; 32])).await, "round {round}");
        within(10, again.leave()).await;
        assert!(
            !within(5, is_announced(&nodes[1], [7; 32])).await,
            "round {round}"
        );
    }
}

#[tokio::test]
async fn a_topic_that_was_joined_at_rest_is_announced_when_the_swarm_goes_on() {
    let nodes = within(10, testnet(4)).await;
    let (first, _connections) = swarm(&nodes, 1).await;
    within(10, first.suspend()).await.unwrap();
    let topic = first.join([7; 32], JoinOptions::SERVER).await.unwrap();
    within(5, topic.announced()).await;
    within(5, first.flush()).await.unwrap();
    assert!(!is_announced(&nodes[1], [7; 32]).await);
    first.resume().await.unwrap();
    within(10, first.flush()).await.unwrap();
    let (second, mut connections) = swarm(&nodes, 2).await;
    let _topic = second.join([7; 32], JoinOptions::CLIENT).await.unwrap();
    assert!(within(10, connections.recv()).await.is_some());
    within(10, second.flush()).await.unwrap();
    assert_eq!(second.peers(), [*first.public_key()]);
}
