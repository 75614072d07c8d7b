//! The hardware watchdog during the boot: armed as soon as there is one, fed while something is waited for.

use std::path::Path;
use std::time::{Duration, Instant};

use os_io::watchdog::Watchdog;

use crate::report::{Report, chain};

/// The first hardware watchdog.
const DEVICE: &str = "/dev/watchdog0";
/// Long enough for systemd to reach its own `RuntimeWatchdogSec=` on the slowest board.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Feeding is cheap, but not free.
const INTERVAL: Duration = Duration::from_secs(1);

/// The watchdog, if there is one.
#[derive(Debug, Default)]
pub struct Watch {
    armed: Option<Watchdog>,
    refused: bool,
    fed: Option<Instant>,
}

impl Watch {
    /// Arms it when it has appeared, feeds it when it is time.
    pub fn keep(&mut self, report: &Report) {
        if self.fed.is_some_and(|fed| fed.elapsed() < INTERVAL) {
            return;
        }
        self.fed = Some(Instant::now());
        match &mut self.armed {
            Some(watchdog) => watchdog.feed(),
            None if !self.refused && Path::new(DEVICE).exists() => {
                match Watchdog::arm(Path::new(DEVICE), TIMEOUT) {
                    Ok(watchdog) => self.armed = Some(watchdog),
                    Err(error) => {
                        self.refused = true;
                        report.warning(&chain(&error));
                    }
                }
            }
            None => {}
        }
    }
}
