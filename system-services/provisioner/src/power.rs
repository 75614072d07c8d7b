//! Power off and restart, by starting systemd's own target: no logind is needed, services are stopped in order.
//!
//! `Manager.Reboot()` would not do: it goes down at once, without stopping a single service.

use zbus::{Connection, OwnedObjectPath};

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
}

/// What to do with the appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Stop and switch off.
    Off,
    /// Stop and start again.
    Restart,
}

/// Starts the shutdown; it has only begun when this returns. Nothing can take it back (`replace-irreversibly`).
pub async fn switch(connection: &Connection, power: Power) -> zbus::Result<()> {
    let target = match power {
        Power::Off => "poweroff.target",
        Power::Restart => "reboot.target",
    };
    tracing::info!(target, "going down");
    ManagerProxy::new(connection)
        .await?
        .start_unit(target, "replace-irreversibly")
        .await?;
    Ok(())
}
