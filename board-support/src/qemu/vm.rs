//! A running machine: its process, its control socket, the text of its console.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::{Machine, Qemu};

/// Why a machine could not be run or controlled.
#[derive(Debug, Error)]
pub enum VmError {
    /// QEMU could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The control socket does not answer.
    #[error("QEMU's control socket: {0}")]
    Control(String),
    /// Something did not happen in time, or the machine ended before it did.
    #[error("{what} did not come within {seconds} s{ended}; the console's last lines:\n{console}")]
    Expired {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// Said when QEMU itself has ended.
        ended: &'static str,
        /// End of the console's text.
        console: String,
    },
}

/// A machine; dropped, it is gone as if the plug were pulled.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    control: PathBuf,
    console: PathBuf,
    keyboard: PathBuf,
    typing: Option<UnixStream>,
    started: Instant,
}

impl Vm {
    /// Starts a machine.
    pub fn start(qemu: &Qemu, machine: &Machine<'_>) -> Result<Self, VmError> {
        let qemu = qemu.command(machine);
        let program = qemu.get_program().to_string_lossy().into_owned();
        let start = |program: &str, source| VmError::Start {
            program: program.into(),
            source,
        };
        if !is_installed(qemu.get_program()) {
            return Err(start(&program, std::io::ErrorKind::NotFound.into()));
        }
        // util-linux's: the machine ends with the thread that started it, also when that is killed.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(qemu.get_program())
            .args(qemu.get_args());
        for path in [machine.control, machine.console, machine.keyboard] {
            let _ = std::fs::remove_file(path);
        }
        let child = command
            // A Ctrl-C at the terminal is for us: QEMU would pull the plug at once.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|source| start("setpriv (of util-linux)", source))?;
        Ok(Self {
            child,
            control: machine.control.into(),
            console: machine.console.into(),
            keyboard: machine.keyboard.into(),
            typing: None,
            started: Instant::now(),
        })
    }

    /// Time since QEMU was started.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// What the console has said so far.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// The exit status, when QEMU has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until `done` finds what it looks for in the console's text.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, VmError> {
        let begun = Instant::now();
        loop {
            let ended = self.ended().is_some();
            let text = self.console();
            if let Some(found) = done(&text) {
                return Ok(found);
            }
            if ended || begun.elapsed() > limit {
                let lines: Vec<&str> = text.lines().rev().take(30).collect();
                return Err(VmError::Expired {
                    what: what.into(),
                    seconds: limit.as_secs(),
                    ended: if ended { " (QEMU has ended)" } else { "" },
                    console: lines.into_iter().rev().collect::<Vec<_>>().join("\n"),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until QEMU has ended by itself.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<(), VmError> {
        let begun = Instant::now();
        while self.ended().is_none() {
            if begun.elapsed() > limit {
                return self.wait_for("the end of the machine", Duration::ZERO, |_| None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Types at the console.
    pub fn type_text(&mut self, text: &str) -> Result<(), VmError> {
        let fail = |e: std::io::Error| VmError::Control(e.to_string());
        if self.typing.is_none() {
            let stream = UnixStream::connect(&self.keyboard).map_err(fail)?;
            let mut said = stream.try_clone().map_err(fail)?;
            // The console's text comes back here too. Nobody needs it (it is in the log), but unread it would stop the machine;
            // and a closed connection would lose what the slow serial port has not taken yet.
            std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
            self.typing = Some(stream);
        }
        match &mut self.typing {
            Some(stream) => stream.write_all(text.as_bytes()).map_err(fail),
            None => Ok(()),
        }
    }

    /// Sends a command with QMP (JSON text of its arguments) and returns the answer's line.
    pub fn control(&self, execute: &str, arguments: &str) -> Result<String, VmError> {
        let fail = |e: std::io::Error| VmError::Control(e.to_string());
        let mut stream = UnixStream::connect(&self.control).map_err(fail)?;
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .map_err(fail)?;
        let mut lines = BufReader::new(stream.try_clone().map_err(fail)?).lines();
        let mut answer = || -> Result<String, VmError> {
            loop {
                let line = lines
                    .next()
                    .ok_or_else(|| VmError::Control("closed".into()))?
                    .map_err(fail)?;
                // Events come in between.
                if !line.contains("\"event\":") {
                    return Ok(line);
                }
            }
        };
        answer()?; // greeting
        stream
            .write_all(b"{\"execute\":\"qmp_capabilities\"}\n")
            .map_err(fail)?;
        answer()?;
        let line = format!("{{\"execute\":\"{execute}\",\"arguments\":{arguments}}}\n");
        stream.write_all(line.as_bytes()).map_err(fail)?;
        let said = answer()?;
        if said.contains("\"error\":") {
            Err(VmError::Control(said))
        } else {
            Ok(said)
        }
    }

    /// Asks the system to stop, by Ctrl-Alt-Del at its keyboard, and waits; the reboot that this means ends QEMU instead.
    pub fn stop_cleanly(&mut self, limit: Duration) -> Result<(), VmError> {
        self.control("set-action", "{\"reboot\":\"shutdown\"}")?;
        let keys = ["ctrl", "alt", "delete"]
            .map(|k| format!("{{\"type\":\"qcode\",\"data\":\"{k}\"}}"))
            .join(",");
        self.control("send-key", &format!("{{\"keys\":[{keys}]}}"))?;
        self.wait_for_end(limit)
    }

    /// Pulls the plug.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `setpriv` is to start; its own failure to find it would be seen on the terminal only.
fn is_installed(program: &OsStr) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}
