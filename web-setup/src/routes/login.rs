//! Login, logout, logout everywhere; and the check of a password, which setup uses too.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use ipc::provisioner::WireError;

use crate::app::App;
use crate::cookies;
use crate::error::WebError;
use crate::form::Form;
use crate::lock::{self, Lock};
use crate::pages::login::{View, Words, page as login_page};
use crate::password::MAX_BYTES;
use crate::request::{Browser, Peer, Person, set_cookie};
use crate::secret::{self, Digest};
use crate::session;
use crate::strings::{Strings, duration, fill, strings};

/// The provisioner counts wrong passwords over a minute.
const GLOBAL_WAIT: Duration = Duration::from_secs(60);

/// The seconds that the provisioner's message names, see [`WireError::TooManyAttempts`]; a minute when it names none.
fn global_wait(message: &str) -> Duration {
    message
        .split(|c: char| !c.is_ascii_digit())
        .find_map(|word| word.parse().ok())
        .map_or(GLOBAL_WAIT, |seconds: u64| {
            Duration::from_secs(seconds.clamp(1, 600))
        })
}

/// What came of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    Right,
    /// It is not, or there is no such name: the two look alike and take the same time.
    Wrong,
    /// Not checked: too many were wrong.
    Wait(Duration),
    /// Not checked: too many people at the door.
    Busy,
    /// Not checked: the provisioner does not answer.
    Unreachable,
}

impl Verdict {
    /// Status and sentence of a refusal.
    pub fn refusal(&self, t: &Strings) -> (StatusCode, String) {
        match self {
            Self::Right | Self::Wrong => (StatusCode::UNPROCESSABLE_ENTITY, t.login_wrong.into()),
            Self::Wait(wait) => {
                let time = duration(t, wait.as_secs().max(1));
                (
                    StatusCode::TOO_MANY_REQUESTS,
                    fill(t.login_wait, &[("time", &time)]),
                )
            }
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, t.login_busy.into()),
            Self::Unreachable => (StatusCode::SERVICE_UNAVAILABLE, t.login_unreachable.into()),
        }
    }

    /// Adds `Retry-After` where there is a time to wait.
    pub fn with_retry(&self, mut response: Response) -> Response {
        if let Self::Wait(wait) = self {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

/// Checks a password, within the limits of the address and of the whole appliance.
pub async fn verify(app: &App, address: IpAddr, name: &str, password: &str) -> Verdict {
    let Ok(_place) = app.logins.try_acquire() else {
        return Verdict::Busy;
    };
    {
        let mut attempts = app.attempts();
        if let Some(wait) = attempts.wait(address, Instant::now()) {
            return Verdict::Wait(wait);
        }
        attempts.wrong(address, Instant::now());
    }
    if password.len() > MAX_BYTES {
        return Verdict::Wrong;
    }
    match app.provisioner.verify_password(name, password).await {
        Ok(true) => {
            app.attempts().right(address);
            Verdict::Right
        }
        Ok(false) => Verdict::Wrong,
        Err(error) => {
            app.attempts().undone(address);
            match error.kind() {
                WireError::TooManyAttempts => Verdict::Wait(global_wait(&error.to_string())),
                WireError::InvalidArgument | WireError::NoAdministrator => Verdict::Wrong,
                _ => {
                    tracing::error!(%error, "the password could not be checked");
                    Verdict::Unreachable
                }
            }
        }
    }
}

fn host_name(app: &App) -> Result<String, WebError> {
    match lock::read(&app.root) {
        Lock::Provisioned(settings) => Ok(settings.host_name.as_str().to_owned()),
        Lock::Setup => Err(WebError::Elsewhere("/setup")),
        Lock::Closed { reason } => Err(WebError::Closed { reason }),
    }
}

fn render(host: &str, view: &View<'_>) -> maud::Markup {
    let t = strings("en");
    let lead = fill(t.login_lead, &[("name", host)]);
    let words = Words {
        title: t.login_title,
        lead: &lead,
        button: t.login_button,
        action: "/login",
        testid: "form-login",
        after: None,
    };
    login_page(t, &words, view)
}

/// `GET /login`
pub async fn page(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    browser: Browser,
    person: Result<Person, WebError>,
) -> Result<Response, WebError> {
    let host = host_name(&app)?;
    if person.is_ok() {
        return Err(WebError::Elsewhere("/"));
    }
    let word = (query.as_deref() == Some("out")).then_some(strings("en").login_ended);
    Ok(browser.page(render(
        &host,
        &View {
            token: &browser.form_token(),
            word,
            ..View::default()
        },
    )))
}

/// `POST /login`
pub async fn submit(
    State(app): State<Arc<App>>,
    Peer(address): Peer,
    browser: Browser,
    form: Form,
) -> Result<Response, WebError> {
    let host = host_name(&app)?;
    browser.check(&form)?;
    let t = strings("en");
    let (name, password) = (form.trimmed("name"), form.get("password"));
    let token = browser.form_token();
    let view = View {
        token: &token,
        name,
        name_problem: name.is_empty().then_some(t.login_name_empty),
        password_problem: password.is_empty().then_some(t.login_password_empty),
        ..View::default()
    };
    if view.name_problem.is_some() || view.password_problem.is_some() {
        return Ok(browser.page((StatusCode::UNPROCESSABLE_ENTITY, render(&host, &view))));
    }
    let verdict = verify(&app, address, name, password).await;
    if verdict != Verdict::Right {
        let (status, problem) = verdict.refusal(t);
        let view = View {
            problem: Some(&problem),
            ..view
        };
        return Ok(verdict.with_retry(browser.page((status, render(&host, &view)))));
    }
    let session = secret::new_token().map_err(|e| WebError::Unavailable(e.to_string()))?;
    app.sessions().begin(Digest::of(&session), Instant::now());
    let mut response = Redirect::to("/").into_response();
    set_cookie(
        &mut response,
        cookies::set(cookies::SESSION, &session, session::ABSOLUTE.as_secs()),
    );
    Ok(response)
}

fn logged_out() -> Response {
    let mut response = Redirect::to("/login?out").into_response();
    set_cookie(&mut response, cookies::clear(cookies::SESSION));
    response
}

/// `POST /logout`
pub async fn logout(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    app.sessions().end(person.session());
    Ok(logged_out())
}

/// `POST /logout-everywhere`
pub async fn logout_everywhere(
    State(app): State<Arc<App>>,
    person: Person,
    form: Form,
) -> Result<Response, WebError> {
    person.check(&form)?;
    app.sessions().end_all();
    Ok(logged_out())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_what_the_message_names_within_reason() {
        assert_eq!(
            global_wait("too many wrong passwords; wait 17 seconds"),
            Duration::from_secs(17)
        );
        assert_eq!(global_wait("wait"), GLOBAL_WAIT);
        assert_eq!(global_wait("wait 99999999999999999999 seconds"), GLOBAL_WAIT);
        assert_eq!(global_wait("wait 9999999 seconds"), Duration::from_secs(600));
    }
}
