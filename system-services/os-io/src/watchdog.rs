//! The hardware watchdog: armed early, handed to systemd while it runs.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rustix::ioctl::{self, Updater, opcode};

use crate::{Error, failed};

/// `WDIOC_SETTIMEOUT` (Linux `include/uapi/linux/watchdog.h`).
const SET_TIMEOUT: ioctl::Opcode = opcode::read_write::<i32>(b'W', 6);

/// An armed watchdog.
///
/// Dropping it closes the device **without** the magic character: it goes on counting, and whoever opens it next
/// (systemd's `RuntimeWatchdogSec=`) must feed it before the timeout is over. That way no moment between early-boot and
/// systemd is unwatched, and no file descriptor leaks into pid 1 which would keep systemd out (the device opens once).
#[derive(Debug)]
pub struct Watchdog {
    device: File,
}

impl Watchdog {
    /// Opens (which arms) the device and sets its timeout. A driver that cannot do `timeout` keeps its own.
    pub fn arm(device: &Path, timeout: Duration) -> Result<Self, Error> {
        let action = || format!("arm the watchdog {}", device.display());
        let watchdog = Self {
            device: File::options()
                .write(true)
                .open(device)
                .map_err(failed(action()))?,
        };
        let mut seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        // SAFETY: the opcode takes a pointer to one `int`, reads it and writes the timeout that it chose.
        let set = unsafe { ioctl::ioctl(&watchdog.device, Updater::<SET_TIMEOUT, i32>::new(&mut seconds)) };
        // Armed with another timeout is better than not armed.
        let _ = set;
        Ok(watchdog)
    }

    /// Starts the count anew. Writing anything but `V` does that.
    pub fn feed(&mut self) {
        // A watchdog that cannot be fed restarts the machine, which is what it is for.
        let _ = self.device.write_all(b"\0");
    }
}
