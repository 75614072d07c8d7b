//! One connection to the system bus, made when it is first needed and again when it broke.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The bus starts after this service; a page that needs it says so rather than hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where systemd and dbus-broker listen. zbus would take the old path below `/var`, which is memory on the appliance and has
/// the link to `/run` only when tmpfiles ran.
const ADDRESS: &str = "unix:path=/run/dbus/system_bus_socket";

/// A connection that may not be there yet.
#[derive(Debug, Clone, Default)]
pub struct Bus {
    connection: Arc<Mutex<Option<zbus::Connection>>>,
}

impl Bus {
    /// A connection that is there already, for tests.
    #[cfg(test)]
    pub fn connected(connection: zbus::Connection) -> Self {
        Self {
            connection: Arc::new(Mutex::new(Some(connection))),
        }
    }

    /// The connection, made now if there is none. The error is one sentence.
    pub async fn connection(&self) -> Result<zbus::Connection, String> {
        let known = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(connection) = known {
            return Ok(connection);
        }
        let made = tokio::time::timeout(PATIENCE, zbus::connection::Builder::address(ADDRESS).build())
            .await
            .map_err(|_| format!("the system bus did not answer for {} seconds", PATIENCE.as_secs()))?
            .map_err(|e| format!("the system bus is not there: {e}"))?;
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(made.clone());
        Ok(made)
    }

    /// Drops a connection that failed.
    pub fn forget(&self) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
