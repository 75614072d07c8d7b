//! Measures the log: a line of JSON for each measure, with the names that `tests/interop/bench-core.mjs` has for the JavaScript
//! peer. `bench_log [FOLDER [BLOCKS]]` works in a new folder within `FOLDER`; `BLOCKS` is the length of the long core.
//!
//! What ends in `-power-cut` flushes the disk before each append returns. The rest is with the kernel when the append returns, which is all
//! that the JavaScript peer does: compare that with it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hyper_core::core::{Core, CoreOptions};
use hyper_core::crypto::KeyPair;
use hyper_core::store::{Durability, Store, StoreOptions};

const KIB: usize = 1024;
const BATCH: usize = 1000;
const CORES: u16 = 10_000;
const LONG_CORE: u64 = 10_000_000;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let length = arguments.next().map_or(Ok(LONG_CORE), |text| text.parse())?;
    let scratch = tempfile::tempdir_in(folder)?;
    appends(scratch.path(), Durability::ProcessCrash, "")?;
    appends(scratch.path(), Durability::PowerCut, "-power-cut")?;
    many_cores(&scratch.path().join("many"))?;
    long_core(&scratch.path().join("long"), length)
}

fn tell(what: &str, unit: &str, value: f64) {
    println!("{{\"what\":\"{what}\",\"{unit}\":{value:.1}}}");
}

fn per_second(count: usize, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}

fn core(store: &Store, seed: u16) -> anyhow::Result<Core> {
    let mut secret = [0; 32];
    secret[..2].copy_from_slice(&seed.to_le_bytes());
    let pair = KeyPair::from_seed(&secret);
    Ok(store.core(CoreOptions::from_key_pair(pair))?)
}

fn blocks(first: usize, count: usize, bytes: usize) -> Vec<Vec<u8>> {
    let block = |number: usize| {
        let mut block = vec![number as u8; bytes];
        block[..8].copy_from_slice(&number.to_le_bytes());
        block
    };
    (first..first + count).map(block).collect()
}

/// Appends `rounds` batches, and says how many bytes or blocks that were in a second.
fn append(core: &Core, rounds: usize, batch: usize, bytes: usize) -> anyhow::Result<f64> {
    let all: Vec<_> = (0..rounds)
        .map(|round| blocks(round * batch, batch, bytes))
        .collect();
    let start = Instant::now();
    for batch in &all {
        core.append(batch)?;
    }
    Ok(per_second(rounds * batch, start))
}

fn appends(folder: &Path, durability: Durability, suffix: &str) -> anyhow::Result<()> {
    let options = StoreOptions {
        durability,
        ..StoreOptions::default()
    };
    let store = Store::open_with(&folder.join(format!("appends{suffix}")), options)?;
    let slow = durability == Durability::PowerCut;
    let small = core(&store, 0)?;
    let rate = append(&small, 100, BATCH, KIB)?;
    tell(&format!("append-1k-batch{suffix}"), "per_s", rate);
    let rate = append(&core(&store, 1)?, if slow { 300 } else { 10_000 }, 1, KIB)?;
    tell(&format!("append-1k-single{suffix}"), "per_s", rate);
    if slow {
        together(&store, suffix)?;
    } else {
        gets(&small)?;
    }
    let large = core(&store, 2)?;
    let rate = append(&large, 128, 16, 64 * KIB)?;
    tell(&format!("append-64k{suffix}"), "mib_per_s", rate / 16.0);
    Ok(())
}

/// Eight threads, each with a core of its own.
fn together(store: &Store, suffix: &str) -> anyhow::Result<()> {
    let cores = (10..18)
        .map(|seed| core(store, seed))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = cores
            .iter()
            .map(|core| scope.spawn(|| append(core, 200, 1, KIB).map(drop)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| anyhow::bail!("a thread panicked"))
        })
    })?;
    tell(
        &format!("append-1k-single-8-threads{suffix}"),
        "per_s",
        per_second(8 * 200, start),
    );
    Ok(())
}

fn gets(core: &Core) -> anyhow::Result<()> {
    let (length, count) = (core.length()?, 100_000);
    let mut place = 1u64;
    let start = Instant::now();
    for _ in 0..count {
        place = place
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ensure!(core.get((place >> 33) % length)?.is_some(), "a block is missing");
    }
    tell("get-1k-random", "per_s", per_second(count, start));
    Ok(())
}

fn many_cores(folder: &Path) -> anyhow::Result<()> {
    let options = StoreOptions {
        durability: Durability::ProcessCrash,
        ..StoreOptions::default()
    };
    let store = Store::open_with(folder, options)?;
    for seed in 0..CORES {
        core(&store, seed)?.append(&["x"])?;
    }
    drop(store);
    let start = Instant::now();
    let store = Store::open(folder)?;
    tell("open-10k-cores", "ms", milliseconds(start.elapsed()));
    let start = Instant::now();
    ensure!(core(&store, CORES / 2)?.length()? == 1, "a core is not as it was");
    tell("open-one-of-10k-cores", "ms", milliseconds(start.elapsed()));
    Ok(())
}

fn long_core(folder: &Path, length: u64) -> anyhow::Result<()> {
    let options = StoreOptions {
        durability: Durability::ProcessCrash,
        ..StoreOptions::default()
    };
    let store = Store::open_with(folder, options)?;
    let long = core(&store, 0)?;
    let batch: Vec<_> = (0..50_000u32).map(u32::to_le_bytes).collect();
    while long.length()? < length {
        let more = (length - long.length()?).min(batch.len() as u64) as usize;
        long.append(&batch[..more])?;
    }
    drop((long, store));
    let start = Instant::now();
    let store = Store::open_with(folder, options)?;
    let long = core(&store, 0)?;
    ensure!(long.length()? == length, "the core is not as long as it was");
    tell("open-10m-blocks", "ms", milliseconds(start.elapsed()));
    let start = Instant::now();
    for block in 0..1000 {
        ensure!(long.get(block * (length / 1000))?.is_some(), "a block is missing");
    }
    tell("get-of-10m-blocks", "per_s", per_second(1000, start));
    let rate = append(&long, 1000, 1, KIB)?;
    tell("append-1k-single-to-10m-blocks", "per_s", rate);
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
