//! `de.pengutronix.rauc.Installer`: names, signatures and meanings as RAUC's documentation has them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ipc::updater::Phase;
use zbus::OwnedVariant;
use zbus::fdo::{Error, Result};
use zbus::object_server::{InterfaceRef, SignalEmitter};

use super::arguments::{Arguments, parse_source};
use super::own::fdo;
use super::rauc_slots::{self, Dict};
use crate::engine::Access;
use crate::error::ServiceError;
use crate::service::{Notice, Service, Snapshot};
use crate::state::{InstallOptions, Mark};

/// The object on the bus.
pub struct Installer {
    service: Service,
    /// What `Progress` said last; after an installation it stays.
    progress: Mutex<(i32, String, i32)>,
}

impl Installer {
    /// For a service.
    pub fn new(service: Service) -> Self {
        Self {
            service,
            progress: Mutex::default(),
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

    fn set_progress(&self, percent: i32, message: &str) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = (percent, message.into(), 1);
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
        let installing = matches!(phase, Phase::Downloading | Phase::Verifying);
        Ok(if installing { "installing" } else { "idle" }.into())
    }

    #[zbus(property)]
    async fn last_error(&self) -> Result<String> {
        let record = self.snapshot().await?.record;
        // While a source is asked again there is a last error too, and no installation has failed yet.
        let over = !matches!(record.state.phase(), Phase::Downloading | Phase::Verifying);
        Ok(record.last_error.filter(|_| over).unwrap_or_default())
    }

    #[zbus(property)]
    async fn progress(&self) -> (i32, String, i32) {
        self.progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
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

/// Tells listeners. RAUC's own clients take `Completed` for the end and read nothing after it, so it comes last.
pub(super) async fn tell(
    object: &InterfaceRef<Installer>,
    service: &Service,
    notice: &Notice,
) -> zbus::Result<()> {
    let emitter = object.signal_emitter();
    let rauc = object.get().await;
    match notice {
        Notice::Changed => {
            let phase = match service.snapshot().await {
                Ok(snapshot) => snapshot.record.state.phase(),
                Err(_) => return Ok(()),
            };
            if phase == Phase::Downloading && service.progress().is_some_and(|p| p.total_bytes == 0) {
                rauc.set_progress(0, "Checking bundle");
                rauc.progress_changed(emitter).await?;
            }
            rauc.operation_changed(emitter).await?;
            rauc.last_error_changed(emitter).await
        }
        Notice::Progress => {
            let progress = service.progress().unwrap_or_default();
            let verifying = match service.snapshot().await {
                Ok(snapshot) => snapshot.record.state.phase() == Phase::Verifying,
                Err(_) => false,
            };
            let (from, to, message) = if verifying {
                (80, 99, "Reading back")
            } else {
                (10, 80, "Updating slots")
            };
            let share =
                u128::from(progress.done_bytes) * (to - from) / u128::from(progress.total_bytes.max(1));
            let percent = i32::try_from(from + share.min(to - from)).unwrap_or(100);
            rauc.set_progress(percent, message);
            rauc.progress_changed(emitter).await
        }
        Notice::Completed { ok, .. } => {
            rauc.set_progress(
                100,
                if *ok {
                    "Installing done."
                } else {
                    "Installing failed."
                },
            );
            rauc.progress_changed(emitter).await?;
            rauc.last_error_changed(emitter).await?;
            rauc.operation_changed(emitter).await?;
            Installer::completed(emitter, i32::from(!ok)).await
        }
    }
}
