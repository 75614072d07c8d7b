//! The overview. Each card is rendered here alone: for the page and for the live stream alike.

use std::sync::Arc;

use ipc::boot_facts::{BootFacts, DataState, Slot};
use ipc::provisioner::{Growth, StorageStatus};
use ipc::updater::Status;
use maud::{Markup, PreEscaped, html};

use super::{ALERT, Frame, Nav, TICK, layout, token, updates};
use crate::clock::LocalClock;
use crate::strings::{Strings, bytes, duration, fill};
use crate::system::boots::Boot;
use crate::system::kernel::{Memory, percent};
use crate::system::network::{Interface, Kind};
use crate::system::services::{Unit, UnitState};
use crate::system::{ClockState, Reading, Snapshot};

/// A part of the page that is replaced when it changed: its id and its inside.
pub type Part = (&'static str, String);

/// The live parts of one moment.
pub fn parts(t: &Strings, snapshot: &Snapshot, form_token: &str) -> Vec<Part> {
    vec![
        ("live-banners", banners(t, &snapshot.facts).into_string()),
        ("live-system", system(t, snapshot).into_string()),
        ("live-temperature", temperature(t, snapshot).into_string()),
        ("live-memory", memory(t, snapshot).into_string()),
        (
            "live-storage",
            storage(t, &snapshot.storage, form_token).into_string(),
        ),
        ("live-network", network(t, &snapshot.network).into_string()),
        ("live-services", services(t, &snapshot.services).into_string()),
    ]
}

/// The live part about updates. It is apart from the others because the updater is followed, not sampled.
pub fn updates_part(t: &Strings, status: &Reading<Arc<Status>>, dismissed: bool) -> Part {
    (
        "live-updates",
        updates::summary(t, status, dismissed).into_string(),
    )
}

/// What the page shows that is not in the snapshot.
pub struct Beside<'a> {
    /// The last starts.
    pub boots: &'a [Boot],
    /// The kernel's id of this start.
    pub boot_id: Option<&'a str>,
    /// Times of the household.
    pub clock: &'a LocalClock,
    /// What the updater says.
    pub updates: &'a Reading<Arc<Status>>,
    /// The notice of a rollback was put aside.
    pub dismissed: bool,
    /// Name of this start, see [`crate::routes::boot_name`].
    pub boot: &'a str,
}

/// The page.
pub fn page(t: &Strings, nav: Nav<'_>, snapshot: &Snapshot, beside: &Beside<'_>) -> Markup {
    let mut parts = parts(t, snapshot, nav.token);
    parts.push(updates_part(t, beside.updates, beside.dismissed));
    let part = |id: &str| {
        PreEscaped(
            parts
                .iter()
                .find(|(known, _)| *known == id)
                .map_or("", |(_, html)| html),
        )
    };
    let card = |id: &str, title: &str, testid: &str| {
        html! { section.card aria-labelledby={ (id) "-title" } data-testid=(testid) { h2 id={ (id) "-title" } { (title) } div id=(id) { (part(id)) } } }
    };
    let frame = Frame {
        t,
        title: t.dash_title,
        head: html! {},
        nav: Some(nav),
        wide: true,
    };
    layout(
        &frame,
        html! {
            div.title-row {
                h1 data-testid="heading" { (t.dash_title) }
                p.live role="status" hidden data-live-state data-live=(t.dash_live) data-paused=(t.dash_paused) data-ended=(t.dash_ended) data-testid="live-state" {}
            }
            div id="live-banners" { (part("live-banners")) }
            div.grid data-events="/events" data-boot=(beside.boot) {
                div.column {
                    (card("live-updates", t.upd_card, "card-updates"))
                    (card("live-system", t.dash_system, "card-system"))
                    section.card.last aria-labelledby="boots-title" data-testid="card-boots" {
                        h2 id="boots-title" { (t.dash_boots) }
                        (boot_list(t, beside))
                    }
                }
                div.column.middle {
                    (card("live-memory", t.dash_memory, "card-memory"))
                    (card("live-temperature", t.dash_temperature, "card-temperature"))
                    (card("live-storage", t.dash_storage, "card-storage"))
                }
                div.column {
                    (card("live-network", t.dash_network, "card-network"))
                    (card("live-services", t.dash_services, "card-services"))
                }
            }
        },
    )
}

fn missing(t: &Strings, reason: &str) -> Markup {
    html! { span.missing { (t.not_available) } p.why { (fill(t.dash_why, &[("reason", reason)])) } }
}

pub(super) fn row(label: &str, testid: &str, value: &Markup) -> Markup {
    html! { div.row { dt { (label) } dd data-testid=(testid) { (value) } } }
}

pub(super) fn slot_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "A",
        Slot::B => "B",
    }
}

fn banners(t: &Strings, facts: &Reading<BootFacts>) -> Markup {
    let Ok(facts) = facts else { return html! {} };
    html! {
        @if facts.development_keys {
            div.banner.warn data-testid="banner-development-keys" { (ALERT) div { strong { (t.dash_keys_title) } p { (t.dash_keys) } } }
        }
        @if facts.healed {
            div.banner.warn data-testid="banner-healed" { (ALERT) div { strong { (t.dash_healed_title) } p { (t.dash_healed) } } }
        }
        @if facts.data == DataState::Repaired {
            div.banner.info data-testid="banner-repaired" { (ALERT) div { strong { (t.dash_repaired_title) } p { (t.dash_repaired) } } }
        }
    }
}

fn system(t: &Strings, snapshot: &Snapshot) -> Markup {
    let fact = |show: fn(&BootFacts) -> String| match &snapshot.facts {
        Ok(facts) => html! { (show(facts)) },
        Err(reason) => missing(t, reason),
    };
    let uptime = match &snapshot.uptime_seconds {
        // A counter of seconds would change the page at each moment for nothing.
        Ok(seconds) => html! { (duration(t, *seconds)) },
        Err(reason) => missing(t, reason),
    };
    let clock = match &snapshot.clock {
        Ok(ClockState::Synchronised) => html! { (t.dash_clock_ok) },
        Ok(ClockState::Waiting) => html! { (t.dash_clock_waiting) },
        Err(reason) => missing(t, reason),
    };
    html! {
        dl {
            (row(t.dash_version, "value-version", &fact(|f| f.version.clone())))
            (row(t.dash_slot, "value-slot", &fact(|f| slot_name(f.slot).into())))
            (row(t.dash_board, "value-board", &fact(|f| f.board.clone())))
            (row(t.dash_uptime, "value-uptime", &uptime))
            (row(t.dash_clock, "value-clock", &clock))
        }
    }
}

/// A meter: what is drawn is said in words beside it.
fn meter(value: u8, label: &str) -> Markup {
    let level = match value {
        0..=74 => "ok",
        75..=89 => "high",
        _ => "full",
    };
    html! {
        svg class={ "meter " (level) } viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect.track width="100" height="4" {}
            rect.fill width=(value) height="4" {}
        }
    }
}

/// Fewer points are no line that says anything.
const MIN_POINTS: usize = 5;

/// A line of the last half hour; `low` and `high` are the ends of its scale.
fn sparkline(t: &Strings, points: &[f64], low: f64, high: f64) -> Markup {
    if points.len() < MIN_POINTS {
        return html! { p.why { (t.dash_collecting) } };
    }
    let step = 100.0 / (crate::system::history::POINTS - 1) as f64;
    let first = 100.0 - step * (points.len() - 1) as f64;
    let line: Vec<String> = points
        .iter()
        .enumerate()
        .map(|(n, value)| {
            let height = ((value - low) / (high - low)).clamp(0.0, 1.0);
            format!("{:.1},{:.1}", first + step * n as f64, 23.0 - 22.0 * height)
        })
        .collect();
    html! {
        svg.spark viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            line.base x1="0" x2="100" y1="23.5" y2="23.5" vector-effect="non-scaling-stroke" {}
            polyline points=(line.join(" ")) fill="none" vector-effect="non-scaling-stroke" {}
        }
        p.why { (t.dash_half_hour) }
    }
}

fn temperature(t: &Strings, snapshot: &Snapshot) -> Markup {
    let points: Vec<f64> = snapshot.history.celsius.iter().copied().collect();
    match &snapshot.celsius {
        Err(reason) => html! { div data-testid="value-temperature" { (missing(t, reason)) } },
        Ok(celsius) => html! {
            p.big data-testid="value-temperature" { (format!("{celsius:.0}")) span.unit { "\u{a0}°C" } }
            (sparkline(t, &points, 20.0, 90.0))
        },
    }
}

fn memory(t: &Strings, snapshot: &Snapshot) -> Markup {
    let show = |memory: &Memory| {
        let used = memory.used_percent();
        let text = fill(
            t.dash_memory_text,
            &[
                ("used", &bytes(memory.used_bytes())),
                ("total", &bytes(memory.total_bytes)),
            ],
        );
        let points: Vec<f64> = snapshot
            .history
            .memory_percent
            .iter()
            .map(|p| f64::from(*p))
            .collect();
        html! {
            p.big data-testid="value-memory" { (used) span.unit { "\u{a0}%" } }
            (meter(used, &text))
            p data-testid="value-memory-text" { (text) }
            (sparkline(t, &points, 0.0, 100.0))
        }
    };
    match &snapshot.memory {
        Ok(memory) => show(memory),
        Err(reason) => html! { div data-testid="value-memory" { (missing(t, reason)) } },
    }
}

fn storage(t: &Strings, status: &Reading<StorageStatus>, form_token: &str) -> Markup {
    let status = match status {
        Ok(status) => status,
        Err(reason) => return html! { div data-testid="value-storage" { (missing(t, reason)) } },
    };
    let used = percent(
        status.data_bytes.saturating_sub(status.data_free_bytes),
        status.data_bytes,
    );
    let text = fill(
        t.dash_storage_text,
        &[
            ("free", &bytes(status.data_free_bytes)),
            ("total", &bytes(status.data_bytes)),
        ],
    );
    html! {
        p.big data-testid="value-storage" { (bytes(status.data_free_bytes)) span.unit { " " (t.dash_storage_free) } }
        (meter(used, &text))
        p data-testid="value-storage-text" { (text) }
        (growth(t, status))
        @if matches!(status.growth, Growth::Possible | Growth::Failed { .. }) {
            form method="post" action="/storage/grow" data-once {
                (token(form_token))
                button.secondary type="submit" data-testid="grow" { (t.storage_grow) }
            }
        }
    }
}

/// How far growing is; the wizard shows it too.
pub fn growth(t: &Strings, status: &StorageStatus) -> Markup {
    match &status.growth {
        Growth::Possible => {
            let unused = bytes(status.disk_bytes.saturating_sub(status.data_bytes));
            html! { p.muted data-testid="growth" data-phase="possible" { (fill(t.storage_possible, &[("size", &unused)])) } }
        }
        Growth::Growing {
            done_bytes,
            total_bytes,
        } => {
            let text = fill(
                t.storage_growing,
                &[("done", &bytes(*done_bytes)), ("total", &bytes(*total_bytes))],
            );
            html! {
                div data-testid="growth" data-phase="growing" {
                    progress max="100" value=(percent(*done_bytes, *total_bytes)) aria-label=(text) {}
                    p { (text) }
                }
            }
        }
        Growth::Complete => {
            html! { p.good-line data-testid="growth" data-phase="complete" { (TICK) span { (t.storage_complete) } } }
        }
        Growth::Failed { reason } => {
            html! { p.problem data-testid="growth" data-phase="failed" { (ALERT) span { (fill(t.storage_failed, &[("reason", reason)])) } } }
        }
    }
}

/// Interfaces with their addresses; the wizard shows them too.
pub fn network(t: &Strings, interfaces: &Reading<Vec<Interface>>) -> Markup {
    let interfaces = match interfaces {
        Ok(interfaces) => interfaces,
        Err(reason) => return html! { div data-testid="value-network" { (missing(t, reason)) } },
    };
    html! {
        @if interfaces.is_empty() { p data-testid="value-network" { (t.network_no_interfaces) } }
        @else {
            ul.plain data-testid="value-network" {
                @for interface in interfaces {
                    li data-testid={ "interface-" (interface.name) } {
                        p.line {
                            strong { (match interface.kind { Kind::Wired => t.network_wired, Kind::Wireless => t.network_wireless }) }
                            " " span.muted { (interface.name) }
                            span class={ "pill " (if interface.link { "ok" } else { "off" }) } { (if interface.link { t.network_link } else { t.network_no_link }) }
                        }
                        @for address in &interface.addresses { p.mono { (address) } }
                        @if let (true, Some(megabits)) = (interface.link, interface.megabits) {
                            p.muted { (fill(t.network_megabits, &[("n", &megabits.to_string())])) }
                        }
                    }
                }
            }
        }
    }
}

fn services(t: &Strings, units: &Reading<Vec<Unit>>) -> Markup {
    let units = match units {
        Ok(units) => units,
        Err(reason) => return html! { div data-testid="value-services" { (missing(t, reason)) } },
    };
    let failed = units.iter().filter(|u| u.state == UnitState::Failed).count();
    let count = units.len().to_string();
    let word = |state| match state {
        UnitState::Running => ("ok", t.dash_running),
        UnitState::Idle => ("off", t.dash_idle),
        UnitState::Changing => ("busy", t.dash_changing),
        UnitState::Failed => ("bad", t.dash_failed),
    };
    let item = |unit: &Unit| {
        let (class, text) = word(unit.state);
        html! {
            li data-testid={ "service-" (unit.name) } {
                p.line { span.unit-name { (unit.name) } span class={ "pill " (class) } title=(unit.detail) { (text) } }
                p.muted { (unit.description) }
            }
        }
    };
    html! {
        @if failed == 0 { p.good-line data-testid="value-services" { (TICK) span { (fill(t.dash_services_ok, &[("n", &count)])) } } }
        @else { p.problem data-testid="value-services" { (ALERT) span { (fill(t.dash_services_failed, &[("n", &failed.to_string()), ("count", &count)])) } } }
        @if failed > 0 { ul.plain.services { @for unit in units.iter().filter(|u| u.state == UnitState::Failed) { (item(unit)) } } }
        details data-testid="services-details" {
            summary { (t.dash_services_list) }
            ul.plain.services { @for unit in units.iter().filter(|u| u.state != UnitState::Failed) { (item(unit)) } }
        }
    }
}

fn boot_list(t: &Strings, beside: &Beside<'_>) -> Markup {
    let boots = beside.boots;
    html! {
        @if boots.is_empty() { p.muted data-testid="value-boots" { (t.dash_boots_none) } }
        @else {
            ul.plain data-testid="value-boots" {
                @for boot in boots {
                    li {
                        p.line {
                            span { (beside.clock.date_time(boot.seen_at)) @if !boot.clock_set { " (" (t.dash_boot_clock) ")" } }
                            @if boot.healed { span.pill.busy { (t.dash_boot_healed) } }
                            @else if boot.repaired { span.pill.busy { (t.dash_boot_repaired) } }
                            @else { span.pill.ok { (t.dash_boot_normal) } }
                        }
                        p.muted {
                            (fill(t.dash_boot_slot, &[("slot", slot_name(boot.slot)), ("version", &boot.version)]))
                            @if Some(boot.id.as_str()) == beside.boot_id { " \u{b7} " (t.dash_boot_now) }
                        }
                    }
                }
            }
        }
    }
}
