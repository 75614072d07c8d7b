//! What a delta between two images would fetch: `delta_size OLD NEW`, for chunks of several lengths and for RAUC's
//! index of 4-KiB blocks. The old image is the running slot; the target holds nothing of use.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::time::Instant;

use bundle::chunks::{ChunkIndex, Parameters, Plan, Seeds};
use bundle::manifest::manifest_hash as sha256;

/// Digests of all blocks of 4096 bytes, the last one filled with zeros.
fn blocks(path: &str) -> Vec<[u8; 32]> {
    let mut file = File::open(path).unwrap();
    let mut out = Vec::new();
    loop {
        let mut block = Vec::with_capacity(4096);
        file.by_ref().take(4096).read_to_end(&mut block).unwrap();
        if block.is_empty() {
            return out;
        }
        block.resize(4096, 0);
        out.push(sha256(&block));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, old, new] = &arguments[..] else {
        eprintln!("usage: delta_size OLD NEW");
        std::process::exit(2);
    };
    let size = std::fs::metadata(new).unwrap().len();
    let share = |bytes: u64| format!("{bytes} ({:.2} %)", bytes as f64 * 100.0 / size as f64);
    println!("image {size}");
    let have: HashSet<_> = blocks(old).into_iter().chain([sha256(&[0; 4096])]).collect();
    let wanted = blocks(new);
    let index = wanted.len() as u64 * 32;
    let fetched = wanted
        .iter()
        .collect::<HashSet<_>>()
        .iter()
        .filter(|block| !have.contains(**block))
        .count();
    println!(
        "4-KiB blocks: index {}, fetched {}",
        share(index),
        share(fetched as u64 * 4096)
    );
    for average in [4u32, 8, 16, 32, 64] {
        let average = average << 10;
        let parameters = Parameters::new(average / 4, average, average * 4).unwrap();
        let start = Instant::now();
        let wanted = ChunkIndex::of(File::open(new).unwrap(), parameters, None).unwrap();
        let mut seeds = Seeds::new(&wanted);
        seeds.scan_seed(&wanted, 0, File::open(old).unwrap()).unwrap();
        let plan = Plan::new(&wanted, &seeds);
        let index = wanted.to_bytes().len() as u64;
        println!(
            "chunks of {average}: index {}, fetched {}, together {} in {} steps; both images scanned in {:.2?}",
            share(index),
            share(plan.totals().fetched),
            share(index + plan.totals().fetched),
            plan.steps().len(),
            start.elapsed()
        );
    }
}
