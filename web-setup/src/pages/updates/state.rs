//! The card that says what goes on, and offers what can be done about it.

use std::sync::Arc;

use ipc::settings::UpdatePolicy;
use ipc::updater::{Available, BundleStatus, Phase, Progress, Status, When};
use maud::{Markup, html};

use super::{ALERT, TICK, View, button, running, shown, token, warning};
use crate::prose;
use crate::strings::{Strings, bytes, duration, fill};
use crate::system::Reading;
use crate::system::kernel::percent;

/// The box is about to go down, or is going: the next start tries another slot than the one that runs, and nobody waits.
pub fn is_restarting(status: &Status) -> bool {
    let leaves = running(status).is_some_and(|slot| !slot.primary);
    match status.phase {
        Phase::Trying | Phase::RolledBack => leaves,
        Phase::Staged => status.starts == Some(When::Now),
        Phase::Idle | Phase::Downloading | Phase::Verifying | Phase::Good | Phase::Unhealthy => false,
    }
}

/// What the channel has, where it is not the very bundle whose rollback is shown.
fn news(status: &Status, dismissed: bool) -> Option<&Available> {
    let available = status.available.as_ref()?;
    let failed = status
        .bundle
        .as_ref()
        .filter(|_| status.phase == Phase::Unhealthy || (status.phase == Phase::RolledBack && !dismissed));
    (failed.map(|bundle| &bundle.manifest_hash) != Some(&available.manifest_hash)).then_some(available)
}

/// What goes on, in one line without numbers that run.
pub fn headline(t: &Strings, status: &Reading<Arc<Status>>, dismissed: bool) -> String {
    let Ok(status) = status else {
        return t.upd_no_answer.into();
    };
    let bundle = status.bundle.as_ref();
    let with = |text: &str| {
        let version = bundle.map_or("", |bundle| &bundle.version);
        fill(text, &[("version", shown(t, version))])
    };
    let restarting = is_restarting(status);
    match status.phase {
        Phase::Downloading if bundle.is_none() => t.upd_checking_bundle.into(),
        Phase::Downloading => with(t.upd_installing),
        Phase::Verifying => with(t.upd_verifying),
        Phase::Staged => with(match status.starts {
            Some(When::Tonight) if status.waits_for.is_some() => t.upd_staged_waits,
            Some(When::Tonight) => t.upd_staged_tonight,
            Some(When::Now) => t.upd_staged_now,
            Some(When::Reboot) | None => t.upd_staged,
        }),
        // A system that came with the image has no bundle to name it.
        Phase::Trying if bundle.is_none_or(|bundle| bundle.version.is_empty()) => {
            if restarting {
                t.wait_reboot_title.into()
            } else {
                t.upd_trying_unnamed.into()
            }
        }
        Phase::Trying if restarting => with(t.upd_restarting),
        Phase::Trying => with(t.upd_trying),
        Phase::RolledBack if restarting => with(t.upd_going_back),
        Phase::RolledBack if !dismissed => with(t.upd_rolled_back),
        Phase::Unhealthy => with(t.upd_unhealthy),
        Phase::Idle | Phase::Good | Phase::RolledBack => quiet_headline(t, status, dismissed),
    }
}

fn quiet_headline(t: &Strings, status: &Status, dismissed: bool) -> String {
    if let Some(available) = news(status, dismissed) {
        let text = if available.failed_before.is_some() {
            t.upd_left_out
        } else {
            t.upd_available
        };
        return fill(text, &[("version", shown(t, &available.version))]);
    }
    match (status.phase, status.checked_unix_s, &status.check_error) {
        (Phase::Good, _, _) => fill(t.upd_good, &[("version", shown(t, &status.version))]),
        (_, _, Some(_)) => t.upd_check_failed.into(),
        (_, None, None) => t.upd_unchecked.into(),
        (_, Some(_), None) => t.upd_current.into(),
    }
}

/// The inside of the overview's card.
pub fn summary(t: &Strings, status: &Reading<Arc<Status>>, dismissed: bool) -> Markup {
    let line = headline(t, status, dismissed);
    let Ok(known) = status else {
        return html! { p.muted data-testid="update-state" { (line) } (link(t)) };
    };
    let installed = running(known).map(|slot| {
        let slot = slot.slot.to_ascii_uppercase();
        fill(
            t.upd_card_installed,
            &[("version", shown(t, &known.version)), ("slot", &slot)],
        )
    });
    let bad = matches!(known.phase, Phase::Unhealthy) || (known.phase == Phase::RolledBack && !dismissed);
    let good = matches!(known.phase, Phase::Idle | Phase::Good | Phase::RolledBack)
        && news(known, dismissed).is_none()
        && known.checked_unix_s.is_some()
        && known.check_error.is_none();
    html! {
        @if bad { p.problem data-testid="update-state" { (ALERT) span { (line) } } }
        @else if good { p.good-line data-testid="update-state" { (TICK) span { (line) } } }
        @else { p data-testid="update-state" { strong { (line) } } }
        @if let (Phase::Downloading | Phase::Verifying, Some(progress)) = (known.phase, &known.progress) { (bar(t, known.phase, progress, &line)) }
        @if let Some(installed) = installed { p.muted data-testid="update-installed" { (installed) } }
        (link(t))
    }
}

fn link(t: &Strings) -> Markup {
    html! { a.more href="/updates" data-testid="to-updates" { (t.upd_card_link) } }
}

/// The card.
pub(super) fn card(v: &View<'_>) -> Markup {
    let t = v.t;
    let line = headline(t, v.status, v.dismissed);
    let status = match v.status {
        Ok(status) => status,
        Err(reason) => {
            return frame(
                "",
                "unreachable",
                &html! { (line) },
                html! {
                    p.muted data-testid="update-why" { (fill(t.dash_why, &[("reason", reason)])) }
                    p.muted { (t.upd_no_answer_hint) }
                },
            );
        }
    };
    if is_restarting(status) {
        return restarting(v, &line);
    }
    let phase = status.phase.name();
    match status.phase {
        Phase::Downloading | Phase::Verifying => {
            frame("", phase, &html! { (line) }, installing(v, status, &line))
        }
        Phase::Staged => frame("", phase, &html! { (line) }, staged(v, status)),
        Phase::Trying => frame(
            "",
            phase,
            &html! { (line) },
            html! { p { (t.upd_trying_lead) } (changes(v, status.bundle.as_ref())) },
        ),
        Phase::Unhealthy => {
            html! { (frame("bad", phase, &html! { (ALERT) span { (line) } }, unhealthy(v, status))) (quiet_below(v, status)) }
        }
        Phase::RolledBack if !v.dismissed => {
            html! { (frame("bad", phase, &html! { (ALERT) span { (line) } }, rolled_back(v, status))) (quiet_below(v, status)) }
        }
        Phase::Idle | Phase::Good | Phase::RolledBack => quiet(v, status, &line),
    }
}

/// `tone` is a class of the card; `phase` is for tests.
fn frame(tone: &str, phase: &str, title: &Markup, inside: Markup) -> Markup {
    html! {
        section class={ "card state " (tone) } aria-labelledby="update-title" data-phase=(phase) {
            h2 id="update-title" data-testid="update-title" { (title) }
            (inside)
        }
    }
}

/// Nothing goes on: what is available, or that nothing is.
fn quiet(v: &View<'_>, status: &Status, line: &str) -> Markup {
    let t = v.t;
    let phase = status.phase.name();
    match news(status, v.dismissed) {
        Some(new) => html! {
            section.card.state aria-labelledby="update-title" data-phase=(phase) data-testid="available" {
                @if new.critical && new.failed_before.is_none() { p { span.pill.bad data-testid="critical" { (t.upd_critical) } } }
                h2 id="update-title" data-testid="update-title" { (line) }
                (available(v, status, new))
            }
        },
        None => {
            let good = status.checked_unix_s.is_some() && status.check_error.is_none()
                || status.phase == Phase::Good;
            let title = html! { @if good { span.good-line { (TICK) span { (line) } } } @else { (line) } };
            frame(
                "",
                phase,
                &title,
                html! { (last_error(v, status)) (checked(v, status)) },
            )
        }
    }
}

/// What else there is while a failure is shown above.
fn quiet_below(v: &View<'_>, status: &Status) -> Markup {
    let t = v.t;
    html! {
        @if let Some(new) = news(status, v.dismissed) {
            section.card.state aria-labelledby="available-title" data-testid="available" {
                h2 id="available-title" { (fill(t.upd_available, &[("version", shown(t, &new.version))])) }
                (available(v, status, new))
            }
        }
    }
}

/// What a person has to do before it goes on by itself.
fn waits_for(status: &Status) -> Markup {
    html! { @if let Some(reason) = &status.waits_for { (warning("waits-for", reason)) } }
}

fn last_error(v: &View<'_>, status: &Status) -> Markup {
    html! {
        @if let Some(reason) = &status.last_error {
            (warning("last-error", &fill(v.t.upd_last_error, &[("reason", reason)])))
        }
    }
}

/// When the channel was read, and the button that reads it now.
fn checked(v: &View<'_>, status: &Status) -> Markup {
    let t = v.t;
    html! {
        @if let Some(reason) = &status.check_error {
            (warning("check-error", &fill(t.upd_check_failed_why, &[("reason", reason)])))
        }
        @match status.checked_unix_s {
            Some(at) => { p.muted data-testid="value-checked" { (fill(t.upd_checked, &[("time", &v.clock.soon(at, v.now_unix_s))])) } }
            None => { p.muted data-testid="value-checked" { (t.upd_unchecked_lead) } }
        }
        div.actions.side { (button(v, "/updates/check", None, "secondary", "check", t.upd_check)) }
    }
}

fn available(v: &View<'_>, status: &Status, new: &Available) -> Markup {
    let t = v.t;
    let total = bytes(new.size_bytes);
    let download = match new.download_bytes {
        Some(part) => fill(t.upd_download_part, &[("part", &bytes(part)), ("total", &total)]),
        None => fill(t.upd_download_all, &[("total", &total)]),
    };
    html! {
        (last_error(v, status))
        (waits_for(status))
        @if let Some(reason) = &new.failed_before {
            p data-testid="failed-before" { (fill(t.upd_failed_before, &[("reason", reason)])) }
            p.muted { (t.upd_left_out_lead) }
        }
        @if !new.description.trim().is_empty() {
            h3 { (t.upd_changes) }
            div.prose data-testid="changes" { (prose::render(&new.description)) }
        }
        dl.summary {
            (super::row(t.upd_download, "value-download", &html! { (download) }))
            (super::row(t.upd_channel, "value-channel", &html! { (new.channel) }))
            @if let Some(at) = new.published_unix_s { (super::row(t.upd_published, "value-published", &html! { (v.clock.date_time(at)) })) }
        }
        @if new.failed_before.is_some() {
            div.actions.side { (button(v, "/updates/try-again", Some(("bundle", &new.manifest_hash)), "secondary", "try-again", t.upd_try_again)) }
        } @else {
            (install_form(v, status, new))
        }
        @if let Some(reason) = &status.check_error {
            p.muted { (fill(t.upd_check_failed_why, &[("reason", reason)])) }
        }
    }
}

fn install_form(v: &View<'_>, status: &Status, new: &Available) -> Markup {
    let t = v.t;
    html! {
        form method="post" action="/updates/install" data-testid="form-install" data-once {
            (token(v.token))
            input type="hidden" name="bundle" value=(new.manifest_hash);
            @if v.policy == UpdatePolicy::Automatic && status.waits_for.is_none() { p data-testid="tonight-by-itself" { (t.upd_policy_tonight) } }
            label.check {
                input type="checkbox" name="restart" value="yes" checked data-testid="restart" aria-describedby="restart-hint";
                span { (t.upd_restart_when_done) span.hint id="restart-hint" { (t.upd_restart_when_done_hint) } }
            }
            div.actions.side {
                button.primary type="submit" name="do" value="now" data-testid="install-now" { (t.upd_install_now) }
                button.secondary type="submit" name="do" value="tonight" data-testid="install-tonight" { (t.upd_install_tonight) }
            }
            p.hint { (t.upd_install_tonight_hint) }
        }
    }
}

fn changes(v: &View<'_>, bundle: Option<&BundleStatus>) -> Markup {
    html! {
        @if let Some(bundle) = bundle.filter(|bundle| !bundle.description.trim().is_empty()) {
            details data-testid="changes" {
                summary { (v.t.upd_changes) }
                div.prose { (prose::render(&bundle.description)) }
            }
        }
    }
}

/// A bar, and what it says in words.
fn bar(t: &Strings, phase: Phase, progress: &Progress, label: &str) -> Markup {
    if progress.total_bytes == 0 {
        return html! { progress max="100" aria-label=(label) data-testid="progress" {} };
    }
    let part = percent(progress.done_bytes, progress.total_bytes);
    let text = if phase == Phase::Verifying {
        t.upd_read_back
    } else {
        t.upd_in_place
    };
    let sizes = [
        ("done", bytes(progress.done_bytes)),
        ("total", bytes(progress.total_bytes)),
    ];
    let mut words = vec![fill(
        text,
        &[(sizes[0].0, &sizes[0].1), (sizes[1].0, &sizes[1].1)],
    )];
    if phase == Phase::Downloading {
        words.push(fill(t.upd_fetched, &[("size", &bytes(progress.fetched_bytes))]));
    }
    if let Some(seconds) = progress.seconds_left {
        words.push(fill(t.upd_left, &[("time", &duration(t, seconds))]));
    }
    let words = words.join(" \u{b7} ");
    html! {
        div.bar-row {
            progress max="100" value=(part) aria-label=(label) aria-valuetext={ (part) " %, " (words) } data-testid="progress" { (part) " %" }
            strong.part data-testid="progress-percent" aria-hidden="true" { (part) "\u{a0}%" }
        }
        p.muted data-testid="progress-text" { (words) }
    }
}

fn installing(v: &View<'_>, status: &Status, line: &str) -> Markup {
    let t = v.t;
    html! {
        @if let Some(progress) = &status.progress { (bar(t, status.phase, progress, line)) }
        @if status.bundle.is_none() { p { (t.upd_checking_bundle_lead) } }
        p { (t.upd_installing_hint) }
        noscript { p { a href="/updates" { (t.upd_reload) } } }
        (changes(v, status.bundle.as_ref()))
        div.actions.side { (button(v, "/updates/cancel", None, "secondary", "cancel", t.upd_cancel)) }
    }
}

fn staged(v: &View<'_>, status: &Status) -> Markup {
    let t = v.t;
    let tonight = status.starts == Some(When::Tonight);
    let lead = match status.starts_unix_s {
        _ if status.waits_for.is_some() => t.upd_staged_waits_lead.to_owned(),
        Some(at) if tonight => fill(
            t.upd_staged_tonight_lead,
            &[("time", &v.clock.soon(at, v.now_unix_s))],
        ),
        _ => t.upd_staged_lead.to_owned(),
    };
    let (other, label) = if tonight {
        (When::Reboot, t.upd_not_tonight)
    } else {
        (When::Tonight, t.upd_restart_tonight)
    };
    let activate = |when: When, class: &str, label: &str| {
        let testid = format!("activate-{}", when.name());
        button(
            v,
            "/updates/activate",
            Some(("when", when.name())),
            class,
            &testid,
            label,
        )
    };
    html! {
        p data-testid="update-lead" { (lead) }
        (waits_for(status))
        (changes(v, status.bundle.as_ref()))
        div.actions.side {
            (activate(When::Now, "primary", t.upd_restart_now))
            (activate(other, "secondary", label))
            (button(v, "/updates/cancel", None, "secondary plain-button", "cancel", t.upd_give_up))
        }
    }
}

/// The script goes on from here when the box is back.
fn restarting(v: &View<'_>, line: &str) -> Markup {
    let t = v.t;
    html! {
        section.card.state.center data-phase="restarting" data-testid="waiting" data-wait-boot=(v.boot) data-down=(t.wait_down) data-back=(t.wait_back) data-long=(t.wait_long) {
            div.spinner aria-hidden="true" {}
            h2 id="update-title" data-testid="update-title" { (line) }
            p { (t.upd_restarting_lead) }
            p.status role="status" data-wait-status data-testid="wait-status" { (t.wait_status) }
            div.actions { a.button.primary href="/updates" data-wait-link data-testid="wait-continue" { (t.wait_link) } }
        }
    }
}

fn reason(t: &Strings, status: &Status) -> Markup {
    html! {
        p data-testid="update-reason" {
            @match &status.reason { Some(reason) => (fill(t.upd_reason, &[("reason", reason)])), None => (t.upd_reason_unknown) }
        }
    }
}

fn rolled_back(v: &View<'_>, status: &Status) -> Markup {
    let t = v.t;
    let failed = status.bundle.as_ref();
    let hash = failed.map_or("", |bundle| &bundle.manifest_hash);
    let in_channel = status
        .available
        .as_ref()
        .is_some_and(|known| known.manifest_hash == hash);
    html! {
        p data-testid="update-lead" { (fill(t.upd_rolled_back_lead, &[("version", shown(t, &status.version))])) }
        (reason(t, status))
        p.muted { (fill(t.upd_rolled_back_default, &[("version", shown(t, failed.map_or("", |bundle| &bundle.version)))])) }
        div.actions.side {
            (button(v, "/updates/dismiss", None, "primary", "dismiss", t.upd_leave))
            @if in_channel { (button(v, "/updates/try-again", Some(("bundle", hash)), "secondary", "try-again", t.upd_try_again)) }
            @else { (button(v, "/updates/try-again", Some(("bundle", "usb")), "secondary", "try-again-usb", t.upd_try_again_usb)) }
        }
    }
}

fn unhealthy(v: &View<'_>, status: &Status) -> Markup {
    let t = v.t;
    html! {
        (reason(t, status))
        p { (t.upd_unhealthy_lead) }
        div.actions.side {
            (button(v, "/updates/check", None, "primary", "check", t.upd_check))
            a.button.secondary href="/device" data-testid="to-device" { (t.upd_to_device) }
        }
    }
}
