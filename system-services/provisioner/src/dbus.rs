//! `org.hearth.Provisioner1`: translation between the bus and the service, nothing else.

use ipc::provisioner::{OBJECT, StorageStatus, WireError};
use zbus::Connection;

use crate::diagnosis;
use crate::error::ServiceError;
use crate::power::{self, Power};
use crate::secrets::Password;
use crate::service::{Service, blocking};

/// The wire errors as zbus wants them; a test holds the names against [`WireError`].
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.hearth.Error")]
enum BusError {
    AlreadyProvisioned(String),
    NotProvisioned(String),
    NoAdministrator(String),
    InvalidArgument(String),
    TooManyAttempts(String),
    StorageUnavailable(String),
    Failed(String),
}

impl From<ServiceError> for BusError {
    fn from(error: ServiceError) -> Self {
        if matches!(error, ServiceError::Failed { .. } | ServiceError::NotStored(_)) {
            tracing::error!("{}", chain(&error));
        }
        bus_error(error.wire(), error.to_string())
    }
}

fn bus_error(wire: WireError, text: String) -> BusError {
    match wire {
        WireError::AlreadyProvisioned => BusError::AlreadyProvisioned(text),
        WireError::NotProvisioned => BusError::NotProvisioned(text),
        WireError::NoAdministrator => BusError::NoAdministrator(text),
        WireError::InvalidArgument => BusError::InvalidArgument(text),
        WireError::TooManyAttempts => BusError::TooManyAttempts(text),
        WireError::StorageUnavailable => BusError::StorageUnavailable(text),
        WireError::Failed => BusError::Failed(text),
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// The object on the bus.
#[derive(Debug)]
struct Provisioner1 {
    service: Service,
}

#[zbus::interface(name = "org.hearth.Provisioner1")]
impl Provisioner1 {
    async fn set_administrator(&self, name: String, password: String) -> Result<(), BusError> {
        Ok(self
            .service
            .set_administrator(&name, Password::typed(password))
            .await?)
    }

    async fn verify_password(&self, name: String, password: String) -> Result<bool, BusError> {
        Ok(self
            .service
            .verify_password(name, Password::typed(password))
            .await?)
    }

    async fn has_administrator(&self) -> bool {
        self.service.has_administrator().await
    }

    async fn complete_setup(&self, request: String) -> Result<(), BusError> {
        Ok(self.service.complete_setup(&request).await?)
    }

    async fn set_update_policy(&self, policy: String) -> Result<(), BusError> {
        Ok(self.service.set_update_policy(&policy).await?)
    }

    async fn grow_data(&self) -> Result<(), BusError> {
        Ok(self.service.grow_data()?)
    }

    async fn storage_status(&self) -> Result<String, BusError> {
        let status: StorageStatus = self.service.storage_status().await?;
        serde_json::to_string(&status)
            .map_err(|e| ServiceError::failed("writing the storage status", e).into())
    }

    async fn diagnosis(
        &self,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<zbus::OwnedFd, BusError> {
        let network = diagnosis::network(connection).await;
        let service = self.service.clone();
        let fd = blocking("collecting the diagnosis", move || {
            let (places, facts) = service.surroundings();
            diagnosis::collect(places, facts, network)
        })
        .await?
        .map_err(|e| ServiceError::failed("collecting the diagnosis", e))?;
        Ok(zbus::OwnedFd::from(fd))
    }

    async fn power_off(&self, #[zbus(connection)] connection: &Connection) -> Result<(), BusError> {
        switch(connection, Power::Off).await
    }

    async fn reboot(&self, #[zbus(connection)] connection: &Connection) -> Result<(), BusError> {
        switch(connection, Power::Restart).await
    }

    async fn factory_reset(
        &self,
        host_name: String,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        self.service.order_factory_reset(host_name).await?;
        switch(connection, Power::Restart).await
    }
}

async fn switch(connection: &Connection, power: Power) -> Result<(), BusError> {
    power::switch(connection, power)
        .await
        .map_err(|e| ServiceError::failed("asking systemd to go down", e).into())
}

/// Puts the object on a connection and then takes the name, so that no call finds half a service.
pub async fn serve(builder: zbus::connection::Builder<'_>, service: Service) -> zbus::Result<Connection> {
    builder
        .serve_at(OBJECT, Provisioner1 { service })
        .name(ipc::provisioner::BUS_NAME)
        .build()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::DBusError;

    #[test]
    fn every_wire_error_has_its_name_on_the_bus() {
        for wire in WireError::ALL {
            let error = bus_error(wire, "why".into());
            assert_eq!(
                error.name().as_str(),
                format!("{}{}", ipc::provisioner::ERROR_PREFIX, wire.name())
            );
            assert_eq!(error.description(), Some("why"));
        }
    }
}
