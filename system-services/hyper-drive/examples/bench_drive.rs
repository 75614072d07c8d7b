//! Measures a drive: small files put and got, and one large file put and read. One JSON line for each, in the shape of
//! `tests/interop/bench-drive.mjs`, the JavaScript peer's side.
//!
//!     bench_drive [FILES] [MIB]

use std::time::Instant;

use anyhow::{Context, Result};
use hyper_core::corestore::Corestore;
use hyper_core::store::{Durability, Store, StoreOptions};
use hyper_drive::drive::{Drive, PutOptions};

const BLOCK: usize = 64 << 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (files, mib) = (number(1000)?, number(256)?);
    // What is written survives the end of the process, as at the peer; then the same with every change flushed to the disk.
    for (durability, suffix) in [(Durability::ProcessCrash, ""), (Durability::PowerCut, "-flushed")] {
        let folder = tempfile::tempdir()?;
        let options = StoreOptions {
            durability,
            ..StoreOptions::default()
        };
        let store = Store::open_with(&folder.path().join("store"), options)?;
        let drive = Drive::open(&Corestore::of_store(store)?)?;
        small(&drive, files, suffix).await?;
        large(&drive, mib, suffix).await?;
    }
    Ok(())
}

async fn small(drive: &Drive, files: usize, suffix: &str) -> Result<()> {
    let content = |i: usize| vec![i as u8; 1024];
    let start = Instant::now();
    for i in 0..files {
        drive.put(&name(i), &content(i)).await?;
    }
    say(&format!("drive-put-1k{suffix}"), "per_s", files as f64, start);

    let start = Instant::now();
    for i in 0..files {
        drive
            .get(&name(i * 7919 % files))
            .await?
            .context("a file is gone")?;
    }
    say(&format!("drive-get-1k{suffix}"), "per_s", files as f64, start);

    let start = Instant::now();
    let mut batch = drive.batch();
    for i in 0..files {
        batch
            .put(&format!("/batch{}", name(i)), &content(i), PutOptions::default())
            .await?;
    }
    batch.flush().await?;
    say(
        &format!("drive-batch-put-1k{suffix}"),
        "per_s",
        files as f64,
        start,
    );
    Ok(())
}

async fn large(drive: &Drive, mib: usize, suffix: &str) -> Result<()> {
    let block: Vec<u8> = (0..BLOCK).map(|i| (i * 31 + (i >> 8)) as u8).collect();
    let before = resident_mib()?;
    let start = Instant::now();
    let mut writer = drive.writer("/large", PutOptions::default()).await?;
    for _ in 0..mib * 16 {
        writer.write(&block).await?;
    }
    writer.finish().await?;
    say(
        &format!("drive-put-{mib}m{suffix}"),
        "mib_per_s",
        mib as f64,
        start,
    );

    let start = Instant::now();
    let mut reader = drive.read("/large", ..).await?.context("the file is gone")?;
    while reader.next().await?.is_some() {}
    say(
        &format!("drive-read-{mib}m{suffix}"),
        "mib_per_s",
        mib as f64,
        start,
    );
    println!(
        r#"{{"what":"drive-memory{suffix}","mib":{:.1}}}"#,
        resident_mib()? - before
    );
    Ok(())
}

fn name(i: usize) -> String {
    format!("/folder-{}/file-{i}", i % 10)
}

fn say(what: &str, unit: &str, amount: f64, start: Instant) {
    println!(
        r#"{{"what":"{what}","{unit}":{:.1}}}"#,
        amount / start.elapsed().as_secs_f64()
    );
}

/// Memory of this process that is in use, at its most.
fn resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .context("no VmHWM")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}
