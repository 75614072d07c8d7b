//! The service between bus and disk: asks the machine, carries out its orders, answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc::boot_facts::{BootFacts, DataState};
use ipc::provisioner::StorageStatus;
use ipc::settings::{AccountName, SetupRequest, UpdatePolicy};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::error::ServiceError;
use crate::growth::Growths;
use crate::limiter::Limiter;
use crate::places::{Places, read_small};
use crate::secrets::{Administrator, Password};
use crate::state::{Action, Event, Refused, State};
use crate::store::{self, Disk};

/// Everything behind `org.hearth.Provisioner1` but the bus.
#[derive(Debug, Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    places: Places,
    facts: BootFacts,
    started: Instant,
    state: Mutex<State>,
    /// Held while a password is hashed or checked: one at a time, so that memory stays at 19 MiB.
    limiter: Mutex<Limiter>,
    growths: Growths,
}

impl Service {
    /// Reads boot facts and state. Fails only without boot facts: then nothing is known about the disk.
    pub fn start(places: Places) -> Result<Self, ServiceError> {
        let path = places.at(ipc::paths::BOOT_FACTS);
        let text = read_small(&path)
            .and_then(|text| text.ok_or_else(|| std::io::ErrorKind::NotFound.into()))
            .map_err(|e| ServiceError::failed("reading the facts of this boot", e))?;
        let facts: BootFacts = serde_json::from_str(&text)
            .map_err(|e| ServiceError::failed("reading the facts of this boot", e))?;
        let state = store::load(&places);
        if let State::Unreadable { reason } = &state {
            tracing::error!("{reason}");
        }
        let growths = Growths::new(&places, &facts);
        let shared = Shared {
            places,
            facts,
            started: Instant::now(),
            state: Mutex::new(state),
            limiter: Mutex::default(),
            growths,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Chooses or replaces the administrator.
    pub async fn set_administrator(&self, name: &str, password: Password) -> Result<(), ServiceError> {
        self.data_writable()?;
        let _one_at_a_time = self.shared.limiter.lock().await;
        let mut state = self.shared.state.lock().await;
        state.accepts_administrator()?;
        let name = AccountName::parse(name).map_err(|problem| ServiceError::Invalid {
            argument: "name",
            problem,
        })?;
        password.check_rules().map_err(|problem| ServiceError::Invalid {
            argument: "password",
            problem,
        })?;
        let administrator = blocking("hashing the password", move || {
            Administrator::new(name, &password)
        })
        .await?
        .map_err(|e| ServiceError::failed("hashing the password", e))?;
        tracing::info!(name = administrator.name.as_str(), "an administrator is chosen");
        self.advance(&mut state, Event::AdministratorSubmitted(administrator))
            .await
    }

    /// Is this the administrator's name and password? Wrong answers are limited.
    pub async fn verify_password(&self, name: String, password: Password) -> Result<bool, ServiceError> {
        let mut limiter = self.shared.limiter.lock().await;
        let administrator = self
            .shared
            .state
            .lock()
            .await
            .administrator()
            .cloned()
            .ok_or(Refused::NoAdministrator)?;
        limiter
            .check(self.now())
            .map_err(|wait| ServiceError::TooManyAttempts { wait })?;
        let answer = blocking("checking the password", move || {
            administrator.verify(&name, &password)
        })
        .await?;
        let right = answer.map_err(|e| ServiceError::failed("checking the password", e))?;
        if !right {
            limiter.answered_wrongly(self.now());
            tracing::warn!("a wrong name or password");
        }
        Ok(right)
    }

    /// Was a password chosen?
    pub async fn has_administrator(&self) -> bool {
        self.shared.state.lock().await.administrator().is_some()
    }

    /// Finishes setup: one write decides.
    pub async fn complete_setup(&self, request: &str) -> Result<(), ServiceError> {
        self.data_writable()?;
        let invalid = |problem: String| ServiceError::Invalid {
            argument: "request",
            problem,
        };
        let mut state = self.shared.state.lock().await;
        if let State::Provisioned { .. } = *state {
            return Err(Refused::AlreadyProvisioned.into());
        }
        let request = SetupRequest::parse(request).map_err(|e| invalid(e.to_string()))?;
        if !self.shared.places.time_zone(&request.time_zone).is_file() {
            return Err(invalid(format!(
                "time_zone: there is no time zone {:?}",
                request.time_zone.as_str()
            )));
        }
        self.advance(&mut state, Event::SetupSubmitted(request)).await?;
        tracing::info!("setup is finished");
        Ok(())
    }

    /// Says when updates are installed; whoever installs them reads the settings.
    pub async fn set_update_policy(&self, policy: &str) -> Result<(), ServiceError> {
        self.data_writable()?;
        let policy = UpdatePolicy::from_name(policy).ok_or_else(|| ServiceError::Invalid {
            argument: "policy",
            problem: format!("{policy:?} is none of automatic, notify, manual"),
        })?;
        let mut state = self.shared.state.lock().await;
        self.advance(&mut state, Event::UpdatePolicyChosen(policy))
            .await?;
        tracing::info!(policy = policy.name(), "when updates are installed was chosen");
        Ok(())
    }

    /// Writes the marker for early-boot; the caller restarts the appliance afterwards.
    pub async fn order_factory_reset(&self, typed: String) -> Result<(), ServiceError> {
        self.data_writable()?;
        let mut state = self.shared.state.lock().await;
        self.advance(&mut state, Event::FactoryResetSubmitted { typed })
            .await?;
        tracing::warn!("factory reset at the next boot");
        Ok(())
    }

    /// Starts growing `data`, unless that is under way.
    pub fn grow_data(&self) -> Result<(), ServiceError> {
        self.data_writable()?;
        self.shared.growths.start();
        Ok(())
    }

    /// The disk, the data file system, and growing.
    pub async fn storage_status(&self) -> Result<StorageStatus, ServiceError> {
        self.data_writable()?;
        let this = self.clone();
        blocking("looking at the disk", move || this.shared.growths.status())
            .await?
            .map_err(|e| ServiceError::failed("looking at the disk", e))
    }

    /// Where files are and what this boot is, for the diagnosis.
    pub fn surroundings(&self) -> (&Places, &BootFacts) {
        (&self.shared.places, &self.shared.facts)
    }

    fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Nothing is decided, written or claimed on a box whose data cannot be read.
    fn data_writable(&self) -> Result<(), ServiceError> {
        match &self.shared.facts.data {
            DataState::Mounted | DataState::Repaired => Ok(()),
            DataState::Damaged { reason } => Err(ServiceError::DataDamaged {
                reason: reason.clone(),
            }),
        }
    }

    async fn advance(&self, state: &mut State, event: Event) -> Result<(), ServiceError> {
        let (next, actions) = state.step(event)?;
        let this = self.clone();
        // A task of its own: a caller that hangs up does not leave half of it undone.
        let done = blocking("writing", move || this.carry_out(&actions))
            .await
            .and_then(|done| done);
        // After a failed write only the disk knows which content won.
        *state = match done {
            Ok(()) => next,
            Err(_) => store::load(&self.shared.places),
        };
        done
    }

    fn carry_out(&self, actions: &[Action]) -> Result<(), ServiceError> {
        let places = &self.shared.places;
        for action in actions {
            store::persist(&mut Disk, places, action).map_err(ServiceError::NotStored)?;
            // What is not applied now is applied at the next boot: the settings are written already.
            let applied = match action {
                Action::ApplyHostName(name) => store::apply_host_name(places, name),
                Action::ApplyTimeZone(zone) => store::apply_time_zone(places, zone),
                Action::PersistAdministrator(_) | Action::PersistSettings(_) => Ok(()),
                Action::PersistResetMarker | Action::Reboot => Ok(()),
            };
            if let Err(e) = applied {
                tracing::error!("{action:?} waits for the next boot: {e}");
            }
        }
        Ok(())
    }
}

/// Runs on a thread where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    spawn_blocking(work)
        .await
        .map_err(|e| ServiceError::failed(what, e))
}
