//! A message bus of a test's own, gone with the test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use zbus::Connection;
use zbus::connection::Builder;

use crate::bounded::Running;

/// A policy under which everybody may own and call everything.
pub const OPEN: &str = "<policy context=\"default\"><allow own=\"*\"/><allow send_destination=\"*\"/>\
    <allow receive_sender=\"*\"/></policy>";

/// The bus.
#[derive(Debug)]
pub struct PrivateBus {
    _daemon: Running,
    address: String,
    _folder: tempfile::TempDir,
}

impl PrivateBus {
    /// Starts a `dbus-daemon`, with these `<policy>` elements, on a socket that every user of the machine can reach.
    ///
    /// # Errors
    /// When it cannot be started or refuses its settings.
    pub fn start(mut dbus_daemon: Command, policy: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hearth-bus-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let (config, socket) = (folder.path().join("bus.conf"), folder.path().join("socket"));
        fs::write(
            &config,
            format!(
                "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\" \
                 \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig>\
                 <listen>unix:path={}</listen><auth>EXTERNAL</auth>{policy}</busconfig>",
                socket.display()
            ),
        )?;
        let mut daemon = Running(
            dbus_daemon
                .arg(format!("--config-file={}", config.display()))
                .args(["--nofork", "--nopidfile", "--print-address"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .context("dbus-daemon cannot be started")?,
        );
        let mut address = String::new();
        let stdout = daemon.0.stdout.take().context("dbus-daemon has no output")?;
        BufReader::new(stdout).read_line(&mut address)?;
        ensure!(address.ends_with('\n'), "dbus-daemon ended at once");
        Ok(Self {
            _daemon: daemon,
            address: address.trim().into(),
            _folder: folder,
        })
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A connection to it, which lives in the runtime that makes it.
    ///
    /// # Errors
    /// When the bus is gone.
    pub async fn connect(&self) -> Result<Connection> {
        Ok(connect(&self.address).await?)
    }

    /// Has a program take this bus for the system's.
    pub fn serve_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("DBUS_SYSTEM_BUS_ADDRESS", &self.address)
            .env_remove("DBUS_STARTER_BUS_TYPE")
            .env_remove("DBUS_STARTER_ADDRESS")
    }
}

/// A connection to a bus by its address.
///
/// # Errors
/// When it cannot be reached.
pub async fn connect(address: &str) -> zbus::Result<Connection> {
    Builder::address(address.parse::<zbus::Address>()?).build().await
}
