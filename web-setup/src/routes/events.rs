//! Live pages: server-sent events with the parts of the page that changed. A stream asks for its snapshots itself, so nothing
//! is sampled when nobody listens.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use ipc::settings::UpdatePolicy;
use ipc::updater::{HistoryEntry, Phase};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::app::App;
use crate::clock::LocalClock;
use crate::error::WebError;
use crate::lock::{self, Lock};
use crate::pages::{dashboard, updates};
use crate::request::Person;
use crate::secret::Digest;
use crate::setup::desk::now;
use crate::strings::strings;
use crate::system::Reading;
use crate::updates::Known;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// The history is asked for again when the state changes, and after this time.
const HISTORY_AGE: Duration = Duration::from_secs(60);

/// Which page is open.
enum Live {
    Overview,
    Updates {
        clock: Box<LocalClock>,
        policy: UpdatePolicy,
        history: Option<(Instant, Phase, Reading<Vec<HistoryEntry>>)>,
    },
}

struct Stream {
    app: Arc<App>,
    session: Digest,
    form_token: String,
    live: Live,
    known: watch::Receiver<Known>,
    /// What the page shows, by part; only its digest is kept.
    shown: HashMap<&'static str, Digest>,
    first: bool,
    over: bool,
    _place: OwnedSemaphorePermit,
}

/// An event and no comment, which scripts do not see: a page tells by it a quiet box from one that is gone.
fn still_here() -> KeepAlive {
    KeepAlive::new().event(Event::default().event("still").data(""))
}

/// `GET /events`: the overview.
pub async fn stream(State(app): State<Arc<App>>, person: Person) -> Result<Response, WebError> {
    begin(app, &person, Live::Overview)
}

/// `GET /updates/events`
pub async fn updates(State(app): State<Arc<App>>, person: Person) -> Result<Response, WebError> {
    let live = Live::Updates {
        clock: Box::new(LocalClock::new(&app.root, &person.time_zone)),
        policy: person.update_policy,
        history: None,
    };
    begin(app, &person, live)
}

fn begin(app: Arc<App>, person: &Person, live: Live) -> Result<Response, WebError> {
    let place = app
        .streams
        .clone()
        .try_acquire_owned()
        .map_err(|_| WebError::Busy(Duration::from_secs(10)))?;
    let state = Stream {
        session: person.session(),
        form_token: person.form_token(),
        live,
        known: app.updates.follow(),
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
    Ok(Sse::new(events).keep_alive(still_here()).into_response())
}

impl Stream {
    /// The next event; none when the session is over and the page was told.
    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        loop {
            if !std::mem::take(&mut self.first) {
                // What the updater tells is shown at once, everything else at the next look.
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    _ = self.known.changed() => {}
                }
            }
            if !self.app.sessions().is_alive(self.session, Instant::now()) {
                self.over = true;
                return Some(Event::default().event("ended").data("-"));
            }
            let mut changed = serde_json::Map::new();
            for (id, html) in self.parts().await {
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

    /// The parts of the page now; of the updater, none before its first answer: the page shows what it had.
    async fn parts(&mut self) -> Vec<dashboard::Part> {
        let t = strings("en");
        let known = self.known.borrow_and_update().clone();
        let dismissed = match &known {
            Some(Ok(status)) => self.app.updates.is_dismissed(status).await,
            _ => false,
        };
        let (clock, policy, history) = match &mut self.live {
            Live::Overview => {
                let snapshot = self.app.sampler.snapshot().await;
                let mut parts = dashboard::parts(t, &snapshot, &self.form_token);
                if let Some(status) = &known {
                    parts.push(dashboard::updates_part(t, status, dismissed));
                }
                return parts;
            }
            Live::Updates {
                clock,
                policy,
                history,
            } => (clock, policy, history),
        };
        let Some(status) = known else {
            return vec![];
        };
        // What the settings say may change while the page is open.
        if let Lock::Provisioned(settings) = lock::read(&self.app.root) {
            *policy = settings.update_policy;
        }
        let phase = status.as_ref().map_or(Phase::Idle, |status| status.phase);
        let (_, _, lines) = match history.take() {
            Some(known) if known.0.elapsed() < HISTORY_AGE && known.1 == phase => history.insert(known),
            _ => history.insert((Instant::now(), phase, self.app.updates.history().await)),
        };
        updates::parts(&updates::View {
            t,
            token: &self.form_token,
            status: &status,
            history: lines,
            facts: &lock::boot_facts(&self.app.root),
            policy: *policy,
            clock,
            now_unix_s: now(),
            boot: &super::boot_name(&self.app),
            dismissed,
        })
    }
}
