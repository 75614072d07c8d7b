//! How fast a bee is: one JSON line for each measurement, as `tests/interop/bench-bee.mjs` has them for the JavaScript peer.
//!
//!     bench_bee                       10,000 keys one by one, 20,000 in batches; values of 100 bytes
//!     bench_bee --keys N [FOLDER]     whether the cost grows with the bee: one of 10,000 keys beside one of N; the folder keeps
//!                                     them for the next time

mod large;

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use hyper_core::core::CoreOptions;
use hyper_core::crypto::KeyPair;
use hyper_core::session::Session;
use hyper_core::store::{Durability, Store, StoreOptions};
use hyper_drive::bee::{Bee, KeyRange};
use rustix::time::{ClockId, clock_gettime};

type Error = Box<dyn std::error::Error>;

const KEYS: u64 = 10_000;
/// Each waits for the disk.
const FLUSHED: u64 = 1000;
const BATCHED: u64 = 20_000;
const BATCH: u64 = 1000;

/// No order, and each key once: the factor is prime.
fn key(i: u64, keys: u64) -> String {
    format!("key {:010}", (i * 7919) % keys)
}

fn value(i: u64) -> [u8; 100] {
    [i.to_le_bytes()[0]; 100]
}

/// When something began, in time and in work of the processors.
struct Start {
    at: Instant,
    cpu: Duration,
}

impl Start {
    fn now() -> Self {
        Self {
            at: Instant::now(),
            cpu: cpu_time(),
        }
    }

    /// Says the rate since, and the work for each of them: that does not swing with what else runs.
    fn say(self, what: &str, count: u64) {
        let per_s = count as f64 / self.at.elapsed().as_secs_f64();
        let cpu_us = (cpu_time() - self.cpu).as_secs_f64() * 1e6 / count as f64;
        println!(
            "{}",
            serde_json::json!({"what": what, "per_s": per_s, "cpu_us": cpu_us})
        );
    }
}

/// What this process used of the processors so far.
fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), used.tv_nsec.unsigned_abs() as u32)
}

fn open(folder: &Path, durability: Durability) -> Result<Bee, Error> {
    let options = StoreOptions {
        durability,
        ..StoreOptions::default()
    };
    let store = Store::open_with(&folder.join("store"), options)?;
    let core = store.core(CoreOptions::from_key_pair(KeyPair::from_seed(&[1; 32])))?;
    Ok(Bee::new(Session::new(core)?))
}

async fn put(bee: &Bee, what: &str, count: u64) -> Result<(), Error> {
    let start = Start::now();
    for i in 0..count {
        bee.put(key(i, KEYS), value(i)).await?;
    }
    start.say(what, count);
    Ok(())
}

async fn put_batches(bee: &Bee, keys: Range<u64>, key: impl Fn(u64) -> String) -> Result<(), Error> {
    for start in keys.clone().step_by(BATCH as usize) {
        let mut batch = bee.batch();
        for i in start..keys.end.min(start + BATCH) {
            batch.put(key(i), value(i)).await?;
        }
        batch.flush().await?;
    }
    Ok(())
}

async fn get(bee: &Bee, what: &str, count: u64, of: u64) -> Result<(), Error> {
    let start = Start::now();
    for i in 0..count {
        bee.get(key(i * 3, of)).await?.ok_or("a key is gone")?;
    }
    start.say(what, count);
    Ok(())
}

async fn scan(bee: &Bee, what: &str, count: u64) -> Result<(), Error> {
    let start = Start::now();
    let (mut entries, mut found) = (bee.range(KeyRange::ALL)?, 0);
    while entries.next().await?.is_some() {
        found += 1;
    }
    if found != count {
        return Err(format!("{found} entries instead of {count}").into());
    }
    start.say(what, count);
    Ok(())
}

async fn as_the_peer() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    // The peer leaves it to the kernel when something is written.
    let bee = open(folder.path(), Durability::ProcessCrash)?;
    put(&bee, "bee-put", KEYS).await?;
    get(&bee, "bee-get", KEYS, KEYS).await?;
    let folder = tempfile::tempdir()?;
    let bee = open(folder.path(), Durability::PowerCut)?;
    put(&bee, "bee-put-flushed", FLUSHED).await?;
    let folder = tempfile::tempdir()?;
    let bee = open(folder.path(), Durability::ProcessCrash)?;
    let start = Start::now();
    put_batches(&bee, 0..BATCHED, |i| key(i, BATCHED)).await?;
    start.say("bee-batch-put", BATCHED);
    scan(&bee, "bee-scan", BATCHED).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => as_the_peer().await,
        [option, keys] if option == "--keys" => {
            let folder = tempfile::tempdir()?;
            large::compare(keys.parse()?, folder.path()).await
        }
        [option, keys, folder] if option == "--keys" => large::compare(keys.parse()?, folder.as_ref()).await,
        _ => Err("usage: bench_bee [--keys N [FOLDER]]".into()),
    }
}
