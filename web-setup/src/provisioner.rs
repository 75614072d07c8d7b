//! The few typed changes that need root, asked for over D-Bus (`org.hearth.Provisioner1`, see [`ipc::provisioner`]).

use std::fs::File;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use ipc::provisioner::{StorageStatus, WireError};
use ipc::settings::UpdatePolicy;
use thiserror::Error;
use zbus::OwnedFd;

use crate::bus::Bus;

#[cfg(any(test, feature = "demo"))]
pub mod fake;

/// A password hash in software emulation and the start of the service take seconds; nothing takes longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// The provisioner said no.
    #[error("{message}")]
    Refused {
        /// What callers branch on.
        kind: WireError,
        /// One sentence for a person.
        message: String,
    },
    /// The provisioner or the bus does not answer.
    #[error("the provisioner cannot be reached: {0}")]
    Unreachable(String),
}

impl CallError {
    /// The kind of a refusal; not being reached is [`WireError::Failed`].
    pub fn kind(&self) -> WireError {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::Unreachable(_) => WireError::Failed,
        }
    }
}

/// What a call gives.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, CallError>> + Send + 'a>>;

/// The provisioner's methods. Passwords are borrowed and go nowhere else.
pub trait Provisioner: Send + Sync {
    /// Sets the administrator's name and password; refused once provisioned.
    fn set_administrator<'a>(&'a self, name: &'a str, password: &'a str) -> Answer<'a, ()>;
    /// True when name and password are the administrator's.
    fn verify_password<'a>(&'a self, name: &'a str, password: &'a str) -> Answer<'a, bool>;
    /// True once a password was chosen.
    fn has_administrator(&self) -> Answer<'_, bool>;
    /// Finishes setup in one atomic write; `request` is [`ipc::settings::SetupRequest`] as TOML.
    fn complete_setup<'a>(&'a self, request: &'a str) -> Answer<'a, ()>;
    /// Says when updates are installed; refused before setup is finished.
    fn set_update_policy(&self, policy: UpdatePolicy) -> Answer<'_, ()>;
    /// Starts growing `data`; idempotent.
    fn grow_data(&self) -> Answer<'_, ()>;
    /// The disk and the data file system.
    fn storage_status(&self) -> Answer<'_, StorageStatus>;
    /// The diagnosis bundle, tar.gz, from its beginning.
    fn diagnosis(&self) -> Answer<'_, File>;
    /// Switches the appliance off.
    fn power_off(&self) -> Answer<'_, ()>;
    /// Restarts the appliance.
    fn reboot(&self) -> Answer<'_, ()>;
    /// Erases `data` and restarts; `host_name` is the typed confirmation.
    fn factory_reset<'a>(&'a self, host_name: &'a str) -> Answer<'a, ()>;
}

#[zbus::proxy(
    interface = "org.hearth.Provisioner1",
    default_service = "org.hearth.Provisioner1",
    default_path = "/org/hearth/Provisioner1"
)]
trait Provisioner1 {
    fn set_administrator(&self, name: &str, password: &str) -> zbus::Result<()>;
    fn verify_password(&self, name: &str, password: &str) -> zbus::Result<bool>;
    fn has_administrator(&self) -> zbus::Result<bool>;
    fn complete_setup(&self, request: &str) -> zbus::Result<()>;
    fn set_update_policy(&self, policy: &str) -> zbus::Result<()>;
    fn grow_data(&self) -> zbus::Result<()>;
    fn storage_status(&self) -> zbus::Result<String>;
    fn diagnosis(&self) -> zbus::Result<OwnedFd>;
    fn power_off(&self) -> zbus::Result<()>;
    fn reboot(&self) -> zbus::Result<()>;
    fn factory_reset(&self, host_name: &str) -> zbus::Result<()>;
}

/// The provisioner over the system bus, connected at the first call.
#[derive(Debug, Clone)]
pub struct OverBus {
    bus: Bus,
}

impl OverBus {
    /// Nothing is connected yet.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    async fn call<T, F>(
        &self,
        make: impl FnOnce(Provisioner1Proxy<'static>) -> F + Send,
    ) -> Result<T, CallError>
    where
        F: Future<Output = zbus::Result<T>> + Send,
    {
        let work = async {
            let connection = self.bus.connection().await.map_err(CallError::Unreachable)?;
            let proxy = Provisioner1Proxy::builder(&connection)
                .cache_properties(zbus::proxy::CacheProperties::No)
                .build()
                .await
                .map_err(|e| CallError::Unreachable(e.to_string()))?;
            make(proxy).await.map_err(|e| self.refused(e))
        };
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Unreachable(format!(
                "no answer for {} seconds",
                PATIENCE.as_secs()
            ))),
        }
    }

    fn refused(&self, error: zbus::Error) -> CallError {
        match error {
            zbus::Error::MethodError(name, message, _)
                if name.as_str().starts_with(ipc::provisioner::ERROR_PREFIX) =>
            {
                CallError::Refused {
                    kind: WireError::from_bus_name(name.as_str()),
                    message: message.unwrap_or_default(),
                }
            }
            zbus::Error::MethodError(name, message, _) => {
                CallError::Unreachable(format!("{name}: {}", message.unwrap_or_default()))
            }
            other => {
                // The connection may be gone (the bus was restarted): the next call makes a new one.
                self.bus.forget();
                CallError::Unreachable(other.to_string())
            }
        }
    }
}

impl Provisioner for OverBus {
    fn set_administrator<'a>(&'a self, name: &'a str, password: &'a str) -> Answer<'a, ()> {
        Box::pin(
            self.call(async move |p: Provisioner1Proxy<'static>| p.set_administrator(name, password).await),
        )
    }

    fn verify_password<'a>(&'a self, name: &'a str, password: &'a str) -> Answer<'a, bool> {
        Box::pin(
            self.call(async move |p: Provisioner1Proxy<'static>| p.verify_password(name, password).await),
        )
    }

    fn has_administrator(&self) -> Answer<'_, bool> {
        Box::pin(self.call(async move |p: Provisioner1Proxy<'static>| p.has_administrator().await))
    }

    fn complete_setup<'a>(&'a self, request: &'a str) -> Answer<'a, ()> {
        Box::pin(self.call(async move |p: Provisioner1Proxy<'static>| p.complete_setup(request).await))
    }

    fn set_update_policy(&self, policy: UpdatePolicy) -> Answer<'_, ()> {
        Box::pin(
            self.call(async move |p: Provisioner1Proxy<'static>| p.set_update_policy(policy.name()).await),
        )
    }

    fn grow_data(&self) -> Answer<'_, ()> {
        Box::pin(self.call(async move |p: Provisioner1Proxy<'static>| p.grow_data().await))
    }

    fn storage_status(&self) -> Answer<'_, StorageStatus> {
        Box::pin(async move {
            let text = self
                .call(async move |p: Provisioner1Proxy<'static>| p.storage_status().await)
                .await?;
            serde_json::from_str(&text)
                .map_err(|e| CallError::Unreachable(format!("unreadable storage status: {e}")))
        })
    }

    fn diagnosis(&self) -> Answer<'_, File> {
        Box::pin(async move {
            let fd = self
                .call(async move |p: Provisioner1Proxy<'static>| p.diagnosis().await)
                .await?;
            Ok(File::from(std::os::fd::OwnedFd::from(fd)))
        })
    }

    fn power_off(&self) -> Answer<'_, ()> {
        Box::pin(self.call(async move |p: Provisioner1Proxy<'static>| p.power_off().await))
    }

    fn reboot(&self) -> Answer<'_, ()> {
        Box::pin(self.call(async move |p: Provisioner1Proxy<'static>| p.reboot().await))
    }

    fn factory_reset<'a>(&'a self, host_name: &'a str) -> Answer<'a, ()> {
        Box::pin(self.call(async move |p: Provisioner1Proxy<'static>| p.factory_reset(host_name).await))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use ipc::provisioner::Growth;
    use zbus::connection::Builder;

    use super::*;

    /// The other side of the wire, by the table in [`ipc::provisioner`].
    struct Service;

    #[derive(Debug, zbus::DBusError)]
    #[zbus(prefix = "org.hearth.Error")]
    enum Refusal {
        AlreadyProvisioned(String),
        TooManyAttempts(String),
    }

    #[zbus::interface(name = "org.hearth.Provisioner1")]
    impl Service {
        fn set_administrator(&self, name: String, password: String) -> Result<(), Refusal> {
            Err(Refusal::AlreadyProvisioned(format!("{name}/{}", password.len())))
        }
        fn verify_password(&self, _name: String, password: String) -> Result<bool, Refusal> {
            match password.as_str() {
                "again" => Err(Refusal::TooManyAttempts("wait 17 seconds".into())),
                other => Ok(other == "right"),
            }
        }
        fn has_administrator(&self) -> bool {
            true
        }
        fn complete_setup(&self, _request: String) {}
        fn set_update_policy(&self, policy: String) -> Result<(), Refusal> {
            if policy == "manual" {
                return Ok(());
            }
            Err(Refusal::AlreadyProvisioned(policy))
        }
        fn grow_data(&self) {}
        fn storage_status(&self) -> String {
            "{\"disk\":\"/dev/x\",\"disk_bytes\":9,\"data_bytes\":5,\"data_free_bytes\":4,\"growth\":{\"phase\":\"complete\"}}".into()
        }
        fn diagnosis(&self) -> zbus::fdo::Result<OwnedFd> {
            let (read, mut write) = std::io::pipe().map_err(|e| zbus::fdo::Error::Failed(e.to_string()))?;
            write
                .write_all(b"bundle")
                .map_err(|e| zbus::fdo::Error::Failed(e.to_string()))?;
            Ok(std::os::fd::OwnedFd::from(read).into())
        }
        fn power_off(&self) {}
        fn reboot(&self) {}
        fn factory_reset(&self, _host_name: String) {}
    }

    async fn connected() -> (OverBus, zbus::Connection) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let server = Builder::unix_stream(theirs)
            .server(zbus::Guid::generate())
            .p2p()
            .serve_at(ipc::provisioner::OBJECT, Service)
            .build();
        let client = Builder::unix_stream(ours).p2p().build();
        let (server, client) = tokio::join!(server, client);
        (OverBus::new(Bus::connected(client.unwrap())), server.unwrap())
    }

    #[tokio::test]
    async fn every_method_has_the_signature_of_the_table() {
        let (p, _server) = connected().await;
        assert_eq!(p.verify_password("ada", "right").await, Ok(true));
        assert_eq!(p.verify_password("ada", "wrong").await, Ok(false));
        assert_eq!(p.has_administrator().await, Ok(true));
        assert_eq!(p.storage_status().await.unwrap().growth, Growth::Complete);
        let mut bundle = String::new();
        p.diagnosis().await.unwrap().read_to_string(&mut bundle).unwrap();
        assert_eq!(bundle, "bundle");
        for done in [
            p.complete_setup("x").await,
            p.set_update_policy(UpdatePolicy::Manual).await,
            p.grow_data().await,
            p.power_off().await,
            p.reboot().await,
            p.factory_reset("x").await,
        ] {
            assert_eq!(done, Ok(()));
        }
    }

    #[tokio::test]
    async fn refusals_keep_their_kind_and_sentence() {
        let (p, _server) = connected().await;
        let error = p.set_administrator("ada", "four").await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (WireError::AlreadyProvisioned, "ada/4")
        );
        let error = p.verify_password("ada", "again").await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (WireError::TooManyAttempts, "wait 17 seconds")
        );
    }

    #[tokio::test]
    async fn a_service_that_is_gone_is_said_to_be_unreachable() {
        let (p, server) = connected().await;
        server.close().await.unwrap();
        assert!(matches!(
            p.has_administrator().await,
            Err(CallError::Unreachable(_))
        ));
    }
}
