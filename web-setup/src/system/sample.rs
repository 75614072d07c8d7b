//! A made-up Raspberry Pi as a folder tree, for tests and for the developer's mode.

use std::io;

use ipc::boot_facts::{BootFacts, DataState, Slot};

use super::services::{ServiceManager, Unit, unit};
use super::{Reading, Root};

/// Seconds in `/proc/uptime`.
pub const UPTIME_SECONDS: u64 = 187_265;

/// Facts of a healthy boot.
pub fn facts() -> BootFacts {
    BootFacts {
        slot: Slot::A,
        healed: false,
        version: "0.1.0".into(),
        rollback_index: 0,
        profile: "dev".into(),
        board: "raspberry-pi".into(),
        development_keys: true,
        disk: "/dev/mmcblk0".into(),
        data_device: "/dev/mmcblk0p7".into(),
        bootstate_device: "/dev/mmcblk0p2".into(),
        data: DataState::Mounted,
        handed_over_ms: 2900,
    }
}

/// Europe/Paris by its rule alone: a TZif file (RFC 9636, version 2) without transitions, and its footer.
fn paris() -> Vec<u8> {
    let mut file = Vec::new();
    for _ in 0..2 {
        file.extend(b"TZif2");
        file.extend([0; 15]);
        // isutcnt, isstdcnt, leapcnt, timecnt: none; one local time type, four characters of names.
        for count in [0_u32, 0, 0, 0, 1, 4] {
            file.extend(count.to_be_bytes());
        }
        file.extend(3600_i32.to_be_bytes());
        file.extend([0, 0]);
        file.extend(b"CET\0");
    }
    file.extend(b"\nCET-1CEST,M3.5.0,M10.5.0/3\n");
    file
}

/// Writes the tree.
pub fn write(root: &Root) -> io::Result<()> {
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, text)
    };
    put(
        ipc::paths::BOOT_FACTS,
        &serde_json::to_string(&facts()).map_err(io::Error::other)?,
    )?;
    put("/proc/uptime", &format!("{UPTIME_SECONDS}.31 702011.20\n"))?;
    put(
        "/proc/meminfo",
        "MemTotal:         948304 kB\nMemFree:          512000 kB\nMemAvailable:     792640 kB\n",
    )?;
    put("/proc/sys/kernel/hostname", "hearth\n")?;
    put(
        "/proc/sys/kernel/random/boot_id",
        "5fd2a5c2-6b0e-4c5c-9d5b-0d7bb2f4a001\n",
    )?;
    put("/sys/class/thermal/thermal_zone0/temp", "48312\n")?;
    put("/run/systemd/timesync/synchronized", "")?;
    for (name, kind, carrier, speed) in [
        ("lo", "772", "1", ""),
        ("eth0", "1", "1", "1000"),
        ("wlan0", "1", "0", ""),
    ] {
        put(&format!("/sys/class/net/{name}/type"), kind)?;
        put(&format!("/sys/class/net/{name}/carrier"), carrier)?;
        put(&format!("/sys/class/net/{name}/speed"), speed)?;
    }
    put("/sys/class/net/wlan0/wireless/.keep", "")?;
    put("/usr/share/zoneinfo/Europe/.keep", "")?;
    std::fs::write(root.join("/usr/share/zoneinfo/Europe/Paris"), paris())?;
    put(
        "/usr/share/zoneinfo/tzdata.zi",
        "Z Europe/Paris 0:9:21 - LMT\nZ Europe/Berlin 0:53:28 - LMT\nZ America/New_York -4:56:2 - LMT\nZ Asia/Kolkata 5:53:28 - LMT\nL Asia/Kolkata Asia/Calcutta\n",
    )
}

/// A systemd that knows what the image runs.
#[derive(Debug, Clone, Copy)]
pub struct Units;

impl ServiceManager for Units {
    fn units(&self) -> std::pin::Pin<Box<dyn Future<Output = Reading<Vec<Unit>>> + Send + '_>> {
        let make = |name: &str, description: &str, active: &str, sub: &str| {
            unit(name.into(), description.into(), active, sub.into())
        };
        Box::pin(std::future::ready(Ok(vec![
            make(
                "hearth-web.service",
                "Web setup and dashboard",
                "active",
                "running",
            ),
            make("hearth-web.socket", "Port 80", "active", "running"),
            make(
                "hearth-provisioner.service",
                "Changes that need root",
                "inactive",
                "dead",
            ),
            make(
                "hearth-updater.service",
                "Mark this slot good",
                "active",
                "exited",
            ),
            make(
                "dbus-broker.service",
                "D-Bus System Message Bus",
                "active",
                "running",
            ),
            make(
                "systemd-networkd.service",
                "Network Configuration",
                "active",
                "running",
            ),
            make(
                "systemd-resolved.service",
                "Network Name Resolution",
                "active",
                "running",
            ),
            make(
                "systemd-timesyncd.service",
                "Network Time Synchronization",
                "activating",
                "start",
            ),
        ])))
    }
}
