//! `hearth.test=`: where a test wants this boot to end. In programs with the feature `test-hooks` only.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use os_io::reboot;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

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

/// Before handing over: systems that start and are of no use. `mask-web`, `mask-network`: without these units;
/// `fill-data`: not a byte left on `data`.
pub fn before_hand_over(report: &Report, line: &CommandLine, new_root: &Path) -> Result<(), Failure> {
    let units: &[&str] = match line.test.as_deref() {
        Some("mask-web") => &["hearth-web.socket", "hearth-web.service"],
        Some("mask-network") => &["systemd-networkd.socket", "systemd-networkd.service"],
        Some("fill-data") => {
            report.notice("test fill-data");
            return fill(&new_root.join("data/state/test-fill")).map_err(|e| Failure::of(&e));
        }
        _ => return Ok(()),
    };
    let folder = new_root.join("etc/systemd/system");
    fs::create_dir_all(&folder).map_err(|e| Failure::of(&e))?;
    for unit in units {
        report.notice(&format!("test mask: {unit}"));
        symlink("/dev/null", folder.join(unit)).map_err(|e| Failure::of(&e))?;
    }
    Ok(())
}

fn fill(path: &Path) -> io::Result<()> {
    let file = File::create(path)?;
    let mut piece = 64 << 20;
    let mut at = 0;
    while piece >= 4096 {
        match fallocate(&file, FallocateFlags::empty(), at, piece) {
            Ok(()) => at += piece,
            Err(Errno::NOSPC) => piece /= 2,
            Err(other) => return Err(other.into()),
        }
    }
    file.sync_all()
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
    report.drain();
    Err(Failure::of(&reboot::power_off()))
}
