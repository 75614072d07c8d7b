//! The household's data: checked, mounted, and never made worse.
//!
//! e2fsck runs with `-p` alone: it replays the journal and mends what can be mended without a loss. Whatever it leaves is
//! left for a person to decide: then nothing is written, memory stands in, and the page explains.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ipc::boot_facts::DataState;
use os_io::durable;
use os_io::mount::{self, DATA_ONLY, MountFlags, UnmountFlags};
use os_io::program::{Finished, Program, ProgramError};

use crate::report::{Report, chain};

/// A full check of a big disk on a slow board may take its time; a check that is killed helps nobody.
const CHECK_TIMEOUT: Duration = Duration::from_secs(4 * 3600);
/// e2fsck.conf(5). Without a battery clock every boot begins before the last one ended; that is no damage.
const CHECK_CONFIG: &str = "/run/e2fsck.conf";
/// Between two lines on the console while a check runs.
const CHECK_NOTICE: Duration = Duration::from_secs(15);
/// The file system in memory that stands in for damaged data.
const STAND_IN: &str = "mode=0755,size=32m";

/// What e2fsck leaves us with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was wrong, or the journal was replayed.
    Clean,
    /// It mended something.
    Repaired,
    /// It could not check: mounting tells.
    Unchecked(String),
    /// It found what it does not mend by itself.
    Damaged(String),
}

/// Exit codes: e2fsck(8). 1 mended, 2 mended and "reboot" (nothing is mounted yet, so no), 4 left uncorrected, above: it did not run.
pub fn verdict(finished: &Result<Finished, ProgramError>) -> Verdict {
    match finished {
        Err(error) => Verdict::Unchecked(chain(error)),
        Ok(Finished { code, stdout, stderr }) => {
            // Lines about the device or from the program itself; the rest is advice for people with a shell.
            let said = || {
                let lines = stdout.lines().chain(stderr.lines()).map(str::trim);
                let lines: Vec<_> = lines
                    .filter(|line| line.starts_with('/') && !line.ends_with(':'))
                    .collect();
                format!(
                    "e2fsck ended with {code}: {}",
                    lines[lines.len().saturating_sub(2)..].join("; ")
                )
            };
            match code {
                0 => Verdict::Clean,
                1..=3 => Verdict::Repaired,
                // A sum of bits up to 64; killed by a signal is 128 and more.
                4..=127 if code & 4 != 0 => Verdict::Damaged(said()),
                _ => Verdict::Unchecked(said()),
            }
        }
    }
}

/// Checks `device` and mounts it on `target`, both as seen from the initramfs. e2fsck comes from the verified `new_root`,
/// where `/dev` and `/proc` must be mounted.
pub fn open(
    report: &Report,
    new_root: &Path,
    device: &Path,
    target: &Path,
    while_waiting: &mut dyn FnMut(),
) -> DataState {
    match try_open(report, new_root, device, target, while_waiting) {
        Ok(state) => state,
        Err(reason) => {
            report.warning(&format!("data on {} is not mounted: {reason}", device.display()));
            if let Err(error) =
                mount::tmpfs(target, DATA_ONLY, STAND_IN).and_then(|()| make_state_folder(target))
            {
                report.warning(&chain(&error));
            }
            DataState::Damaged { reason }
        }
    }
}

fn try_open(
    report: &Report,
    new_root: &Path,
    device: &Path,
    target: &Path,
    while_waiting: &mut dyn FnMut(),
) -> Result<DataState, String> {
    let place = device.display();
    let mut unchecked = None;
    let state = match verdict(&check(report, new_root, device, while_waiting)) {
        Verdict::Clean => DataState::Mounted,
        Verdict::Repaired => {
            report.warning(&format!("e2fsck mended data on {place}"));
            DataState::Repaired
        }
        Verdict::Unchecked(reason) => {
            unchecked = Some(reason);
            DataState::Mounted
        }
        Verdict::Damaged(reason) => {
            return Err(format!(
                "The file system on {place} has errors that cannot be mended without a loss ({reason})."
            ));
        }
    };
    let flags = DATA_ONLY | MountFlags::NOATIME;
    mount::mount(device, target, "ext4", flags, "errors=remount-ro").map_err(|error| {
        let why = unchecked.take().unwrap_or_else(|| chain(&error));
        format!("The file system on {place} cannot be mounted ({why}).")
    })?;
    if let Some(reason) = unchecked {
        report.warning(&format!("data on {place} could not be checked: {reason}"));
    }
    make_state_folder(target).map_err(|error| {
        let _ = mount::unmount(target, UnmountFlags::DETACH);
        format!(
            "The file system on {place} cannot be written to ({}).",
            chain(&error)
        )
    })?;
    Ok(state)
}

fn make_state_folder(data: &Path) -> Result<(), os_io::Error> {
    durable::create_folder(&data.join("state"), 0o755)
}

fn check(
    report: &Report,
    new_root: &Path,
    device: &Path,
    while_waiting: &mut dyn FnMut(),
) -> Result<Finished, ProgramError> {
    if let Err(error) = fs::write(CHECK_CONFIG, "[options]\nbroken_system_clock = true\n") {
        report.warning(&format!("{CHECK_CONFIG}: {error}"));
    }
    let mut next_notice = CHECK_NOTICE;
    Program::new("/usr/sbin/e2fsck")
        .arg("-p")
        .arg(device)
        .env("E2FSCK_CONFIG", CHECK_CONFIG)
        .in_root(new_root)
        .timeout(CHECK_TIMEOUT)
        .run(&mut |running| {
            while_waiting();
            if running >= next_notice {
                report.notice(&format!(
                    "checking data on {} for {} s: please wait",
                    device.display(),
                    running.as_secs()
                ));
                next_notice += CHECK_NOTICE;
            }
        })
}

/// A reset that could not finish leaves a household half deleted: nobody may take it over. The marker is still there,
/// the next boot goes on.
pub fn refuse_half_reset(report: &Report, target: &Path, reason: String) -> DataState {
    report.warning(&reason);
    let stand_in = mount::unmount(target, UnmountFlags::DETACH)
        .and_then(|()| mount::tmpfs(target, DATA_ONLY, STAND_IN))
        .and_then(|()| make_state_folder(target));
    if let Err(error) = stand_in {
        report.warning(&chain(&error));
    }
    DataState::Damaged { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32) -> Verdict {
        verdict(&Ok(Finished {
            code,
            stdout: "/dev/vda7:\n/dev/vda7: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.\n".into(),
            stderr: "\t(i.e., without -a or -p options)\n".into(),
        }))
    }

    #[test]
    fn whatever_e2fsck_leaves_uncorrected_is_never_mounted() {
        for code in [4, 5, 6, 7, 12] {
            match ended(code) {
                Verdict::Damaged(reason) => assert!(reason.ends_with("RUN fsck MANUALLY."), "{reason}"),
                other => panic!("{code}: {other:?}"),
            }
        }
    }

    #[test]
    fn mended_is_told_apart_from_clean_and_from_not_checked() {
        assert_eq!(ended(0), Verdict::Clean);
        assert_eq!(
            [ended(1), ended(2), ended(3)],
            [Verdict::Repaired, Verdict::Repaired, Verdict::Repaired]
        );
        for code in [8, 16, 32, 128 + 9] {
            assert!(matches!(ended(code), Verdict::Unchecked(_)), "{code}");
        }
        let missing = Program::new("/nonexistent/e2fsck").run(&mut |_| {});
        assert!(
            matches!(verdict(&missing), Verdict::Unchecked(reason) if reason.contains("/nonexistent/e2fsck"))
        );
    }
}
