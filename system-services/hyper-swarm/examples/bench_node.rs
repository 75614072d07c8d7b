//! Measures an idle node: its resident memory with 100 open cores and 20 connections, over UDX to 20 swarms in another process, each of
//! which has all 100 cores open too (2,000 channels). Prints `{"what":"idle-node","mib":…}`, and the processor time that a minute of it
//! would take, `{"what":"idle-node-cpu","ms":…}`.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_core::core::CoreOptions;
use hyper_core::corestore::{Corestore, PrimaryKey};
use hyper_core::crypto::KeyPair;
use hyper_core::session::Session;
use hyper_swarm::dht::{Dht, DhtOptions};
use hyper_swarm::swarm::{JoinOptions, Swarm, SwarmOptions};

const CORES: usize = 100;
const BLOCKS: usize = 50;
const CONNECTIONS: u8 = 20;
const TOPIC: [u8; 32] = [5; 32];
/// The node settles for so long, then its processor time is taken for as long again.
const SETTLE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match arguments.first().map(String::as_str) {
        Some("network") => runtime.block_on(network()),
        Some("peers") => runtime.block_on(peers(arguments.get(1).context("no bootstrap node")?.parse()?)),
        _ => runtime.block_on(measure()),
    }
}

/// The same cores in each process.
fn key_pairs() -> impl Iterator<Item = KeyPair> {
    (0..CORES).map(|number| KeyPair::from_seed(&[number as u8; 32]))
}

async fn until_input_ends() {
    // Its end is all that is waited for.
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await;
}

/// A process for the private DHT.
async fn network() -> Result<()> {
    let options = DhtOptions {
        ephemeral: Some(false),
        firewalled: false,
        address: Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1)),
        ..DhtOptions::loopback([])
    };
    let node = Dht::bind(options).await?;
    node.bootstrapped().await;
    println!("{}", node.local_address());
    until_input_ends().await;
    Ok(())
}

/// A process for all the peers.
async fn peers(bootstrap: SocketAddrV4) -> Result<()> {
    let mut kept = Vec::new();
    for number in 0..CONNECTIONS {
        let store = Corestore::in_memory()?;
        let open = |pair: KeyPair| {
            let key = *hyper_core::manifest::Verifier::of_manifest(hyper_core::manifest::Manifest::single(
                pair.public_key(),
            ))
            .key();
            store.get(CoreOptions::from_key(key))
        };
        let sessions: Vec<Session> = key_pairs().map(open).collect::<Result<_, _>>()?;
        let dht = Dht::bind(DhtOptions::loopback([bootstrap])).await?;
        let keys = KeyPair::from_seed(&[100 + number; 32]);
        let (swarm, mut connections) = Swarm::start(dht, SwarmOptions::new(keys))?;
        let topic = swarm.join(TOPIC, JoinOptions::CLIENT).await?;
        let connection = connections.recv().await.context("the swarm is over")?;
        store.replicate(connection.peer.connection.link);
        kept.push((store, sessions, swarm, topic, connections));
    }
    println!("connected");
    until_input_ends().await;
    Ok(())
}

/// Starts this program in another role, and says its first line.
fn start(arguments: &[&str]) -> Result<(std::process::Child, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok((child, line.trim().into()))
}

async fn measure() -> Result<()> {
    let (mut network, bootstrap) = start(&["network"])?;
    let folder = tempfile::tempdir()?;
    let store = Corestore::open_with(folder.path(), &PrimaryKey::new([1; 32]))?;
    let mut sessions = Vec::new();
    for pair in key_pairs() {
        let session = store.get_by_key_pair(pair)?;
        session.append(&vec![[7_u8; 1000]; BLOCKS]).await?;
        sessions.push(session);
    }
    let dht = Dht::bind(DhtOptions::loopback([bootstrap.parse()?])).await?;
    let (swarm, mut connections) = Swarm::start(dht, SwarmOptions::new(KeyPair::from_seed(&[99; 32])))?;
    let topic = swarm.join(TOPIC, JoinOptions::default()).await?;
    topic.announced().await;
    let replicating = store.clone();
    tokio::spawn(async move {
        while let Some(connection) = connections.recv().await {
            replicating.replicate(connection.peer.connection.link);
        }
    });
    let (mut peers, said) = tokio::task::spawn_blocking(move || start(&["peers", &bootstrap])).await??;
    anyhow::ensure!(said == "connected", "the peers are not connected: {said:?}");
    tokio::time::sleep(SETTLE).await;
    let connected = swarm.peers().len();
    anyhow::ensure!(connected == usize::from(CONNECTIONS), "{connected} connections");
    println!(r#"{{"what":"idle-node","mib":{:.1}}}"#, resident_mib()?);
    let before = processor_ms()?;
    tokio::time::sleep(SETTLE).await;
    let per_minute = (processor_ms()? - before) * 60.0 / SETTLE.as_secs_f64();
    println!(r#"{{"what":"idle-node-cpu","ms":{per_minute:.1}}}"#);
    for child in [&mut peers, &mut network] {
        drop(child.stdin.take());
        child.wait()?;
    }
    Ok(())
}

fn resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = found.and_then(|rest| rest.split_whitespace().next());
    Ok(kib.context("no VmRSS in /proc/self/status")?.parse::<f64>()? / 1024.0)
}

/// Time that this process has had on a processor.
fn processor_ms() -> Result<f64> {
    let times = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds = times.split_whitespace().next().context("no schedstat")?;
    Ok(nanoseconds.parse::<f64>()? / 1e6)
}
