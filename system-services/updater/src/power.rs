//! Restart, by starting systemd's own target, so that services are stopped in order.

use std::time::Duration;

use os_io::program::{Program, ProgramError};
use zbus::{Connection, OwnedObjectPath};

/// How long the bus may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
}

/// Starts the restart; it has only begun when this returns. Nothing can take it back.
pub async fn restart(connection: &Connection) -> zbus::Result<()> {
    tracing::info!("restarting");
    let ask = async {
        ManagerProxy::new(connection)
            .await?
            .start_unit("reboot.target", "replace-irreversibly")
            .await
    };
    tokio::time::timeout(PATIENCE, ask)
        .await
        .unwrap_or_else(|_| Err(zbus::Error::Failure("systemd did not answer".into())))?;
    Ok(())
}

/// The same without the system bus, over systemd's own socket: a new system whose bus is broken must be left too.
pub fn restart_without_bus() -> Result<(), ProgramError> {
    Program::new("/usr/bin/systemctl")
        .arg("--no-block")
        .arg("--job-mode=replace-irreversibly")
        .arg("start")
        .arg("reboot.target")
        .run_ok()
        .map(drop)
}
