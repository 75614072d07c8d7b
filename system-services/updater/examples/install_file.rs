//! One installation by the real engine, measured: `install_file FOLDER SOURCE [no-read-back]`.
//!
//! FOLDER stands for `/`: it has the keyring, and sysfs entries and files for the partitions of the disk `/dev/vda`, of
//! which slot a runs. SOURCE is a path inside FOLDER or an `https://` address, whose authority's certificate is
//! `/ca.pem`. Prints one line of JSON: seconds, bytes, and the peak of the resident memory.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use boot_state::{Running, Slot};
use os_io::root::Root;
use updater::engine::{Access, Engine, EngineProgress, Job, Observer, Source};
use updater::install::SlotEngine;

/// Wants everything, tells nobody.
struct Silent;

impl Observer for Silent {
    fn progressed(&self, _: EngineProgress) {}

    fn should_stop(&self) -> bool {
        false
    }
}

/// `VmHWM` of `/proc/self/status`, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, source, read_back) = match &arguments[..] {
        [folder, source] => (folder, source, true),
        [folder, source, word] if word == "no-read-back" => (folder, source, false),
        _ => {
            eprintln!("usage: install_file FOLDER SOURCE [no-read-back]");
            std::process::exit(2);
        }
    };
    let running = Running::from_boot(Slot::A);
    let engine = SlotEngine::new(Root::at(Path::new(folder)), "/dev/vda", running);
    let access = Access {
        tls_authorities: source.starts_with("https://").then(|| "/ca.pem".into()),
        ..Access::default()
    };
    let source = Source::parse(source).unwrap();
    let start = Instant::now();
    let bundle = engine.inspect(&source, &access).unwrap();
    let job = Job {
        source,
        access,
        manifest_hash: bundle.manifest_hash,
        target: running.inactive(),
    };
    let written = engine.stream(&job, &Silent).unwrap();
    let written_after = start.elapsed();
    if read_back {
        engine.read_back(&job, &written, &Silent).unwrap();
    }
    let line = serde_json::json!({
        "seconds": start.elapsed().as_secs_f64(),
        "seconds_written": written_after.as_secs_f64(),
        "fetched_bytes": written.fetched_bytes,
        "peak_bytes": peak_bytes(),
    });
    println!("{line}");
}
