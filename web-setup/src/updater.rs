//! What is installed and installing, asked for over D-Bus (`org.hearth.Updater1`, see [`ipc::updater`]).

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use ipc::updater::{BUS_NAME, CHECK, HistoryEntry, OBJECT, Status, When, WireError, options};
use thiserror::Error;
use zbus::fdo::Error;
use zbus::message::Type;
use zbus::{MatchRule, MessageStream, Variant};

use crate::bus::Bus;

#[cfg(any(test, feature = "demo"))]
pub mod fake;
#[cfg(any(test, feature = "demo"))]
pub mod sample;

/// A page waits this long for what it shows, and then says that the updater does not answer.
const QUERY_PATIENCE: Duration = Duration::from_secs(6);
/// Beginning an installation may wait for the boot state to be written to a slow card.
const ACTION_PATIENCE: Duration = Duration::from_secs(45);

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UpdaterError {
    /// The updater said no.
    #[error("{message}")]
    Refused {
        /// What callers branch on.
        kind: WireError,
        /// One sentence for a person.
        message: String,
    },
    /// The updater does not know the method: it is an older one.
    #[error("the updater of this version cannot do that")]
    Unknown,
    /// The updater or the bus does not answer.
    #[error("the updater does not answer: {0}")]
    Unreachable(String),
}

impl UpdaterError {
    /// Why, as an addition to a sentence that says that the updater does not answer.
    pub fn why(&self) -> String {
        match self {
            Self::Unreachable(why) => why.clone(),
            Self::Refused { .. } | Self::Unknown => self.to_string(),
        }
    }
}

/// What a call gives.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, UpdaterError>> + Send + 'a>>;

/// How to install.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstallOptions {
    /// Also a bundle that failed before.
    pub force: bool,
    /// When to start it.
    pub when: When,
    /// Only this bundle, by the SHA-256 of its manifest in hexadecimal.
    pub require_manifest_hash: Option<String>,
}

/// The updater's methods, and its news.
pub trait Updater: Send + Sync {
    /// Everything at a glance.
    fn status(&self) -> Answer<'_, Status>;
    /// What became of updates, oldest first.
    fn history(&self) -> Answer<'_, Vec<HistoryEntry>>;
    /// Begins an installation.
    fn install<'a>(&'a self, source: &'a str, options: InstallOptions) -> Answer<'a, ()>;
    /// Gives up an installation, or one that waits for its start.
    fn cancel(&self) -> Answer<'_, ()>;
    /// Says when what is installed is started.
    fn activate(&self, when: When) -> Answer<'_, ()>;
    /// Back to the other slot, with a restart.
    fn rollback(&self) -> Answer<'_, ()>;
    /// Looks at the channel now.
    fn check(&self) -> Answer<'_, ()>;
    /// An item whenever something changed. It ends when the bus is gone. An item is a hint to ask again and no more: any
    /// program on the bus can send one.
    fn news(&self) -> Answer<'_, BoxStream<'static, ()>>;
}

#[zbus::proxy(
    interface = "org.hearth.Updater1",
    default_service = "org.hearth.Updater1",
    default_path = "/org/hearth/Updater1"
)]
trait Updater1 {
    fn status(&self) -> zbus::Result<String>;
    fn history(&self) -> zbus::Result<String>;
    fn install(&self, source: &str, options: HashMap<&str, Variant<'_>>) -> zbus::Result<()>;
    fn cancel(&self) -> zbus::Result<()>;
    fn activate(&self, when: &str) -> zbus::Result<()>;
    fn rollback(&self) -> zbus::Result<()>;
}

/// The updater over the system bus, connected at the first call.
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
        patience: Duration,
        make: impl FnOnce(Updater1Proxy<'static>) -> F + Send,
    ) -> Result<T, UpdaterError>
    where
        F: Future<Output = zbus::Result<T>> + Send,
    {
        let work = async {
            let connection = self.bus.connection().await.map_err(UpdaterError::Unreachable)?;
            let proxy = Updater1Proxy::builder(&connection)
                .cache_properties(zbus::proxy::CacheProperties::No)
                .build()
                .await
                .map_err(|e| self.failed(e))?;
            make(proxy).await.map_err(|e| self.failed(e))
        };
        match tokio::time::timeout(patience, work).await {
            Ok(answer) => answer,
            Err(_) => Err(UpdaterError::Unreachable(format!(
                "no answer for {} seconds",
                patience.as_secs()
            ))),
        }
    }

    async fn read<T: serde::de::DeserializeOwned, F>(
        &self,
        make: impl FnOnce(Updater1Proxy<'static>) -> F + Send,
    ) -> Result<T, UpdaterError>
    where
        F: Future<Output = zbus::Result<String>> + Send,
    {
        let text = self.call(QUERY_PATIENCE, make).await?;
        serde_json::from_str(&text)
            .map_err(|e| UpdaterError::Unreachable(format!("its answer cannot be read ({e})")))
    }

    fn failed(&self, error: zbus::Error) -> UpdaterError {
        match error {
            zbus::Error::MethodError(name, message, _)
                if name.as_str().starts_with(ipc::updater::ERROR_PREFIX) =>
            {
                UpdaterError::Refused {
                    kind: WireError::from_bus_name(name.as_str()),
                    message: message.unwrap_or_default(),
                }
            }
            zbus::Error::MethodError(name, message, _) => {
                UpdaterError::Unreachable(format!("{name}: {}", message.unwrap_or_default()))
            }
            zbus::Error::FDO(error) => match *error {
                Error::UnknownMethod(_) => UpdaterError::Unknown,
                Error::ServiceUnknown(_) | Error::NameHasNoOwner(_) => {
                    UpdaterError::Unreachable("it is not running".into())
                }
                other => UpdaterError::Unreachable(other.to_string()),
            },
            other => {
                // The connection may be gone (the bus was restarted): the next call makes a new one.
                self.bus.forget();
                UpdaterError::Unreachable(other.to_string())
            }
        }
    }
}

impl Updater for OverBus {
    fn status(&self) -> Answer<'_, Status> {
        Box::pin(self.read(async move |p: Updater1Proxy<'static>| p.status().await))
    }

    fn history(&self) -> Answer<'_, Vec<HistoryEntry>> {
        Box::pin(self.read(async move |p: Updater1Proxy<'static>| p.history().await))
    }

    fn install<'a>(&'a self, source: &'a str, wanted: InstallOptions) -> Answer<'a, ()> {
        Box::pin(
            self.call(ACTION_PATIENCE, async move |p: Updater1Proxy<'static>| {
                let mut given = HashMap::from([(options::WHEN, Variant::from(wanted.when.name()))]);
                if wanted.force {
                    given.insert(options::FORCE, Variant::from(true));
                }
                if let Some(hash) = &wanted.require_manifest_hash {
                    given.insert(options::REQUIRE_MANIFEST_HASH, Variant::from(hash.as_str()));
                }
                p.install(source, given).await
            }),
        )
    }

    fn cancel(&self) -> Answer<'_, ()> {
        Box::pin(
            self.call(ACTION_PATIENCE, async move |p: Updater1Proxy<'static>| {
                p.cancel().await
            }),
        )
    }

    fn activate(&self, when: When) -> Answer<'_, ()> {
        Box::pin(
            self.call(ACTION_PATIENCE, async move |p: Updater1Proxy<'static>| {
                p.activate(when.name()).await
            }),
        )
    }

    fn rollback(&self) -> Answer<'_, ()> {
        Box::pin(
            self.call(ACTION_PATIENCE, async move |p: Updater1Proxy<'static>| {
                p.rollback().await
            }),
        )
    }

    fn check(&self) -> Answer<'_, ()> {
        Box::pin(
            self.call(ACTION_PATIENCE, async move |p: Updater1Proxy<'static>| {
                p.inner().call::<_, _, ()>(CHECK, &()).await
            }),
        )
    }

    fn news(&self) -> Answer<'_, BoxStream<'static, ()>> {
        Box::pin(async move {
            let connection = self.bus.connection().await.map_err(UpdaterError::Unreachable)?;
            // Whatever it says: `StateChanged`, `Completed`, and the properties' own signal from the same object.
            let work = async {
                let rule = MatchRule::builder()
                    .msg_type(Type::Signal)
                    .sender(BUS_NAME)
                    .path(OBJECT)
                    .build()?;
                MessageStream::for_match_rule(rule, &connection, None).await
            };
            let signals = tokio::time::timeout(QUERY_PATIENCE, work)
                .await
                .map_err(|_| UpdaterError::Unreachable("the bus does not answer".into()))?
                .map_err(|e| self.failed(e))?;
            Ok(signals
                .take_while(|message| std::future::ready(message.is_ok()))
                .map(|_| ())
                .boxed())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use ipc::updater::INTERFACE;
    use zbus::OwnedVariant;
    use zbus::connection::Builder;
    use zbus::proxy::Defaults;

    use super::*;

    type Asked = Arc<Mutex<Vec<String>>>;

    /// The other side of the wire, by the table in [`ipc::updater`].
    struct Service(Asked);

    #[derive(Debug, zbus::DBusError)]
    #[zbus(prefix = "org.hearth.Error")]
    enum Refusal {
        NotNow(String),
        BundleRefused(String),
    }

    impl Service {
        fn note(&self, what: String) {
            self.0.lock().unwrap().push(what);
        }
    }

    #[zbus::interface(name = "org.hearth.Updater1")]
    impl Service {
        fn status(&self) -> String {
            serde_json::to_string(&sample::status(sample::Scene::Downloading, 0)).unwrap()
        }
        fn history(&self) -> String {
            serde_json::to_string(&sample::history(0)).unwrap()
        }
        fn install(&self, source: String, options: HashMap<String, OwnedVariant>) -> Result<(), Refusal> {
            if source == "usb" {
                return Err(Refusal::BundleRefused("there is no stick labelled HEARTH".into()));
            }
            let mut options: Vec<String> = options
                .into_iter()
                .map(|(key, value)| format!("{key}={}", Variant::from(value)))
                .collect();
            options.sort();
            self.note(format!("Install {source} {}", options.join(" ")));
            Ok(())
        }
        fn cancel(&self) -> Result<(), Refusal> {
            Err(Refusal::NotNow("nothing is being installed".into()))
        }
        fn activate(&self, when: String) {
            self.note(format!("Activate {when}"));
        }
        fn rollback(&self) {
            self.note("Rollback".into());
        }
        #[zbus(signal)]
        async fn state_changed(
            emitter: &zbus::object_server::SignalEmitter<'_>,
            status: &str,
        ) -> zbus::Result<()>;
    }

    async fn connected() -> (OverBus, zbus::Connection, Asked) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let asked = Asked::default();
        let server = Builder::unix_stream(theirs)
            .server(zbus::Guid::generate())
            .p2p()
            .serve_at(OBJECT, Service(asked.clone()))
            .build();
        let client = Builder::unix_stream(ours).p2p().build();
        let (server, client) = tokio::join!(server, client);
        (
            OverBus::new(Bus::connected(client.unwrap())),
            server.unwrap(),
            asked,
        )
    }

    #[tokio::test]
    async fn every_method_has_the_signature_of_the_table() {
        let (updater, _server, asked) = connected().await;
        assert_eq!(
            Updater1Proxy::INTERFACE.as_ref().map(|i| i.as_str()),
            Some(INTERFACE)
        );
        let status = updater.status().await.unwrap();
        assert_eq!(status, sample::status(sample::Scene::Downloading, 0));
        assert_eq!(updater.history().await.unwrap(), sample::history(0));
        let options = InstallOptions {
            force: true,
            when: When::Tonight,
            require_manifest_hash: Some("ab".into()),
        };
        updater.install("https://example.org/b", options).await.unwrap();
        updater
            .install("https://example.org/b", InstallOptions::default())
            .await
            .unwrap();
        updater.activate(When::Now).await.unwrap();
        updater.rollback().await.unwrap();
        assert_eq!(
            *asked.lock().unwrap(),
            [
                "Install https://example.org/b force=true require-manifest-hash=\"ab\" when=\"tonight\"",
                "Install https://example.org/b when=\"reboot\"",
                "Activate now",
                "Rollback"
            ]
        );
    }

    #[tokio::test]
    async fn refusals_keep_their_kind_and_sentence() {
        let (updater, _server, _) = connected().await;
        let refused = |kind, message: &str| {
            Err(UpdaterError::Refused {
                kind,
                message: message.into(),
            })
        };
        assert_eq!(
            updater.cancel().await,
            refused(WireError::NotNow, "nothing is being installed")
        );
        assert_eq!(
            updater.install("usb", InstallOptions::default()).await,
            refused(WireError::BundleRefused, "there is no stick labelled HEARTH")
        );
        assert_eq!(updater.check().await, Err(UpdaterError::Unknown));
    }

    #[tokio::test]
    async fn a_signal_is_news_and_a_service_that_is_gone_is_said_to_be() {
        let (updater, server, _) = connected().await;
        let mut news = updater.news().await.unwrap();
        let service = server
            .object_server()
            .interface::<_, Service>(OBJECT)
            .await
            .unwrap();
        Service::state_changed(service.signal_emitter(), "{}")
            .await
            .unwrap();
        assert_eq!(news.next().await, Some(()));
        server.close().await.unwrap();
        assert_eq!(news.next().await, None);
        assert!(matches!(
            updater.status().await,
            Err(UpdaterError::Unreachable(_))
        ));
    }
}
