//! Which slot boots. The machines stop in early-boot, so that a boot takes seconds.

use anyhow::{Result, ensure};
use boot_state::Slot;
use hearth_tests::machine::{TestMachine, boots};

/// Most seconds of one boot that stops in early-boot.
const SHORT: u64 = 60;

/// A machine whose slots end in early-boot with `hearth.test=stop`.
fn machine(name: &str) -> Result<TestMachine> {
    let machine = TestMachine::qemu_arm64(name)?;
    machine.disk.add_to_command_lines("hearth.test=stop")?;
    Ok(machine)
}

fn booted(machine: &mut TestMachine) -> Result<String> {
    machine.start()?;
    let console = machine.expect_end(SHORT)?;
    let line = console
        .lines()
        .rev()
        .find_map(|l| l.split("test stop: ").nth(1).map(str::to_string));
    println!("{:.1} s to power-off", machine.vm()?.uptime().as_secs_f64());
    line.ok_or_else(|| anyhow::anyhow!("early-boot did not stop:\n{console}"))
}

#[test]
fn an_untouched_disk_boots_slot_a_and_spends_one_try() -> Result<()> {
    let mut machine = machine("untouched")?;
    ensure!(booted(&mut machine)?.starts_with("slot=a healed=0"));
    let state = machine.disk.boot_state()?.state();
    ensure!(state.slot(Slot::A).tries_left() == 2 && state.slot(Slot::B).tries_left() == 3);
    Ok(())
}

#[test]
fn a_damaged_boot_payload_boots_the_other_slot_in_the_same_boot() -> Result<()> {
    let mut machine = machine("damaged-payload")?;
    machine.disk.flip_bit("boot-a", 3 << 20)?;
    ensure!(booted(&mut machine)?.starts_with("slot=b healed=0"));
    Ok(())
}

#[test]
fn a_forged_command_line_is_refused_and_the_other_slot_boots() -> Result<()> {
    let mut machine = machine("forged")?;
    // The command line is part of what is signed: its bytes stand in their own part of the slot.
    let mut slot = machine.disk.slot('a')?;
    slot.command_line = slot
        .command_line
        .replace("hearth.profile=dev", "hearth.profile=DEV");
    machine.disk.set_slot('a', &slot)?;
    // … and its signature is that of another header.
    let original = machine.disk.read("boot-b", 0, 4096)?;
    machine.disk.write("boot-a", 0, &original)?;
    ensure!(booted(&mut machine)?.starts_with("slot=b"));
    Ok(())
}

#[test]
fn three_failed_boots_lead_to_the_other_slot() -> Result<()> {
    let mut machine = TestMachine::qemu_arm64("three-failures")?;
    machine.disk.add_to_command_line('a', "hearth.test=fail")?;
    machine.disk.add_to_command_line('b', "hearth.test=stop")?;
    machine.start()?;
    let console = machine.expect_end(4 * SHORT)?;
    let slots: Vec<char> = boots(&console)
        .iter()
        .filter_map(|b| b.strip_prefix("slot ")?.chars().next())
        .collect();
    ensure!(slots == ['a', 'a', 'a', 'b'], "{slots:?}");
    ensure!(console.contains("test stop: slot=b healed=0"), "{console}");
    Ok(())
}

#[test]
fn exhausted_counters_heal_and_say_so() -> Result<()> {
    let mut machine = machine("exhausted")?;
    // Three power cuts for each slot, as a flaky supply makes them: switched off in the boot manager's wake.
    let mut healed = None;
    for cut in 0..8 {
        machine.start()?;
        machine.expect("test stop: ", SHORT)?;
        let console = machine.vm()?.console();
        machine.stop();
        if console.contains("healed=1") {
            healed = Some(cut);
            break;
        }
    }
    ensure!(
        healed == Some(6),
        "healed at boot {healed:?}, expected after three tries of each slot"
    );
    let state = machine.disk.boot_state()?.state();
    ensure!(state.heals() == 1 && state.slot(Slot::A).tries_left() + state.slot(Slot::B).tries_left() == 5);
    Ok(())
}

#[test]
fn a_torn_counter_sector_leaves_the_other_copy_in_charge() -> Result<()> {
    let mut machine = machine("torn-counter")?;
    ensure!(booted(&mut machine)?.starts_with("slot=a"));
    let before = machine.disk.boot_state()?;
    // The next write goes to this copy; the cut leaves it torn at a few places (boot-state's own tests take every byte).
    let next = before.prepare(before.state());
    let old = machine.disk.boot_state_copy(next.copy())?;
    for torn_at in [1, 17, 255, 511] {
        let mut torn = old;
        torn[..torn_at].copy_from_slice(&next.bytes()[..torn_at]);
        torn[511] ^= 0x5a;
        machine.disk.set_boot_state_copy(next.copy(), &torn)?;
        let state = machine.disk.boot_state()?;
        ensure!(
            state.sequence() == before.sequence() && state.state() == before.state(),
            "torn at {torn_at}"
        );
    }
    ensure!(booted(&mut machine)?.starts_with("slot=a healed=0"));
    let after = machine.disk.boot_state()?.state();
    ensure!(
        after.slot(Slot::A).tries_left() == 1,
        "the surviving copy's count went on"
    );
    Ok(())
}

#[test]
fn without_any_counter_copy_slot_a_boots() -> Result<()> {
    let mut machine = machine("no-counters")?;
    for copy in [0, 1] {
        machine.disk.set_boot_state_copy(copy, &[0xff; 512])?;
    }
    ensure!(booted(&mut machine)?.starts_with("slot=a"));
    Ok(())
}
