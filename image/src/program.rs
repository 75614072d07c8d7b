//! Running the host's tools.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::error::{BuildError, Result};

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// The command line, its status and the end of its stderr; a missing program says how to get it.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| missing(command, &shown, &e))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = said
        .lines()
        .rev()
        .filter(|l| !l.trim().is_empty())
        .take(6)
        .collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    Err(BuildError::Program {
        command: shown,
        problem: format!("{}: {}", output.status, tail.join(" | ")),
    })
}

/// The error for a program that could not be started.
pub fn missing(command: &Command, shown: &str, error: &std::io::Error) -> BuildError {
    let problem = if error.kind() == std::io::ErrorKind::NotFound {
        format!(
            "{:?} is not installed; `cargo xtask doctor` says how to get it",
            command.get_program()
        )
    } else {
        error.to_string()
    };
    BuildError::Program {
        command: shown.into(),
        problem,
    }
}

/// The command line as a person would type it, shortened.
pub fn shown(command: &Command) -> String {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .map(Into::into)
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(160) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}
