//! What is said: sentences for people, JSON lines for programs.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use crate::event::Event;

/// How the program speaks.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// In JSON, or for people.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether it speaks JSON.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Says an event; for people this sentence.
    pub fn say(self, event: &Event<'_>, sentence: impl Display) -> io::Result<()> {
        if self.json {
            return self.line(event);
        }
        writeln!(io::stdout().lock(), "{sentence}")
    }

    /// Says an event to programs only.
    pub fn note(self, event: &Event<'_>) -> io::Result<()> {
        if self.json { self.line(event) } else { Ok(()) }
    }

    /// Says something on the way that people want to know but that is not the result: on standard error, so that the result can be redirected.
    pub fn tell(self, event: &Event<'_>, sentence: impl Display) -> io::Result<()> {
        if self.json {
            return self.line(event);
        }
        writeln!(io::stderr().lock(), "{sentence}")
    }

    /// Says why it failed.
    pub fn error(self, event: &Event<'_>, message: &str) -> io::Result<()> {
        if self.json {
            return self.line(event);
        }
        let mut stderr = io::stderr().lock();
        let (red, plain) = match stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            true => ("\x1b[1;31m", "\x1b[0m"),
            false => ("", ""),
        };
        writeln!(stderr, "{red}error:{plain} {message}")
    }

    /// Bytes as they are, which no JSON and no line end is put around.
    pub fn raw(self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Bytes as they are; on a terminal the prompt comes on a line of its own.
    pub fn result(self, bytes: &[u8]) -> io::Result<()> {
        self.raw(bytes)?;
        match io::stdout().is_terminal() {
            true => self.raw(b"\n"),
            false => Ok(()),
        }
    }

    fn line(self, event: &Event<'_>) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer(&mut stdout, event)?;
        writeln!(stdout)?;
        stdout.flush()
    }
}

/// What the parts below log, as much as `RUST_LOG` asks for.
pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
