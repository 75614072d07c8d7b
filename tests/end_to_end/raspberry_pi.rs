//! The image for the Raspberry Pi, on QEMU's Pi 3B: slow, so there is one test.

use anyhow::{Result, ensure};
use hearth_tests::machine::TestMachine;

#[test]
fn the_sd_image_boots_through_its_own_u_boot_and_boot_manager_to_multi_user() -> Result<()> {
    let mut machine = TestMachine::new(
        "raspi3b",
        "raspberry-pi",
        "hearth-raspberry-pi-release.img",
        512 << 20,
    )?;
    machine.start()?;
    machine.expect("Hearth boot manager: slot a", 180)?;
    machine.expect("handing over after", 300)?;
    println!("{:.0} s to systemd", machine.vm()?.uptime().as_secs_f64());
    // The console service belongs to multi-user.target, and prints this once there is an address.
    let console = machine.expect("hearth: ready http://", 600)?;
    println!("{:.0} s to an address", machine.vm()?.uptime().as_secs_f64());
    ensure!(
        console.contains("DEVELOPMENT KEYS"),
        "a release with development keys must say so on its console"
    );
    machine.expect_page(120)?;
    println!("{:.0} s to the page", machine.vm()?.uptime().as_secs_f64());
    Ok(())
}
