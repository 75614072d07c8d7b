//! The DHT: our nodes among JavaScript nodes, and JavaScript nodes among ours.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_interop::{Peer, hex};
use hyper_core::crypto::{self, KeyPair};
use hyper_swarm::dht::{AnnounceOptions, Announcer, Command, Dht, DhtOptions, Outgoing, node_id};
use serde_json::{Value, json};

const SCRIPT: &str = "dht.mjs";

/// A network of JavaScript nodes, and a node of ours in it.
struct InTheirs {
    script: Peer,
    bootstrap: SocketAddrV4,
    /// Those that are known by their id.
    nodes: Vec<SocketAddrV4>,
    ours: Dht,
}

impl InTheirs {
    async fn new(size: usize) -> Result<Self> {
        let mut script = Peer::start(SCRIPT, &[])?;
        let testnet = script.ask(&json!({"do": "testnet", "size": size})).await?;
        let bootstrap = address(&testnet["bootstrap"][0])?;
        let nodes = testnet["nodes"].as_array().context("no nodes")?;
        let nodes = nodes.iter().filter(|node| !node["id"].is_null());
        let nodes = nodes
            .map(|node| address(&node["address"]))
            .collect::<Result<_>>()?;
        let ours = Dht::bind(DhtOptions::loopback([bootstrap])).await?;
        ours.bootstrapped().await;
        Ok(Self {
            script,
            bootstrap,
            nodes,
            ours,
        })
    }
}

/// A network of our nodes, another one of ours and a JavaScript node in it.
struct InOurs {
    script: Peer,
    nodes: Vec<Dht>,
    ours: Dht,
}

impl InOurs {
    async fn new(size: usize) -> Result<Self> {
        let first = DhtOptions {
            address: Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1)),
            ..persistent([])
        };
        let mut nodes = vec![Dht::bind(first).await?];
        nodes[0].bootstrapped().await;
        let bootstrap = nodes[0].local_address();
        while nodes.len() < size {
            let node = Dht::bind(persistent([bootstrap])).await?;
            node.bootstrapped().await;
            nodes.push(node);
        }
        let ours = Dht::bind(DhtOptions::loopback([bootstrap])).await?;
        ours.bootstrapped().await;
        let mut script = Peer::start(SCRIPT, &[])?;
        let bootstrap = [bootstrap.to_string()];
        script.ask(&json!({"do": "join", "bootstrap": bootstrap})).await?;
        Ok(Self { script, nodes, ours })
    }
}

fn persistent(bootstrap: impl IntoIterator<Item = SocketAddrV4>) -> DhtOptions {
    DhtOptions {
        ephemeral: Some(false),
        firewalled: false,
        ..DhtOptions::loopback(bootstrap)
    }
}

fn address(value: &Value) -> Result<SocketAddrV4> {
    let text = value.as_str().with_context(|| format!("{value} is no address"))?;
    Ok(text.parse()?)
}

fn closest(target: &[u8; 32], nodes: impl IntoIterator<Item = SocketAddrV4>) -> Vec<SocketAddrV4> {
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_by_key(|node| -> [u8; 32] {
        let id = node_id(*node);
        std::array::from_fn(|i| id[i] ^ target[i])
    });
    nodes.truncate(20);
    nodes
}

/// Tries again for a while: what nodes know of each other spreads.
async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    for _ in 0..50 {
        if let Some(found) = attempt().await? {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("it did not happen within five seconds")
}

#[tokio::test]
async fn nodes_of_both_kinds_answer_each_other() -> Result<()> {
    let mut theirs = InTheirs::new(6).await?;
    let pong = theirs.ours.ping(theirs.nodes[0]).await?;
    ensure!(pong.from_id == Some(node_id(theirs.nodes[0])));
    ensure!(pong.to == theirs.ours.socket_address(theirs.ours.current_socket()));
    let found = theirs.ours.find_node([9; 32]).finish().await;
    let found: Vec<_> = found.iter().map(|reply| reply.from).collect();
    assert_eq!(found, closest(&[9; 32], theirs.nodes.clone()));

    // The same on a node of ours that they can reach.
    let ours = Dht::bind(persistent([theirs.bootstrap])).await?;
    ours.bootstrapped().await;
    ensure!(ours.state().id == Some(node_id(ours.local_address())));
    let to = ours.local_address().to_string();
    let pong = theirs.script.ask(&json!({"do": "ping", "to": to})).await?;
    assert_eq!(pong["id"], hex(&node_id(ours.local_address())));
    let pong = theirs
        .script
        .ask(&json!({"do": "delayedPing", "to": to, "ms": 50}))
        .await?;
    assert_eq!(pong["error"], 0);
    let all: Vec<_> = theirs
        .nodes
        .iter()
        .copied()
        .chain([ours.local_address()])
        .collect();
    let expected: Vec<_> = closest(&[9; 32], all).iter().map(ToString::to_string).collect();
    let find = json!({"do": "findNode", "target": hex(&[9; 32])});
    let found = theirs.script.ask(&find).await?;
    let found: Vec<_> = found["closest"]
        .as_array()
        .context("no nodes")?
        .iter()
        .map(|reply| reply["from"].clone())
        .collect();
    assert_eq!(found, expected);
    Ok(())
}

#[tokio::test]
async fn unknown_and_malformed_requests_are_answered_alike() -> Result<()> {
    let mut theirs = InTheirs::new(5).await?;
    let ours = Dht::bind(persistent([theirs.bootstrap])).await?;
    ours.bootstrapped().await;
    let (a, b) = (theirs.nodes[1], ours.local_address());
    let target = hex(&[7; 32]);
    for (internal, command) in [(true, 77_u64), (false, 77), (false, 1 << 40), (true, 2)] {
        let mut answers = Vec::new();
        for to in [a, b] {
            let to = to.to_string();
            let request = json!({"do": "request", "to": to, "internal": internal, "command": command, "target": target});
            let answer = theirs.script.ask(&request).await?;
            ensure!(
                answer["closer"]
                    .as_array()
                    .is_some_and(|closer| closer.len() >= 2),
                "{answer}"
            );
            answers.push((answer["error"].clone(), answer["value"].clone()));
        }
        assert_eq!(answers[0], answers[1], "command {command}");
    }
    // A wrong token.
    let mut errors = Vec::new();
    for to in [a, b] {
        let outgoing = Outgoing {
            token: Some([1; 32]),
            target: Some([7; 32]),
            ..Outgoing::new(to, Command::ImmutablePut)
        };
        let reply = theirs.ours.request(outgoing).await?;
        errors.push((reply.error, reply.token.is_some(), reply.value));
    }
    assert_eq!(errors[0], errors[1]);
    assert_eq!(errors[0].0, 2);
    Ok(())
}

/// Our node stores and the script reads, and the other way round.
async fn values_go_both_ways(script: &mut Peer, ours: &Dht) -> Result<()> {
    let hash = ours.immutable_put(b"from us").await?;
    let got = script
        .ask(&json!({"do": "immutableGet", "hash": hex(&hash)}))
        .await?;
    assert_eq!(got["value"], hex(b"from us"));
    let value = vec![5; 900];
    let put = script
        .ask(&json!({"do": "immutablePut", "value": hex(&value)}))
        .await?;
    let hash = crypto::hash(&[&value]);
    assert_eq!(put["hash"], hex(&hash));
    assert_eq!(ours.immutable_get(hash).await, Some(value));

    let (key, other) = (KeyPair::from_seed(&[11; 32]), KeyPair::from_seed(&[12; 32]));
    for seq in [1, 2] {
        ours.mutable_put(&key, format!("number {seq}").as_bytes(), seq)
            .await?;
    }
    let got = script
        .ask(&json!({"do": "mutableGet", "publicKey": hex(&key.public_key())}))
        .await?;
    assert_eq!(
        (&got["seq"], &got["value"]),
        (&json!(2), &json!(hex(b"number 2")))
    );
    let put = json!({"do": "mutablePut", "seed": 12, "seq": 300, "value": hex(b"theirs")});
    script.ask(&put).await?;
    let got = ours
        .mutable_get(&other.public_key(), 0)
        .await
        .context("nothing found")?;
    assert_eq!((got.seq, &got.value[..]), (300, &b"theirs"[..]));
    Ok(())
}

/// Our peer is found by the script, and the script's by ours, until they take it back.
async fn announcements_go_both_ways(script: &mut Peer, ours: &Dht) -> Result<()> {
    let (topic, key) = ([21; 32], KeyPair::from_seed(&[22; 32]));
    let lookup = json!({"do": "lookup", "topic": hex(&topic)});
    let options = AnnounceOptions {
        relay_addresses: vec![SocketAddrV4::new(Ipv4Addr::new(1, 2, 3, 4), 5)],
        bump: 1_700_000_000_000,
        ..AnnounceOptions::default()
    };
    ours.announce(topic, &key, &options).await?;
    let found = script.ask(&lookup).await?;
    assert_eq!(found["peers"][hex(&key.public_key())], json!(["1.2.3.4:5"]));
    assert_eq!(found["bump"], 1_700_000_000_000_u64);
    ours.unannounce(topic, &key).await;
    let found = script.ask(&lookup).await?;
    assert_eq!(found["peers"], json!({}));

    let announce =
        json!({"do": "announce", "topic": hex(&topic), "seed": 23, "relays": ["4.3.2.1:6"], "bump": 0});
    let said = script.ask(&announce).await?;
    let reply = ours.lookup(topic).next().await.context("nobody found")?;
    assert_eq!(said["publicKey"], hex(&reply.peers[0].public_key));
    assert_eq!(reply.peers[0].relay_addresses, ["4.3.2.1:6".parse()?]);
    script
        .ask(&json!({"do": "unannounce", "topic": hex(&topic), "seed": 23}))
        .await?;
    ensure!(ours.lookup(topic).next().await.is_none());
    Ok(())
}

/// Our announcer is found by the script, and the script's server by us.
async fn announcers_go_both_ways(script: &mut Peer, ours: &Dht) -> Result<()> {
    let key = KeyPair::from_seed(&[31; 32]);
    let find = json!({"do": "findPeer", "publicKey": hex(&key.public_key())});
    let announcer = Announcer::start(ours, key).await;
    ensure!(announcer.relays().len() == 3);
    let found = script.ask(&find).await?;
    assert_eq!(found["publicKey"], find["publicKey"]);
    announcer.stop().await;
    let found = script.ask(&find).await?;
    ensure!(found["publicKey"].is_null(), "{found}");

    script.ask(&json!({"do": "listen", "seed": 32})).await?;
    let key = KeyPair::from_seed(&[32; 32]).public_key();
    let found = ours.find_peer(&key).next().await.context("not found")?;
    ensure!(found.peer.public_key == key);
    script.ask(&json!({"do": "close", "seed": 32})).await?;
    eventually(async || Ok(ours.find_peer(&key).next().await.is_none().then_some(()))).await
}

#[tokio::test]
async fn javascript_nodes_keep_what_both_kinds_store() -> Result<()> {
    let mut theirs = InTheirs::new(8).await?;
    values_go_both_ways(&mut theirs.script, &theirs.ours).await?;
    announcements_go_both_ways(&mut theirs.script, &theirs.ours).await?;
    announcers_go_both_ways(&mut theirs.script, &theirs.ours).await
}

#[tokio::test]
async fn our_nodes_keep_what_both_kinds_store() -> Result<()> {
    let mut own = InOurs::new(8).await?;
    values_go_both_ways(&mut own.script, &own.ours).await?;
    announcements_go_both_ways(&mut own.script, &own.ours).await?;
    announcers_go_both_ways(&mut own.script, &own.ours).await
}

#[tokio::test]
async fn a_javascript_node_becomes_persistent_among_ours() -> Result<()> {
    let own = InOurs::new(5).await?;
    let mut persistent = Peer::start(SCRIPT, &[])?;
    let bootstrap = [own.nodes[0].local_address().to_string()];
    let joined = persistent
        .ask(&json!({"do": "join", "bootstrap": bootstrap, "persistent": true}))
        .await?;
    let theirs = address(&joined["address"])?;
    assert_eq!(joined["id"], hex(&node_id(theirs)));
    let target = node_id(theirs);
    let found = eventually(async || {
        let closest = own.ours.find_node(target).finish().await;
        Ok(closest.first().filter(|reply| reply.from == theirs).cloned())
    });
    ensure!(found.await?.from_id == Some(target));
    Ok(())
}

#[tokio::test]
async fn a_firewall_is_seen_through_with_the_help_of_javascript_nodes() -> Result<()> {
    let theirs = InTheirs::new(8).await?;
    // On loopback everybody reaches the server socket: it is not firewalled, and not persistent before it was stable.
    ensure!(!theirs.ours.state().firewalled);
    ensure!(theirs.ours.state().is_ephemeral());
    assert_eq!(theirs.ours.remote_address(), Some(theirs.ours.local_address()));
    Ok(())
}
