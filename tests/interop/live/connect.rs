//! Connections by key over a DHT: our peers and JavaScript peers, in networks of either kind of node.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_interop::{Peer, hex};
use hyper_core::crypto::KeyPair;
use hyper_core::link::Link;
use hyper_swarm::dht::{
    Command, ConnectOptions, Dht, DhtOptions, FirewallRule, Outgoing, PathKind, SendOptions, Server,
    ServerOptions,
};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SCRIPT: &str = "connect.mjs";
/// What is said and echoed, in messages of 64 KiB.
const BYTES: usize = 4 << 20;

fn key_pair(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

fn public(seed: u8) -> String {
    hex(&key_pair(seed).public_key())
}

/// A network of JavaScript nodes, the node of the script in it, and one of ours.
async fn among_theirs() -> Result<(Peer, Dht)> {
    let mut script = Peer::start(SCRIPT, &[])?;
    let testnet = script.ask(&json!({"do": "testnet", "size": 4})).await?;
    let bootstrap: SocketAddrV4 = testnet["bootstrap"][0].as_str().context("no node")?.parse()?;
    let ours = Dht::bind(DhtOptions::loopback([bootstrap])).await?;
    ours.bootstrapped().await;
    Ok((script, ours))
}

/// A network of our nodes, which live as long as the list, the node of a script in it, and one of ours.
async fn among_ours() -> Result<(Peer, Dht, Vec<Dht>)> {
    let persistent = |bootstrap: &[Dht]| DhtOptions {
        ephemeral: Some(false),
        firewalled: false,
        address: bootstrap
            .is_empty()
            .then_some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1)),
        ..DhtOptions::loopback(bootstrap.first().map(Dht::local_address))
    };
    let mut nodes: Vec<Dht> = Vec::new();
    for _ in 0..4 {
        let node = Dht::bind(persistent(&nodes)).await?;
        node.bootstrapped().await;
        nodes.push(node);
    }
    let bootstrap = nodes[0].local_address();
    let ours = Dht::bind(DhtOptions::loopback([bootstrap])).await?;
    ours.bootstrapped().await;
    let mut script = Peer::start(SCRIPT, &[])?;
    let join = json!({"do": "join", "bootstrap": [bootstrap.to_string()]});
    script.ask(&join).await?;
    Ok((script, ours, nodes))
}

/// Sends back what each connection says; tells of each whose it is and how it goes.
fn echo(
    mut server: Server,
) -> (
    JoinHandle<()>,
    tokio::sync::mpsc::UnboundedReceiver<([u8; 32], PathKind)>,
) {
    let (sender, told) = tokio::sync::mpsc::unbounded_channel();
    let echoing = tokio::spawn(async move {
        while let Some(connection) = server.accept().await {
            let _ = sender.send((*connection.remote_public_key(), connection.path));
            tokio::spawn(async move {
                let mut link = connection.connection.link;
                while let Some(message) = link.incoming.recv().await {
                    if link.outgoing.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (echoing, told)
}

/// Says so many bytes and hears them again.
async fn speak(link: &mut Link, bytes: usize) -> Result<()> {
    let said: Vec<u8> = (0..bytes).map(|i| (i * 31 + (i >> 8)) as u8).collect();
    let outgoing = link.outgoing.clone();
    let words = said.clone();
    let speaking = tokio::spawn(async move {
        for piece in words.chunks(64 << 10) {
            outgoing.send(piece.to_vec()).await?;
        }
        anyhow::Ok(())
    });
    let mut heard = Vec::new();
    while heard.len() < bytes {
        let message = timeout(Duration::from_secs(20), link.incoming.recv()).await;
        heard.extend(message.context("nothing is echoed")?.context("closed")?);
    }
    ensure!(heard == said, "other bytes are echoed");
    speaking.await?
}

/// Each connects to the other's server, and what is said comes back.
async fn both_ways(script: &mut Peer, ours: &Dht) -> Result<()> {
    // Theirs to ours.
    let server = ours.listen(&key_pair(1), ServerOptions::default()).await?;
    let (_echoing, mut told) = echo(server);
    let connect = json!({"do": "connect", "publicKey": public(1), "seed": 2, "bytes": BYTES});
    let heard = script.ask(&connect).await?;
    assert_eq!(
        (&heard["bytes"], &heard["key"]),
        (&json!(BYTES), &json!(public(1)))
    );
    let (client, path) = told.recv().await.context("no connection")?;
    assert_eq!((hex(&client), path), (public(2), PathKind::Direct));

    // Ours to theirs.
    script.ask(&json!({"do": "listen", "seed": 3})).await?;
    let theirs = key_pair(3).public_key();
    let options = ConnectOptions::default();
    let client = key_pair(4);
    let mut connection = ours.connect(theirs, &client, &options).await?;
    ensure!(connection.remote_public_key() == &theirs);
    speak(&mut connection.connection.link, BYTES).await?;
    let said = script.event("connection").await?;
    assert_eq!(said["key"], public(4));
    Ok(())
}

#[tokio::test]
async fn peers_connect_in_both_directions_among_javascript_nodes() -> Result<()> {
    let (mut script, ours) = among_theirs().await?;
    both_ways(&mut script, &ours).await
}

#[tokio::test]
async fn peers_connect_in_both_directions_among_our_nodes() -> Result<()> {
    let (mut script, ours, _nodes) = among_ours().await?;
    both_ways(&mut script, &ours).await
}

#[tokio::test]
async fn who_is_kept_out_gets_no_answer_from_either() -> Result<()> {
    let (mut script, ours) = among_theirs().await?;
    let (asked, mut askers) = tokio::sync::mpsc::unbounded_channel();
    let firewall: FirewallRule = std::sync::Arc::new(move |asker| {
        let _ = asked.send(*asker.public_key);
        true
    });
    let options = ServerOptions {
        firewall: Some(firewall),
        ..ServerOptions::default()
    };
    let mut server = ours.listen(&key_pair(1), options).await?;
    let listen = json!({"do": "listen", "seed": 3, "refuse": [public(4)]});
    script.ask(&listen).await?;
    let (friend, stranger) = (key_pair(5), key_pair(4));
    let options = ConnectOptions::default();
    let theirs = key_pair(3).public_key();
    ours.connect(theirs, &friend, &options).await?;
    let moment = Duration::from_secs(2);
    let refused = timeout(moment, ours.connect(theirs, &stranger, &options)).await;
    ensure!(refused.is_err(), "it is not even answered");

    let connect = json!({"do": "connect", "publicKey": public(1), "seed": 2, "bytes": 1});
    script.send(&connect).await?;
    let asker = timeout(moment, askers.recv()).await?.context("nobody asks")?;
    assert_eq!(hex(&asker), public(2));
    ensure!(timeout(moment, server.accept()).await.is_err());
    Ok(())
}

/// What a node answers to a request about a connection: whether there is a value, how many nodes it names, the error.
/// `None`: nothing.
async fn answer(
    ours: &Dht,
    node: SocketAddrV4,
    command: Command,
    target: Option<[u8; 32]>,
    value: &[u8],
) -> Option<(bool, bool, u64)> {
    let request = Outgoing {
        target,
        value: Some(value.to_vec()),
        ..Outgoing::new(node, command)
    };
    let options = SendOptions {
        retries: 0,
        timeout: Duration::from_secs(2),
        ..SendOptions::default()
    };
    let reply = ours.request_with(request, &options).await.ok()?;
    Some((reply.value.is_some(), !reply.closer_nodes.is_empty(), reply.error))
}

#[tokio::test]
async fn requests_that_lead_nowhere_are_answered_alike() -> Result<()> {
    let mut script = Peer::start(SCRIPT, &[])?;
    let testnet = script.ask(&json!({"do": "testnet", "size": 4})).await?;
    let theirs: SocketAddrV4 = testnet["bootstrap"][0].as_str().context("no node")?.parse()?;
    let persistent = DhtOptions {
        ephemeral: Some(false),
        firewalled: false,
        ..DhtOptions::loopback([theirs])
    };
    let (node, ours) = (
        Dht::bind(persistent).await?,
        Dht::bind(DhtOptions::loopback([theirs])).await?,
    );
    node.bootstrapped().await;
    ours.bootstrapped().await;
    // Flags, mode, length, bytes, addresses.
    let values: [&[u8]; 10] = [
        b"",
        &[0],
        &[0, 0, 0],
        &[0, 0, 3, 1, 2, 3],
        &[0, 0, 200, 1, 2, 3],
        &[0, 2, 1, 1],
        &[0, 3, 1, 1],
        &[0, 4, 1, 1],
        &[0, 9, 1, 1],
        &[1, 1, 1, 1, 127, 0],
    ];
    let mut answers = tokio::task::JoinSet::new();
    for command in [Command::PeerHandshake, Command::PeerHolepunch] {
        for target in [None, Some([7; 32])] {
            for value in values {
                let (ours, node) = (ours.clone(), node.local_address());
                answers.spawn(async move {
                    let question = format!("{command:?} with {value:?} about {target:?}");
                    let both = tokio::join!(
                        answer(&ours, theirs, command, target, value),
                        answer(&ours, node, command, target, value),
                    );
                    (question, both)
                });
            }
        }
    }
    while let Some(answered) = answers.join_next().await {
        let (question, (expected, got)) = answered?;
        assert_eq!(got, expected, "{question}");
    }
    Ok(())
}

/// Options of a node that has not found out that it can be reached.
fn firewalled(bootstrap: SocketAddrV4) -> DhtOptions {
    DhtOptions {
        quick_firewall: false,
        ..DhtOptions::loopback([bootstrap])
    }
}

/// Nodes of ours, among them one with a relay, and a script and a node behind firewalls.
struct BehindFirewalls {
    script: Peer,
    ours: Dht,
    _nodes: Vec<Dht>,
    relay: hyper_swarm::dht::relay::Relay,
}

const RELAY: u8 = 9;

impl BehindFirewalls {
    async fn new() -> Result<Self> {
        let (_, guest, nodes) = among_ours().await?;
        let bootstrap = nodes[0].local_address();
        let relay = hyper_swarm::dht::relay::Relay::new(&guest);
        let mut server = guest.listen(&key_pair(RELAY), ServerOptions::default()).await?;
        let serving = relay.clone();
        tokio::spawn(async move {
            while let Some(connection) = server.accept().await {
                let relay = serving.clone();
                tokio::spawn(async move { relay.serve(connection).await });
            }
        });
        let ours = Dht::bind(firewalled(bootstrap)).await?;
        ours.bootstrapped().await;
        let mut script = Peer::start(SCRIPT, &[])?;
        let join = json!({"do": "join", "bootstrap": [bootstrap.to_string()], "quickFirewall": false});
        let joined = script.ask(&join).await?;
        ensure!(joined["firewalled"] == true && ours.remote_address().is_none());
        Ok(Self {
            script,
            ours,
            _nodes: nodes,
            relay,
        })
    }
}

#[tokio::test]
async fn a_javascript_client_meets_our_server_at_our_relay() -> Result<()> {
    let mut net = BehindFirewalls::new().await?;
    let options = ServerOptions {
        share_local_address: false,
        holepunch: false,
        ..ServerOptions::default()
    };
    let server = net.ours.listen(&key_pair(1), options).await?;
    let (_echoing, mut told) = echo(server);
    let connect = json!({
        "do": "connect", "publicKey": public(1), "seed": 2, "bytes": BYTES, "relayThrough": public(RELAY), "localConnection": false,
    });
    let heard = net.script.ask(&connect).await?;
    assert_eq!(
        (&heard["bytes"], &heard["key"]),
        (&json!(BYTES), &json!(public(1)))
    );
    let (client, path) = told.recv().await.context("no connection")?;
    assert_eq!((hex(&client), path), (public(2), PathKind::Relayed));
    Ok(())
}

#[tokio::test]
async fn our_client_and_our_server_meet_at_a_javascript_relay() -> Result<()> {
    let (mut script, _, nodes) = among_ours().await?;
    script.ask(&json!({"do": "relay", "seed": RELAY})).await?;
    let bootstrap = nodes[0].local_address();
    let (host, guest) = (
        Dht::bind(firewalled(bootstrap)).await?,
        Dht::bind(firewalled(bootstrap)).await?,
    );
    host.bootstrapped().await;
    guest.bootstrapped().await;
    // The server chooses the relay.
    let options = ServerOptions {
        share_local_address: false,
        holepunch: false,
        relay_through: Some(key_pair(RELAY).public_key()),
        ..ServerOptions::default()
    };
    let (_echoing, mut told) = echo(host.listen(&key_pair(1), options).await?);
    let options = ConnectOptions {
        local_connection: false,
        ..ConnectOptions::default()
    };
    let client = key_pair(2);
    let connecting = guest.connect(key_pair(1).public_key(), &client, &options);
    let mut connection = timeout(Duration::from_secs(20), connecting).await??;
    assert_eq!(connection.path, PathKind::Relayed);
    speak(&mut connection.connection.link, BYTES).await?;
    let (client, path) = told.recv().await.context("no connection")?;
    assert_eq!((hex(&client), path), (public(2), PathKind::Relayed));
    script.event("pair").await?;
    Ok(())
}

#[tokio::test]
async fn our_client_meets_a_javascript_server_at_our_relay() -> Result<()> {
    let mut net = BehindFirewalls::new().await?;
    let listen = json!({"do": "listen", "seed": 3, "shareLocalAddress": false, "holepunch": false});
    net.script.ask(&listen).await?;
    let options = ConnectOptions {
        relay_through: Some(key_pair(RELAY).public_key()),
        local_connection: false,
        ..ConnectOptions::default()
    };
    let client = key_pair(4);
    let connecting = net.ours.connect(key_pair(3).public_key(), &client, &options);
    let mut connection = timeout(Duration::from_secs(20), connecting).await??;
    assert_eq!(connection.path, PathKind::Relayed);
    assert_eq!(net.relay.pairs(), 1);
    speak(&mut connection.connection.link, BYTES).await?;
    drop(connection);
    for _ in 0..50 {
        if net.relay.pairs() == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the relay keeps the pair")
}
