//! Shows the address and a QR code on the serial console (standard output) and on HDMI (standard error).
//!
//! The unit opens both devices before it drops root, so this program needs no right to any device.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use console_status::addresses;
use console_status::screen::{Known, screen};
use ipc::boot_facts::BootFacts;
use ipc::settings::Settings;

/// Without an address somebody waits in front of the screen.
const POLL_WAITING: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_secs(15);
/// Kernel messages may have scribbled over the screen.
const REDRAW: Duration = Duration::from_secs(60);

fn main() {
    let mut shown = String::new();
    let mut announced = None;
    let mut drawn_at: Option<Instant> = None;
    loop {
        let known = look();
        let text = screen(&known);
        let changed = text != shown;
        if changed {
            print(&format!("\n{text}"));
            shown.clone_from(&text);
        }
        let line = known.machine_line();
        if line != announced {
            if let Some(line) = &line {
                print(&format!("{line}\n"));
            }
            announced = line;
        }
        if changed || drawn_at.is_none_or(|at| at.elapsed() >= REDRAW) {
            // A screen that is not there is no reason to stop: the serial console may be.
            let _ = std::io::stderr().write_all(for_screen(&text).as_bytes());
            drawn_at = Some(Instant::now());
        }
        sleep(if known.addresses.is_empty() {
            POLL_WAITING
        } else {
            POLL
        });
    }
}

fn look() -> Known {
    let facts = std::fs::read_to_string(ipc::paths::BOOT_FACTS)
        .map_err(|e| e.to_string())
        .and_then(|text| serde_json::from_str::<BootFacts>(&text).map_err(|e| e.to_string()));
    let settings = match std::fs::read_to_string(ipc::paths::SETTINGS) {
        Ok(text) => Settings::parse(&text).map_err(|e| e.to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
        Err(e) => Err(e.to_string()),
    };
    Known {
        facts,
        settings,
        addresses: addresses::current(),
    }
}

/// In one write, so that no other line comes between.
fn print(text: &str) {
    let mut serial = std::io::stdout().lock();
    let _ = serial.write_all(text.as_bytes()).and_then(|()| serial.flush());
}

/// Bright white on black, no cursor, drawn over what was there: clearing first would flicker.
fn for_screen(text: &str) -> String {
    let lines = text.trim_end_matches('\n').replace('\n', "\x1b[K\r\n");
    format!("\x1b[?25l\x1b[1;37;40m\x1b[H{lines}\x1b[K\x1b[J")
}
