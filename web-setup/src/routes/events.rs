//! The live dashboard: server-sent events with the parts of the page that changed. A stream asks for its snapshots itself, so
//! nothing is sampled when nobody listens.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::error::WebError;
use crate::pages::dashboard;
use crate::request::Person;
use crate::secret::Digest;
use crate::strings::strings;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

struct Stream {
    app: Arc<App>,
    session: Digest,
    form_token: String,
    /// What the page shows, by part; only its digest is kept.
    shown: HashMap<&'static str, Digest>,
    first: bool,
    over: bool,
    _place: OwnedSemaphorePermit,
}

/// `GET /events`
pub async fn stream(State(app): State<Arc<App>>, person: Person) -> Result<Response, WebError> {
    let place = app
        .streams
        .clone()
        .try_acquire_owned()
        .map_err(|_| WebError::Busy(Duration::from_secs(10)))?;
    let state = Stream {
        session: person.session(),
        form_token: person.form_token(),
        app,
        shown: HashMap::new(),
        first: true,
        over: false,
        _place: place,
    };
    let events = stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((Ok::<Event, Infallible>(event), state))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

impl Stream {
    /// The next event; none when the session is over and the page was told.
    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        loop {
            if !std::mem::take(&mut self.first) {
                tokio::time::sleep(INTERVAL).await;
            }
            if !self.app.sessions().is_alive(self.session, Instant::now()) {
                self.over = true;
                return Some(Event::default().event("ended").data("-"));
            }
            let snapshot = self.app.sampler.snapshot().await;
            let mut changed = serde_json::Map::new();
            for (id, html) in dashboard::parts(strings("en"), &snapshot, &self.form_token) {
                let digest = Digest::of(&html);
                if self.shown.insert(id, digest) != Some(digest) {
                    changed.insert(id.to_owned(), html.into());
                }
            }
            if !changed.is_empty() {
                return Some(
                    Event::default()
                        .event("parts")
                        .data(serde_json::Value::Object(changed).to_string()),
                );
            }
        }
    }
}
