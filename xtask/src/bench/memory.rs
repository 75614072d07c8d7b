//! Memory of an appliance that was set up and left alone.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hearth_tests::{http, shell};

use super::appliance::Appliance;
use super::guest::Guest;

/// How long it is left alone before it is asked.
pub const IDLE: Duration = Duration::from_secs(60);
/// Long and random enough for the wizard; the disk it is for is thrown away.
const PASSWORD: &str = "gravel tulip oven 9314 harbour";

/// Bytes.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// `MemTotal`.
    pub total: f64,
    /// `MemTotal - MemAvailable`.
    pub system: f64,
    /// Resident set of web-setup.
    pub web: f64,
}

/// Sets an appliance up over HTTP, leaves it alone, asks the kernel through the dev profile's shell.
pub fn measure() -> Result<Used> {
    let appliance = Appliance::new("dev")?;
    eprintln!("Measuring memory");
    let (_, mut guest) = appliance.boot()?;
    set_up(&guest)?;
    eprintln!("  set up; idle for {} s", IDLE.as_secs());
    std::thread::sleep(IDLE);
    ask(&mut guest)
}

/// Walks the wizard to its end.
fn set_up(guest: &Guest) -> Result<()> {
    let mut browser = http::Client::new(guest.port);
    let (mut path, mut page) = browser.get("/setup")?;
    for _ in 0..20 {
        let grow = page.body.contains("value=\"grow\"");
        let fields: &[(&str, &str)] = match path.as_str() {
            "/setup/welcome" => &[("language", "en")],
            "/setup/name" => &[("host_name", "hearth")],
            "/setup/time-zone" => &[("time_zone", "Europe/Berlin")],
            "/setup/administrator" => &[("name", "ada"), ("password", PASSWORD), ("repeat", PASSWORD)],
            "/setup/storage" if grow => &[("do", "grow")],
            "/setup/network" | "/setup/storage" | "/setup/summary" => &[("do", "continue")],
            "/setup/updates" => &[("policy", "notify")],
            "/ready" if page.status == 200 => return Ok(()),
            other => bail!("the wizard led to {other} (status {})", page.status),
        };
        let action = path.clone();
        (path, page) = browser
            .submit(&page, &action, fields)
            .with_context(|| format!("at {action}"))?;
        if page.status != 200 {
            bail!("the wizard answered {} at {path}", page.status);
        }
    }
    bail!("the wizard does not end; it is at {path}")
}

fn ask(guest: &mut Guest) -> Result<Used> {
    let command = "grep -hE '^(MemTotal|MemAvailable):' /proc/meminfo; \
                   grep -h '^VmRSS:' /proc/$(systemctl show -P MainPID hearth-web.service)/status";
    let said = shell::run(&mut guest.vm, command, 60)?;
    used(&said).with_context(|| format!("the guest said no numbers: {said}"))
}

/// From lines such as `MemTotal:   496132 kB`.
fn used(said: &str) -> Option<Used> {
    let bytes = |key: &str| -> Option<f64> {
        let line = said.lines().find_map(|l| l.trim().strip_prefix(key))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0)
    };
    let total = bytes("MemTotal:")?;
    Some(Used {
        total,
        system: total - bytes("MemAvailable:")?,
        web: bytes("VmRSS:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::used;

    #[test]
    fn all_three_numbers_are_needed() {
        let all = "MemTotal:         490000 kB\nMemAvailable:     400000 kB\nVmRSS:\t    8000 kB";
        let found = used(all).unwrap();
        assert_eq!((found.system, found.web), (90_000.0 * 1024.0, 8_000.0 * 1024.0));
        assert!(used(all.trim_end_matches("VmRSS:\t    8000 kB")).is_none());
    }
}
