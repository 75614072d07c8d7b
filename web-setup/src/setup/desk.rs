//! Where the machine meets the world: one form at a time is judged, persisted, carried out.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ipc::provisioner::WireError;
use ipc::settings::AccountName;
use thiserror::Error;
use tokio::sync::Mutex;

use super::machine::{self, Action, Answer, Event, Refused, Setup};
use super::store::{Store, StoreError};
use crate::lock::{self, Lock};
use crate::provisioner::{CallError, Provisioner};
use crate::secret::Digest;
use crate::system::Root;

/// Why a form was not carried out.
#[derive(Debug, Error)]
pub enum DeskError {
    /// The machine refused.
    #[error("setup refused: {0:?}")]
    Refused(Refused),
    /// The provisioner refused or did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The draft could not be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The work ended early.
    #[error("the work ended early")]
    Task,
}

impl From<Refused> for DeskError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

#[derive(Debug, Default)]
struct Inner {
    setup: Option<Setup>,
    /// The provisioner was asked whether there is an administrator, and its answer is in `setup`.
    reconciled: bool,
}

/// The one desk at which every browser's form is handled, in turn.
pub struct Desk {
    root: Root,
    store: Store,
    provisioner: Arc<dyn Provisioner>,
    inner: Mutex<Inner>,
}

impl Desk {
    /// Nothing is read yet.
    pub fn new(root: Root, store: Store, provisioner: Arc<dyn Provisioner>) -> Self {
        Self {
            root,
            store,
            provisioner,
            inner: Mutex::default(),
        }
    }

    /// Setup as it stands. Does not wait for D-Bus.
    pub async fn read(&self) -> Result<Setup, DeskError> {
        let mut inner = self.inner.lock().await;
        self.load(&mut inner).await
    }

    /// A form with an answer. Runs to its end even when the browser goes away in the middle.
    pub async fn answer(
        self: &Arc<Self>,
        browser: Digest,
        revision: u64,
        answer: Answer,
    ) -> Result<Setup, DeskError> {
        let desk = Arc::clone(self);
        let work = async move {
            let mut inner = desk.inner.lock().await;
            let setup = desk.reconciled(&mut inner).await.or_else(|error| match error {
                // Until the administrator is set, answers need the draft only.
                (DeskError::Call(_), setup) if answer != Answer::Finish => Ok(setup),
                (error, _) => Err(error),
            })?;
            let (next, actions) = machine::step(
                &setup,
                Event::Answered {
                    browser,
                    revision,
                    answer,
                },
                now(),
            )?;
            desk.carry_out(&mut inner, next, actions).await
        };
        tokio::spawn(work).await.map_err(|_| DeskError::Task)?
    }

    /// A form with the administrator's name and password.
    pub async fn set_administrator(
        self: &Arc<Self>,
        browser: Digest,
        revision: u64,
        name: AccountName,
        password: String,
    ) -> Result<Setup, DeskError> {
        let desk = Arc::clone(self);
        let work = async move {
            let mut inner = desk.inner.lock().await;
            let setup = desk.reconciled(&mut inner).await.map_err(|(error, _)| error)?;
            let (setup, _) = machine::step(&setup, Event::AdministratorAsked { browser, revision }, now())?;
            if let Err(error) = desk.provisioner.set_administrator(name.as_str(), &password).await {
                // It may have been set although the answer was lost: ask before the next form.
                inner.reconciled = false;
                return Err(error.into());
            }
            let (next, actions) = machine::step(&setup, Event::AdministratorSet { browser, name }, now())?;
            desk.carry_out(&mut inner, next, actions)
                .await
                .inspect_err(|_| inner.reconciled = false)
        };
        tokio::spawn(work).await.map_err(|_| DeskError::Task)?
    }

    /// A browser proved the administrator's name and password.
    pub async fn admit(self: &Arc<Self>, browser: Digest, name: AccountName) -> Result<Setup, DeskError> {
        let desk = Arc::clone(self);
        let work = async move {
            let mut inner = desk.inner.lock().await;
            let setup = desk.reconciled(&mut inner).await.map_err(|(error, _)| error)?;
            let (next, actions) = machine::step(&setup, Event::BrowserAdmitted { browser, name }, now())?;
            desk.carry_out(&mut inner, next, actions).await
        };
        tokio::spawn(work).await.map_err(|_| DeskError::Task)?
    }

    async fn load(&self, inner: &mut Inner) -> Result<Setup, DeskError> {
        let finished = matches!(lock::read(&self.root), Lock::Provisioned(_));
        let setup = match inner.setup.take() {
            // The settings are gone since: factory-reset.
            Some(Setup::Provisioned) | None if !finished => {
                inner.reconciled = false;
                match self.store.load().await {
                    Ok(setup) => setup,
                    Err(StoreError::Content(why)) => {
                        tracing::warn!(%why, "the stored draft cannot be read; setup begins anew");
                        Setup::default()
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            _ if finished => Setup::Provisioned,
            Some(setup) => setup,
            None => Setup::default(),
        };
        inner.setup = Some(setup.clone());
        Ok(setup)
    }

    /// As [`Self::load`], and what the provisioner says about the administrator is in it. The state comes with the error.
    async fn reconciled(&self, inner: &mut Inner) -> Result<Setup, (DeskError, Setup)> {
        let setup = self
            .load(inner)
            .await
            .map_err(|error| (error, Setup::default()))?;
        if inner.reconciled || setup == Setup::Provisioned {
            return Ok(setup);
        }
        let event = match self.provisioner.has_administrator().await {
            Ok(true) => Event::AdministratorFound,
            Ok(false) => Event::AdministratorMissing,
            Err(error) => return Err((error.into(), setup)),
        };
        let (next, actions) = machine::step(&setup, event, now()).map_err(|e| (e.into(), setup.clone()))?;
        let setup = self
            .carry_out(inner, next, actions)
            .await
            .map_err(|e| (e, setup))?;
        inner.reconciled = true;
        Ok(setup)
    }

    async fn carry_out(
        &self,
        inner: &mut Inner,
        next: Setup,
        actions: Vec<Action>,
    ) -> Result<Setup, DeskError> {
        let mut setup = next;
        for action in actions {
            match action {
                Action::Persist => {
                    self.store.save(&setup).await?;
                    inner.setup = Some(setup.clone());
                }
                Action::SetAdministrator => {}
                Action::GrowData => self.provisioner.grow_data().await?,
                Action::CompleteSetup(request) => {
                    let text = request.to_toml().map_err(|e| CallError::Refused {
                        kind: WireError::InvalidArgument,
                        message: e.to_string(),
                    })?;
                    if let Err(error) = self.provisioner.complete_setup(&text).await {
                        // The answer may have been lost on its way; the settings file is the truth.
                        if !matches!(lock::read(&self.root), Lock::Provisioned(_)) {
                            if error.kind() == WireError::NoAdministrator {
                                inner.reconciled = false;
                            }
                            return Err(error.into());
                        }
                    }
                    (setup, _) = machine::step(&setup, Event::SetupCompleted, now())?;
                    inner.setup = Some(setup.clone());
                    if let Err(error) = self.store.delete_draft().await {
                        // The lock is the settings file; a draft that stays is never shown again.
                        tracing::warn!(%error, "the draft of a finished setup was not deleted");
                    }
                }
                Action::DeleteDraft => self.store.delete_draft().await?,
            }
        }
        inner.setup = Some(setup.clone());
        Ok(setup)
    }
}

/// Unix seconds by the appliance's clock, for display only.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
