//! The PC board, on QEMU's q35 with OVMF: UEFI → boot manager → kernel, without U-Boot.

use anyhow::{Result, ensure};
use hearth_tests::machine::TestMachine;
use hearth_tests::shell;

#[test]
fn the_pc_image_boots_on_uefi_to_the_page_and_marks_its_slot_good() -> Result<()> {
    let mut machine = TestMachine::pc_x86_64("pc")?;
    machine.start()?;
    machine.expect("Hearth boot manager: slot a", 120)?;
    let up = machine.expect_page(240)?;
    println!("{:.1} s to the page", up.as_secs_f64());
    let said = shell::run(
        machine.vm()?,
        "until /usr/lib/hearth/updater status | grep good; do sleep 1; done",
        180,
    )?;
    ensure!(said.contains('a'), "{said}");
    Ok(())
}
