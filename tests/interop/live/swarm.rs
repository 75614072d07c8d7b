//! Swarms: ours and JavaScript's meet by topic.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_interop::{Peer, hex};
use hyper_core::crypto::KeyPair;
use hyper_swarm::dht::{Dht, DhtOptions};
use hyper_swarm::swarm::{JoinOptions, Swarm, SwarmConnection, SwarmOptions, TopicHandle};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: [u8; 32] = [0xaa; 32];

/// A script with a private DHT of JavaScript nodes.
async fn network() -> Result<(Peer, SocketAddrV4)> {
    let mut script = Peer::start("swarm.mjs", &[])?;
    let ready = script.event("ready").await?;
    let bootstrap = ready["bootstrap"][0].as_str().context("no bootstrap node")?;
    Ok((script, bootstrap.parse()?))
}

async fn ours(number: u8, bootstrap: SocketAddrV4) -> Result<(Swarm, mpsc::Receiver<SwarmConnection>)> {
    let dht = Dht::bind(DhtOptions::loopback([bootstrap])).await?;
    Ok(Swarm::start(
        dht,
        SwarmOptions::new(KeyPair::from_seed(&[number; 32])),
    )?)
}

async fn theirs(script: &mut Peer) -> Result<(u64, String)> {
    let made = script.ask(&json!({"do": "make"})).await?;
    let key = made["key"].as_str().context("no key")?;
    Ok((made["swarm"].as_u64().context("no number")?, key.into()))
}

async fn join(script: &mut Peer, swarm: u64, options: JoinOptions) -> Result<()> {
    let join = json!({"do": "join", "swarm": swarm, "topic": hex(&TOPIC), "server": options.server, "client": options.client});
    script.ask(&join).await?;
    Ok(())
}

async fn next(connections: &mut mpsc::Receiver<SwarmConnection>) -> Result<SwarmConnection> {
    timeout(PATIENCE, connections.recv())
        .await
        .context("no connection came in time")?
        .context("the swarm is gone")
}

async fn announced(topic: &TopicHandle) -> Result<()> {
    timeout(PATIENCE, topic.announced())
        .await
        .context("the topic was not announced in time")
}

/// Says something, and hears it from the other end.
async fn echo(connection: &mut SwarmConnection) -> Result<()> {
    let link = &mut connection.peer.connection.link;
    link.outgoing.send(b"how are you?".to_vec()).await?;
    let answer = timeout(PATIENCE, link.incoming.recv()).await?;
    ensure!(answer.as_deref() == Some(b"echo:how are you?"), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_swarm_of_ours_finds_a_javascript_server() -> Result<()> {
    let (mut script, bootstrap) = network().await?;
    let (number, key) = theirs(&mut script).await?;
    join(&mut script, number, JoinOptions::SERVER).await?;
    let (swarm, mut connections) = ours(1, bootstrap).await?;
    let _topic = swarm.join(TOPIC, JoinOptions::CLIENT).await?;
    let mut connection = next(&mut connections).await?;
    ensure!(connection.by_us && connection.topics == [TOPIC]);
    ensure!(hex(connection.peer.remote_public_key()) == key);
    let at_theirs = script.event("connection").await?;
    ensure!(at_theirs["peer"] == hex(swarm.public_key()) && at_theirs["client"] == json!(false));
    echo(&mut connection).await?;
    timeout(PATIENCE, swarm.flush()).await??;
    ensure!(swarm.peers().len() == 1);
    swarm.close().await;
    script.event("closed").await?;
    Ok(())
}

#[tokio::test]
async fn a_javascript_swarm_finds_a_server_of_ours_and_does_not_when_it_has_left() -> Result<()> {
    let (mut script, bootstrap) = network().await?;
    let (swarm, mut connections) = ours(2, bootstrap).await?;
    let topic = swarm.join(TOPIC, JoinOptions::SERVER).await?;
    announced(&topic).await?;
    let (number, key) = theirs(&mut script).await?;
    join(&mut script, number, JoinOptions::CLIENT).await?;
    let mut connection = next(&mut connections).await?;
    ensure!(!connection.by_us && hex(connection.peer.remote_public_key()) == key);
    echo(&mut connection).await?;
    timeout(PATIENCE, topic.leave()).await?;
    let (late, _) = theirs(&mut script).await?;
    join(&mut script, late, JoinOptions::CLIENT).await?;
    script.ask(&json!({"do": "flush", "swarm": late})).await?;
    let peers = script.ask(&json!({"do": "peers", "swarm": late})).await?;
    ensure!(peers["peers"] == json!([]), "{peers}");
    Ok(())
}

#[tokio::test]
async fn who_finds_each_other_at_the_same_time_keeps_one_connection() -> Result<()> {
    let (mut script, bootstrap) = network().await?;
    for round in 0..3 {
        let (number, key) = theirs(&mut script).await?;
        let (swarm, mut connections) = ours(10 + round, bootstrap).await?;
        let topic = swarm.join(TOPIC, JoinOptions::default()).await?;
        join(&mut script, number, JoinOptions::default()).await?;
        announced(&topic).await?;
        swarm.refresh().await?;
        let mut last = next(&mut connections).await?;
        // One of two that crossed may end at once: the other one stays.
        loop {
            sleep(Duration::from_millis(300)).await;
            match connections.try_recv() {
                Ok(newer) => last = newer,
                Err(_) => break,
            }
        }
        ensure!(hex(last.peer.remote_public_key()) == key);
        echo(&mut last).await?;
        ensure!(swarm.peers().len() == 1);
        timeout(PATIENCE, topic.leave()).await?;
        swarm.close().await;
        script.ask(&json!({"do": "destroy", "swarm": number})).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_peer_is_joined_by_its_key_and_a_banned_one_stays_out() -> Result<()> {
    let (mut script, bootstrap) = network().await?;
    let (number, key) = theirs(&mut script).await?;
    // Any topic: it has to listen.
    join(&mut script, number, JoinOptions::SERVER).await?;
    let (swarm, mut connections) = ours(3, bootstrap).await?;
    let mut peer = [0; 32];
    for (byte, digits) in peer.iter_mut().zip(key.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits)?, 16)?;
    }
    swarm.join_peer(peer).await?;
    let mut connection = next(&mut connections).await?;
    echo(&mut connection).await?;
    swarm.ban(peer).await?;
    script.event("closed").await?;
    swarm.join_peer(peer).await?;
    timeout(PATIENCE, swarm.flush()).await??;
    ensure!(swarm.peers().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_swarm_that_rests_lets_its_peers_go_and_comes_back() -> Result<()> {
    let (mut script, bootstrap) = network().await?;
    let (number, _) = theirs(&mut script).await?;
    join(&mut script, number, JoinOptions::SERVER).await?;
    let (swarm, mut connections) = ours(4, bootstrap).await?;
    let _topic = swarm.join(TOPIC, JoinOptions::default()).await?;
    next(&mut connections).await?;
    timeout(PATIENCE, swarm.suspend()).await??;
    script.event("closed").await?;
    ensure!(swarm.peers().is_empty());
    swarm.resume().await?;
    let mut connection = next(&mut connections).await?;
    echo(&mut connection).await
}

/// The peers of each swarm of ours, as they come and go.
type Met = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

fn gather(name: String, mut connections: mpsc::Receiver<SwarmConnection>, met: Met) {
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Some(connection) = connections.recv().await {
            let peer = hex(connection.peer.remote_public_key());
            let mut met = met.lock().unwrap_or_else(PoisonError::into_inner);
            met.entry(name.clone()).or_default().insert(peer);
            kept.push(connection);
        }
    });
}

/// In an answer to a lookup are twenty of the fifty, by chance. JavaScript's swarms ask every ten minutes, and those that came
/// early do not find all of those that came later; ours are told to ask again, so that of each pair with one of ours one end
/// finds the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_peers_of_both_kinds_meet_in_one_topic() -> Result<()> {
    const OF_EACH: u8 = 25;
    let (mut script, bootstrap) = network().await?;
    let met = Met::default();
    let mut swarms = Vec::new();
    let (mut all, mut numbers) = (BTreeSet::new(), Vec::new());
    for number in 0..OF_EACH {
        let (at, key) = theirs(&mut script).await?;
        all.insert(key);
        numbers.push(at);
        let join = json!({"do": "join", "swarm": at, "topic": hex(&TOPIC), "flush": false});
        script.ask(&join).await?;
        let (swarm, connections) = ours(100 + number, bootstrap).await?;
        let name = hex(swarm.public_key());
        all.insert(name.clone());
        gather(name, connections, met.clone());
        let topic = swarm.join(TOPIC, JoinOptions::default()).await?;
        swarms.push((swarm, topic));
    }
    for (_, topic) in &swarms {
        announced(topic).await?;
    }
    let ours: BTreeSet<String> = swarms.iter().map(|(swarm, _)| hex(swarm.public_key())).collect();
    let begun = std::time::Instant::now();
    loop {
        for (swarm, _) in &swarms {
            swarm.refresh().await?;
        }
        for (swarm, _) in &swarms {
            timeout(PATIENCE, swarm.flush()).await??;
        }
        let mut of_theirs = Vec::new();
        for number in &numbers {
            let peers = script.ask(&json!({"do": "peers", "swarm": number})).await?;
            let peers = peers["peers"].as_array().context("no peers")?.iter();
            of_theirs.push(
                peers
                    .filter_map(Value::as_str)
                    .filter(|peer| ours.contains(*peer))
                    .count(),
            );
        }
        let of_ours: Vec<_> = swarms.iter().map(|(swarm, _)| swarm.peers().len()).collect();
        let is_full = of_ours.iter().all(|count| *count == all.len() - 1)
            && of_theirs.iter().all(|count| *count == ours.len());
        if is_full {
            break;
        }
        ensure!(
            begun.elapsed() < 2 * PATIENCE,
            "of 25 peers of ours, JavaScript's swarms have {of_theirs:?}; of 49, ours have {of_ours:?}"
        );
        sleep(Duration::from_secs(1)).await;
    }
    let met = met.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(met.values().flatten().all(|peer| all.contains(peer)));
    Ok(())
}
