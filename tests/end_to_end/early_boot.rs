//! What early-boot does when something is wrong: it says which partition, which hash; the counter acts.

use anyhow::{Result, ensure};
use hearth_tests::machine::TestMachine;

const SHORT: u64 = 90;

/// Damages slot a only; slot b stops in early-boot. Returns the console of all boots until then.
fn fails_then_b(name: &str, damage: impl FnOnce(&TestMachine) -> Result<()>) -> Result<String> {
    let mut machine = TestMachine::qemu_arm64(name)?;
    machine.disk.add_to_command_lines("hearth.test=stop")?;
    damage(&machine)?;
    machine.start()?;
    let console = machine.expect_end(4 * SHORT)?;
    ensure!(
        console.contains("test stop: slot=b"),
        "slot b did not boot:\n{console}"
    );
    Ok(console)
}

#[test]
fn a_wrong_root_hash_is_named_with_its_partition_and_slot_b_boots() -> Result<()> {
    let wrong = "00".repeat(32);
    let console = fails_then_b("wrong-root-hash", |machine| {
        let mut slot = machine.disk.slot('a')?;
        slot.set_argument("hearth.root-hash", &"00".repeat(32))?;
        machine.disk.set_slot('a', &slot)
    })?;
    ensure!(
        console.contains("BOOT FAILED") && console.contains("root-a"),
        "{console}"
    );
    ensure!(
        console.contains(&wrong),
        "the expected hash is not named:\n{console}"
    );
    ensure!(
        console.matches("BOOT FAILED").count() >= 3,
        "the counter did not act three times:\n{console}"
    );
    Ok(())
}

#[test]
fn a_flipped_bit_in_root_is_named_with_its_partition_and_slot_b_boots() -> Result<()> {
    let console = fails_then_b("flipped-bit", |machine| machine.disk.flip_bit("root-a", 40))?;
    ensure!(
        console.contains("BOOT FAILED") && console.contains("root-a"),
        "{console}"
    );
    Ok(())
}

#[test]
fn a_missing_module_is_named_and_slot_b_boots() -> Result<()> {
    let console = fails_then_b("missing-module", |machine| {
        let mut slot = machine.disk.slot('a')?;
        slot.lose_module("dm-verity.ko")?;
        machine.disk.set_slot('a', &slot)
    })?;
    ensure!(
        console.contains("BOOT FAILED") && console.contains("dm-verity"),
        "{console}"
    );
    Ok(())
}

#[test]
fn a_torn_partition_table_boots_from_its_backup_and_is_mended() -> Result<()> {
    let mut machine = TestMachine::new("torn-table", "qemu-arm64", "hearth-qemu-arm64-dev.img", 0)?;
    machine.disk.add_to_command_lines("hearth.test=stop")?;
    let header = machine.disk.read_raw(512, 512)?;
    machine.disk.write_raw(512 + 16, &[0xff; 4])?;
    machine.start()?;
    let console = machine.expect_end(SHORT)?;
    ensure!(console.contains("test stop: slot=a"), "{console}");
    ensure!(
        machine.disk.read_raw(512, 512)? == header,
        "the primary header was not mended"
    );
    Ok(())
}

#[test]
fn damaged_data_still_boots_to_a_page_that_explains_and_offers_no_setup() -> Result<()> {
    let mut machine = TestMachine::qemu_arm64("damaged-data")?;
    let before = vec![0xa5; 4 << 20];
    machine.disk.write("data", 0, &before)?;
    machine.start()?;
    machine.expect_page(240)?;
    let mut client = hearth_tests::http::Client::new(machine.port());
    let (path, page) = client.get("/")?;
    ensure!(
        page.body.contains("data-testid=\"closed-reason\""),
        "{path}: {}",
        page.body
    );
    for path in ["/setup", "/setup/welcome", "/login"] {
        let (_, page) = client.get(path)?;
        ensure!(
            !page.body.contains("<form"),
            "{path}: setup or login is offered on a box whose owner is unknown"
        );
    }
    machine.stop();
    ensure!(
        machine.disk.read("data", 0, before.len())? == before,
        "the damaged partition was written to"
    );
    Ok(())
}
