//! The most memory that a program and those that it starts had resident.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::Result;

/// How often the kernel is asked. It keeps the peak itself, so only the last moment of a process can be missed.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits for a program; the peaks are in bytes, by the name of the process (the most of any of that name).
pub fn wait(child: &mut Child) -> Result<(ExitStatus, BTreeMap<String, u64>)> {
    let mut peaks = BTreeMap::new();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, peaks));
        }
        look(child.id(), &mut peaks);
        std::thread::sleep(INTERVAL);
    }
}

/// The peak of one process so far.
pub fn of(pid: u32) -> Option<(String, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |key: &str| {
        let line = status.lines().find(|l| l.starts_with(key))?;
        line.split_whitespace().nth(1)
    };
    let kib: u64 = field("VmHWM:")?.parse().ok()?;
    // The name that programs of the private roots have is the loader's.
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let name = line
        .split('\0')
        .find(|word| word.contains("usr/bin/") && !word.contains("ld-linux"))
        .and_then(|path| path.rsplit('/').next())
        .or_else(|| field("Name:"))?;
    Some((name.into(), kib * 1024))
}

fn look(pid: u32, peaks: &mut BTreeMap<String, u64>) {
    if let Some((name, bytes)) = of(pid) {
        let peak = peaks.entry(name).or_default();
        *peak = bytes.max(*peak);
    }
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return;
    };
    for thread in threads.flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|c| c.parse().ok()) {
            look(child, peaks);
        }
    }
}
