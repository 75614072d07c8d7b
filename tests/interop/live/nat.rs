//! Peers behind NATs: which way they reach each other, in network namespaces (root and nftables are needed).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_interop::Peer;
use hearth_interop::nat::{Internet, Nat, Resident, public_host};
use hyper_core::crypto::KeyPair;
use hyper_swarm::dht::relay::Relay;
use hyper_swarm::dht::{ConnectOptions, Dht, DhtOptions, PathKind, PeerConnection, ServerOptions};
use serde_json::json;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

const SCRIPT: &str = "connect.mjs";
const BYTES: usize = 1 << 20;
const RELAY: u8 = 9;
const SERVER: u8 = 1;
const CLIENT: u8 = 2;

fn key_pair(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

fn public(seed: u8) -> String {
    key_pair(seed)
        .public_key()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Six DHT nodes at a public address, and a relay that counts its clients.
struct Public {
    internet: Internet,
    /// Its nodes live as long as it does.
    resident: Resident,
    bootstrap: SocketAddrV4,
    relay: Relay,
    clients: mpsc::UnboundedReceiver<[u8; 32]>,
    relaying: JoinHandle<()>,
    _nodes: Vec<Dht>,
}

impl Public {
    async fn new() -> Result<Self> {
        let internet = Internet::new()?;
        let resident = Resident::new(internet.public())?;
        let (told, clients) = mpsc::unbounded_channel();
        let (nodes, relay, relaying) = resident
            .run(async move {
                let nodes = nodes().await?;
                let host = nodes.last().context("no node")?;
                let relay = Relay::new(host);
                let mut server = host.listen(&key_pair(RELAY), ServerOptions::default()).await?;
                let serving = relay.clone();
                let relaying = tokio::spawn(async move {
                    let mut clients = JoinSet::new();
                    while let Some(connection) = server.accept().await {
                        let _ = told.send(*connection.remote_public_key());
                        let relay = serving.clone();
                        clients.spawn(async move { relay.serve(connection).await });
                    }
                });
                Ok((nodes, relay, relaying))
            })
            .await?;
        Ok(Self {
            internet,
            resident,
            bootstrap: nodes[0].local_address(),
            relay,
            clients,
            relaying,
            _nodes: nodes,
        })
    }

    /// Not even asked to.
    fn nobody_was_relayed(&mut self) -> Result<()> {
        ensure!(
            self.relay.pairs() == 0 && self.clients.try_recv().is_err(),
            "the relay was used"
        );
        Ok(())
    }
}

async fn nodes() -> Result<Vec<Dht>> {
    let mut nodes: Vec<Dht> = Vec::new();
    for number in 0..6 {
        let host = public_host(1 + number % 2);
        let options = DhtOptions {
            host,
            ephemeral: Some(false),
            firewalled: false,
            address: nodes.is_empty().then_some(SocketAddrV4::new(host, 1)),
            ..DhtOptions::loopback(nodes.first().map(Dht::local_address))
        };
        let node = Dht::bind(options).await?;
        node.bootstrapped().await;
        nodes.push(node);
    }
    Ok(nodes)
}

/// A node of somebody who just uses the DHT.
async fn guest(bootstrap: SocketAddrV4, host: Ipv4Addr) -> Result<Dht> {
    let options = DhtOptions {
        host,
        ..DhtOptions::loopback([bootstrap])
    };
    let node = Dht::bind(options).await?;
    timeout(Duration::from_secs(10), node.bootstrapped()).await?;
    ensure!(
        node.remote_address().is_some() != host.is_unspecified()
            && node.state().firewalled == host.is_unspecified(),
        "only the public hosts can be reached: {:?} says {:?}",
        node.local_address(),
        node.state()
    );
    Ok(node)
}

/// Serves echoes; tells of each connection how it goes.
async fn serve(dht: &Dht, options: ServerOptions) -> Result<mpsc::UnboundedReceiver<PathKind>> {
    let mut server = dht.listen(&key_pair(SERVER), options).await?;
    let (sender, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(connection) = server.accept().await {
            let _ = sender.send(connection.path);
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
    Ok(told)
}

/// Serves echoes from a guest's node in a home, or at a public host. The node is there as long as it is held.
async fn serve_at(
    home: &Resident,
    host: Ipv4Addr,
    bootstrap: SocketAddrV4,
    options: ServerOptions,
) -> Result<(Dht, mpsc::UnboundedReceiver<PathKind>)> {
    home.run(async move {
        let dht = guest(bootstrap, host).await?;
        let told = serve(&dht, options).await?;
        Ok((dht, told))
    })
    .await
}

async fn connect(dht: &Dht, options: ConnectOptions) -> Result<PathKind> {
    let client = key_pair(CLIENT);
    let server = key_pair(SERVER).public_key();
    let connecting = dht.connect(server, &client, &options);
    let connection = timeout(Duration::from_secs(50), connecting).await??;
    let path = connection.path;
    speak(connection).await?;
    Ok(path)
}

async fn speak(connection: PeerConnection) -> Result<()> {
    let mut link = connection.connection.link;
    let outgoing = link.outgoing.clone();
    let speaking = tokio::spawn(async move {
        for n in 0..16_u8 {
            outgoing.send(vec![n; BYTES / 16]).await?;
        }
        anyhow::Ok(())
    });
    for n in 0..16_u8 {
        let message = timeout(Duration::from_secs(20), link.incoming.recv()).await;
        let message = message.context("nothing is echoed")?.context("closed")?;
        ensure!(message == vec![n; BYTES / 16], "other bytes are echoed");
    }
    speaking.await?
}

fn through_relay() -> ConnectOptions {
    ConnectOptions {
        relay_through: Some(key_pair(RELAY).public_key()),
        ..ConnectOptions::default()
    }
}

/// A server behind one NAT, a client behind another: how each says the connection goes.
async fn between_homes(
    net: &mut Public,
    server: Nat,
    client: Nat,
    options: ConnectOptions,
) -> Result<(PathKind, PathKind)> {
    let (bootstrap, anywhere) = (net.bootstrap, Ipv4Addr::UNSPECIFIED);
    let server = Resident::new(&net.internet.home(1, server)?)?;
    let client = Resident::new(&net.internet.home(2, client)?)?;
    let (_host, mut told) = serve_at(&server, anywhere, bootstrap, ServerOptions::default()).await?;
    let path = client
        .run(async move { connect(&guest(bootstrap, anywhere).await?, options).await })
        .await?;
    let other = told.recv().await.context("no connection")?;
    Ok((path, other))
}

#[tokio::test]
async fn an_open_peer_and_one_behind_a_nat_reach_each_other_directly() -> Result<()> {
    let mut net = Public::new().await?;
    let bootstrap = net.bootstrap;
    let home = Resident::new(&net.internet.home(1, Nat::Random)?)?;
    for (server, server_host, client, client_host) in [
        (&net.resident, public_host(3), &home, Ipv4Addr::UNSPECIFIED),
        (&home, Ipv4Addr::UNSPECIFIED, &net.resident, public_host(4)),
    ] {
        let (_host, mut told) = serve_at(server, server_host, bootstrap, ServerOptions::default()).await?;
        let path = client
            .run(async move { connect(&guest(bootstrap, client_host).await?, through_relay()).await })
            .await?;
        assert_eq!(
            (path, told.recv().await),
            (PathKind::Direct, Some(PathKind::Direct))
        );
    }
    net.nobody_was_relayed()
}

#[tokio::test]
async fn two_consistent_nats_are_punched_through_without_the_relay() -> Result<()> {
    let mut net = Public::new().await?;
    let paths = between_homes(&mut net, Nat::Consistent, Nat::Consistent, through_relay()).await?;
    assert_eq!(paths, (PathKind::Punched, PathKind::Punched));
    net.nobody_was_relayed()
}

/// Both see the same public address, and the NAT sends nothing back in: the way is that of their own network.
#[tokio::test]
async fn two_peers_in_one_home_find_each_other_there() -> Result<()> {
    let mut net = Public::new().await?;
    let (bootstrap, anywhere) = (net.bootstrap, Ipv4Addr::UNSPECIFIED);
    let first = Resident::new(&net.internet.home(1, Nat::Random)?)?;
    let second = net.internet.another(1, 3)?;
    let mut script = script_at(&net.internet.another(1, 4)?, bootstrap).await?;
    let second = Resident::new(&second)?;
    let (_host, mut told) = serve_at(&first, anywhere, bootstrap, ServerOptions::default()).await?;
    let path = second
        .run(async move { connect(&guest(bootstrap, anywhere).await?, through_relay()).await })
        .await?;
    assert_eq!(
        (path, told.recv().await),
        (PathKind::Direct, Some(PathKind::Direct))
    );
    let connect = json!({"do": "connect", "publicKey": public(SERVER), "seed": CLIENT, "bytes": BYTES});
    let heard = script.ask(&connect).await?;
    assert!(
        heard["remote"]
            .as_str()
            .is_some_and(|remote| remote.starts_with("10.0.1.2:")),
        "{heard}"
    );
    assert_eq!(told.recv().await, Some(PathKind::Direct));
    net.nobody_was_relayed()
}

/// One guesses, the other has many ports open: some 250 guesses are needed, 20 ms each; one time in a thousand
/// 1750 are not enough.
#[tokio::test]
async fn a_random_nat_is_punched_through_from_a_consistent_one() -> Result<()> {
    let mut net = Public::new().await?;
    let direct = ConnectOptions::default();
    let paths = between_homes(&mut net, Nat::Random, Nat::Consistent, direct).await?;
    assert_eq!(paths, (PathKind::Punched, PathKind::Punched));
    Ok(())
}

#[tokio::test]
async fn a_consistent_nat_is_punched_through_from_a_random_one() -> Result<()> {
    let mut net = Public::new().await?;
    let direct = ConnectOptions::default();
    let paths = between_homes(&mut net, Nat::Consistent, Nat::Random, direct).await?;
    assert_eq!(paths, (PathKind::Punched, PathKind::Punched));
    Ok(())
}

/// A script in a home; it has joined the DHT.
async fn script_at(home: &str, bootstrap: SocketAddrV4) -> Result<Peer> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", home, "node"]);
    let mut script = Peer::start_with(command, SCRIPT, &[])?;
    let join = json!({"do": "join", "bootstrap": [bootstrap.to_string()], "host": "0.0.0.0"});
    let joined = script.ask(&join).await?;
    ensure!(joined["firewalled"] == true, "the NAT lets strangers in");
    Ok(script)
}

#[tokio::test]
async fn a_javascript_client_and_our_server_punch_through_their_nats() -> Result<()> {
    let mut net = Public::new().await?;
    let bootstrap = net.bootstrap;
    let server = Resident::new(&net.internet.home(1, Nat::Consistent)?)?;
    let mut script = script_at(&net.internet.home(2, Nat::Consistent)?, bootstrap).await?;
    let (_host, mut told) = serve_at(
        &server,
        Ipv4Addr::UNSPECIFIED,
        bootstrap,
        ServerOptions::default(),
    )
    .await?;
    let connect = json!({"do": "connect", "publicKey": public(SERVER), "seed": CLIENT, "bytes": BYTES});
    let heard = script.ask(&connect).await?;
    assert_eq!(heard["bytes"], BYTES);
    assert_eq!(told.recv().await, Some(PathKind::Punched));
    net.nobody_was_relayed()
}

#[tokio::test]
async fn our_client_and_a_javascript_server_punch_through_their_nats() -> Result<()> {
    let mut net = Public::new().await?;
    let bootstrap = net.bootstrap;
    let client = Resident::new(&net.internet.home(1, Nat::Consistent)?)?;
    let mut script = script_at(&net.internet.home(2, Nat::Consistent)?, bootstrap).await?;
    script.ask(&json!({"do": "listen", "seed": SERVER})).await?;
    let path = client
        .run(async move {
            let dht = guest(bootstrap, Ipv4Addr::UNSPECIFIED).await?;
            connect(&dht, through_relay()).await
        })
        .await?;
    assert_eq!(path, PathKind::Punched);
    // The script's server goes to the relay at once and waits there in vain.
    assert_eq!(net.relay.pairs(), 0);
    Ok(())
}

#[tokio::test]
async fn a_javascript_client_behind_a_random_nat_meets_our_server_behind_another_at_the_relay() -> Result<()>
{
    let mut net = Public::new().await?;
    let bootstrap = net.bootstrap;
    let server = Resident::new(&net.internet.home(1, Nat::Random)?)?;
    let mut script = script_at(&net.internet.home(2, Nat::Random)?, bootstrap).await?;
    let (_host, mut told) = serve_at(
        &server,
        Ipv4Addr::UNSPECIFIED,
        bootstrap,
        ServerOptions::default(),
    )
    .await?;
    let connect = json!({
        "do": "connect", "publicKey": public(SERVER), "seed": CLIENT, "bytes": BYTES, "relayThrough": public(RELAY),
    });
    let heard = script.ask(&connect).await?;
    assert_eq!(heard["bytes"], BYTES);
    assert_eq!(told.recv().await, Some(PathKind::Relayed));
    Ok(())
}

#[tokio::test]
async fn two_random_nats_are_relayed() -> Result<()> {
    let mut net = Public::new().await?;
    let paths = between_homes(&mut net, Nat::Random, Nat::Random, through_relay()).await?;
    assert_eq!(paths, (PathKind::Relayed, PathKind::Relayed));
    Ok(())
}

fn at_once() -> (ServerOptions, ConnectOptions) {
    let server = ServerOptions {
        relay_grace: Duration::ZERO,
        ..ServerOptions::default()
    };
    let client = ConnectOptions {
        relay_grace: Duration::ZERO,
        ..through_relay()
    };
    (server, client)
}

/// Connects as a guest, by the relay, and waits until the connection does not go there any more.
async fn relayed_then_not(home: &Resident, bootstrap: SocketAddrV4) -> Result<(PeerConnection, Dht)> {
    let (connection, dht) = home
        .run(async move {
            let dht = guest(bootstrap, Ipv4Addr::UNSPECIFIED).await?;
            let (keys, server, options) = (key_pair(CLIENT), key_pair(SERVER).public_key(), at_once().1);
            let connecting = dht.connect(server, &keys, &options);
            Ok((timeout(Duration::from_secs(20), connecting).await??, dht))
        })
        .await?;
    ensure!(connection.path == PathKind::Relayed, "{:?}", connection.path);
    let relay = connection.stream.remote_addr();
    let moved = async {
        while connection.stream.remote_addr() == relay {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let moved = timeout(Duration::from_secs(45), moved).await;
    moved.context("it stays with the relay")?;
    Ok((connection, dht))
}

/// To guess a port takes seconds; the relay is there at once. When the hole is there, it is not needed any more, and may go.
#[tokio::test]
async fn a_relayed_connection_goes_the_direct_way_when_a_hole_is_punched() -> Result<()> {
    let mut net = Public::new().await?;
    let bootstrap = net.bootstrap;
    let server = Resident::new(&net.internet.home(1, Nat::Random)?)?;
    let client = Resident::new(&net.internet.home(2, Nat::Consistent)?)?;
    let (_host, mut told) = serve_at(&server, Ipv4Addr::UNSPECIFIED, bootstrap, at_once().0).await?;
    let (connection, _dht) = relayed_then_not(&client, bootstrap).await?;
    assert_eq!(told.recv().await, Some(PathKind::Relayed));
    // The other end has seen it by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    net.relaying.abort();
    speak(connection).await
}

#[tokio::test]
async fn our_client_and_a_javascript_server_leave_the_relay_for_a_hole() -> Result<()> {
    let mut net = Public::new().await?;
    let bootstrap = net.bootstrap;
    let mut script = script_at(&net.internet.home(1, Nat::Random)?, bootstrap).await?;
    let client = Resident::new(&net.internet.home(2, Nat::Consistent)?)?;
    script.ask(&json!({"do": "listen", "seed": SERVER})).await?;
    let (connection, _dht) = relayed_then_not(&client, bootstrap).await?;
    speak(connection).await
}

#[tokio::test]
async fn a_javascript_client_and_our_server_leave_the_relay_for_a_hole() -> Result<()> {
    let mut net = Public::new().await?;
    let bootstrap = net.bootstrap;
    let server = Resident::new(&net.internet.home(1, Nat::Random)?)?;
    let mut script = script_at(&net.internet.home(2, Nat::Consistent)?, bootstrap).await?;
    let (_host, mut told) = serve_at(&server, Ipv4Addr::UNSPECIFIED, bootstrap, at_once().0).await?;
    let connect = json!({
        "do": "connect", "publicKey": public(SERVER), "seed": CLIENT, "bytes": BYTES, "relayThrough": public(RELAY),
        "move": true,
    });
    let heard = timeout(Duration::from_secs(60), script.ask(&connect)).await??;
    assert_eq!(
        (&heard["bytes"], told.recv().await),
        (&json!(BYTES), Some(PathKind::Relayed))
    );
    assert_ne!(heard["from"], heard["remote"]);
    Ok(())
}
