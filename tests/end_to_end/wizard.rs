//! A person with a browser: setup on a phone and on a desktop, login, reboot from the page, factory-reset.

use anyhow::{Context, Result, ensure};
use hearth_tests::machine::{TestMachine, boots};
use hearth_tests::setup::{ADMINISTRATOR, PASSWORD};
use hearth_tests::{browser, patience, shell};

/// Memory of the whole guest in use, after setup and idle: the budget in MiB.
const MEMORY_MIB: u64 = 110;
/// Resident memory of web-setup: the budget in KiB.
const WEB_SETUP_KIB: u64 = 12 << 10;

#[test]
fn a_person_sets_up_reboots_and_resets_on_phone_and_desktop() -> Result<()> {
    let mut machine = TestMachine::qemu_arm64("wizard")?;
    machine.start()?;
    machine.expect_page(240)?;
    for (size, name, grow) in [("390x844", "attic", "grow"), ("1280x800", "cellar", "later")] {
        let found = browser::run(
            &machine,
            "hearth.mjs",
            &["setup", size, name, ADMINISTRATOR, PASSWORD, grow],
        )?;
        for (key, value) in &found {
            println!("{size} {key}: {value}");
        }
        let value = |key: &str| {
            found
                .iter()
                .rev()
                .find(|(k, _)| k == key)
                .map(|(_, v)| v.clone())
                .unwrap_or_default()
        };
        ensure!(value("address").contains(&format!("{name}.local")), "{found:?}");
        ensure!(value("slot").to_lowercase().contains('a'), "{found:?}");
        if grow == "grow" {
            after_setup(&mut machine)?;
        }
        browser::run(
            &machine,
            "hearth.mjs",
            &["reset", size, name, ADMINISTRATOR, PASSWORD],
        )?;
        // The reset ends in the wizard, which the second round walks (and where the third ends).
        let begun = std::time::Instant::now();
        loop {
            let mut client = hearth_tests::http::Client::new(machine.port());
            if client
                .get("/")
                .is_ok_and(|(path, page)| page.status == 200 && path == "/setup/welcome")
            {
                break;
            }
            ensure!(
                begun.elapsed() < patience(240),
                "factory-reset did not lead back to the wizard"
            );
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
    }
    Ok(())
}

/// What only the inside can tell: memory, the grown file system, units, the marked slot.
fn after_setup(machine: &mut TestMachine) -> Result<()> {
    let vm = machine.vm()?;
    // The address screen is the last thing that others print on this console.
    let settled = |console: &str| {
        boots(console)
            .last()
            .is_some_and(|b| b.contains("hearth: ready"))
            .then_some(())
    };
    vm.wait_for("the address screen", patience(120), settled)?;
    let number = |text: String| {
        text.parse::<u64>()
            .with_context(|| format!("{text:?} is no number"))
    };
    let failed = shell::run(vm, "systemctl --failed --plain --no-legend --no-pager", 30)?;
    ensure!(failed.is_empty(), "failed units: {failed}");
    let memory = shell::run(
        vm,
        "sed -n 's/:  *\\([0-9]*\\).*/=\\1/p' /proc/meminfo | head -3",
        30,
    )?;
    let kib = |key: &str| {
        let line = memory
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        number(line.unwrap_or_default().to_string())
    };
    let used = (kib("MemTotal")? - kib("MemAvailable")?) >> 10;
    let web = number(shell::run(
        vm,
        "for p in /proc/[0-9]*; do [ \"$(readlink $p/exe)\" = /usr/lib/hearth/web-setup ] && sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' $p/status; done",
        30,
    )?)?;
    println!("in use: {used} MiB of memory; web-setup: {web} KiB resident");
    ensure!(
        used <= MEMORY_MIB,
        "{used} MiB are in use; the budget is {MEMORY_MIB}"
    );
    ensure!(
        web <= WEB_SETUP_KIB,
        "web-setup has {web} KiB; the budget is {WEB_SETUP_KIB}"
    );
    let name = shell::run(vm, "cat /proc/sys/kernel/hostname; readlink /etc/localtime", 30)?;
    ensure!(name.contains("attic") && name.contains("Europe/Paris"), "{name}");
    let size = number(shell::run(vm, "stat -f -c %b /data", 30)?)? / 256;
    ensure!(
        size > 600,
        "data has {size} MiB and was to grow to the end of a disk of 1 GiB"
    );
    for name in ["hearth", "attic"] {
        ensure!(machine.told_by_mdns(name)?, "{name}.local was not told by mDNS");
    }
    ensure!(
        !machine.told_by_mdns("cellar")?,
        "a name was told that nobody chose yet"
    );
    Ok(())
}
