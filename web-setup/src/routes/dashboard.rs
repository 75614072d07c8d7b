//! The overview.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::Markup;

use crate::app::App;
use crate::clock::LocalClock;
use crate::error::{WebError, call_problem};
use crate::form::Form;
use crate::pages::{Nav, dashboard};
use crate::request::Person;
use crate::strings::strings;
use crate::system::{boots, kernel};

/// `GET /`
pub async fn page(State(app): State<Arc<App>>, person: Person) -> Markup {
    let (snapshot, updates) = tokio::join!(app.sampler.snapshot(), app.updates.status());
    let dismissed = match &updates {
        Ok(status) => app.updates.is_dismissed(status).await,
        Err(_) => false,
    };
    let starts = match app.store.boots().await {
        Ok(bytes) => bytes.map(|b| boots::decode(&b)).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the list of starts");
            vec![]
        }
    };
    let token = person.form_token();
    let nav = Nav {
        here: "/",
        token: &token,
        host_name: &person.host_name,
    };
    dashboard::page(
        strings("en"),
        nav,
        &snapshot,
        &dashboard::Beside {
            boots: &starts,
            boot_id: kernel::boot_id(&app.root).as_deref(),
            clock: &LocalClock::new(&app.root, &person.time_zone),
            updates: &updates,
            dismissed,
            boot: &super::boot_name(&app),
        },
    )
}

/// `POST /storage/grow`
pub async fn grow(State(app): State<Arc<App>>, person: Person, form: Form) -> Result<Response, WebError> {
    person.check(&form)?;
    let t = strings("en");
    app.provisioner
        .grow_data()
        .await
        .map_err(|e| WebError::Unavailable(call_problem(t, &e)))?;
    app.sampler.refresh().await;
    Ok(Redirect::to("/").into_response())
}
