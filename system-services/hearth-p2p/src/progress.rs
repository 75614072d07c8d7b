//! How far long work is.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use hyper_core::session::CoreState;
use indicatif::{ProgressBar, ProgressStyle};

use crate::event::Event;
use crate::output::Output;

const BETWEEN_EVENTS: Duration = Duration::from_secs(1);

/// Bytes done of bytes in all: a bar on a terminal, an event a second in JSON, otherwise nothing.
pub struct Progress {
    bar: ProgressBar,
    output: Output,
    last_event: Instant,
}

impl Progress {
    /// Of so many bytes.
    pub fn bytes(output: Output, total: u64) -> Self {
        let shown = !output.is_json() && std::io::stderr().is_terminal();
        let bar = if shown {
            ProgressBar::new(total)
        } else {
            ProgressBar::hidden()
        };
        bar.set_length(total);
        let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar,
            output,
            last_event: Instant::now(),
        }
    }

    /// Where it is now, of what is now known to be done.
    pub fn set_of(&mut self, bytes: u64, total: u64) -> std::io::Result<()> {
        self.bar.set_length(total);
        self.set(bytes)
    }

    /// Where it is now.
    pub fn set(&mut self, bytes: u64) -> std::io::Result<()> {
        self.bar.set_position(bytes);
        if self.last_event.elapsed() < BETWEEN_EVENTS {
            return Ok(());
        }
        self.last_event = Instant::now();
        self.output.note(&Event::Progress {
            bytes,
            total_bytes: self.bar.length().unwrap_or(0),
        })
    }
}

/// About how many bytes are stored: blocks are taken to be of about the same length.
pub fn stored_bytes(state: CoreState) -> u64 {
    let bytes =
        u128::from(state.byte_length) * u128::from(state.contiguous_length) / u128::from(state.length.max(1));
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
