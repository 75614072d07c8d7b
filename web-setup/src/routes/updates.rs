//! Updates: the page, its stream's parts, and what the administrator may ask of the updater.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use ipc::updater::{Status, USB_SOURCE, When, WireError};

use super::boot_name;
use crate::app::App;
use crate::clock::LocalClock;
use crate::error::{WebError, call_problem, updater_problem};
use crate::form::Form;
use crate::lock;
use crate::pages::updates::{View, go_back as go_back_page, no_way_back, page as updates_page};
use crate::pages::{self, Nav};
use crate::request::Person;
use crate::setup::desk::now;
use crate::setup::pages::policy as parse_policy;
use crate::strings::{fill, strings};
use crate::updater::{InstallOptions, UpdaterError};

/// The routes below `/updates`.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/updates", get(page))
        .route("/updates/events", get(super::events::updates))
        .route("/updates/install", post(install))
        .route("/updates/usb", post(usb))
        .route("/updates/try-again", post(try_again))
        .route("/updates/dismiss", post(dismiss))
        .route("/updates/cancel", post(cancel))
        .route("/updates/activate", post(activate))
        .route("/updates/check", post(check))
        .route("/updates/policy", post(policy))
        .route("/updates/go-back", get(go_back_form).post(go_back))
}

/// What an action ends with when it does not do what it is for.
struct Failure {
    status: StatusCode,
    sentence: String,
}

impl Failure {
    fn of(error: &UpdaterError) -> Self {
        let t = strings("en");
        let status = match error {
            UpdaterError::Refused { kind, .. } => match kind {
                WireError::Busy | WireError::NotNow => StatusCode::CONFLICT,
                WireError::InvalidArgument | WireError::BundleRefused => StatusCode::UNPROCESSABLE_ENTITY,
                WireError::SourceUnavailable | WireError::StorageUnavailable | WireError::Failed => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            },
            UpdaterError::Unknown | UpdaterError::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self {
            status,
            sentence: fill(t.failed_action, &[("reason", &updater_problem(t, error))]),
        }
    }

    /// What the person saw is no longer so.
    fn changed() -> Self {
        Self {
            status: StatusCode::CONFLICT,
            sentence: strings("en").upd_changed_meanwhile.into(),
        }
    }
}

impl From<UpdaterError> for Failure {
    fn from(error: UpdaterError) -> Self {
        Self::of(&error)
    }
}

async fn show(app: &App, person: &Person, failure: Option<&Failure>, word: Option<&str>) -> Response {
    let t = strings("en");
    let (status, history) = tokio::join!(app.updates.status(), app.updates.history());
    let dismissed = match &status {
        Ok(status) => app.updates.is_dismissed(status).await,
        Err(_) => false,
    };
    let token = person.form_token();
    let clock = LocalClock::new(&app.root, &person.time_zone);
    let view = View {
        t,
        token: &token,
        status: &status,
        history: &history,
        facts: &lock::boot_facts(&app.root),
        policy: person.update_policy,
        clock: &clock,
        now_unix_s: now(),
        boot: &boot_name(app),
        dismissed,
    };
    let nav = Nav {
        here: "/updates",
        token: &token,
        host_name: &person.host_name,
    };
    let code = failure.map_or(StatusCode::OK, |failure| failure.status);
    let problem = failure.map(|failure| failure.sentence.as_str());
    (code, updates_page(&view, nav, problem, word)).into_response()
}

/// Back to the page, or the page with what went wrong.
async fn finish(app: &App, person: &Person, done: Result<(), Failure>) -> Response {
    match done {
        Ok(()) => Redirect::to("/updates").into_response(),
        Err(failure) => show(app, person, Some(&failure), None).await,
    }
}

/// `GET /updates`
pub async fn page(State(app): State<Arc<App>>, person: Person, RawQuery(query): RawQuery) -> Response {
    let word = (query.as_deref() == Some("saved")).then_some(strings("en").upd_policy_saved);
    show(&app, &person, None, word).await
}

/// The present status, with the updater's own words when there is none.
async fn status(app: &App) -> Result<Status, Failure> {
    Ok(app.updates.updater().status().await?)
}

/// Installs what the channel has, provided that it is still the bundle that the person saw: where it comes from is the
/// updater's to say, never the form's.
async fn install_available(app: &App, seen: &str, force: bool, when: When) -> Result<(), Failure> {
    let status = status(app).await?;
    let Some(available) = status.available.filter(|known| known.manifest_hash == seen) else {
        return Err(Failure::changed());
    };
    let options = InstallOptions {
        force,
        when,
        require_manifest_hash: Some(available.manifest_hash),
    };
    Ok(app.updates.updater().install(&available.source, options).await?)
}

async fn install_usb(app: &App, force: bool) -> Result<(), Failure> {
    // What is on the stick is known only when it was read: the restart stays the person's.
    let options = InstallOptions {
        force,
        when: When::Reboot,
        require_manifest_hash: None,
    };
    Ok(app.updates.updater().install(USB_SOURCE, options).await?)
}

/// `POST /updates/install`
pub async fn install(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    let when = match (form.get("do"), form.get("restart")) {
        ("tonight", _) => When::Tonight,
        ("now", "yes") => When::Now,
        ("now", "") => When::Reboot,
        _ => return Err(WebError::BadForm),
    };
    let done = install_available(&app, form.get("bundle"), false, when).await;
    Ok(finish(&app, &person, done).await)
}

/// `POST /updates/usb`
pub async fn usb(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    let done = install_usb(&app, false).await;
    Ok(finish(&app, &person, done).await)
}

/// `POST /updates/try-again`: also what failed before.
pub async fn try_again(
    State(app): State<Arc<App>>,
    person: Person,
    form: Form,
) -> Result<Response, WebError> {
    person.check(&form)?;
    let done = match form.get("bundle") {
        USB_SOURCE => install_usb(&app, true).await,
        seen => install_available(&app, seen, true, When::Now).await,
    };
    if done.is_ok()
        && let Err(error) = app.updates.dismiss(None).await
    {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a notice stays put aside"
        );
    }
    Ok(finish(&app, &person, done).await)
}

/// `POST /updates/dismiss`: the notice of a rollback was read. That its version is not tried again needs nothing.
pub async fn dismiss(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    let t = strings("en");
    let done = match status(&app).await {
        Ok(status) => app.updates.dismiss(Some(&status)).await.map_err(|error| Failure {
            status: StatusCode::SERVICE_UNAVAILABLE,
            sentence: fill(t.unavailable_store, &[("reason", &crate::error::chain(&error))]),
        }),
        Err(failure) => Err(failure),
    };
    Ok(finish(&app, &person, done).await)
}

/// `POST /updates/cancel`
pub async fn cancel(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    let done = app.updates.updater().cancel().await.map_err(Failure::from);
    Ok(finish(&app, &person, done).await)
}

/// `POST /updates/activate`
pub async fn activate(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    let when = When::from_name(form.get("when")).ok_or(WebError::BadForm)?;
    let t = strings("en");
    let boot = boot_name(&app);
    Ok(match app.updates.updater().activate(when).await {
        // The page that waits must be in the browser before the network is gone.
        Ok(()) if when == When::Now => {
            pages::waiting(t, t.wait_update_title, t.wait_reboot_lead, &boot).into_response()
        }
        done => finish(&app, &person, done.map_err(Failure::from)).await,
    })
}

/// `POST /updates/check`
pub async fn check(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    let done = app.updates.updater().check().await.map_err(Failure::from);
    Ok(finish(&app, &person, done).await)
}

/// `POST /updates/policy`
pub async fn policy(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    let t = strings("en");
    let failure = match parse_policy(t, form.get("policy")) {
        None => Failure {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            sentence: t.updates_unknown.into(),
        },
        Some(policy) => match app.provisioner.set_update_policy(policy).await {
            Ok(()) => return Ok(Redirect::to("/updates?saved").into_response()),
            Err(error) => Failure {
                status: StatusCode::SERVICE_UNAVAILABLE,
                sentence: fill(t.failed_action, &[("reason", &call_problem(t, &error))]),
            },
        },
    };
    Ok(show(&app, &person, Some(&failure), None).await)
}

/// `GET /updates/go-back`
pub async fn go_back_form(State(app): State<Arc<App>>, person: Person) -> Response {
    let t = strings("en");
    let status = match status(&app).await {
        Ok(status) => status,
        Err(failure) => return show(&app, &person, Some(&failure), None).await,
    };
    if let Some(failure) = no_way(&status) {
        return show(&app, &person, Some(&failure), None).await;
    }
    let token = person.form_token();
    let nav = Nav {
        here: "/updates",
        token: &token,
        host_name: &person.host_name,
    };
    go_back_page(t, nav, &status).into_response()
}

fn no_way(status: &Status) -> Option<Failure> {
    let t = strings("en");
    no_way_back(t, status).map(|reason| Failure {
        status: StatusCode::CONFLICT,
        sentence: fill(t.upd_before_not, &[("reason", &reason)]),
    })
}

/// `POST /updates/go-back`: only into the slot that the person was asked about.
pub async fn go_back(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    let t = strings("en");
    let boot = boot_name(&app);
    let done = async {
        let status = status(&app).await?;
        if let Some(failure) = no_way(&status) {
            return Err(failure);
        }
        let same = pages::updates::other(&status).is_some_and(|slot| slot.slot == form.get("slot"));
        if !same {
            return Err(Failure::changed());
        }
        Ok(app.updates.updater().rollback().await?)
    };
    Ok(match done.await {
        Ok(()) => pages::waiting(t, t.wait_back_title, t.wait_reboot_lead, &boot).into_response(),
        Err(failure) => show(&app, &person, Some(&failure), None).await,
    })
}
