//! What routes take out of a request: the browser, the session, the form, the address.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use ipc::settings::{TimeZone, UpdatePolicy};

use crate::app::App;
use crate::cookies;
use crate::error::WebError;
use crate::form::{Form, FormError, MAX_BODY_BYTES};
use crate::lock::{self, Lock};
use crate::secret::{self, Digest};

/// A body of a few hundred bytes that takes longer than this is an attack or a dead phone.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// The browser's cookie lasts a day: long enough to come back to a setup in the evening.
const BROWSER_SECONDS: u64 = 24 * 3600;

/// The peer's address; the accept loop puts it in.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<SocketAddr>().map(|address| address.ip());
        Ok(Self(known.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

/// A browser that is not logged in, by its cookie; one without gets a new one with the next page.
#[derive(Debug, Clone)]
pub struct Browser {
    token: String,
}

impl Browser {
    /// What names it in the claim.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.token)
    }

    /// The hidden field of its forms.
    pub fn form_token(&self) -> String {
        secret::form_token(&self.token)
    }

    /// The form was made for this browser.
    pub fn check(&self, form: &Form) -> Result<(), WebError> {
        if secret::same(form.get("token"), &self.form_token()) {
            Ok(())
        } else {
            Err(WebError::Forbidden)
        }
    }

    /// A page with a form: the cookie goes with it.
    pub fn page(&self, page: impl IntoResponse) -> Response {
        let mut response = page.into_response();
        set_cookie(
            &mut response,
            cookies::set(cookies::BROWSER, &self.token, BROWSER_SECONDS),
        );
        response
    }
}

/// Adds a `Set-Cookie` header.
pub fn set_cookie(response: &mut Response, value: Option<HeaderValue>) {
    if let Some(value) = value {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Browser {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, WebError> {
        let token = match cookies::token(&parts.headers, cookies::BROWSER) {
            Some(token) => token.to_owned(),
            None => secret::new_token().map_err(|e| WebError::Unavailable(e.to_string()))?,
        };
        Ok(Self { token })
    }
}

/// A person who is logged in. Without a session the request goes to the login, or wherever the lock says.
#[derive(Debug, Clone)]
pub struct Person {
    token: String,
    /// Name of the box.
    pub host_name: String,
    /// Its time zone.
    pub time_zone: TimeZone,
    /// When updates are installed.
    pub update_policy: UpdatePolicy,
}

impl Person {
    /// The session.
    pub fn session(&self) -> Digest {
        Digest::of(&self.token)
    }

    /// The hidden field of the session's forms.
    pub fn form_token(&self) -> String {
        secret::form_token(&self.token)
    }

    /// The form was made for this session.
    pub fn check(&self, form: &Form) -> Result<(), WebError> {
        if secret::same(form.get("token"), &self.form_token()) {
            Ok(())
        } else {
            Err(WebError::Forbidden)
        }
    }
}

impl FromRequestParts<Arc<App>> for Person {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, WebError> {
        let settings = match lock::read(&app.root) {
            Lock::Provisioned(settings) => settings,
            Lock::Setup => return Err(WebError::Elsewhere("/setup")),
            Lock::Closed { reason } => return Err(WebError::Closed { reason }),
        };
        let token = cookies::token(&parts.headers, cookies::SESSION).ok_or(WebError::Elsewhere("/login"))?;
        if !app.sessions().touch(Digest::of(token), Instant::now()) {
            return Err(WebError::Elsewhere("/login"));
        }
        Ok(Self {
            token: token.to_owned(),
            host_name: settings.host_name.as_str().to_owned(),
            time_zone: settings.time_zone,
            update_policy: settings.update_policy,
        })
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = WebError;

    async fn from_request(request: Request, _: &S) -> Result<Self, WebError> {
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(WebError::BadForm);
        }
        let declared = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > MAX_BODY_BYTES) {
            return Err(WebError::TooLarge);
        }
        let reading = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES);
        let body = match tokio::time::timeout(BODY_PATIENCE, reading).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) if chain_says_limit(&error) => return Err(WebError::TooLarge),
            Ok(Err(_)) | Err(_) => return Err(WebError::BadForm),
        };
        Form::parse(&body).map_err(|error| match error {
            FormError::TooLarge => WebError::TooLarge,
            FormError::Encoding | FormError::Twice | FormError::Nameless => WebError::BadForm,
        })
    }
}

fn chain_says_limit(error: &axum::Error) -> bool {
    crate::error::chain(error).contains("length limit")
}
