//! `de.pengutronix.rauc.Installer`: names, signatures and meanings as RAUC's documentation has them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipc::updater::Phase;
use zbus::fdo::{Error, Properties, Result};
use zbus::names::InterfaceName;
use zbus::object_server::{InterfaceRef, SignalEmitter};
use zbus::{OwnedVariant, Variant};

use super::arguments::{Arguments, parse_source};
use super::own::fdo;
use super::rauc_slots::{self, Dict};
use crate::engine::Access;
use crate::error::ServiceError;
use crate::service::{Notice, Service, Snapshot};
use crate::state::{InstallOptions, Mark};

/// RAUC's interface.
const RAUC_INTERFACE: &str = "de.pengutronix.rauc.Installer";
/// The value of `Operation` while an installation runs.
const INSTALLING: &str = "installing";
/// Its value otherwise.
const IDLE: &str = "idle";

/// The object on the bus.
pub struct Installer {
    service: Service,
    /// What listeners were told last.
    told: Mutex<Told>,
}

/// What listeners were told.
#[derive(Default)]
struct Told {
    /// They know of an installation, and not yet of its end.
    installing: bool,
    /// `Progress`; after an installation it stays.
    progress: (i32, String, i32),
}

impl Installer {
    /// For a service.
    pub fn new(service: Service) -> Self {
        Self {
            service,
            told: Mutex::default(),
        }
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        self.service.snapshot().await.map_err(fdo)
    }

    /// Begins an installation. One that waits for its restart makes room for the new one, as with RAUC itself.
    async fn begin(&self, source: &str, options: InstallOptions, access: Access) -> Result<()> {
        let source = parse_source(source).map_err(fdo)?;
        if self.snapshot().await?.record.state.phase() == Phase::Staged {
            self.service.cancel().await.map_err(fdo)?;
        }
        let begun = self.service.install(source, options, access).await;
        begun.map_err(|error| match error {
            ServiceError::Refused(crate::state::Refused::Installing { .. }) => {
                Error::Failed("Already processing a different method".into())
            }
            error => fdo(error),
        })
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of an installation, unless that is known.
    async fn tell_begun(&self, emitter: &SignalEmitter<'_>) -> zbus::Result<()> {
        if std::mem::replace(&mut self.told().installing, true) {
            return Ok(());
        }
        say(emitter, "Operation", INSTALLING.into()).await?;
        say(emitter, "LastError", "".into()).await?;
        self.tell_progress(emitter, 0, "Checking bundle").await
    }

    async fn tell_progress(
        &self,
        emitter: &SignalEmitter<'_>,
        percent: i32,
        message: &str,
    ) -> zbus::Result<()> {
        let progress = (percent, message.to_owned(), 1);
        self.told().progress = progress.clone();
        say(emitter, "Progress", progress.into()).await
    }
}

#[zbus::interface(name = "de.pengutronix.rauc.Installer", introspection_docs = false)]
impl Installer {
    async fn install(&self, source: String) -> Result<()> {
        let (options, access) = Arguments::new(HashMap::new()).rauc_install().map_err(fdo)?;
        self.begin(&source, options, access).await
    }

    async fn install_bundle(&self, source: String, args: HashMap<String, OwnedVariant>) -> Result<()> {
        let (options, access) = Arguments::new(args).rauc_install().map_err(fdo)?;
        self.begin(&source, options, access).await
    }

    #[zbus(out_args("compatible", "version"))]
    async fn info(&self, bundle: String) -> Result<(String, String)> {
        let source = parse_source(&bundle).map_err(fdo)?;
        let info = self
            .service
            .inspect(source, Access::default())
            .await
            .map_err(fdo)?;
        Ok((info.compatible, info.version.unwrap_or_default()))
    }

    #[zbus(out_args("info"))]
    async fn inspect_bundle(&self, source: String, args: HashMap<String, OwnedVariant>) -> Result<Dict> {
        let access = Arguments::new(args).rauc_inspect().map_err(fdo)?;
        let source = parse_source(&source).map_err(fdo)?;
        let info = self.service.inspect(source, access).await.map_err(fdo)?;
        Ok(rauc_slots::bundle_info(&info))
    }

    #[zbus(out_args("slot_name", "message"))]
    async fn mark(&self, state: String, slot_identifier: String) -> Result<(String, String)> {
        let mark =
            Mark::from_name(&state).ok_or_else(|| Error::Failed(format!("unknown subcommand {state}")))?;
        let slot = rauc_slots::slot(&slot_identifier, self.service.running()).map_err(Error::Failed)?;
        self.service.mark(mark, slot).await.map_err(fdo)?;
        let name = rauc_slots::root_name(slot);
        let message = match mark {
            Mark::Active => format!("activated slot {name}"),
            Mark::Good | Mark::Bad => format!("marked slot(s) {name} as {state}"),
        };
        Ok((name.into(), message))
    }

    #[zbus(out_args("slot_status_array"))]
    async fn get_slot_status(&self) -> Result<Vec<(String, Dict)>> {
        Ok(rauc_slots::slot_status(&self.snapshot().await?))
    }

    /// There are no artifact repositories on this appliance.
    #[zbus(out_args("artifacts"))]
    async fn get_artifact_status(&self) -> Vec<Dict> {
        vec![]
    }

    #[zbus(out_args("primary"))]
    async fn get_primary(&self) -> Result<String> {
        let primary = self.snapshot().await?.around.boot.primary();
        Ok(rauc_slots::root_name(primary).into())
    }

    #[zbus(property)]
    async fn operation(&self) -> Result<String> {
        let phase = self.snapshot().await?.record.state.phase();
        Ok(if is_installing(phase) { INSTALLING } else { IDLE }.into())
    }

    #[zbus(property)]
    async fn last_error(&self) -> Result<String> {
        let record = self.snapshot().await?.record;
        // While a source is asked again there is a last error too, and no installation has failed yet.
        let over = !is_installing(record.state.phase());
        Ok(record.last_error.filter(|_| over).unwrap_or_default())
    }

    #[zbus(property)]
    async fn progress(&self) -> (i32, String, i32) {
        self.told().progress.clone()
    }

    #[zbus(property)]
    async fn compatible(&self) -> String {
        self.service.compatible()
    }

    #[zbus(property)]
    async fn variant(&self) -> String {
        String::new()
    }

    #[zbus(property)]
    async fn boot_slot(&self) -> String {
        rauc_slots::root_name(self.service.running().slot()).into()
    }

    #[zbus(signal)]
    async fn completed(emitter: &SignalEmitter<'_>, result: i32) -> zbus::Result<()>;
}

/// Tells listeners. RAUC's own clients print every change that they hear of, so each is told once and progress only rises;
/// and they take `Completed` for the end and read nothing after it, so it comes last.
pub(super) async fn tell(
    object: &InterfaceRef<Installer>,
    service: &Service,
    notice: &Notice,
) -> zbus::Result<()> {
    let emitter = object.signal_emitter();
    let rauc = object.get().await;
    if let Notice::Completed { ok, sentence } = notice {
        // A quick one is over before its beginning is told.
        rauc.tell_begun(emitter).await?;
        let (result, message, error) = match ok {
            true => (0, "Installing done.", ""),
            false => (1, "Installing failed.", sentence.as_str()),
        };
        rauc.tell_progress(emitter, 100, message).await?;
        if !error.is_empty() {
            say(emitter, "LastError", error.into()).await?;
        }
        say(emitter, "Operation", IDLE.into()).await?;
        rauc.told().installing = false;
        return Installer::completed(emitter, result).await;
    }
    // What is heard of an installation that is over belongs to its `Completed`, which is on its way.
    let phase = match service.snapshot().await {
        Ok(snapshot) if is_installing(snapshot.record.state.phase()) => snapshot.record.state.phase(),
        _ => return Ok(()),
    };
    rauc.tell_begun(emitter).await?;
    let progress = service.progress().unwrap_or_default();
    if *notice == Notice::Changed || progress.total_bytes == 0 {
        return Ok(());
    }
    let (from, to, message) = if phase == Phase::Verifying {
        (80, 99, "Reading back")
    } else {
        (10, 80, "Updating slots")
    };
    let share = u128::from(progress.done_bytes) * (to - from) / u128::from(progress.total_bytes);
    let percent = i32::try_from(from + share.min(to - from)).unwrap_or(100);
    let said = rauc.told().progress.clone();
    if percent > said.0 || (percent == said.0 && message != said.1) {
        rauc.tell_progress(emitter, percent, message).await?;
    }
    Ok(())
}

/// The end of an installation whose beginning was told, when there is none any more.
pub(super) async fn missed_end(object: &InterfaceRef<Installer>, service: &Service) -> Option<Notice> {
    let told = object.get().await.told().installing;
    let record = service.snapshot().await.ok()?.record;
    (told && !is_installing(record.state.phase())).then(|| Notice::Completed {
        ok: record.last_error.is_none(),
        sentence: record.last_error.unwrap_or_default(),
    })
}

/// Tells one property: what it was when the notice came, whatever it is by now.
async fn say(emitter: &SignalEmitter<'_>, property: &str, value: Variant<'_>) -> zbus::Result<()> {
    let interface = InterfaceName::try_from(RAUC_INTERFACE)?;
    Properties::properties_changed(
        emitter,
        interface,
        HashMap::from([(property, value)]),
        Cow::Borrowed(&[]),
    )
    .await
}

/// RAUC knows two operations of a service: this and none.
fn is_installing(phase: Phase) -> bool {
    matches!(phase, Phase::Downloading | Phase::Verifying)
}
