//! JavaScript peers as programs: started, spoken to in lines of JSON, ended when they are dropped.
//!
//! A script is one of `tests/interop/*.mjs`. It gets the folder of its npm packages in `HEARTH_TEST_NODE_MODULES`
//! (`cargo xtask test` installs them as the lock says), reads commands from its standard input, one JSON value a line, and says what
//! happens in JSON lines on its standard output: `{"event":"listening","port":4000}`.

pub mod nat;
pub mod tcp;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a peer may take to say what is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The most of a peer's standard error that is kept.
const MAX_COMPLAINT_BYTES: u64 = 64 << 10;

/// Bytes as the scripts write them.
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// The folder of the npm packages.
///
/// # Errors
/// When nobody said where it is: a test that did not run must not look green.
pub fn node_modules() -> Result<PathBuf> {
    std::env::var_os("HEARTH_TEST_NODE_MODULES")
        .map(PathBuf::from)
        .context("HEARTH_TEST_NODE_MODULES is not set: run these tests with `cargo xtask test --interop`")
}

/// A script that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Peer {
    script: String,
    child: Child,
    commands: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
    complaints: Option<JoinHandle<String>>,
}

impl Peer {
    /// Starts `tests/interop/SCRIPT` with these arguments.
    ///
    /// # Errors
    /// When node cannot be started.
    pub fn start(script: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_with(Command::new("node"), script, arguments)
    }

    /// The same, by another command that ends in node: `ip netns exec NAME node`.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn start_with(mut command: Command, script: &str, arguments: &[&str]) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let mut child = command
            .arg(path)
            .args(arguments)
            .env("HEARTH_TEST_NODE_MODULES", node_modules()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{script} cannot be started"))?;
        let lacks = || format!("{script} has no pipes");
        let commands = child.stdin.take().with_context(lacks)?;
        let events = BufReader::new(child.stdout.take().with_context(lacks)?).lines();
        let errors = child.stderr.take().with_context(lacks)?;
        let complaints = tokio::spawn(async move {
            let mut said = Vec::new();
            let mut errors = errors;
            // What was read before an error is still of use; the rest is read so that the script is not held up.
            let _ = (&mut errors)
                .take(MAX_COMPLAINT_BYTES)
                .read_to_end(&mut said)
                .await;
            let _ = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
            String::from_utf8_lossy(&said).into_owned()
        });
        Ok(Self {
            script: script.into(),
            child,
            commands,
            events,
            complaints: Some(complaints),
        })
    }

    /// Gives the script a command.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn send(&mut self, command: &Value) -> Result<()> {
        let line = format!("{command}\n");
        if let Err(error) = self.commands.write_all(line.as_bytes()).await {
            let said = self.said().await;
            bail!("{} took no command ({error}): {said}", self.script);
        }
        Ok(())
    }

    /// The next line that the script says.
    ///
    /// # Errors
    /// When it ends, says something else than JSON, or nothing within [`PATIENCE`].
    pub async fn next(&mut self) -> Result<Value> {
        let Ok(line) = timeout(PATIENCE, self.events.next_line()).await else {
            self.child.start_kill()?;
            let said = self.said().await;
            bail!(
                "{} said nothing for {} s: {said}",
                self.script,
                PATIENCE.as_secs()
            );
        };
        let Some(line) = line? else {
            let said = self.said().await;
            bail!("{} has ended: {said}", self.script);
        };
        serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", self.script))
    }

    /// The next line whose `event` is this; others are passed over. An `error` is a failure.
    ///
    /// # Errors
    /// As [`Peer::next`], and when the script says `{"event":"error"}`.
    pub async fn event(&mut self, name: &str) -> Result<Value> {
        loop {
            let said = self.next().await?;
            match said.get("event").and_then(Value::as_str) {
                Some(event) if event == name => return Ok(said),
                Some("error") => bail!("{} failed: {said}", self.script),
                _ => {}
            }
        }
    }

    /// Gives a command and waits for the event of the same name as its `do`.
    ///
    /// # Errors
    /// As [`Peer::send`] and [`Peer::event`].
    pub async fn ask(&mut self, command: &Value) -> Result<Value> {
        self.send(command).await?;
        let name = command
            .get("do")
            .and_then(Value::as_str)
            .context("a command without `do`")?;
        self.event(name).await
    }

    async fn said(&mut self) -> String {
        match self.complaints.take() {
            Some(complaints) => timeout(Duration::from_secs(2), complaints)
                .await
                .ok()
                .and_then(Result::ok)
                .unwrap_or_default(),
            None => String::new(),
        }
    }
}
