//! Telling a person how far it is: bars on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// Where the builder tells how far it is.
pub trait Progress: Sync {
    /// A step began.
    fn step(&self, what: &str);
    /// Something that a person should know; building goes on.
    fn warn(&self, what: &str);
    /// A step with a known number of bytes.
    fn bytes(&self, what: &str, total: u64) -> Bar;
}

/// A running bar.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// Bytes done so far.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// More bytes done.
    pub fn add(&self, more: u64) {
        self.0.inc(more);
    }

    /// Done.
    pub fn finish(self) {
        self.0.finish_and_clear();
    }
}

/// Standard error: bars on a terminal, one line a step elsewhere.
#[derive(Debug, Default)]
pub struct Console;

impl Progress for Console {
    fn step(&self, what: &str) {
        eprintln!("  {what}");
    }

    fn warn(&self, what: &str) {
        eprintln!("  warning: {what}");
    }

    fn bytes(&self, what: &str, total: u64) -> Bar {
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template(
            "  {msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left",
        ) {
            bar.set_style(style);
        }
        bar.set_message(what.to_string());
        if bar.is_hidden() {
            eprintln!("  {what}: {}", indicatif::BinaryBytes(total));
        }
        Bar(bar)
    }
}
