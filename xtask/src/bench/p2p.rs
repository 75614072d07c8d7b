//! `xtask bench p2p`: the Hypercore stack beside today's JavaScript stack, in turn on the same machine.
//!
//! Each part is an example program of ours and a script of the peer. Both print one JSON line for each measurement:
//! `{"what":"bee-put","per_s":1234.5}`, with `per_s`, `mib_per_s`, `ms` or `mib`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::report::{Budget, Row, Unit};
use super::{How, median};
use crate::doctor::{self, Need};
use crate::{host, test};

/// A program of ours and the peer's script for the same.
struct Part {
    package: &'static str,
    example: &'static str,
    arguments: &'static [&'static str],
    script: Option<&'static str>,
}

const PARTS: &[Part] = &[
    part("hyper-core", "bench_log", Some("bench-core.mjs")),
    part("hyper-swarm", "bench_stream", Some("bench-stream.mjs")),
    part("hyper-swarm", "bench_replicate", Some("bench-replicate.mjs")),
    Part {
        arguments: &["100000", "1024"],
        ..part("hyper-swarm", "bench_replicate", None)
    },
    part("hyper-swarm", "bench_swarm", Some("bench-swarm.mjs")),
    part("hyper-drive", "bench_bee", Some("bench-bee.mjs")),
    part("hyper-drive", "bench_drive", Some("bench-drive.mjs")),
    part("hyper-swarm", "bench_node", None),
];

const fn part(package: &'static str, example: &'static str, script: Option<&'static str>) -> Part {
    Part {
        package,
        example,
        arguments: &[],
        script,
    }
}

/// What a person reads, and what was promised.
struct Measure {
    what: &'static str,
    name: &'static str,
    budget: Budget,
}

const fn measure_of(what: &'static str, name: &'static str, budget: Budget) -> Measure {
    Measure { what, name, budget }
}

const MEASURES: &[Measure] = &[
    measure_of(
        "append-1k-batch",
        "append 1 KiB, batches of 1000",
        Budget::TimesPeer(3.0),
    ),
    measure_of(
        "append-1k-single",
        "append 1 KiB, one by one",
        Budget::TimesPeer(3.0),
    ),
    measure_of(
        "append-1k-single-power-cut",
        "append 1 KiB, one by one, each flushed to the disk",
        Budget::None,
    ),
    measure_of("get-1k-random", "get 1 KiB at random", Budget::TimesPeer(5.0)),
    measure_of("append-64k", "append 64 KiB", Budget::TimesPeer(3.0)),
    measure_of(
        "open-10k-cores",
        "open a store of 10,000 cores",
        Budget::AtMost(0.1),
    ),
    measure_of(
        "open-10m-blocks",
        "open a core of 10 million blocks",
        Budget::AtMost(0.1),
    ),
    measure_of("secret-stream-tcp", "secret stream over TCP", Budget::None),
    measure_of(
        "secret-stream-udx",
        "secret stream over UDX",
        Budget::TimesPeer(3.0),
    ),
    measure_of(
        "replicate-tcp",
        "replicate 256 MiB of 64 KiB blocks over TCP",
        Budget::TimesPeer(4.0),
    ),
    measure_of(
        "swarm-connect",
        "a peer found by its topic and connected to",
        Budget::None,
    ),
    measure_of(
        "replicate-udx",
        "replicate 256 MiB over UDX, found through the DHT",
        Budget::TimesPeer(6.0),
    ),
    measure_of("bee-put", "bee put", Budget::TimesPeer(5.0)),
    measure_of("bee-get", "bee get", Budget::TimesPeer(5.0)),
    measure_of(
        "bee-batch-put",
        "bee put, batches of 1000",
        Budget::TimesPeer(5.0),
    ),
    measure_of("bee-scan", "bee scan", Budget::TimesPeer(5.0)),
    measure_of("drive-put-1k", "drive put of 1 KiB files", Budget::TimesPeer(5.0)),
    measure_of("drive-get-1k", "drive get of 1 KiB files", Budget::None),
    measure_of("drive-put-256m", "drive put of 256 MiB", Budget::TimesPeer(3.0)),
    measure_of(
        "idle-node",
        "resident memory of a node with 100 cores and 20 connections",
        Budget::AtMost(24.0 * 1024.0 * 1024.0),
    ),
    measure_of(
        "idle-node-cpu",
        "processor time of that node in a minute",
        Budget::None,
    ),
    measure_of(
        "transfer-memory",
        "what a transfer of 256 MiB adds to it",
        Budget::AtMost(16.0 * 1024.0 * 1024.0),
    ),
    measure_of(
        "transfer-memory-1024",
        "what a transfer of 100,000 blocks of 1 KiB adds",
        Budget::AtMost(16.0 * 1024.0 * 1024.0),
    ),
];

/// The values of one measurement, of each run.
type Values = BTreeMap<String, (Unit, Vec<f64>)>;

/// Measures.
pub fn measure(how: &How) -> Result<(Vec<Row>, Vec<String>)> {
    doctor::require(&[Need::Test])?;
    let modules = test::node_modules("tests/interop")?;
    let checkout = host::checkout();
    build(&checkout)?;
    let (mut ours, mut peers) = (Values::new(), Values::new());
    for run in 1..=how.runs {
        for part in PARTS {
            eprintln!("  run {run} of {}: {}", how.runs, part.example);
            let program = checkout.join("target/release/examples").join(part.example);
            gather(Command::new(program).args(part.arguments), &mut ours)?;
            if let Some(script) = part.script.filter(|_| !how.no_peer) {
                let mut node = Command::new("node");
                node.arg(checkout.join("tests/interop").join(script))
                    .env("HEARTH_TEST_NODE_MODULES", &modules);
                gather(&mut node, &mut peers)?;
            }
        }
    }
    let rows = MEASURES
        .iter()
        .map(|measure| row(measure, &ours, &peers))
        .collect();
    Ok((rows, notes(&ours)))
}

fn build(checkout: &Path) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release"]).current_dir(checkout);
    for part in PARTS {
        cargo.args(["--package", part.package, "--example", part.example]);
    }
    let status = cargo.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the programs that measure cannot be built");
    }
    Ok(())
}

/// Runs a program and adds what it measured.
fn gather(command: &mut Command, values: &mut Values) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{command:?} cannot be started"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({})", output.status);
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (what, unit, value) = measurement(line)
            .with_context(|| format!("{command:?} printed {line:?}, which is no measurement"))?;
        values.entry(what).or_insert((unit, Vec::new())).1.push(value);
    }
    Ok(())
}

/// One line of a program, in the units of the report.
fn measurement(line: &str) -> Option<(String, Unit, f64)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let what = line.get("what")?.as_str()?.to_string();
    let mebibyte = f64::from(1 << 20);
    let units = [
        ("per_s", Unit::PerSecond, 1.0),
        ("mib_per_s", Unit::BytesPerSecond, mebibyte),
        ("ms", Unit::Seconds, 0.001),
        ("mib", Unit::Bytes, mebibyte),
    ];
    units
        .into_iter()
        .find_map(|(key, unit, factor)| Some((what.clone(), unit, line.get(key)?.as_f64()? * factor)))
}

fn row(measure: &Measure, ours: &Values, peers: &Values) -> Row {
    let value = |values: &Values| values.get(measure.what).and_then(|(_, all)| median(all));
    let unit = ours
        .get(measure.what)
        .or(peers.get(measure.what))
        .map_or(Unit::Seconds, |(unit, _)| *unit);
    Row::new(measure.name, unit, value(ours), measure.budget).beside(value(peers))
}

fn notes(ours: &Values) -> Vec<String> {
    let mut notes = vec![
        "The peer: hypercore 11, hyperbee 2, hyperdrive 13, hyperdht 6 and udx-native 1.21 on Node.js, as locked in tests/interop.".into(),
        "Durability: both sides hand what they wrote to the kernel and do not flush (the peer never does), but for the rows that say so. On the appliance every commit is flushed.".into(),
    ];
    let known = |what: &str| MEASURES.iter().any(|measure| measure.what == what);
    for (what, (unit, values)) in ours.iter().filter(|(what, _)| !known(what)) {
        if let Some(value) = median(values) {
            notes.push(format!("Also measured: {what} {}.", unit.show(value)));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_measurement_in_the_units_of_the_report_or_nothing() {
        assert_eq!(
            measurement(r#"{"what":"x","mib_per_s":2}"#),
            Some(("x".into(), Unit::BytesPerSecond, 2_097_152.0))
        );
        assert_eq!(
            measurement(r#"{"what":"x","ms":5.0}"#),
            Some(("x".into(), Unit::Seconds, 0.005))
        );
        assert_eq!(measurement(r#"{"what":"x"}"#), None);
        assert_eq!(measurement("ready"), None);
    }

    #[test]
    fn what_was_not_measured_misses_its_budget() {
        let row = row(&MEASURES[0], &Values::new(), &Values::new());
        assert_eq!(row.verdict(), super::super::report::Verdict::NotMeasured);
    }
}
