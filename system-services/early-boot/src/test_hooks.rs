//! `hearth.test=`: where a test wants this boot to end. In programs with the feature `test-hooks` only.

use os_io::reboot;

use crate::boot::Failure;
use crate::cmdline::CommandLine;
use crate::report::Report;
use ipc::boot_facts::Slot;

/// Right after the command line was read: `stop-early`, `fail`.
pub fn after_command_line(report: &Report, line: &CommandLine) -> Result<(), Failure> {
    match line.test.as_deref() {
        Some("stop-early") => stop(report, line),
        Some("fail") => Err(Failure::new("hearth.test=fail asked for a failure")),
        _ => Ok(()),
    }
}

/// With the verified root mounted and `data` untouched: `stop`, or `hang` until the watchdog bites.
pub fn after_root(report: &Report, line: &CommandLine) -> Result<(), Failure> {
    match line.test.as_deref() {
        Some("stop") => stop(report, line),
        Some("hang") => {
            report.notice("test hang");
            loop {
                std::thread::park();
            }
        }
        _ => Ok(()),
    }
}

fn stop(report: &Report, line: &CommandLine) -> Result<(), Failure> {
    let slot = match line.slot {
        Slot::A => 'a',
        Slot::B => 'b',
    };
    report.notice(&format!(
        "test stop: slot={slot} healed={} data=not-mounted",
        u8::from(line.healed)
    ));
    Err(Failure::of(&reboot::power_off()))
}
