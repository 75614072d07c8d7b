//! `/proc` and `/sys`: uptime, memory, temperature, clock.

use super::{ClockState, Reading, Root};

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All that the kernel manages (`MemTotal`).
    pub total_bytes: u64,
    /// What programs could still get without swapping (`MemAvailable`).
    pub available_bytes: u64,
}

impl Memory {
    /// What is in use.
    pub fn used_bytes(self) -> u64 {
        self.total_bytes.saturating_sub(self.available_bytes)
    }

    /// What is in use, 0 to 100.
    pub fn used_percent(self) -> u8 {
        percent(self.used_bytes(), self.total_bytes)
    }
}

/// `part` of `whole`, 0 to 100.
pub fn percent(part: u64, whole: u64) -> u8 {
    let value = u128::from(part) * 100 / u128::from(whole.max(1));
    u8::try_from(value.min(100)).unwrap_or(100)
}

/// Seconds since the kernel started.
pub fn uptime_seconds(root: &Root) -> Reading<u64> {
    let text = root
        .read("/proc/uptime")
        .map_err(|e| format!("/proc/uptime: {e}"))?;
    text.split(['.', ' '])
        .next()
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| "/proc/uptime is not a number".into())
}

/// Memory in use.
pub fn memory(root: &Root) -> Reading<Memory> {
    let text = root
        .read("/proc/meminfo")
        .map_err(|e| format!("/proc/meminfo: {e}"))?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|n| n.trim().parse::<u64>().ok())
            .and_then(|n| n.checked_mul(1024))
            .ok_or_else(|| format!("/proc/meminfo has no {name}"))
    };
    Ok(Memory {
        total_bytes: field("MemTotal")?,
        available_bytes: field("MemAvailable")?,
    })
}

/// Temperature of the processor, or of whatever sensor Linux knows first.
pub fn celsius(root: &Root) -> Reading<f64> {
    let zones = root
        .list("/sys/class/thermal")
        .into_iter()
        .filter(|name| name.starts_with("thermal_zone"))
        .map(|name| format!("/sys/class/thermal/{name}/temp"));
    let sensors = root
        .list("/sys/class/hwmon")
        .into_iter()
        .map(|name| format!("/sys/class/hwmon/{name}/temp1_input"));
    zones
        .chain(sensors)
        .filter_map(|path| root.read(path).ok()?.trim().parse::<i32>().ok())
        // A sensor that is not connected reads as zero or as nonsense.
        .find(|millidegrees| (-40_000..=150_000).contains(millidegrees) && *millidegrees != 0)
        .map(|millidegrees| f64::from(millidegrees) / 1000.0)
        .ok_or_else(|| "this device has no sensor that Linux knows".into())
}

/// Whether timesyncd reached a server since this start: it keeps a flag file.
pub fn clock(root: &Root) -> Reading<ClockState> {
    let folder = root.join("/run/systemd/timesync");
    if folder.join("synchronized").exists() {
        Ok(ClockState::Synchronised)
    } else if folder.exists() {
        Ok(ClockState::Waiting)
    } else {
        Err("time synchronisation has not started".into())
    }
}

/// The name that the kernel has now.
pub fn host_name(root: &Root) -> Option<String> {
    let text = root.read("/proc/sys/kernel/hostname").ok()?;
    let name = text.trim();
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

/// A random id that is new at every start.
pub fn boot_id(root: &Root) -> Option<String> {
    let text = root.read("/proc/sys/kernel/random/boot_id").ok()?;
    let id = text.trim();
    (id.len() == 36).then(|| id.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::sample;

    #[test]
    fn real_shapes_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        sample::write(&root).unwrap();
        assert_eq!(uptime_seconds(&root), Ok(sample::UPTIME_SECONDS));
        let memory = memory(&root).unwrap();
        assert_eq!((memory.total_bytes, memory.used_percent()), (948_304 * 1024, 16));
        assert_eq!(celsius(&root), Ok(48.312));
        assert_eq!(clock(&root), Ok(ClockState::Synchronised));
    }

    #[test]
    fn what_is_absent_is_said_not_guessed() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        assert!(uptime_seconds(&root).is_err() && memory(&root).is_err() && clock(&root).is_err());
        assert!(celsius(&root).unwrap_err().contains("no sensor"));
        std::fs::create_dir_all(root.join("/proc")).unwrap();
        std::fs::write(
            root.join("/proc/meminfo"),
            "MemTotal: 99999999999999999999 kB\nMemAvailable: x\n",
        )
        .unwrap();
        assert!(memory(&root).is_err());
    }

    #[test]
    fn percent_stays_in_its_range() {
        assert_eq!(
            (
                percent(0, 0),
                percent(5, 0),
                percent(u64::MAX, u64::MAX),
                percent(1, 2)
            ),
            (0, 100, 100, 50)
        );
    }
}
