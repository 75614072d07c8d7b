//! What is shown on a terminal.

use std::fmt::Write;
use std::io::{IsTerminal, Write as _};

use bundle::cms::UnixTime;
use ipc::updater::{HistoryEntry, Phase, Progress, Status, When};
use serde::Serialize;

/// `status --json`.
#[derive(Debug, Serialize)]
pub struct Whole<'a> {
    /// What the service says.
    #[serde(flatten)]
    pub updater: &'a Status,
    /// Both copies of the boot state, when they could be read.
    pub boot_state: Option<crate::status::Status>,
}

/// What happens, in a sentence.
pub fn headline(status: &Status) -> String {
    let version = status
        .bundle
        .as_ref()
        .map_or("", |bundle| bundle.version.as_str());
    let reason = status.reason.as_deref().unwrap_or_default();
    match status.phase {
        Phase::Idle => "Nothing is being installed.".into(),
        Phase::Downloading if version.is_empty() => "A bundle is being checked.".into(),
        Phase::Downloading => format!("Version {version} is being installed."),
        Phase::Verifying => format!("Version {version} is written and is being read back."),
        Phase::Staged => match status.starts {
            Some(When::Tonight) if status.waits_for.is_some() => {
                format!("Version {version} is installed, but cannot start yet.")
            }
            Some(When::Tonight) => format!("Version {version} is installed and starts in the night."),
            _ => format!("Version {version} is installed and starts with the next restart."),
        },
        Phase::Trying => format!("Version {version} is being started and has to prove itself."),
        Phase::Good => format!("Version {version} was installed and proved itself."),
        Phase::RolledBack => {
            format!("Version {version} did not prove itself, so the box went back: {reason}")
        }
        Phase::Unhealthy => format!("Version {version} is not well: {reason}"),
    }
}

/// `status`.
pub fn status(status: &Status) -> String {
    let mut text = String::new();
    let running = status.slots.iter().find(|slot| slot.running);
    let letter = running.map_or("?", |slot| slot.slot.as_str());
    let _ = writeln!(text, "running: slot {letter}, version {}", status.version);
    let _ = writeln!(text, "{}", headline(status));
    if let Some(progress) = &status.progress {
        let _ = writeln!(text, "{}", line(progress));
    }
    if let Some(error) = &status.last_error {
        let _ = writeln!(text, "last error: {error}");
    }
    text.push_str(&channel(status));
    for slot in &status.slots {
        let quality = match (slot.complete, slot.good) {
            (false, _) => "incomplete",
            (true, true) => "good",
            (true, false) => "not proved yet",
        };
        let version = match &slot.bundle {
            Some(bundle) => format!(", version {}", bundle.version),
            None => String::new(),
        };
        let first = if slot.primary { ", tried first" } else { "" };
        let _ = writeln!(
            text,
            "slot {}: {quality}, {} tries left{version}{first}",
            slot.slot, slot.tries_left
        );
    }
    text
}

/// What is waited for and what the channel has: of `status` and `check`.
pub fn channel(status: &Status) -> String {
    let mut text = String::new();
    if let Some(reason) = &status.waits_for {
        let _ = writeln!(text, "waiting: {reason}");
    }
    if let Some(new) = &status.available {
        let _ = writeln!(text, "available: version {} ({})", new.version, new.channel);
        let total = megabytes(new.size_bytes);
        let _ = match new.download_bytes {
            Some(part) => writeln!(text, "to download: about {} of {total} MB", megabytes(part)),
            None => writeln!(text, "to download: at most {total} MB"),
        };
        if let Some(reason) = &new.failed_before {
            let _ = writeln!(text, "it was tried on this box before: {reason}");
        }
    }
    if let Some(error) = &status.check_error {
        let _ = writeln!(text, "looking for updates: {error}");
    }
    text
}

/// `history`.
pub fn history(entries: &[HistoryEntry]) -> String {
    if entries.is_empty() {
        return "No update was installed so far.\n".into();
    }
    let mut text = String::new();
    for entry in entries {
        let _ = writeln!(text, "{}  {}", UnixTime(entry.unix_s), entry.sentence);
    }
    text
}

/// `312.0 of 400.0 MB, 41.5 MB fetched, 2 min left`.
fn line(progress: &Progress) -> String {
    let left = match progress.seconds_left {
        None => String::new(),
        Some(seconds) if seconds < 100 => format!(", {seconds} s left"),
        Some(seconds) => format!(", {} min left", seconds.div_ceil(60)),
    };
    format!(
        "{} of {} MB, {} MB fetched{left}",
        megabytes(progress.done_bytes),
        megabytes(progress.total_bytes),
        megabytes(progress.fetched_bytes)
    )
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// One line that is written over, on a terminal; elsewhere nothing until the end.
pub struct Bar {
    terminal: bool,
}

impl Bar {
    /// On stderr.
    pub fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Shows how far it is.
    pub fn draw(&mut self, status: &Status) {
        if !self.terminal {
            return;
        }
        let progress = status.progress.filter(|progress| progress.total_bytes > 0);
        let text = match progress {
            Some(progress) if status.phase == Phase::Verifying => {
                format!("reading back: {}", line(&progress))
            }
            Some(progress) => line(&progress),
            None => headline(status),
        };
        eprint!("\r\x1b[K{text}");
        let _ = std::io::stderr().flush();
    }

    /// Makes room for other lines.
    pub fn end(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_no_failure_of_the_channel() {
        let mut known: Status = serde_json::from_value(serde_json::json!({
            "phase": "staged", "version": "1.0.0", "compatible": "hearth-qemu-arm64", "starts": "tonight",
            "starts_unix_s": 1, "can_roll_back": false, "withdrawn": false, "slots": [],
        }))
        .unwrap();
        assert!(status(&known).contains("starts in the night") && !status(&known).contains("waiting"));
        known.waits_for = Some("The data partition is full.".into());
        let text = status(&known);
        assert!(text.contains("waiting: The data partition is full."), "{text}");
        assert!(
            text.contains("cannot start yet") && !text.contains("looking for updates"),
            "{text}"
        );
    }

    #[test]
    fn progress_has_bytes_and_time_left() {
        let progress = Progress {
            done_bytes: 312_000_000,
            total_bytes: 400_000_000,
            fetched_bytes: 41_550_000,
            seconds_left: Some(110),
        };
        assert_eq!(line(&progress), "312.0 of 400.0 MB, 41.5 MB fetched, 2 min left");
    }
}
