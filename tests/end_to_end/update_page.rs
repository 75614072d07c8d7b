//! A person with a browser and an update: found on the channel, installed, kept, and taken back.

use anyhow::{Result, ensure};
use hearth_tests::http::Client;
use hearth_tests::machine::TestMachine;
use hearth_tests::setup::{ADMINISTRATOR, HOST_NAME, PASSWORD, Stage, advance};
use hearth_tests::update::{Updates, Variant, wait_for};
use hearth_tests::{browser, shell};

const PHONE: &str = "390x844";
const DESKTOP: &str = "1280x800";

#[test]
fn a_person_finds_installs_and_takes_back_an_update_in_the_browser() -> Result<()> {
    let mut machine = TestMachine::qemu_arm64("update-browser")?;
    let updates = Updates::for_board("qemu-arm64", "hearth-qemu-arm64-dev.img")?;
    updates.publish(&Variant {
        version: "0.2.0",
        words: "",
    })?;
    machine.start()?;
    machine.expect_page(240)?;
    let mut client = Client::new(machine.port());
    while advance(&mut client)? != Stage::Provisioned {}
    wait_for(machine.vm()?, "a system that is marked good", 240, |s| {
        s["slots"][0]["good"] == true
    })?;
    updates.trust(machine.vm()?)?;
    updates.choose_channel(machine.vm()?)?;
    let act = |machine: &TestMachine, action: &str, size: &str| {
        let found = browser::run(
            machine,
            "hearth.mjs",
            &[action, size, HOST_NAME, ADMINISTRATOR, PASSWORD],
        )?;
        println!("{action} {size}: {found:?}");
        anyhow::Ok(found)
    };
    act(&machine, "update", PHONE)?;
    let status = wait_for(machine.vm()?, "version 0.2.0 to be good", 400, |s| {
        s["version"] == "0.2.0" && s["phase"] == "good"
    })?;
    ensure!(status["can_roll_back"] == true, "{status}");
    act(&machine, "go-back", DESKTOP)?;
    wait_for(machine.vm()?, "the version before to be good", 400, |s| {
        s["version"] == "0.1.0" && s["phase"] == "good"
    })?;
    let history = shell::run(machine.vm()?, "hearth-update history", 60)?;
    ensure!(history.contains("went back to"), "{history}");
    Ok(())
}
