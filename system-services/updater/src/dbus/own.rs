//! `org.hearth.Updater1`.

use std::collections::HashMap;

use boot_state::Slot;
use ipc::updater::{Phase, UNKNOWN, WireError};
use zbus::OwnedVariant;
use zbus::object_server::{InterfaceRef, SignalEmitter};

use super::arguments::{Arguments, parse_source, parse_when};
use crate::engine::Access;
use crate::error::{ServiceError, chain};
use crate::service::{Notice, Service};
use crate::state::Mark;

/// The wire errors as zbus wants them; a test holds the names against [`WireError`].
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.hearth.Error")]
pub enum BusError {
    /// See [`WireError::Busy`].
    Busy(String),
    /// See [`WireError::NotNow`].
    NotNow(String),
    /// See [`WireError::InvalidArgument`].
    InvalidArgument(String),
    /// See [`WireError::BundleRefused`].
    BundleRefused(String),
    /// See [`WireError::SourceUnavailable`].
    SourceUnavailable(String),
    /// See [`WireError::StorageUnavailable`].
    StorageUnavailable(String),
    /// See [`WireError::Failed`].
    Failed(String),
}

impl From<ServiceError> for BusError {
    fn from(error: ServiceError) -> Self {
        let wire = error.wire();
        if matches!(wire, WireError::StorageUnavailable | WireError::Failed) {
            tracing::error!("{}", chain(&error));
        }
        bus_error(wire, error.to_string())
    }
}

fn bus_error(wire: WireError, text: String) -> BusError {
    match wire {
        WireError::Busy => BusError::Busy(text),
        WireError::NotNow => BusError::NotNow(text),
        WireError::InvalidArgument => BusError::InvalidArgument(text),
        WireError::BundleRefused => BusError::BundleRefused(text),
        WireError::SourceUnavailable => BusError::SourceUnavailable(text),
        WireError::StorageUnavailable => BusError::StorageUnavailable(text),
        WireError::Failed => BusError::Failed(text),
    }
}

/// The object on the bus.
pub struct Updater1 {
    service: Service,
}

impl Updater1 {
    /// For a service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }

    async fn slot(&self, identifier: &str) -> Result<Slot, ServiceError> {
        let running = self.service.running();
        match identifier {
            "booted" => Ok(running.slot()),
            "other" => Ok(running.inactive().slot()),
            letter => Slot::from_letter(letter)
                .ok_or_else(|| ServiceError::invalid("slot", "use \"booted\", \"other\", \"a\" or \"b\"")),
        }
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, BusError> {
    serde_json::to_string(value).map_err(|e| ServiceError::failed("writing the answer", e).into())
}

#[zbus::interface(name = "org.hearth.Updater1")]
impl Updater1 {
    #[zbus(out_args("status"))]
    async fn status(&self) -> Result<String, BusError> {
        json(&self.service.status().await?)
    }

    #[zbus(out_args("entries"))]
    async fn history(&self) -> Result<String, BusError> {
        json(&self.service.history().await?)
    }

    #[zbus(out_args("bundle"))]
    async fn inspect(
        &self,
        source: String,
        options: HashMap<String, OwnedVariant>,
    ) -> Result<String, BusError> {
        let access = Arguments::new(options).rauc_inspect()?;
        json(&self.service.inspect(parse_source(&source)?, access).await?)
    }

    async fn install(&self, source: String, options: HashMap<String, OwnedVariant>) -> Result<(), BusError> {
        let options = Arguments::new(options).own()?;
        Ok(self
            .service
            .install(parse_source(&source)?, options, Access::default())
            .await?)
    }

    async fn cancel(&self) -> Result<(), BusError> {
        Ok(self.service.cancel().await?)
    }

    async fn activate(&self, when: String) -> Result<(), BusError> {
        Ok(self.service.activate(parse_when(&when)?).await?)
    }

    async fn rollback(&self) -> Result<(), BusError> {
        Ok(self.service.roll_back(false).await?)
    }

    async fn downgrade(&self) -> Result<(), BusError> {
        Ok(self.service.roll_back(true).await?)
    }

    async fn check(&self) -> Result<(), BusError> {
        Ok(self.service.check().await?)
    }

    #[zbus(out_args("marked", "sentence"))]
    async fn mark(&self, state: String, slot: String) -> Result<(String, String), BusError> {
        let mark = Mark::from_name(&state)
            .ok_or_else(|| ServiceError::invalid("state", "use \"good\", \"bad\" or \"active\""))?;
        let slot = self.slot(&slot).await?;
        self.service.mark(mark, slot).await?;
        Ok((
            slot.letter().into(),
            format!("slot {slot} is marked {}", mark.name()),
        ))
    }

    #[zbus(property)]
    async fn state(&self) -> zbus::fdo::Result<String> {
        Ok(phase(&self.service).await?.name().into())
    }

    #[zbus(property)]
    async fn operation(&self) -> zbus::fdo::Result<String> {
        let installing = matches!(phase(&self.service).await?, Phase::Downloading | Phase::Verifying);
        Ok(if installing { "installing" } else { "idle" }.into())
    }

    #[zbus(property)]
    async fn progress(&self) -> (u64, u64, u64, u64) {
        let progress = self.service.progress().unwrap_or_default();
        let total = match progress.total_bytes {
            0 => UNKNOWN,
            known => known,
        };
        (
            progress.done_bytes,
            total,
            progress.fetched_bytes,
            progress.seconds_left.unwrap_or(UNKNOWN),
        )
    }

    #[zbus(property)]
    async fn last_error(&self) -> zbus::fdo::Result<String> {
        let snapshot = self.service.snapshot().await.map_err(fdo)?;
        Ok(snapshot.record.last_error.unwrap_or_default())
    }

    #[zbus(signal, name = "StateChanged")]
    async fn moved_on(emitter: &SignalEmitter<'_>, status: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn completed(emitter: &SignalEmitter<'_>, result: i32, sentence: &str) -> zbus::Result<()>;
}

async fn phase(service: &Service) -> zbus::fdo::Result<Phase> {
    Ok(service.snapshot().await.map_err(fdo)?.record.state.phase())
}

/// For properties, which have no errors of their own.
pub(super) fn fdo(error: ServiceError) -> zbus::fdo::Error {
    zbus::fdo::Error::Failed(error.to_string())
}

/// Tells listeners.
pub(super) async fn tell(
    object: &InterfaceRef<Updater1>,
    service: &Service,
    notice: &Notice,
) -> zbus::Result<()> {
    let emitter = object.signal_emitter();
    let own = object.get().await;
    match notice {
        Notice::Progress => own.progress_changed(emitter).await,
        Notice::Changed => {
            own.state_changed(emitter).await?;
            own.operation_changed(emitter).await?;
            own.last_error_changed(emitter).await?;
            let Ok(status) = service.status().await else {
                return Ok(());
            };
            let text = serde_json::to_string(&status).unwrap_or_default();
            Updater1::moved_on(emitter, &text).await
        }
        Notice::Completed { ok, sentence } => Updater1::completed(emitter, i32::from(!ok), sentence).await,
    }
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
                format!("{}{}", ipc::updater::ERROR_PREFIX, wire.name())
            );
            assert_eq!(error.description(), Some("why"));
        }
    }
}
