//! Programs that get so much time and no more.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A program that is killed, and waited for, when it is dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is what was wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end, whatever its exit status.
///
/// # Errors
/// When it cannot be started, or runs longer than `limit`: it is killed then, and the error holds what it said.
pub fn output(command: &mut Command, limit: Duration) -> Result<Output> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?} cannot be started"))?;
    let mut running = Running(child);
    let stdout = collect(running.0.stdout.take());
    let stderr = collect(running.0.stderr.take());
    let started = Instant::now();
    let status = loop {
        if let Some(status) = running.0.try_wait()? {
            break Some(status);
        }
        if started.elapsed() > limit {
            break None;
        }
        thread::sleep(Duration::from_millis(10));
    };
    // The readers end with the program.
    drop(running);
    let read = |reader: thread::JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
    let (stdout, stderr) = (read(stdout), read(stderr));
    let Some(status) = status else {
        bail!(
            "{command:?} did not end within {} s: {}{}",
            limit.as_secs(),
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
    };
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn collect(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is still of use.
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}
