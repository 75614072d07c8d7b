//! What became of updates, newest first.

use ipc::updater::{HistoryEntry, Outcome};
use maud::{Markup, html};

use super::View;
use crate::strings::{Strings, fill};

/// Entries that are shown at once; the others unfold.
const FIRST: usize = 6;
/// Entries that are shown at all: a page for a phone is no archive.
const MAX: usize = 100;

pub(super) fn list(v: &View<'_>) -> Markup {
    let t = v.t;
    let entries = match v.history {
        Ok(entries) => entries,
        Err(reason) => {
            return html! { p.muted data-testid="history" { (fill(t.dash_why, &[("reason", reason)])) } };
        }
    };
    if entries.is_empty() {
        return html! { p.muted data-testid="history" { (t.upd_history_none) } };
    }
    let newest: Vec<&HistoryEntry> = entries.iter().rev().take(MAX).collect();
    let (first, more) = newest.split_at(newest.len().min(FIRST));
    html! {
        ul.plain data-testid="history" { @for entry in first { (line(v, entry)) } }
        @if !more.is_empty() {
            details data-testid="history-more" {
                summary { (fill(t.upd_history_more, &[("n", &more.len().to_string())])) }
                ul.plain { @for entry in more { (line(v, entry)) } }
            }
        }
        p.why { (fill(t.upd_history_zone, &[("zone", &v.clock.zone())])) }
    }
}

fn line(v: &View<'_>, entry: &HistoryEntry) -> Markup {
    let t = v.t;
    let (class, word) = outcome(t, entry.outcome);
    html! {
        li data-outcome=(class) {
            p.line {
                strong { @if entry.version.is_empty() { (word) } @else { (t.dash_version) " " (entry.version) } }
                @if !entry.slot.is_empty() { span.muted { (fill(t.upd_history_slot, &[("slot", &entry.slot.to_ascii_uppercase())])) } }
                span class={ "pill " (class) } { (word) }
            }
            p { (entry.sentence) }
            p.muted { (v.clock.date_time(entry.unix_s)) }
        }
    }
}

fn outcome(t: &Strings, outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Installed => ("off", t.upd_outcome_installed),
        Outcome::Good => ("ok", t.upd_outcome_good),
        Outcome::RolledBack => ("bad", t.upd_outcome_rolled_back),
        Outcome::Unhealthy => ("bad", t.upd_outcome_unhealthy),
        Outcome::Failed => ("busy", t.upd_outcome_failed),
        Outcome::Cancelled => ("off", t.upd_outcome_cancelled),
        Outcome::WentBack => ("busy", t.upd_outcome_went_back),
        Outcome::Marked => ("off", t.upd_outcome_marked),
        Outcome::JournalLost => ("busy", t.upd_outcome_journal_lost),
    }
}
