//! The wizard's routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use ipc::provisioner::{Growth, StorageStatus, WireError};
use ipc::settings::{AccountName, HostName, TimeZone};
use serde_json::json;

use super::login::{Verdict, verify};
use crate::app::App;
use crate::error::{WebError, call_problem};
use crate::form::Form;
use crate::lock::{self, Lock};
use crate::pages::login::{View as LoginView, Words, page as login_page};
use crate::pages::{self};
use crate::password::{Grade, MAX_BYTES, MIN_CHARS, grade};
use crate::request::{Browser, Peer};
use crate::setup::desk::DeskError;
use crate::setup::machine::{Answer, Refused, Setup, Step};
use crate::setup::pages::{self as wizard, Facts, Problems, View};
use crate::strings::{self, Strings, fill, strings};
use crate::system::{network, zones};

/// The wizard is open; else a `GET` goes where it belongs.
fn open(app: &App) -> Result<(), WebError> {
    match lock::read(&app.root) {
        Lock::Setup => Ok(()),
        Lock::Provisioned(_) => Err(WebError::Elsewhere("/login")),
        Lock::Closed { reason } => Err(WebError::Closed { reason }),
    }
}

/// The wizard is open; else a `POST` is told that it is locked.
fn open_for_change(app: &App) -> Result<(), WebError> {
    match open(app) {
        Err(WebError::Elsewhere(_)) => Err(WebError::Locked),
        other => other,
    }
}

fn address(step: Step) -> String {
    format!("/setup/{}", step.slug())
}

/// `GET /setup`: to the first page without an answer.
pub async fn start(State(app): State<Arc<App>>, browser: Browser) -> Result<Response, WebError> {
    open(&app)?;
    let setup = app.desk.read().await?;
    if !setup.admits(Some(browser.digest())) {
        return Err(WebError::Elsewhere("/setup/continue"));
    }
    Ok(browser.page(Redirect::to(&address(setup.current().unwrap_or(Step::Welcome)))))
}

/// `GET /setup/{step}`
pub async fn page(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(slug): Path<String>,
) -> Result<Response, WebError> {
    let step = Step::from_slug(&slug).ok_or(WebError::NotFound)?;
    open(&app)?;
    let setup = app.desk.read().await?;
    if !setup.admits(Some(browser.digest())) {
        return Err(WebError::Elsewhere("/setup/continue"));
    }
    if setup.current().is_some_and(|current| step > current) {
        return Err(WebError::Elsewhere("/setup"));
    }
    Ok(show(&app, &browser, &setup, step, StatusCode::OK, None, &vec![]).await)
}

async fn show(
    app: &App,
    browser: &Browser,
    setup: &Setup,
    step: Step,
    status: StatusCode,
    typed: Option<&Form>,
    problems: &Problems,
) -> Response {
    let facts = match step {
        Step::TimeZone => Facts::Zones(zones::all(&app.root)),
        Step::Network => Facts::Network(network::interfaces(&app.root)),
        Step::Storage => Facts::Storage(storage(app).await),
        Step::Welcome | Step::Name | Step::Administrator | Step::Updates | Step::Summary => Facts::None,
    };
    let token = browser.form_token();
    let view = View {
        t: strings("en"),
        step,
        setup,
        token: &token,
        typed,
        problems,
        facts,
    };
    browser.page((status, wizard::page(&view)))
}

async fn storage(app: &App) -> Result<StorageStatus, String> {
    app.provisioner
        .storage_status()
        .await
        .map_err(|e| call_problem(strings("en"), &e))
}

/// What a form says, or the problems of its fields.
fn read_answer(app: &App, t: &Strings, step: Step, form: &Form) -> Result<Answer, Problems> {
    let field = |name: &'static str| move |problem: String| vec![(name, problem)];
    match step {
        Step::Welcome => {
            let tag = form.trimmed("language");
            if strings::is_language(tag) {
                Ok(Answer::Language(tag.into()))
            } else {
                Err(vec![("language", t.language_unknown.into())])
            }
        }
        Step::Name => HostName::parse(form.trimmed("host_name"))
            .map(Answer::Name)
            .map_err(field("host_name")),
        Step::TimeZone => {
            let zone = TimeZone::parse(form.trimmed("time_zone")).map_err(field("time_zone"))?;
            if zones::exists(&app.root, zone.as_str()) {
                Ok(Answer::TimeZone(zone))
            } else {
                Err(vec![("time_zone", t.zone_unknown.into())])
            }
        }
        Step::Administrator => Ok(Answer::AdministratorKept),
        Step::Network => Ok(Answer::NetworkSeen),
        Step::Storage if form.get("do") == "grow" => Ok(Answer::Grow),
        Step::Storage => Ok(Answer::StorageSeen),
        Step::Updates => wizard::policy(t, form.get("policy"))
            .map(Answer::Updates)
            .ok_or_else(|| vec![("policy", t.updates_unknown.into())]),
        Step::Summary => Ok(Answer::Finish),
    }
}

/// The administrator's name and password, or the problems of the fields.
fn read_administrator(t: &Strings, form: &Form, host_name: &str) -> Result<(AccountName, String), Problems> {
    let mut problems: Problems = vec![];
    let name = AccountName::parse(form.trimmed("name"));
    if let Err(problem) = &name {
        problems.push(("name", problem.clone()));
    }
    let (password, repeat) = (form.get("password"), form.get("repeat"));
    let problem = if password.is_empty() {
        Some(t.admin_password_empty)
    } else if password.len() > MAX_BYTES {
        Some(t.admin_password_long)
    } else if password.chars().count() < MIN_CHARS {
        Some(t.admin_password_short)
    } else if grade(password, &[form.trimmed("name"), host_name]) < Grade::Good {
        Some(t.admin_password_weak)
    } else {
        None
    };
    if let Some(problem) = problem {
        problems.push(("password", problem.into()));
    } else if password != repeat {
        problems.push(("repeat", t.admin_repeat_differs.into()));
    }
    match name {
        Ok(name) if problems.is_empty() => Ok((name, password.to_owned())),
        _ => Err(problems),
    }
}

/// `POST /setup/{step}`
pub async fn submit(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(slug): Path<String>,
    form: Form,
) -> Result<Response, WebError> {
    let step = Step::from_slug(&slug).ok_or(WebError::NotFound)?;
    open_for_change(&app)?;
    browser.check(&form)?;
    let t = strings("en");
    let setup = app.desk.read().await?;
    if !setup.admits(Some(browser.digest())) {
        return Err(WebError::Elsewhere("/setup/continue"));
    }
    let revision = form.get("revision").parse().map_err(|_| WebError::BadForm)?;
    let result = match read_answer(&app, t, step, &form) {
        Err(problems) => Err(problems),
        Ok(Answer::AdministratorKept) if !keeps_administrator(&setup, &form) => {
            let host = setup
                .draft()
                .and_then(|d| d.host_name.as_ref())
                .map_or("hearth", |n| n.as_str());
            match read_administrator(t, &form, host) {
                Err(problems) => Err(problems),
                Ok((name, password)) => Ok(app
                    .desk
                    .set_administrator(browser.digest(), revision, name, password)
                    .await),
            }
        }
        Ok(answer) => Ok(app.desk.answer(browser.digest(), revision, answer).await),
    };
    let problems = match result {
        Err(problems) => problems,
        Ok(Ok(Setup::Provisioned)) => return Ok(browser.page(Redirect::to("/ready"))),
        Ok(Ok(setup)) => {
            return Ok(browser.page(Redirect::to(&address(setup.current().unwrap_or(Step::Summary)))));
        }
        Ok(Err(DeskError::Refused(refused))) => return refusal(&app, t, refused).await,
        Ok(Err(DeskError::Call(call))) => {
            tracing::error!(error = %call, step = step.slug(), "the provisioner did not do it");
            match call.kind() {
                WireError::AlreadyProvisioned => return Err(WebError::Locked),
                WireError::NoAdministrator => vec![("", t.summary_no_administrator.to_owned())],
                _ => {
                    let sentence = match step {
                        Step::Storage => t.storage_error,
                        Step::Summary => t.summary_failed,
                        _ => t.failed_action,
                    };
                    vec![("", fill(sentence, &[("reason", &call_problem(t, &call))]))]
                }
            }
        }
        Ok(Err(error)) => return Err(error.into()),
    };
    let failed = problems.iter().any(|(field, _)| field.is_empty());
    let status = if failed {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let setup = app.desk.read().await?;
    Ok(show(&app, &browser, &setup, step, status, Some(&form), &problems).await)
}

/// Both password fields empty and the name unchanged: nothing to set.
fn keeps_administrator(setup: &Setup, form: &Form) -> bool {
    let Setup::Claimed(_, claim) = setup else {
        return false;
    };
    let same_name = claim
        .administrator
        .as_ref()
        .is_none_or(|name| name.as_str() == form.trimmed("name"));
    same_name && form.get("password").is_empty() && form.get("repeat").is_empty()
}

async fn refusal(app: &App, t: &Strings, refused: Refused) -> Result<Response, WebError> {
    match refused {
        Refused::Stale => {
            let setup = app.desk.read().await?;
            Ok((StatusCode::CONFLICT, wizard::stale(t, &setup)).into_response())
        }
        Refused::NotYours => Err(WebError::Elsewhere("/setup/continue")),
        Refused::NotYet(_) | Refused::Unexpected => Err(WebError::Elsewhere("/setup")),
        Refused::Finished => Err(WebError::Locked),
    }
}

fn claim_form(t: &Strings, view: &LoginView<'_>) -> maud::Markup {
    let words = Words {
        title: t.claim_title,
        lead: t.claim_lead,
        button: t.claim_button,
        action: "/setup/continue",
        testid: "form-continue",
        after: Some(t.claim_lost),
    };
    login_page(t, &words, view)
}

/// `GET /setup/continue`: another browser holds the claim.
pub async fn claim_page(State(app): State<Arc<App>>, browser: Browser) -> Result<Response, WebError> {
    open(&app)?;
    if app.desk.read().await?.admits(Some(browser.digest())) {
        return Err(WebError::Elsewhere("/setup"));
    }
    Ok(browser.page(claim_form(
        strings("en"),
        &LoginView {
            token: &browser.form_token(),
            ..LoginView::default()
        },
    )))
}

/// `POST /setup/continue`
pub async fn claim(
    State(app): State<Arc<App>>,
    Peer(address): Peer,
    browser: Browser,
    form: Form,
) -> Result<Response, WebError> {
    open_for_change(&app)?;
    browser.check(&form)?;
    let t = strings("en");
    let verdict = verify(&app, address, form.trimmed("name"), form.get("password")).await;
    match (AccountName::parse(form.trimmed("name")), &verdict) {
        (Ok(name), Verdict::Right) => match app.desk.admit(browser.digest(), name).await {
            Ok(_) => Ok(browser.page(Redirect::to("/setup"))),
            Err(DeskError::Refused(refused)) => refusal(&app, t, refused).await,
            Err(error) => Err(error.into()),
        },
        _ => {
            let (status, problem) = verdict.refusal(t);
            let token = browser.form_token();
            let view = LoginView {
                token: &token,
                name: form.trimmed("name"),
                problem: Some(&problem),
                ..LoginView::default()
            };
            Ok(verdict.with_retry(browser.page((status, claim_form(t, &view)))))
        }
    }
}

/// `POST /setup/strength`: grades what is typed so far; nothing is kept.
pub async fn strength(
    State(app): State<Arc<App>>,
    browser: Browser,
    form: Form,
) -> Result<Response, WebError> {
    open_for_change(&app)?;
    browser.check(&form)?;
    let t = strings("en");
    let password = form.get("password");
    let host = app.desk.read().await?.draft().and_then(|d| d.host_name.clone());
    let host = host.as_ref().map_or("hearth", |n| n.as_str());
    let grade = grade(password, &[form.trimmed("name"), host]);
    let text = match grade {
        Grade::VeryWeak => t.admin_strength_0,
        Grade::Weak => t.admin_strength_1,
        Grade::Fair => t.admin_strength_2,
        Grade::Good => t.admin_strength_3,
        Grade::Strong => t.admin_strength_4,
    };
    Ok(Json(json!({ "score": grade.score(), "text": text })).into_response())
}

/// `GET /setup/storage-status`: how far growing is, for the page that watches.
pub async fn storage_status(State(app): State<Arc<App>>, browser: Browser) -> Result<Response, WebError> {
    open(&app)?;
    if !app.desk.read().await?.admits(Some(browser.digest())) {
        return Err(WebError::Forbidden);
    }
    let status = storage(&app).await;
    let growing = matches!(
        &status,
        Ok(StorageStatus {
            growth: Growth::Growing { .. },
            ..
        })
    );
    let failed = matches!(
        &status,
        Ok(StorageStatus {
            growth: Growth::Failed { .. },
            ..
        })
    );
    let html = wizard::storage_part(strings("en"), &status).into_string();
    Ok(Json(json!({ "growing": growing, "failed": failed, "html": html })).into_response())
}

/// `GET /ready`: setup was finished.
pub async fn ready(State(app): State<Arc<App>>) -> Result<Response, WebError> {
    match lock::read(&app.root) {
        Lock::Provisioned(settings) => {
            Ok(pages::ready(strings("en"), settings.host_name.as_str()).into_response())
        }
        Lock::Setup => Err(WebError::Elsewhere("/setup")),
        Lock::Closed { reason } => Err(WebError::Closed { reason }),
    }
}
