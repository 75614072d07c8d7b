//! What a request can end with besides its page. Each is a page too: what happened, that nothing was changed, what to do.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;

use crate::pages::{self, Notice};
use crate::provisioner::CallError;
use crate::setup::desk::DeskError;
use crate::strings::{Strings, fill, strings};
use crate::updater::UpdaterError;

/// The end of a request that did not get its page.
#[derive(Debug)]
pub enum WebError {
    /// No such page.
    NotFound,
    /// The page takes no such method.
    Method,
    /// The form's token does not belong to the browser, or another site sent it.
    Forbidden,
    /// The body is too large.
    TooLarge,
    /// The body is no form, or took too long.
    BadForm,
    /// The `Host` header is not ours; `name` is.
    Host {
        /// A name that works.
        name: String,
    },
    /// Go there instead.
    Elsewhere(&'static str),
    /// Setup is finished: the lock.
    Locked,
    /// Nobody can come in; why.
    Closed {
        /// One sentence.
        reason: String,
    },
    /// A service or the disk does not do its part; one sentence.
    Unavailable(String),
    /// Too many streams or logins.
    Busy(Duration),
}

impl From<DeskError> for WebError {
    fn from(error: DeskError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "setup");
        let t = strings("en");
        match error {
            DeskError::Call(call) => Self::Unavailable(call_problem(t, &call)),
            DeskError::Store(store) => {
                Self::Unavailable(fill(t.unavailable_store, &[("reason", &chain(&store))]))
            }
            DeskError::Refused(_) | DeskError::Task => Self::Unavailable(t.unavailable_lead.into()),
        }
    }
}

/// An error and what is behind it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// What a person is told of a call that failed.
pub fn call_problem(t: &Strings, error: &CallError) -> String {
    match error {
        CallError::Refused { message, .. } if !message.is_empty() => message.clone(),
        CallError::Refused { .. } => t.unavailable_lead.into(),
        CallError::Unreachable(why) => format!("{}: {why}", t.call_absent),
    }
}

/// What a person is told of a change that the updater did not make.
pub fn updater_problem(t: &Strings, error: &UpdaterError) -> String {
    match error {
        UpdaterError::Refused { message, .. } if !message.is_empty() => message.clone(),
        UpdaterError::Refused { .. } => t.unavailable_lead.into(),
        UpdaterError::Unknown => t.upd_check_unknown.into(),
        UpdaterError::Unreachable(why) => format!("{}: {why}", t.upd_no_answer),
    }
}

impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        let t = strings("en");
        let (status, title, lead) = match self {
            Self::Elsewhere(path) => return Redirect::to(path).into_response(),
            Self::Closed { reason } => {
                return (StatusCode::SERVICE_UNAVAILABLE, pages::closed(t, &reason)).into_response();
            }
            Self::Locked => {
                return (StatusCode::GONE, pages::notice(t, &Notice {
                    title: t.locked_title,
                    lead: t.locked_sentence,
                    testid: "setup-locked",
                    body: html! { a.button.primary href="/login" data-testid="to-login" { (t.done_login) } },
                }))
                    .into_response();
            }
            Self::Busy(wait) => {
                let page = pages::notice(
                    t,
                    &Notice {
                        title: t.unavailable_title,
                        lead: t.login_busy,
                        testid: "error-page",
                        body: html! {},
                    },
                );
                let mut response = (StatusCode::SERVICE_UNAVAILABLE, page).into_response();
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
                return response;
            }
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                t.not_found_title,
                t.not_found_lead.to_owned(),
            ),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                t.method_title,
                t.method_lead.to_owned(),
            ),
            Self::Forbidden => (
                StatusCode::FORBIDDEN,
                t.forbidden_title,
                t.forbidden_lead.to_owned(),
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                t.bad_form_title,
                t.bad_form_lead.to_owned(),
            ),
            Self::BadForm => (
                StatusCode::BAD_REQUEST,
                t.bad_form_title,
                t.bad_form_lead.to_owned(),
            ),
            Self::Host { name } => (
                StatusCode::MISDIRECTED_REQUEST,
                t.host_title,
                fill(t.host_lead, &[("name", &name)]),
            ),
            Self::Unavailable(why) => (StatusCode::SERVICE_UNAVAILABLE, t.unavailable_title, why),
        };
        let body = html! { a.button.secondary href="/" data-testid="to-start" { (t.to_start) } };
        (
            status,
            pages::notice(
                t,
                &Notice {
                    title,
                    lead: &lead,
                    testid: "error-page",
                    body,
                },
            ),
        )
            .into_response()
    }
}
