//! What every request shares, and the table of routes.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::attempts::Attempts;
use crate::lock::{self, Lock};
use crate::provisioner::Provisioner;
use crate::routes;
use crate::session::Sessions;
use crate::setup::desk::Desk;
use crate::setup::store::Store;
use crate::system::Root;
use crate::system::kernel;
use crate::system::sampler::Sampler;
use crate::system::services::ServiceManager;
use crate::updater::Updater;
use crate::updates::Updates;

/// Dashboards that are live at the same time.
pub const MAX_STREAMS: usize = 8;
/// Passwords that wait to be checked; argon2 needs much memory, so they are checked in turn.
pub const MAX_WAITING_LOGINS: usize = 4;

/// What every request shares.
pub struct App {
    /// Stands for `/`.
    pub root: Root,
    /// Changes that need root.
    pub provisioner: Arc<dyn Provisioner>,
    /// What is installed and installing.
    pub updates: Arc<Updates>,
    /// Snapshots of the appliance.
    pub sampler: Arc<Sampler>,
    /// The draft of setup and the list of starts.
    pub store: Store,
    /// Forms of setup.
    pub desk: Arc<Desk>,
    /// Places for live dashboards.
    pub streams: Arc<Semaphore>,
    /// Places for people at the login.
    pub logins: Semaphore,
    sessions: Mutex<Sessions>,
    attempts: Mutex<Attempts>,
}

impl App {
    /// `state_folder` is where the draft is kept.
    pub fn new(
        root: Root,
        state_folder: &Path,
        provisioner: Arc<dyn Provisioner>,
        updater: Arc<dyn Updater>,
        services: Arc<dyn ServiceManager>,
    ) -> Arc<Self> {
        let store = Store::new(state_folder);
        Arc::new(Self {
            sampler: Arc::new(Sampler::new(root.clone(), provisioner.clone(), services)),
            updates: Arc::new(Updates::new(updater, store.clone())),
            desk: Arc::new(Desk::new(root.clone(), store.clone(), provisioner.clone())),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            logins: Semaphore::new(MAX_WAITING_LOGINS),
            sessions: Mutex::default(),
            attempts: Mutex::default(),
            root,
            provisioner,
            store,
        })
    }

    /// Sessions.
    pub fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wrong passwords.
    pub fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names under which this appliance may be reached: the chosen one, the kernel's, the one before setup.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        match lock::read(&self.root) {
            Lock::Provisioned(settings) => names.push(settings.host_name.as_str().to_owned()),
            Lock::Setup | Lock::Closed { .. } => names.push("hearth".into()),
        }
        names.extend(kernel::host_name(&self.root));
        names
    }
}

/// All routes, with the guards in front of them.
pub fn router(app: Arc<App>) -> Router {
    let pages = Router::new()
        .route("/", get(routes::dashboard::page))
        .route("/events", get(routes::events::stream))
        .route("/storage/grow", axum::routing::post(routes::dashboard::grow))
        .merge(routes::updates::routes())
        .route("/device", get(routes::device::page))
        .route("/device/reboot", axum::routing::post(routes::device::reboot))
        .route(
            "/device/power-off",
            axum::routing::post(routes::device::power_off),
        )
        .route(
            "/device/diagnosis",
            axum::routing::post(routes::device::diagnosis),
        )
        .route(
            "/device/factory-reset",
            get(routes::device::reset_page).post(routes::device::reset),
        )
        .route("/login", get(routes::login::page).post(routes::login::submit))
        .route("/logout", axum::routing::post(routes::login::logout))
        .route(
            "/logout-everywhere",
            axum::routing::post(routes::login::logout_everywhere),
        )
        .route("/ready", get(routes::setup::ready))
        .route("/setup", get(routes::setup::start))
        .route(
            "/setup/continue",
            get(routes::setup::claim_page).post(routes::setup::claim),
        )
        .route("/setup/strength", axum::routing::post(routes::setup::strength))
        .route("/setup/storage-status", get(routes::setup::storage_status))
        .route(
            "/setup/{step}",
            get(routes::setup::page).post(routes::setup::submit),
        )
        .fallback(routes::not_found)
        .method_not_allowed_fallback(routes::method_not_allowed)
        .layer(from_fn_with_state(app.clone(), crate::guard::same_site));
    Router::new()
        .route("/health", get(routes::health))
        .route("/assets/{name}", get(routes::assets::asset))
        .merge(pages)
        .layer(from_fn_with_state(app.clone(), crate::guard::own_host))
        .layer(from_fn(crate::guard::headers))
        .with_state(app)
}
