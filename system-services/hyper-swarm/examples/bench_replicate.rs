//! Measures replication: 256 MiB in blocks of 64 KiB from one process to another over TCP on loopback, through a secret stream, from
//! store to store. Prints JSON lines: `{"what":"replicate-tcp","mib_per_s":…}`, the processor time of both ends
//! (`replicate-tcp-cpu-gives`, `replicate-tcp-cpu-takes`), and what the receiving process took for it beyond what it had before,
//! `{"what":"transfer-memory","mib":…}`. With blocks of another length their bytes stand behind the names.
//!
//! `bench_replicate [BLOCKS [BLOCK_BYTES]]`. The stores are in a temporary folder (`TMPDIR`).

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use hyper_core::core::CoreOptions;
use hyper_core::crypto::KeyPair;
use hyper_core::key;
use hyper_core::replicate::Replication;
use hyper_core::session::{DownloadRange, Session};
use hyper_core::store::{Durability, Store, StoreOptions};
use hyper_swarm::connection::{self, Options};
use hyper_swarm::noise;
use tokio::net::{TcpListener, TcpStream};

const BLOCKS: u64 = 4096;
const BLOCK_BYTES: usize = 64 << 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let number = |at: usize| arguments.get(at).map(|text| text.parse::<u64>()).transpose();
    if arguments.first().is_some_and(|first| first == "seed") {
        let (blocks, bytes) = (number(1)?, number(2)?);
        return runtime.block_on(seed(
            blocks.unwrap_or(BLOCKS),
            bytes.map_or(BLOCK_BYTES, |bytes| bytes as usize),
        ));
    }
    let (blocks, bytes) = (number(0)?, number(1)?);
    runtime.block_on(measure(
        blocks.unwrap_or(BLOCKS),
        bytes.map_or(BLOCK_BYTES, |bytes| bytes as usize),
    ))
}

/// A folder that is removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("bench-replicate-{name}-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn store(&self) -> Result<Store> {
        // As the peer: what is written is with the kernel, and not flushed.
        let options = StoreOptions {
            durability: Durability::ProcessCrash,
            ..StoreOptions::default()
        };
        Ok(Store::open_with(&self.0.join("cores"), options)?)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing is lost if it stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The other process: writes the core, says its key and port, and gives it until its input ends.
async fn seed(blocks: u64, bytes: usize) -> Result<()> {
    let folder = Folder::new("seed")?;
    let options = CoreOptions::from_key_pair(KeyPair::from_seed(&[1; 32]));
    let session = Session::new(folder.store()?.core(options)?)?;
    let mut next = 0;
    while next < blocks {
        let end = (next + 64).min(blocks);
        let batch: Vec<_> = (next..end).map(|number| block(number, bytes)).collect();
        session.append(&batch).await?;
        next = end;
    }
    let replication = Replication::default();
    replication.add(&session);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{} {}", listener.local_addr()?.port(), key::to_hex(session.key()));
    let serve = async {
        loop {
            let (io, _) = listener.accept().await?;
            io.set_nodelay(true)?;
            let keys = noise::KeyPair::from_seed(&[2; 32]);
            let connection = connection::accept(io, &keys, &Options::hyperdht()).await?;
            replication.attach(connection.link);
        }
    };
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
    tokio::select! {
        done = serve => done,
        _ = ended => Ok(()),
    }
}

async fn measure(blocks: u64, bytes: usize) -> Result<()> {
    let mut seeder = Command::new(std::env::current_exe()?)
        .args(["seed", &blocks.to_string(), &bytes.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let output = seeder.stdout.take().context("no output of the seeder")?;
    BufReader::new(output).read_line(&mut line)?;
    let (port, core) = line
        .trim()
        .split_once(' ')
        .context("the seeder did not say its port")?;
    let folder = Folder::new("fetch")?;
    let session = Session::new(folder.store()?.core(CoreOptions::from_key(key::parse(core)?))?)?;
    let replication = Replication::default();
    replication.add(&session);
    let before = resident_mib("VmRSS")?;
    let cpu_before = [cpu_ms(seeder.id())?, cpu_ms(std::process::id())?];
    let started = Instant::now();
    let io = TcpStream::connect(("127.0.0.1", port.parse::<u16>()?)).await?;
    io.set_nodelay(true)?;
    let keys = noise::KeyPair::from_seed(&[3; 32]);
    let connection = connection::initiate(io, &keys, &Options::hyperdht()).await?;
    replication.attach(connection.link);
    session.download(DownloadRange::from(0..blocks)).done().await?;
    let seconds = started.elapsed().as_secs_f64();
    let mib = (blocks * bytes as u64) as f64 / f64::from(1 << 20);
    let most = resident_mib("VmHWM")?;
    let cpu = [cpu_ms(seeder.id())?, cpu_ms(std::process::id())?];
    let name = |what: &str| match bytes {
        BLOCK_BYTES => what.to_string(),
        bytes => format!("{what}-{bytes}"),
    };
    let report = |what: &str, unit: &str, value: f64| {
        println!(r#"{{"what":"{}","{unit}":{value:.1}}}"#, name(what));
    };
    report("replicate-tcp", "mib_per_s", mib / seconds);
    report("replicate-tcp-cpu-gives", "ms", cpu[0] - cpu_before[0]);
    report("replicate-tcp-cpu-takes", "ms", cpu[1] - cpu_before[1]);
    report("transfer-memory", "mib", most - before);
    if session.get_local(blocks - 1)? != Some(block(blocks - 1, bytes)) {
        bail!("the last block is not what was sent");
    }
    drop(seeder.stdin.take());
    seeder.wait()?;
    Ok(())
}

/// A line of `/proc/self/status`, in MiB.
fn resident_mib(line: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    let kib = found.and_then(|rest| rest.split_whitespace().nth(1));
    Ok(kib.context("no such line in /proc/self/status")?.parse::<f64>()? / 1024.0)
}

/// Processor time of a process so far, in milliseconds: its ticks, of which Linux counts 100 a second.
fn cpu_ms(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/…/stat")?;
    // The user's and the system's are the 14th and the 15th field; the name is the second.
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(10.0 * ticks.sum::<Result<f64, _>>()?)
}

/// Bytes that do not compress, the same each time.
fn block(number: u64, bytes: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(bytes);
    out
}
