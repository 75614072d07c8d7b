//! Measurements beside their budgets: as a table, as JSON, as a section of docs/benchmarks.md.

use std::path::Path;

use anyhow::{Context, Result};
use image_builder::cache::write_whole;
use serde_json::{Value, json};

use super::host_facts::Facts;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes, shown as MiB.
    Bytes,
    /// How many in a second.
    PerSecond,
    /// Bytes in a second, shown as MiB.
    BytesPerSecond,
}

impl Unit {
    /// For programs.
    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::PerSecond => "per_s",
            Self::BytesPerSecond => "bytes_per_s",
        }
    }

    /// For people.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{value:.0} /s"),
            Self::BytesPerSecond => format!("{:.0} MiB/s", value / f64::from(1 << 20)),
            Self::Seconds if value < 0.1 => format!("{:.1} ms", value * 1000.0),
            Self::Seconds if value < 5.0 => format!("{value:.2} s"),
            Self::Seconds => format!("{value:.1} s"),
            Self::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
        }
    }
}

/// What was decided for a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// Shown for information.
    None,
    /// At most this, in the row's unit.
    AtMost(f64),
    /// At most this part of the peer's.
    OfPeer(f64),
    /// At least so many times the peer's: for rates.
    TimesPeer(f64),
}

/// Whether a budget was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is no budget.
    None,
    /// Kept.
    Kept,
    /// Missed.
    Missed,
    /// What it needs was not measured, which is not kept.
    NotMeasured,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::None => "–",
            Self::Kept => "kept",
            Self::Missed => "MISSED",
            Self::NotMeasured => "NOT MEASURED",
        }
    }
}

/// One measurement.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Unit of all its numbers.
    pub unit: Unit,
    /// Ours.
    pub ours: Option<f64>,
    /// The peer's.
    pub peer: Option<f64>,
    /// The budget.
    pub budget: Budget,
}

impl Row {
    /// A measurement without a peer.
    pub fn new(what: impl Into<String>, unit: Unit, ours: Option<f64>, budget: Budget) -> Self {
        Self {
            what: what.into(),
            unit,
            ours,
            peer: None,
            budget,
        }
    }

    /// The same measurement of the peer.
    pub fn beside(mut self, peer: Option<f64>) -> Self {
        self.peer = peer;
        self
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.ours? / self.peer.filter(|p| *p > 0.0)?)
    }

    /// Whether the budget was kept.
    pub fn verdict(&self) -> Verdict {
        let kept = match self.budget {
            Budget::None => return Verdict::None,
            Budget::AtMost(limit) => self.ours.map(|value| value <= limit),
            Budget::OfPeer(limit) => self.ratio().map(|value| value <= limit),
            Budget::TimesPeer(limit) => self.ratio().map(|value| value >= limit),
        };
        match kept {
            Some(true) => Verdict::Kept,
            Some(false) => Verdict::Missed,
            None => Verdict::NotMeasured,
        }
    }

    fn budget(&self) -> String {
        match self.budget {
            Budget::None => "–".into(),
            Budget::AtMost(limit) => format!("≤ {}", self.unit.show(limit)),
            Budget::OfPeer(limit) => format!("≤ {limit:.2} × peer"),
            Budget::TimesPeer(limit) => format!("≥ {limit:.1} × peer"),
        }
    }

    fn cells(&self) -> [String; 6] {
        let shown = |value: Option<f64>| value.map_or_else(|| "–".into(), |v| self.unit.show(v));
        [
            self.what.clone(),
            shown(self.ours),
            shown(self.peer),
            self.ratio().map_or_else(|| "–".into(), |r| format!("{r:.2} ×")),
            self.budget(),
            self.verdict().word().into(),
        ]
    }
}

/// All of one benchmark.
#[derive(Debug)]
pub struct Report {
    /// `image` or `boot`.
    pub name: &'static str,
    /// The measurements.
    pub rows: Vec<Row>,
    /// What a reader must know to judge them.
    pub notes: Vec<String>,
    /// The machine.
    pub facts: Facts,
    /// Runs per time.
    pub runs: u16,
}

impl Report {
    /// The budgets that were not kept.
    pub fn missed(&self) -> Vec<String> {
        let missed = |row: &&Row| matches!(row.verdict(), Verdict::Missed | Verdict::NotMeasured);
        self.rows
            .iter()
            .filter(missed)
            .map(|r| format!("{} ({})", r.what, r.budget()))
            .collect()
    }

    /// For people, on the terminal and in the file alike.
    pub fn markdown(&self) -> String {
        let head = ["", "Hearth", "peer", "ratio", "budget", ""].map(String::from);
        let table: Vec<[String; 6]> = std::iter::once(head)
            .chain(self.rows.iter().map(Row::cells))
            .collect();
        let width = |i: usize| {
            table
                .iter()
                .map(|r| r[i].chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..6).map(width).collect();
        let mut text = String::new();
        for (n, row) in table.iter().enumerate() {
            for (i, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[i] - cell.chars().count());
                let numbers = (1..=3).contains(&i);
                text.push_str(&if numbers {
                    format!("| {pad}{cell} ")
                } else {
                    format!("| {cell}{pad} ")
                });
            }
            text.push_str("|\n");
            if n == 0 {
                for (i, width) in widths.iter().enumerate() {
                    let end = if (1..=3).contains(&i) { ':' } else { '-' };
                    text.push_str(&format!("|{}{end}", "-".repeat(width + 1)));
                }
                text.push_str("|\n");
            }
        }
        text.push_str(&format!(
            "\nTimes are medians of {}. {}\n",
            self.runs,
            self.facts.sentence()
        ));
        for note in &self.notes {
            text.push_str(&format!("- {note}\n"));
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|r| {
                let (at_most, of_peer, times_peer) = match r.budget {
                    Budget::None => (None, None, None),
                    Budget::AtMost(limit) => (Some(limit), None, None),
                    Budget::OfPeer(limit) => (None, Some(limit), None),
                    Budget::TimesPeer(limit) => (None, None, Some(limit)),
                };
                json!({
                    "what": r.what,
                    "unit": r.unit.name(),
                    "ours": r.ours, "peer": r.peer, "ratio": r.ratio(),
                    "at_most": at_most, "at_most_of_peer": of_peer, "at_least_times_peer": times_peer,
                    "verdict": r.verdict().word(),
                })
            })
            .collect();
        json!({ "bench": self.name, "runs": self.runs, "machine": self.facts.json(), "rows": rows, "notes": self.notes })
    }

    /// Adds the section of this day to the file, or replaces it.
    pub fn keep(&self, path: &Path) -> Result<()> {
        let old = std::fs::read_to_string(path).unwrap_or_else(|_| INTRODUCTION.into());
        let heading = format!("## `bench {}`, {}", self.name, self.facts.day);
        let new = with_section(&old, &heading, &self.markdown());
        write_whole(path, new.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Replaces the section under a heading, or adds it at the end.
fn with_section(text: &str, heading: &str, body: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("## ") || parts.is_empty() {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    let new = format!("{heading}\n\n{}\n", body.trim_end());
    match parts.iter().position(|p| p.lines().next() == Some(heading)) {
        Some(at) => parts[at] = new,
        None => parts.push(new),
    }
    let parts: Vec<&str> = parts.iter().map(|p| p.trim_end()).collect();
    format!("{}\n", parts.join("\n\n"))
}

const INTRODUCTION: &str = "# Benchmarks

Made by `cargo xtask bench image --write`, `bench boot --write`, `bench update --write` and `bench p2p --write`, on an idle machine. Each run
measures Hearth and a peer one after the other, so that a slow or busy machine slows both; ratios travel between
machines, seconds do not. Times are medians; on a shared virtual machine single runs differ by 10 to 20 %.

**Peer:** Debian stable with systemd, udev, nginx and the very kernel package that Hearth takes, made by `mmdebstrap`.

- *Images*: both start from warm caches. mmdebstrap gets its package indices and packages from a folder, asks no network,
  and writes without fsync (`force-unsafe-io`), which is its fast way. Its root file system is packed with the same
  squashfs (zstd, 128 KiB blocks), its kernel with the same gzip, and the sum with the same zstd as our image. Ours also
  holds both slots (stored once more for little), boot firmware, hash trees, SBOM and its own verification. For amd64,
  because configuring Arm packages would measure an emulator.
- *Boot*: both run on the same emulated Arm machine (`-M virt`, two cortex-a72, 512 MiB, no KVM). Ours starts from its
  disk through U-Boot and the boot manager and it is its first boot. The peer has had its first boot; QEMU loads its
  kernel and Debian's own initramfs straight into memory, without any firmware, **which favours the peer** by some
  seconds. It gets its address from systemd-networkd; nginx answers with its default page. Ours answers with the
  wizard's first page.
- *Memory*: the dev profile, which is the release plus a root shell on the serial console; the shell asks the kernel.
- *Updates*: the peer is the real `rauc` (Debian's packages, unpacked and run as they are). Both sides read the same
  images, write to the same file system and flush. Deltas are between two images of ours, for both sides: one line of one
  service changed; ten packages changed as between Debian's point releases.
- *Hypercore stack*: the peer is the JavaScript stack as locked in tests/interop, on Node.js. Example programs of ours and scripts of the peer do the same work in turn, from process to process over loopback where there are two ends, in a folder of the same disk.

The budget for a build from cold caches (15 minutes) is not measured here: it depends on the network.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_could_not_be_measured_is_not_kept() {
        let row = |ours, peer, budget| Row::new("x", Unit::Seconds, ours, budget).beside(peer).verdict();
        assert_eq!(row(Some(2.0), Some(10.0), Budget::OfPeer(0.2)), Verdict::Kept);
        assert_eq!(row(Some(2.1), Some(10.0), Budget::OfPeer(0.2)), Verdict::Missed);
        assert_eq!(row(Some(2.1), None, Budget::OfPeer(0.2)), Verdict::NotMeasured);
        assert_eq!(row(None, None, Budget::AtMost(1.0)), Verdict::NotMeasured);
        assert_eq!(row(Some(1.0), None, Budget::AtMost(1.0)), Verdict::Kept);
        assert_eq!(row(Some(9.0), Some(3.0), Budget::TimesPeer(3.0)), Verdict::Kept);
        assert_eq!(row(Some(8.0), Some(3.0), Budget::TimesPeer(3.0)), Verdict::Missed);
    }

    #[test]
    fn a_day_has_one_section_and_other_sections_stay() {
        let one = with_section(INTRODUCTION, "## `bench image`, 2026-01-01", "alpha");
        let two = with_section(&one, "## `bench boot`, 2026-01-01", "boots");
        let three = with_section(&two, "## `bench image`, 2026-01-01", "omega\n\n");
        assert!(three.starts_with("# Benchmarks") && three.contains("boots") && three.ends_with("boots\n"));
        assert!(three.contains("omega") && !three.contains("alpha"));
        assert_eq!(
            with_section(&three, "## `bench image`, 2026-01-01", "omega"),
            three
        );
    }

    #[test]
    fn every_line_of_the_table_is_equally_wide() {
        let facts = super::super::host_facts::read();
        let rows = vec![
            Row::new("long name", Unit::Bytes, Some(1e8), Budget::AtMost(2e8)),
            Row::new("n", Unit::Seconds, Some(1.0), Budget::OfPeer(0.2)).beside(Some(3.0)),
        ];
        let report = Report {
            name: "image",
            rows,
            notes: vec![],
            facts,
            runs: 3,
        };
        let text = report.markdown();
        let widths: Vec<usize> = text
            .lines()
            .take_while(|l| l.starts_with('|'))
            .map(|l| l.chars().count())
            .collect();
        assert_eq!(widths.len(), 4);
        assert!(widths.iter().all(|w| *w == widths[0]), "{text}");
        assert_eq!(report.missed(), ["n (≤ 0.20 × peer)"]);
    }
}
