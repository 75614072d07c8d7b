//! Power, diagnosis, factory-reset.

use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::boot_name;
use crate::app::App;
use crate::error::{WebError, call_problem};
use crate::form::Form;
use crate::pages::{self, Nav, device};
use crate::provisioner::CallError;
use crate::request::Person;
use crate::setup::desk::now;
use crate::strings::{date, fill, strings};

const CHUNK_BYTES: usize = 32 * 1024;

fn show(app: &App, person: &Person, problem: Option<&CallError>) -> Response {
    let t = strings("en");
    let token = person.form_token();
    let nav = Nav {
        here: "/device",
        token: &token,
        host_name: &person.host_name,
    };
    let sessions = app.sessions().count(Instant::now());
    let text = problem.map(|e| fill(t.failed_action, &[("reason", &call_problem(t, e))]));
    let status = if problem.is_some() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (status, device::page(t, nav, sessions, text.as_deref())).into_response()
}

/// `GET /device`
pub async fn page(State(app): State<Arc<App>>, person: Person) -> Response {
    show(&app, &person, None)
}

/// `POST /device/reboot`: the answer is the page that waits; it must be in the browser before the network is gone.
pub async fn reboot(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    let t = strings("en");
    Ok(match app.provisioner.reboot().await {
        Ok(()) => {
            pages::waiting(t, t.wait_reboot_title, t.wait_reboot_lead, &boot_name(&app)).into_response()
        }
        Err(error) => show(&app, &person, Some(&error)),
    })
}

/// `POST /device/power-off`
pub async fn power_off(
    State(app): State<Arc<App>>,
    person: Person,
    form: Form,
) -> Result<Response, WebError> {
    person.check(&form)?;
    Ok(match app.provisioner.power_off().await {
        Ok(()) => pages::powered_off(strings("en")).into_response(),
        Err(error) => show(&app, &person, Some(&error)),
    })
}

/// `POST /device/diagnosis`: streamed in pieces, never whole in this program's memory.
pub async fn diagnosis(
    State(app): State<Arc<App>>,
    person: Person,
    form: Form,
) -> Result<Response, WebError> {
    person.check(&form)?;
    let file = match app.provisioner.diagnosis().await {
        Ok(file) => file,
        Err(error) => return Ok(show(&app, &person, Some(&error))),
    };
    let name = format!("{}-diagnosis-{}.tar.gz", person.host_name, date(now()));
    let length = file.metadata().map(|m| m.len()).ok();
    let chunks = stream::try_unfold(file, |mut file| async move {
        // A memfd is memory: reading it does not block.
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = file.read(&mut chunk)?;
        chunk.truncate(count);
        Ok::<_, std::io::Error>((count > 0).then_some((Bytes::from(chunk), file)))
    });
    let mut response = (
        [
            (header::CONTENT_TYPE, "application/gzip".to_owned()),
            (
                header::CONTENT_DISPOSITION,
                format!("attachment; filename=\"{name}\""),
            ),
        ],
        Body::from_stream(chunks),
    )
        .into_response();
    if let Some(length) = length {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(response)
}

fn reset_form(person: &Person, typed: &str, problem: Option<&str>, failure: Option<&str>) -> Response {
    let token = person.form_token();
    let nav = Nav {
        here: "/device",
        token: &token,
        host_name: &person.host_name,
    };
    let status = match (problem, failure) {
        (None, None) => StatusCode::OK,
        (Some(_), _) => StatusCode::UNPROCESSABLE_ENTITY,
        (None, Some(_)) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, device::reset(strings("en"), nav, typed, problem, failure)).into_response()
}

/// `GET /device/factory-reset`
pub async fn reset_page(person: Person) -> Response {
    reset_form(&person, "", None, None)
}

/// `POST /device/factory-reset`
pub async fn reset(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    let t = strings("en");
    let typed = form.trimmed("confirm");
    if typed != person.host_name {
        let problem = fill(t.reset_wrong, &[("name", &person.host_name)]);
        return Ok(reset_form(&person, typed, Some(&problem), None));
    }
    let boot = boot_name(&app);
    Ok(match app.provisioner.factory_reset(typed).await {
        Ok(()) => {
            app.sessions().end_all();
            pages::waiting(t, t.wait_reset_title, t.wait_reset_lead, &boot).into_response()
        }
        Err(error) => {
            let failure = fill(t.failed_action, &[("reason", &call_problem(t, &error))]);
            reset_form(&person, typed, None, Some(&failure))
        }
    })
}
