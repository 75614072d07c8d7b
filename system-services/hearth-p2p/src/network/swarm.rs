//! Peers that are found in the DHT: those who joined the topic of a core, as hyperswarm has it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper_core::crypto::{Hash, KeyPair};
use hyper_core::key;
use hyper_swarm::dht::{Dht, DhtOptions};
use hyper_swarm::swarm::{JoinOptions, Swarm, SwarmConnection, SwarmOptions, TopicHandle};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::peers::Peers;
use crate::event::Event;

/// How long the DHT is told that this end goes away.
const GOODBYE: Duration = Duration::from_secs(5);

/// Joins the topics, and takes whoever is found or comes.
pub(super) async fn join(
    dht: DhtOptions,
    pair: KeyPair,
    topics: Vec<Hash>,
    how: JoinOptions,
    peers: Peers,
    tasks: &mut JoinSet<()>,
) -> Result<Swarm> {
    let dht = Dht::bind(dht).await.context("no DHT node can be started")?;
    let (swarm, connections) = Swarm::start(dht, SwarmOptions::new(pair))?;
    tasks.spawn(take(connections, peers.clone()));
    for topic in topics {
        let handle = swarm.join(topic, how).await?;
        tasks.spawn(stay(handle, how, peers.clone()));
    }
    Ok(swarm)
}

/// Says when others can find the topic, and stays in it.
async fn stay(topic: TopicHandle, how: JoinOptions, peers: Peers) {
    topic.announced().await;
    if how.server {
        peers.note(&Event::Announced {
            discovery_key: &key::to_hex(topic.topic()),
        });
    }
    std::future::pending::<()>().await;
}

async fn take(mut connections: mpsc::Receiver<SwarmConnection>, peers: Peers) {
    let mut open = JoinSet::new();
    while let Some(connection) = connections.recv().await {
        while open.try_join_next().is_some() {}
        let peers = peers.clone();
        open.spawn(async move { peers.replicate(connection.peer.connection).await });
    }
}

/// Takes back what was announced.
pub(super) async fn leave(swarm: Swarm) {
    // Nodes forget by themselves whoever does not come back.
    let _ = tokio::time::timeout(GOODBYE, swarm.close()).await;
}
