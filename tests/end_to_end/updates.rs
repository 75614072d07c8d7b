//! Whole updates through the real boot chain: install, restart, prove itself, stay or go back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hearth_tests::machine::TestMachine;
use hearth_tests::update::{FOREIGN_BYTES, Updates, Variant, status, wait_for};
use hearth_tests::{patience, shell};
use serde_json::Value;

/// Seconds until a slot is marked good after the page is up, on a loaded machine.
const GOOD: u64 = 240;

/// A machine that runs and is marked good, and a server that it trusts.
fn ready(name: &str, board: Board) -> Result<(TestMachine, Updates)> {
    let (mut machine, updates) = match board {
        Board::Arm => (
            TestMachine::qemu_arm64(name)?,
            Updates::for_board("qemu-arm64", "hearth-qemu-arm64-dev.img")?,
        ),
        Board::Pc => (
            TestMachine::pc_x86_64(name)?,
            Updates::for_board("pc-x86_64", "hearth-pc-x86_64-dev.img")?,
        ),
    };
    start(&mut machine)?;
    updates.trust(machine.vm()?)?;
    Ok((machine, updates))
}

/// Switches it on, and waits until its system is marked good: before, the other slot is what it would fall back to.
fn start(machine: &mut TestMachine) -> Result<()> {
    machine.start()?;
    machine.expect_page(240)?;
    wait_for(machine.vm()?, "a slot that is marked good", GOOD, |s| {
        slot(s, "running").is_some_and(|slot| slot["good"] == true)
    })
    .map(drop)
}

#[derive(Clone, Copy)]
enum Board {
    Arm,
    Pc,
}

fn text<'a>(status: &'a Value, key: &str) -> &'a str {
    status[key].as_str().unwrap_or_default()
}

/// The slot of which this is true.
fn slot<'a>(status: &'a Value, what: &str) -> Option<&'a Value> {
    status["slots"].as_array()?.iter().find(|s| s[what] == true)
}

fn running(status: &Value) -> &str {
    slot(status, "running")
        .and_then(|s| s["slot"].as_str())
        .unwrap_or_default()
}

/// Installs, and returns once it is installed and waits for its start.
fn install(machine: &mut TestMachine, source: &str) -> Result<String> {
    shell::run(machine.vm()?, &format!("hearth-update install {source}"), 400)
}

fn restart(machine: &mut TestMachine) -> Result<()> {
    shell::restart(machine.vm()?, "hearth-update activate now", 240)
}

/// Waits until the last boot is one of a slot, and has a shell.
fn expect_boot(machine: &mut TestMachine, slot: &str, seconds: u64) -> Result<()> {
    let begin = format!("slot {slot}");
    let limit = patience(seconds);
    Ok(machine
        .vm()?
        .wait_for(&format!("a boot of {begin}"), limit, |console| {
            let last = console.rsplit("Hearth boot manager: ").next()?;
            (last.starts_with(&begin) && last.contains(shell::PROMPT)).then_some(())
        })?)
}

/// Waits until the box runs `version` from `slot` and the updater is in `phase`.
fn settle(machine: &mut TestMachine, version: &str, slot: &str, phase: &str, seconds: u64) -> Result<Value> {
    expect_boot(machine, slot, seconds)?;
    wait_for(
        machine.vm()?,
        &format!("{phase}, version {version} in slot {slot}"),
        seconds,
        |s| text(s, "version") == version && running(s) == slot && text(s, "phase") == phase,
    )
}

fn good_update(name: &str, board: Board) -> Result<()> {
    let (mut machine, updates) = ready(name, board)?;
    let url = updates.serve(&Variant {
        version: "0.2.0",
        words: "",
    })?;
    let before = updates.server.sent();
    let said = install(&mut machine, &url)?;
    let fetched = updates.server.sent() - before;
    ensure!(said.contains("0.2.0"), "{said}");
    // The root is the one that runs: a delta needs some kilobytes of the bundle's megabytes.
    println!("{fetched} bytes were fetched");
    ensure!(fetched < 2 << 20, "{fetched} bytes were fetched");
    restart(&mut machine)?;
    machine.expect("Hearth boot manager: slot b", 240)?;
    settle(&mut machine, "0.2.0", "b", "good", 400)?;
    let history = shell::run(machine.vm()?, "hearth-update history", 60)?;
    ensure!(history.contains("0.2.0"), "{history}");
    Ok(())
}

#[test]
fn an_update_is_installed_started_and_kept_on_arm() -> Result<()> {
    good_update("update-arm", Board::Arm)
}

#[test]
fn an_update_is_installed_started_and_kept_on_a_pc() -> Result<()> {
    good_update("update-pc", Board::Pc)
}

/// A box without a network connection is updated too.
#[test]
fn an_update_is_installed_from_a_usb_stick() -> Result<()> {
    let mut machine = TestMachine::qemu_arm64("update-usb")?;
    let updates = Updates::for_board("qemu-arm64", "hearth-qemu-arm64-dev.img")?;
    let bundle = updates.make(&Variant {
        version: "0.2.0",
        words: "",
    })?;
    machine.plug_in("HEARTH", &[&bundle])?;
    start(&mut machine)?;
    let said = install(&mut machine, "usb")?;
    ensure!(said.contains("0.2.0"), "{said}");
    restart(&mut machine)?;
    settle(&mut machine, "0.2.0", "b", "good", 400)?;
    Ok(())
}

/// Installs an update that is of no use; the box must come back with the old one and say why.
fn bad_update(name: &str, board: Board, words: &str, says: &str) -> Result<()> {
    let (mut machine, updates) = ready(name, board)?;
    let url = updates.serve(&Variant {
        version: "0.2.0",
        words,
    })?;
    install(&mut machine, &url)?;
    restart(&mut machine)?;
    machine.expect("Hearth boot manager: slot b", 240)?;
    // The machine is restarted by the kernel, the watchdog or the health gate; the boot manager falls back.
    let after = settle(&mut machine, "0.1.0", "a", "rolled-back", 600).inspect_err(|_| {
        // What the updater of a version that stays has to say.
        if let Ok(vm) = machine.vm() {
            println!(
                "{:?}",
                shell::run(vm, "journalctl -u hearth-updater --no-pager | tail -n 40", 60)
            );
        }
    })?;
    let reason = text(&after, "reason");
    println!("{name}: {reason}");
    ensure!(reason.contains(says), "{reason}");
    if words.contains("fill-data") {
        // Nothing is fetched that would fail its health check for want of room: a person makes some first.
        let refused = install(&mut machine, &url)?;
        ensure!(
            refused.contains("MB free") && refused.contains("delete"),
            "{refused}"
        );
        shell::run(machine.vm()?, "rm /data/state/test-fill", 60)?;
    }
    // The same bundle is not tried again by itself.
    let again = install(&mut machine, &url)?;
    ensure!(again.contains("failed"), "{again}");
    let now = status(machine.vm()?)?;
    ensure!(
        text(&now, "version") == "0.1.0" && text(&now, "last_error").contains("failed"),
        "{now}"
    );
    // Nor is the reason forgotten.
    ensure!(
        text(&now, "phase") == "rolled-back" && text(&now, "reason") == reason,
        "{now}"
    );
    let history = shell::run(machine.vm()?, "hearth-update history", 60)?;
    ensure!(history.contains(says), "{history}");
    Ok(())
}

#[test]
fn an_update_whose_kernel_panics_is_rolled_back() -> Result<()> {
    bad_update("update-panic", Board::Arm, "rdinit=/nonexistent", "did not start")
}

#[test]
fn an_update_that_fills_the_data_partition_is_rolled_back() -> Result<()> {
    bad_update("update-full", Board::Arm, "hearth.test=fill-data", "data")
}

#[test]
fn an_update_that_hangs_is_rolled_back() -> Result<()> {
    bad_update("update-hang", Board::Arm, "hearth.test=hang", "did not start")
}

#[test]
fn an_update_without_its_page_is_rolled_back() -> Result<()> {
    bad_update("update-page", Board::Arm, "hearth.test=mask-web", "page")
}

#[test]
fn an_update_without_network_is_rolled_back() -> Result<()> {
    bad_update(
        "update-network",
        Board::Arm,
        "hearth.test=mask-network",
        "network",
    )
}

#[test]
fn a_download_that_the_plug_cut_goes_on_with_what_is_missing() -> Result<()> {
    let (mut machine, updates) = ready("update-cut", Board::Arm)?;
    // Nothing in the box has these bytes, so all of them must come.
    let bundle = updates.make_foreign(&Variant {
        version: "0.2.0",
        words: "",
    })?;
    let size = FOREIGN_BYTES as u64;
    let url = updates.serve_file(&bundle)?;
    updates.server.behave(https_server::Behaviour {
        bytes_per_second: Some(1 << 20),
        ..Default::default()
    });
    let before = updates.server.sent();
    shell::run(
        machine.vm()?,
        &format!("hearth-update install {url} --no-wait"),
        60,
    )?;
    let begun = Instant::now();
    while updates.server.sent() - before < size / 2 {
        ensure!(begun.elapsed() < patience(240), "the download does not go on");
        std::thread::sleep(Duration::from_millis(200));
    }
    machine.stop();
    let first = updates.server.sent() - before;
    updates.server.behave(https_server::Behaviour::default());
    machine.start()?;
    expect_boot(&mut machine, "a", 240)?;
    // It goes on by itself.
    wait_for(machine.vm()?, "staged", 600, |s| text(s, "phase") == "staged")?;
    let second = updates.server.sent() - before - first;
    println!("{size} bytes: {first} before the cut, {second} after it");
    ensure!(
        first + second < size + size / 4,
        "{first} bytes came before the cut and {second} after it, of {size}"
    );
    let now = status(machine.vm()?)?;
    ensure!(running(&now) == "a" && text(&now, "version") == "0.1.0");
    Ok(())
}

/// Built and run with `cargo xtask test --long` only.
#[cfg(feature = "long")]
mod long {
    use super::*;

    #[test]
    fn an_update_without_its_page_is_rolled_back_on_a_pc() -> Result<()> {
        bad_update("update-page-pc", Board::Pc, "hearth.test=mask-web", "page")
    }

    #[test]
    fn ten_updates_in_a_row_and_the_way_back_by_hand() -> Result<()> {
        let (mut machine, updates) = ready("update-ten", Board::Arm)?;
        let mut slot = "a";
        for number in 1..=10 {
            let version = format!("1.0.{number}");
            let url = updates.serve(&Variant {
                version: &version,
                words: "",
            })?;
            install(&mut machine, &url)?;
            restart(&mut machine)?;
            slot = if slot == "a" { "b" } else { "a" };
            settle(&mut machine, &version, slot, "good", 400)?;
            println!("{version} in slot {slot}");
        }
        shell::restart(machine.vm()?, "hearth-update rollback", 240)?;
        expect_boot(&mut machine, "b", 240)?;
        wait_for(machine.vm()?, "the version before", 400, |s| {
            text(s, "version") == "1.0.9" && running(s) == "b"
        })?;
        Ok(())
    }
}
