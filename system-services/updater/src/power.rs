//! Restart, by starting systemd's own target, so that services are stopped in order.

use zbus::{Connection, OwnedObjectPath};

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
    ManagerProxy::new(connection)
        .await?
        .start_unit("reboot.target", "replace-irreversibly")
        .await?;
    Ok(())
}
