//! The service as its callers see it.

use std::collections::HashMap;

use anyhow::{Context, anyhow};
use ipc::updater::{HistoryEntry, Status, When, WireError, options};
use zbus::{Connection, Variant};

#[zbus::proxy(
    interface = "org.hearth.Updater1",
    default_service = "org.hearth.Updater1",
    default_path = "/org/hearth/Updater1"
)]
trait Updater1 {
    fn status(&self) -> zbus::Result<String>;
    fn history(&self) -> zbus::Result<String>;
    fn install(&self, source: &str, options: HashMap<&str, Variant<'_>>) -> zbus::Result<()>;
    fn activate(&self, when: &str) -> zbus::Result<()>;
    fn cancel(&self) -> zbus::Result<()>;
    fn rollback(&self) -> zbus::Result<()>;
    fn downgrade(&self) -> zbus::Result<()>;
    fn check(&self) -> zbus::Result<()>;
    fn mark(&self, state: &str, slot: &str) -> zbus::Result<(String, String)>;
}

/// A connection to the service.
pub struct Client(Updater1Proxy<'static>);

/// Another operation is under way.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Busy(String);

/// Is this the error of a second operation?
pub fn is_busy(error: &anyhow::Error) -> bool {
    error.is::<Busy>()
}

impl Client {
    /// On the system bus.
    pub async fn connect() -> anyhow::Result<Self> {
        let connection = Connection::system().await.context("reach the system bus")?;
        let proxy = Updater1Proxy::builder(&connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .map_err(refusal)?;
        Ok(Self(proxy))
    }

    pub async fn status(&self) -> anyhow::Result<Status> {
        let text = self.0.status().await.map_err(refusal)?;
        serde_json::from_str(&text).context("understand the updater's answer")
    }

    pub async fn history(&self) -> anyhow::Result<Vec<HistoryEntry>> {
        let text = self.0.history().await.map_err(refusal)?;
        serde_json::from_str(&text).context("understand the updater's answer")
    }

    pub async fn install(
        &self,
        source: &str,
        force: bool,
        allow_downgrade: bool,
        when: When,
    ) -> anyhow::Result<()> {
        let options = HashMap::from([
            (options::FORCE, Variant::from(force)),
            (options::ALLOW_DOWNGRADE, allow_downgrade.into()),
            (options::WHEN, when.name().into()),
        ]);
        self.0.install(source, options).await.map_err(refusal)
    }

    pub async fn activate(&self, when: When) -> anyhow::Result<()> {
        self.0.activate(when.name()).await.map_err(refusal)
    }

    pub async fn cancel(&self) -> anyhow::Result<()> {
        self.0.cancel().await.map_err(refusal)
    }

    pub async fn rollback(&self) -> anyhow::Result<()> {
        self.0.rollback().await.map_err(refusal)
    }

    pub async fn downgrade(&self) -> anyhow::Result<()> {
        self.0.downgrade().await.map_err(refusal)
    }

    pub async fn check(&self) -> anyhow::Result<()> {
        self.0.check().await.map_err(refusal)
    }

    pub async fn mark(&self, state: &str, slot: &str) -> anyhow::Result<(String, String)> {
        self.0.mark(state, slot).await.map_err(refusal)
    }
}

/// The service's sentence, without the bus's names around it.
fn refusal(error: zbus::Error) -> anyhow::Error {
    match error {
        zbus::Error::MethodError(name, Some(text), _) => {
            if WireError::from_bus_name(name.as_str()) == WireError::Busy {
                Busy(text).into()
            } else {
                anyhow!(text)
            }
        }
        other => anyhow::Error::new(other).context("ask the updater"),
    }
}
