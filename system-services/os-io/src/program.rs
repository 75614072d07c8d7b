//! Programs: run to the end, output captured up to a limit, killed when their time is over.

use std::ffi::{CString, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How often a running program is looked at, at most.
const POLL: Duration = Duration::from_millis(50);
/// How long output that a surviving grandchild keeps open is waited for.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// A program to run. It sees an empty environment but for `PATH`, `LC_ALL=C` and what it is given, and no standard input.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    root: Option<PathBuf>,
    timeout: Duration,
    output_limit_bytes: usize,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Exit status, or `128 + signal`.
    pub code: i32,
    /// Standard output, cut at the limit.
    pub stdout: String,
    /// Standard error, cut at the limit.
    pub stderr: String,
}

/// Why a program is no success. Shows the command line.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It could not be started.
    #[error("start {command}")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was killed because its time was over.
    #[error("{command} did not finish in {} s", timeout.as_secs())]
    Timeout {
        /// The command line.
        command: String,
        /// The time that it had.
        timeout: Duration,
    },
    /// It ended with another status than 0.
    #[error("{command} ended with status {code}: {stderr}")]
    Status {
        /// The command line.
        command: String,
        /// Exit status, or `128 + signal`.
        code: i32,
        /// Standard error, one line.
        stderr: String,
    },
}

impl Program {
    /// A program by absolute path; 60 s and 64 KiB of output unless told otherwise.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            root: None,
            timeout: Duration::from_secs(60),
            output_limit_bytes: 64 * 1024,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs it with `root` as its `/`; the path of the program is below that.
    #[must_use]
    pub fn in_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Kills it after this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Keeps at most this many bytes of each of its outputs; the rest is read and dropped.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit_bytes = bytes;
        self
    }

    /// Runs it to its end, whatever its status. `while_running` is called some times a second with the time since the start.
    pub fn run(&self, while_running: &mut dyn FnMut(Duration)) -> Result<Finished, ProgramError> {
        let start_failed = |source| ProgramError::Start {
            command: self.to_string(),
            source,
        };
        let mut child = self
            .command()
            .map_err(start_failed)?
            .spawn()
            .map_err(start_failed)?;
        let stdout = collect(child.stdout.take(), self.output_limit_bytes);
        let stderr = collect(child.stderr.take(), self.output_limit_bytes);
        let status = self.wait(&mut child, while_running)?;
        Ok(Finished {
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: stdout.recv_timeout(OUTPUT_GRACE).unwrap_or_default(),
            stderr: stderr.recv_timeout(OUTPUT_GRACE).unwrap_or_default(),
        })
    }

    /// Runs it to its end; a status other than 0 is an error.
    pub fn run_ok(&self) -> Result<Finished, ProgramError> {
        let finished = self.run(&mut |_| {})?;
        if finished.code == 0 {
            return Ok(finished);
        }
        let stderr = finished.stderr.trim().replace('\n', "; ");
        Err(ProgramError::Status {
            command: self.to_string(),
            code: finished.code,
            stderr,
        })
    }

    fn command(&self) -> io::Result<Command> {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin")
            .env("LC_ALL", "C")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(root) = &self.root {
            let root = CString::new(root.as_os_str().as_bytes())?;
            // SAFETY: between fork and exec; two system calls, no allocation, no lock.
            unsafe {
                command.pre_exec(move || {
                    rustix::process::chroot(root.as_c_str())?;
                    rustix::process::chdir(c"/")?;
                    Ok(())
                });
            }
        }
        Ok(command)
    }

    fn wait(
        &self,
        child: &mut Child,
        while_running: &mut dyn FnMut(Duration),
    ) -> Result<ExitStatus, ProgramError> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(source) => {
                    return Err(ProgramError::Start {
                        command: self.to_string(),
                        source,
                    });
                }
            }
            let running = started.elapsed();
            if running >= self.timeout {
                let _ = child.kill();
                let _ = child.wait();
                return Err(ProgramError::Timeout {
                    command: self.to_string(),
                    timeout: self.timeout,
                });
            }
            while_running(running);
            thread::sleep(pause.min(self.timeout.saturating_sub(running)));
            pause = (pause * 2).min(POLL);
        }
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        for argument in &self.arguments {
            write!(f, " {}", Path::new(argument).display())?;
        }
        Ok(())
    }
}

/// Reads to the end on a thread of its own, keeps the first `limit` bytes.
fn collect(pipe: Option<impl Read + Send + 'static>, limit: usize) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut kept = Vec::new();
            let _ = pipe.by_ref().take(limit as u64).read_to_end(&mut kept);
            // A full pipe would stop the program.
            let drained = thread::spawn(move || io::copy(&mut pipe, &mut io::sink()));
            if kept.len() < limit {
                let _ = drained.join();
            }
            let _ = sender.send(String::from_utf8_lossy(&kept).into_owned());
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new("/bin/sh").arg("-c").arg(script)
    }

    #[test]
    fn output_and_status_are_returned() {
        let finished = shell("echo out; echo err >&2; exit 3").run(&mut |_| {}).unwrap();
        assert_eq!(
            finished,
            Finished {
                code: 3,
                stdout: "out\n".into(),
                stderr: "err\n".into()
            }
        );
    }

    #[test]
    fn the_environment_is_what_it_was_given() {
        let finished = Program::new("/usr/bin/env").env("A", "1").run_ok().unwrap();
        let mut names: Vec<_> = finished.stdout.lines().collect();
        names.sort_unstable();
        assert_eq!(names, ["A=1", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin"]);
    }

    #[test]
    fn an_error_shows_command_status_and_stderr() {
        let text = shell("echo no such disk >&2; exit 8")
            .run_ok()
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("/bin/sh -c") && text.contains("status 8") && text.contains("no such disk"),
            "{text}"
        );
        let missing = Program::new("/nonexistent/e2fsck").run_ok().unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/e2fsck"));
    }

    #[test]
    fn a_program_that_hangs_is_killed_in_time() {
        let started = Instant::now();
        let mut ticks = 0;
        let error = shell("sleep 30")
            .timeout(Duration::from_millis(200))
            .run(&mut |_| ticks += 1)
            .unwrap_err();
        assert!(matches!(error, ProgramError::Timeout { .. }));
        assert!(started.elapsed() < Duration::from_secs(10) && ticks > 1);
    }

    #[test]
    fn endless_output_is_cut_at_the_limit_and_does_not_block() {
        let finished = shell("head -c 1000000 /dev/zero")
            .output_limit(1000)
            .run(&mut |_| {})
            .unwrap();
        assert_eq!((finished.code, finished.stdout.len()), (0, 1000));
    }
}
