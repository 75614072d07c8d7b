//! Updates: what is installed, what is available, what goes on, what was. Each card is rendered here alone: for the page and
//! for the live stream alike.

use std::sync::Arc;

use ipc::boot_facts::BootFacts;
use ipc::settings::UpdatePolicy;
use ipc::updater::{HistoryEntry, Phase, SlotStatus, Status};
use maud::{Markup, PreEscaped, html};

use super::dashboard::{Part, row};
use super::{ALERT, Frame, Nav, TICK, form_error, layout, token};
use crate::clock::LocalClock;
use crate::setup::pages::policies;
use crate::strings::{Strings, fill};
use crate::system::Reading;

mod history;
mod state;

pub use state::{headline, is_restarting, summary};

/// What the cards show.
pub struct View<'a> {
    /// The sentences.
    pub t: &'a Strings,
    /// The form token of the session.
    pub token: &'a str,
    /// What the updater says.
    pub status: &'a Reading<Arc<Status>>,
    /// What became of updates, oldest first.
    pub history: &'a Reading<Vec<HistoryEntry>>,
    /// Facts of this boot.
    pub facts: &'a Reading<BootFacts>,
    /// When updates are installed.
    pub policy: UpdatePolicy,
    /// Times of the household.
    pub clock: &'a LocalClock,
    /// Now, in seconds since 1970.
    pub now_unix_s: u64,
    /// Name of this start, see [`crate::routes::boot_name`].
    pub boot: &'a str,
    /// The notice of the rollback was put aside.
    pub dismissed: bool,
}

/// The live parts of one moment.
pub fn parts(v: &View<'_>) -> Vec<Part> {
    vec![
        // Read out when it changes, and only then: numbers that run are on the page alone.
        (
            "live-said",
            html! { (headline(v.t, v.status, v.dismissed)) }.into_string(),
        ),
        ("live-update", state::card(v).into_string()),
        ("live-installed", installed(v).into_string()),
        ("live-usb", usb(v).into_string()),
        ("live-before", before(v).into_string()),
        ("live-history", history::list(v).into_string()),
    ]
}

/// The page. `problem` is what came of an action that failed, `word` of one that succeeded.
pub fn page(v: &View<'_>, nav: Nav<'_>, problem: Option<&str>, word: Option<&str>) -> Markup {
    let t = v.t;
    let parts = parts(v);
    let part = |id: &str| {
        let html = parts.iter().find(|(known, _)| *known == id);
        PreEscaped(html.map_or("", |(_, html)| html))
    };
    let card = |id: &str, title: &str| {
        html! { section.card aria-labelledby={ (id) "-title" } { h2 id={ (id) "-title" } { (title) } div id=(id) { (part(id)) } } }
    };
    let frame = Frame {
        t,
        title: t.upd_title,
        // Only where there is no script: the stream does it otherwise.
        head: html! { @if is_busy(v.status) { noscript { meta http-equiv="refresh" content="5"; } } },
        nav: Some(nav),
        wide: true,
    };
    layout(
        &frame,
        html! {
            div.title-row {
                h1 data-testid="heading" { (t.upd_title) }
                p.live role="status" hidden data-live-state data-live=(t.dash_live) data-paused=(t.dash_paused) data-ended=(t.dash_ended) data-testid="live-state" {}
            }
            p.unseen id="live-said" role="status" { (part("live-said")) }
            (form_error(problem))
            @if let Some(word) = word { p.banner.good role="status" data-testid="word" { (TICK) span { (word) } } }
            div.grid.updates data-events="/updates/events" data-boot=(v.boot) {
                div.column.wide-column {
                    div id="live-update" data-testid="update" { (part("live-update")) }
                    section.card.last aria-labelledby="live-history-title" data-testid="card-history" {
                        h2 id="live-history-title" { (t.upd_history) }
                        div id="live-history" { (part("live-history")) }
                    }
                }
                div.column {
                    (card("live-installed", t.upd_installed))
                    section.card aria-labelledby="policy-title" data-testid="card-policy" { h2 id="policy-title" { (t.upd_policy) } (policy(v)) }
                    (card("live-usb", t.upd_usb))
                    (card("live-before", t.upd_before))
                }
            }
        },
    )
}

/// Something moves: a page without a script looks again by itself.
fn is_busy(status: &Reading<Arc<Status>>) -> bool {
    status.as_ref().is_ok_and(|status| {
        is_restarting(status)
            || matches!(
                status.phase,
                Phase::Downloading | Phase::Verifying | Phase::Trying
            )
    })
}

/// A version as part of a sentence.
pub(crate) fn shown<'a>(t: &'a Strings, version: &'a str) -> &'a str {
    if version.is_empty() {
        t.upd_version_unnamed
    } else {
        version
    }
}

/// The slot that runs, as the updater says.
pub(crate) fn running(status: &Status) -> Option<&SlotStatus> {
    status.slots.iter().find(|slot| slot.running)
}

/// The slot that does not.
pub(crate) fn other(status: &Status) -> Option<&SlotStatus> {
    status.slots.iter().find(|slot| !slot.running)
}

/// What is in the other slot, as part of a sentence.
pub(crate) fn version_before(t: &Strings, slot: &SlotStatus) -> String {
    match &slot.bundle {
        Some(bundle) if !bundle.version.is_empty() => fill(t.upd_version, &[("version", &bundle.version)]),
        _ => t.upd_before_version.to_owned(),
    }
}

fn letter(slot: &SlotStatus) -> String {
    slot.slot.to_ascii_uppercase()
}

/// A form with one button.
fn button(
    v: &View<'_>,
    action: &str,
    field: Option<(&str, &str)>,
    class: &str,
    testid: &str,
    label: &str,
) -> Markup {
    html! {
        form method="post" action=(action) data-once {
            (token(v.token))
            @if let Some((name, value)) = field { input type="hidden" name=(name) value=(value); }
            button class=(class) type="submit" data-testid=(testid) { (label) }
        }
    }
}

fn installed(v: &View<'_>) -> Markup {
    let t = v.t;
    let status = v.status.as_ref().ok();
    let slot = status.and_then(|status| running(status));
    let version = match (status, v.facts) {
        (Some(status), _) => shown(t, &status.version).to_owned(),
        (None, Ok(facts)) => facts.version.clone(),
        (None, Err(_)) => t.not_available.to_owned(),
    };
    let name = match (slot, v.facts) {
        (Some(slot), _) => letter(slot),
        (None, Ok(facts)) => super::dashboard::slot_name(facts.slot).to_owned(),
        (None, Err(_)) => t.not_available.to_owned(),
    };
    let since = slot.map(|slot| match slot.installed_unix_s {
        Some(at) => v.clock.date_time(at),
        None => t.upd_since_image.to_owned(),
    });
    html! {
        dl {
            (row(t.dash_version, "value-version", &html! { (version) }))
            (row(t.dash_slot, "value-slot", &html! { (name) }))
            @if let Some(since) = since { (row(t.upd_since, "value-since", &html! { (since) })) }
            @if let Ok(facts) = v.facts {
                (row(t.upd_keys, "value-keys", &html! {
                    @if facts.development_keys { span.warned { (t.upd_keys_development) } } @else { (t.upd_keys_release) }
                }))
            }
        }
    }
}

fn policy(v: &View<'_>) -> Markup {
    let t = v.t;
    html! {
        form method="post" action="/updates/policy" data-testid="form-policy" data-once {
            (token(v.token))
            fieldset {
                legend.unseen { (t.updates_legend) }
                @for (policy, value, label, hint) in policies(t) {
                    label.choice.small {
                        input type="radio" name="policy" value=(value) checked[policy == v.policy] data-testid={ "policy-" (value) };
                        span { strong { (label) } span.hint { (hint) } }
                    }
                }
            }
            button.secondary type="submit" data-testid="policy-save" { (t.upd_policy_save) }
        }
    }
}

fn usb(v: &View<'_>) -> Markup {
    let t = v.t;
    let possible = v.status.as_ref().is_ok_and(|status| {
        matches!(
            status.phase,
            Phase::Idle | Phase::Good | Phase::RolledBack | Phase::Unhealthy
        ) && !is_restarting(status)
    });
    html! {
        p.muted { (t.upd_usb_lead) }
        @if possible { (button(v, "/updates/usb", None, "secondary", "install-usb", t.upd_usb_button)) }
        @else if v.status.is_ok() { p.muted { strong { (t.upd_usb_busy) } } }
    }
}

/// Why there is no way back, as the end of a sentence.
pub(crate) fn no_way_back(t: &Strings, status: &Status) -> Option<String> {
    if status.can_roll_back && !is_restarting(status) {
        return None;
    }
    let slot = other(status);
    let text = match (status.phase, slot) {
        (Phase::Downloading | Phase::Verifying, _) => t.upd_before_installing,
        (Phase::Staged, _) => t.upd_before_staged,
        _ if is_restarting(status) => t.upd_before_restarting,
        (Phase::Trying, _) => t.upd_before_trying,
        (_, Some(slot)) if !slot.complete => t.upd_before_empty,
        (_, Some(slot)) if !slot.good => t.upd_before_bad,
        _ if status.withdrawn => t.upd_before_withdrawn,
        _ => t.upd_before_other,
    };
    Some(fill(text, &[("slot", &slot.map(letter).unwrap_or_default())]))
}

fn before(v: &View<'_>) -> Markup {
    let t = v.t;
    let Ok(status) = v.status else {
        return html! { p.muted { (t.upd_no_answer) "." } };
    };
    match no_way_back(t, status) {
        None => {
            let slot = other(status);
            let is = slot.map(|slot| {
                let version = version_before(t, slot);
                fill(t.upd_before_is, &[("slot", &letter(slot)), ("version", &version)])
            });
            html! {
                @if let Some(is) = is { p data-testid="value-before" { (is) } }
                p.muted { (t.upd_before_lead) }
                a.button.secondary.whole href="/updates/go-back" data-testid="go-back" { (t.upd_before_link) }
            }
        }
        Some(reason) => html! {
            p.muted id="before-why" data-testid="go-back-why" { (fill(t.upd_before_not, &[("reason", &reason)])) }
            button.button.secondary.whole type="button" disabled aria-describedby="before-why" data-testid="go-back-disabled" { (t.upd_before_link) }
        },
    }
}

/// What going back means, and the button that does it.
pub fn go_back(t: &Strings, nav: Nav<'_>, status: &Status) -> Markup {
    let hidden = token(nav.token);
    let frame = Frame {
        t,
        title: t.upd_before_link,
        head: html! {},
        nav: Some(nav),
        wide: false,
    };
    let slot = other(status);
    let version = slot.map_or(t.upd_before_version.to_owned(), |slot| version_before(t, slot));
    let name = slot.map(letter).unwrap_or_default();
    let values = [("version", version.as_str()), ("slot", name.as_str())];
    layout(
        &frame,
        html! {
            section.card {
                h1 data-testid="heading" { (fill(t.upd_back_title, &values)) }
                ul.losses {
                    li { (fill(t.upd_back_1, &values)) }
                    li { strong { (t.upd_back_2) } }
                    li { (fill(t.upd_back_3, &[("version", shown(t, &status.version))])) }
                    li { (fill(t.upd_back_4, &values)) }
                }
                form method="post" action="/updates/go-back" data-testid="form-go-back" data-once {
                    (hidden)
                    input type="hidden" name="slot" value=(slot.map_or("", |slot| &slot.slot));
                    div.actions {
                        button.primary type="submit" data-testid="submit" { (t.upd_back_button) }
                        a.button.secondary href="/updates" data-testid="cancel" { (t.upd_back_cancel) }
                    }
                }
            }
        },
    )
}

fn warning(testid: &str, text: &str) -> Markup {
    html! { div.banner.warn data-testid=(testid) { (ALERT) p { (text) } } }
}
