//! Whether the cost of a put and of a get grows with the bee: a small and a large bee take turns, so that what else runs on the
//! machine slows both.

use std::path::Path;
use std::time::Instant;

use hyper_core::store::Durability;
use hyper_drive::bee::Bee;
use serde_json::json;

use super::{Error, KEYS, Start, cpu_time, open, put_batches, value};

const ROUNDS: u64 = 40;
/// Puts, and gets, of each bee in a round.
const SAMPLE: u64 = 500;
/// Puts before the first round: so many that a bee of millions of keys has in memory what it keeps there.
const WARM_UP: u64 = 60_000;

/// Any number as another one that looks drawn by lot, no two as the same (the last step of SplitMix64).
fn mix(i: u64) -> u64 {
    let i = (i ^ (i >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let i = (i ^ (i >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    i ^ (i >> 31)
}

/// Keys that lie together in the bee. A large bee is built run after run, as its nodes then are in memory: ten million keys in no
/// order at all take an hour. Within a run, and from run to run, there is no order, and puts and gets are drawn by lot from all.
const RUN: u64 = 100_000;

fn key(i: u64) -> String {
    format!("key {:08x}{:012x}", mix(i / RUN) >> 32, mix(i) >> 16)
}

/// A bee of so many keys, what single puts and gets took in it, and the work of the processors for all of them.
struct Subject {
    keys: u64,
    bee: Bee,
    puts: Vec<u64>,
    gets: Vec<u64>,
    put_cpu_us: f64,
    get_cpu_us: f64,
}

impl Subject {
    /// Opens the bee, and builds what is missing of it, in batches.
    async fn open(folder: &Path, keys: u64) -> Result<Self, Error> {
        std::fs::create_dir_all(folder)?;
        // As the peer: it leaves it to the kernel when something is written.
        let bee = open(folder, Durability::ProcessCrash)?;
        // A key is a block, and the first block is the header.
        let missing = bee.version() - 1..keys;
        if !missing.is_empty() {
            let start = Start::now();
            put_batches(&bee, missing.clone(), key).await?;
            start.say(&format!("bee-batch-put-to-{keys}"), missing.end - missing.start);
        }
        Ok(Self {
            keys,
            bee,
            puts: Vec::new(),
            gets: Vec::new(),
            put_cpu_us: 0.0,
            get_cpu_us: 0.0,
        })
    }

    /// One of its keys, drawn by lot.
    fn some_key(&self, i: u64) -> String {
        key(mix(i + (1 << 40)) % self.keys)
    }

    async fn put(&self, i: u64) -> Result<u64, Error> {
        let (key, at) = (self.some_key(i), Instant::now());
        self.bee.put(key, value(i)).await?;
        Ok(at.elapsed().as_nanos() as u64)
    }

    async fn get(&self, i: u64) -> Result<u64, Error> {
        let (key, at) = (self.some_key(i), Instant::now());
        self.bee.get(key).await?.ok_or("a key is gone")?;
        Ok(at.elapsed().as_nanos() as u64)
    }

    async fn round(&mut self, round: u64) -> Result<(), Error> {
        let start = cpu_time();
        for i in 0..SAMPLE {
            self.puts.push(self.put(2 * round * SAMPLE + i).await?);
        }
        let between = cpu_time();
        for i in 0..SAMPLE {
            self.gets.push(self.get((2 * round + 1) * SAMPLE + i).await?);
        }
        self.put_cpu_us += (between - start).as_secs_f64() * 1e6;
        self.get_cpu_us += (cpu_time() - between).as_secs_f64() * 1e6;
        Ok(())
    }

    /// Microseconds of the clock and of the processors for a put, then for a get.
    fn say(&mut self) -> [(f64, f64); 2] {
        let put = (
            median_us(&mut self.puts),
            self.put_cpu_us / self.puts.len() as f64,
        );
        let get = (
            median_us(&mut self.gets),
            self.get_cpu_us / self.gets.len() as f64,
        );
        for (what, (median_us, cpu_us)) in [("put", put), ("get", get)] {
            let what = format!("bee-{what}-in-{}", self.keys);
            println!(
                "{}",
                json!({"what": what, "median_us": median_us, "cpu_us": cpu_us})
            );
        }
        [put, get]
    }
}

fn median_us(nanoseconds: &mut [u64]) -> f64 {
    nanoseconds.sort_unstable();
    nanoseconds[nanoseconds.len() / 2] as f64 / 1000.0
}

/// Measures a bee of 10,000 keys and one of `keys`, and says how the second compares.
pub(super) async fn compare(keys: u64, folder: &Path) -> Result<(), Error> {
    let mut small = Subject::open(&folder.join(KEYS.to_string()), KEYS).await?;
    let large_folder = folder.join(keys.to_string());
    let mut large = Subject::open(&large_folder, keys).await?;
    for i in 0..WARM_UP {
        small.put((1 << 32) + i).await?;
        large.put((1 << 32) + i).await?;
    }
    for round in 0..ROUNDS {
        small.round(round).await?;
        large.round(round).await?;
    }
    for (what, (small, large)) in ["put", "get"].iter().zip(small.say().iter().zip(large.say())) {
        let what = format!("bee-{what}-ratio-{keys}");
        println!(
            "{}",
            json!({"what": what, "median": large.0 / small.0, "cpu": large.1 / small.1})
        );
    }
    drop(large);
    let opened = Instant::now();
    let bee = open(&large_folder, Durability::ProcessCrash)?;
    bee.get(key(0)).await?.ok_or("a key is gone")?;
    let ms = opened.elapsed().as_secs_f64() * 1000.0;
    println!("{}", json!({"what": format!("bee-open-{keys}"), "ms": ms}));
    println!(
        "{}",
        json!({"what": format!("bee-disk-of-{keys}"), "bytes": bytes_in(&large_folder.join("store"))?})
    );
    Ok(())
}

fn bytes_in(folder: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
