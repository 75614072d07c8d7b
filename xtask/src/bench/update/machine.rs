//! A whole update of the emulated machine, from the command to the system that has proved itself.

use std::time::{Duration, Instant};

use anyhow::Result;
use board_support::qemu::Vm;
use hearth_tests::shell;
use hearth_tests::update::{Updates, Variant, wait_for};
use serde_json::Value;

use crate::bench::appliance::Appliance;
use crate::bench::report::{Budget, Row, Unit};
use crate::bench::{How, median};

/// Seconds that a step may take on a slow machine.
const LIMIT: u64 = 600;
/// Another version than that of the image.
const VERSION: &str = "0.99.0";

/// One update, in seconds.
struct Update {
    installed: f64,
    good: f64,
    fetched: u64,
}

/// Measures: the machine emulates its processors, so its seconds are to be compared with each other only.
pub fn measure(how: &How) -> Result<(Vec<Row>, Vec<String>)> {
    let appliance = Appliance::new("dev")?;
    let updates = Updates::of_image("qemu-arm64", appliance.image.image.clone())?;
    let url = updates.serve(&Variant {
        version: VERSION,
        words: "",
    })?;
    let mut all = vec![];
    for run in 1..=how.runs {
        eprintln!("  the emulated machine, update {run} of {}", how.runs);
        all.push(update(&appliance, &updates, &url)?);
    }
    let row = |what: &str, of: fn(&Update) -> f64| Row {
        what: what.into(),
        unit: Unit::Seconds,
        ours: median(&all.iter().map(of).collect::<Vec<_>>()),
        peer: None,
        budget: Budget::None,
    };
    let single: Vec<String> = all
        .iter()
        .map(|u| format!("{:.0} + {:.0} s", u.installed, u.good - u.installed))
        .collect();
    let fetched = all.iter().map(|u| u.fetched).max().unwrap_or_default();
    let note = format!(
        "In the emulated machine (two cortex-a72 without KVM): the dev image's own system under another version, over HTTPS, {fetched} bytes fetched; restart through U-Boot and the boot manager, health gate with a soak time of 10 s (60 s in the release). Single runs: {}.",
        single.join(", ")
    );
    Ok((
        vec![
            row("in the VM: `install` until it is installed", |u| u.installed),
            row("in the VM: `install` until restarted and good", |u| u.good),
        ],
        vec![note],
    ))
}

fn update(appliance: &Appliance, updates: &Updates, url: &str) -> Result<Update> {
    let (_, mut guest) = appliance.boot()?;
    let vm = &mut guest.vm;
    wait_for(vm, "a system that is marked good", LIMIT, |s| {
        runs(s, "a") && marked_good(s)
    })?;
    updates.trust(vm)?;
    let sent = updates.server.sent();
    let begun = Instant::now();
    shell::run(vm, &format!("hearth-update install {url}"), LIMIT)?;
    let installed = begun.elapsed();
    let fetched = updates.server.sent() - sent;
    shell::restart(vm, "hearth-update activate now", LIMIT)?;
    ready(vm)?;
    wait_for(vm, "the new version to be good", LIMIT, |s| {
        s["version"] == VERSION && s["phase"] == "good"
    })?;
    Ok(Update {
        installed: installed.as_secs_f64(),
        good: begun.elapsed().as_secs_f64(),
        fetched,
    })
}

/// The shell of the new system: a line typed before is lost.
fn ready(vm: &mut Vm) -> Result<()> {
    let limit = Duration::from_secs(LIMIT);
    Ok(vm.wait_for("the new system's shell", limit, |console| {
        let boot = console.rsplit("Hearth boot manager: ").next()?;
        (boot.starts_with("slot b") && boot.contains(shell::PROMPT)).then_some(())
    })?)
}

fn runs(status: &Value, slot: &str) -> bool {
    running(status).is_some_and(|s| s["slot"] == slot)
}

fn marked_good(status: &Value) -> bool {
    running(status).is_some_and(|s| s["good"] == true)
}

fn running(status: &Value) -> Option<&Value> {
    status["slots"].as_array()?.iter().find(|s| s["running"] == true)
}
