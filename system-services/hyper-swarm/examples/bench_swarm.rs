//! Measures what a user of the whole stack gets: one process announces a core's topic in a private DHT on loopback, another one finds
//! it there, connects over UDX and downloads 256 MiB in blocks of 64 KiB, from store to store. Prints
//! `{"what":"replicate-udx","mib_per_s":…}`, timed from the connection to the last block, and how long it took until there was a
//! connection, `{"what":"swarm-connect","ms":…}`.
//!
//! `bench_swarm [BLOCKS]`. The stores are in a temporary folder (`TMPDIR`).

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use hyper_core::core::CoreOptions;
use hyper_core::crypto::KeyPair;
use hyper_core::key;
use hyper_core::replicate::Replication;
use hyper_core::session::{DownloadRange, Session};
use hyper_core::store::{Durability, Store, StoreOptions};
use hyper_swarm::dht::{Dht, DhtOptions};
use hyper_swarm::swarm::{JoinOptions, Swarm, SwarmOptions};

const BLOCKS: u64 = 4096;
const BLOCK_BYTES: usize = 64 << 10;
/// Nodes of the private DHT beside those of the two processes.
const NODES: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let number = |at: usize| arguments.get(at).map(|text| text.parse::<u64>()).transpose();
    if arguments.first().is_some_and(|first| first == "seed") {
        return runtime.block_on(seed(number(1)?.unwrap_or(BLOCKS)));
    }
    runtime.block_on(measure(number(0)?.unwrap_or(BLOCKS)))
}

/// As the peer: what is written is with the kernel, and not flushed.
fn store(folder: &tempfile::TempDir) -> Result<Store> {
    let options = StoreOptions {
        durability: Durability::ProcessCrash,
        ..StoreOptions::default()
    };
    Ok(Store::open_with(&folder.path().join("cores"), options)?)
}

/// The other process: makes the DHT, writes the core, announces it, and gives it until its input ends.
async fn seed(blocks: u64) -> Result<()> {
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        let bootstrap = nodes.first().map(Dht::local_address);
        let first = bootstrap.is_none();
        let options = DhtOptions {
            ephemeral: Some(false),
            firewalled: false,
            address: first.then_some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1)),
            ..DhtOptions::loopback(bootstrap)
        };
        let node = Dht::bind(options).await?;
        node.bootstrapped().await;
        nodes.push(node);
    }
    let bootstrap = nodes[0].local_address();
    let folder = tempfile::tempdir()?;
    let options = CoreOptions::from_key_pair(KeyPair::from_seed(&[1; 32]));
    let session = Session::new(store(&folder)?.core(options)?)?;
    for start in (0..blocks).step_by(64) {
        let batch: Vec<_> = (start..(start + 64).min(blocks)).map(block).collect();
        session.append(&batch).await?;
    }
    let replication = Replication::default();
    replication.add(&session);
    let dht = Dht::bind(DhtOptions::loopback([bootstrap])).await?;
    let (swarm, mut connections) = Swarm::start(dht, SwarmOptions::new(KeyPair::from_seed(&[2; 32])))?;
    let topic = swarm
        .join(session.discovery_key(), JoinOptions::default())
        .await?;
    topic.announced().await;
    println!("{bootstrap} {}", key::to_hex(session.key()));
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
    let serve = async {
        while let Some(connection) = connections.recv().await {
            replication.attach(connection.peer.connection.link);
        }
    };
    tokio::select! {
        () = serve => bail!("the swarm is over"),
        _ = ended => Ok(()),
    }
}

async fn measure(blocks: u64) -> Result<()> {
    let mut seeder = Command::new(std::env::current_exe()?)
        .args(["seed", &blocks.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let output = seeder.stdout.take().context("no output of the seeder")?;
    BufReader::new(output).read_line(&mut line)?;
    let (bootstrap, core) = line
        .trim()
        .split_once(' ')
        .context("the seeder did not say its node")?;
    let folder = tempfile::tempdir()?;
    let session = Session::new(store(&folder)?.core(CoreOptions::from_key(key::parse(core)?))?)?;
    let replication = Replication::default();
    replication.add(&session);
    let begun = Instant::now();
    let dht = Dht::bind(DhtOptions::loopback([bootstrap.parse()?])).await?;
    let (swarm, mut connections) = Swarm::start(dht, SwarmOptions::new(KeyPair::from_seed(&[3; 32])))?;
    let _topic = swarm.join(session.discovery_key(), JoinOptions::CLIENT).await?;
    let connection = connections.recv().await.context("the swarm is over")?;
    report("swarm-connect", "ms", begun.elapsed().as_secs_f64() * 1000.0);
    let started = Instant::now();
    replication.attach(connection.peer.connection.link);
    session.download(DownloadRange::from(0..blocks)).done().await?;
    let mib = (blocks * BLOCK_BYTES as u64) as f64 / f64::from(1 << 20);
    report(
        "replicate-udx",
        "mib_per_s",
        mib / started.elapsed().as_secs_f64(),
    );
    if session.get_local(blocks - 1)? != Some(block(blocks - 1)) {
        bail!("the last block is not what was sent");
    }
    drop(seeder.stdin.take());
    seeder.wait()?;
    Ok(())
}

fn report(what: &str, unit: &str, value: f64) {
    println!(r#"{{"what":"{what}","{unit}":{value:.1}}}"#);
}

/// Bytes that do not compress, the same each time.
fn block(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    (0..BLOCK_BYTES / 8).flat_map(|_| next()).collect()
}
