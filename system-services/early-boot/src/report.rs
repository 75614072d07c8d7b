//! What a person sees: lines on the console and in the kernel log, each with the prefix `hearth:`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;

/// How a line is shown; the numbers are the kernel's log levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Error = 3,
    Warning = 4,
    Notice = 5,
}

/// The way to the console and the kernel log.
#[derive(Debug, Default)]
pub struct Report {
    kernel_log: Option<File>,
    console: Option<File>,
    /// The kernel shows lines below this level on every console by itself.
    console_level: u8,
}

impl Report {
    /// Opens console and log; `/dev` and `/proc` must be mounted. A box without either boots without words.
    pub fn open() -> Self {
        // Else the kernel drops all but ten lines in five seconds, of a failure perhaps the one that matters.
        let _ = fs::write("/proc/sys/kernel/printk_devkmsg", "on");
        let open = |path| File::options().write(true).open(path).ok();
        let levels = fs::read_to_string("/proc/sys/kernel/printk").unwrap_or_default();
        Self {
            kernel_log: open("/dev/kmsg"),
            console: open("/dev/console"),
            console_level: levels
                .split_ascii_whitespace()
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
        }
    }

    /// Something that went well.
    pub fn notice(&self, text: &str) {
        self.lines(Level::Notice, text);
    }

    /// Something that is wrong, but the boot goes on.
    pub fn warning(&self, text: &str) {
        self.lines(Level::Warning, text);
    }

    /// Something that ends the boot.
    pub fn error(&self, text: &str) {
        self.lines(Level::Error, text);
    }

    /// Waits until the console has shown every line: what is still on its way is lost when the power goes.
    #[cfg(feature = "test-hooks")]
    pub fn drain(&self) {
        if let Some(console) = &self.console {
            let _ = rustix::termios::tcdrain(console);
        }
    }

    fn lines(&self, level: Level, text: &str) {
        for line in text.lines() {
            self.line(level, line);
        }
    }

    fn line(&self, level: Level, line: &str) {
        let level = level as u8;
        let mut in_log = false;
        if let Some(mut log) = self.kernel_log.as_ref() {
            // One write is one record.
            in_log = log
                .write_all(format!("<{level}>hearth: {line}\n").as_bytes())
                .is_ok();
        }
        if let Some(mut console) = self.console.as_ref()
            && !(in_log && level < self.console_level)
        {
            let _ = console.write_all(format!("hearth: {line}\r\n").as_bytes());
        }
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
