//! What a reader must know of the machine to judge its numbers.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::host;

/// The machine that measures.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Day of the measurement, `2026-01-31`, UTC.
    pub day: String,
    /// Commit of the checkout; a `+` says that files differ from it.
    pub commit: String,
    /// Processor.
    pub processor: String,
    /// Processors that may be used.
    pub cores: u16,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Load average of the last minute before the first measurement.
    pub load: f64,
    /// Version of QEMU, if there is one.
    pub qemu: String,
}

/// Reads them.
pub fn read() -> Facts {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        let line = text.lines().find(|l| l.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let memory = field(&file("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kib: u64 = memory
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or_default();
    let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    let qemu = said("qemu-system-aarch64", &["--version"]);
    Facts {
        day: day(SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs())),
        commit: format!(
            "{}{}",
            said("git", &["rev-parse", "--short", "HEAD"]),
            if changed { "+" } else { "" }
        ),
        processor: field(&file("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".into()),
        cores: std::thread::available_parallelism().map_or(1, |n| n.get().try_into().unwrap_or(u16::MAX)),
        memory_mib: kib / 1024,
        load: file("/proc/loadavg")
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or_default(),
        qemu: qemu
            .lines()
            .next()
            .unwrap_or_default()
            .replace("QEMU emulator version ", ""),
    }
}

impl Facts {
    /// One sentence.
    pub fn sentence(&self) -> String {
        format!(
            "Commit {}; {} ({} cores), {} MiB of memory, load {:.2} before the first run; QEMU {}.",
            self.commit, self.processor, self.cores, self.memory_mib, self.load, self.qemu
        )
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "day": self.day, "commit": self.commit, "processor": self.processor, "cores": self.cores,
            "memory_mib": self.memory_mib, "load": self.load, "qemu": self.qemu,
        })
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(host::checkout())
        .output();
    output
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string())
        .unwrap_or_default()
}

/// The calendar day of seconds since 1970 (Howard Hinnant's `civil_from_days`).
fn day(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::day;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(1_798_761_599), "2026-12-31");
    }
}
