//! The wizard's pages.

use std::net::IpAddr;

use ipc::provisioner::{Growth, StorageStatus};
use ipc::settings::UpdatePolicy;
use maud::{Markup, html};

use super::machine::{Claim, Setup, Step, StorageChoice};
use crate::form::Form;
use crate::pages::dashboard::{growth, network};
use crate::pages::login::show_button;
use crate::pages::{Frame, TICK, described, field_error, form_error, layout, token};
use crate::strings::{LANGUAGES, Strings, fill};
use crate::system::Reading;
use crate::system::network::{Interface, reachable};

/// Problems of a form, by field; the empty name is the whole form.
pub type Problems = Vec<(&'static str, String)>;

/// What a wizard page is made from.
pub struct View<'a> {
    /// The sentences.
    pub t: &'a Strings,
    /// The page.
    pub step: Step,
    /// Setup as it stands.
    pub setup: &'a Setup,
    /// The hidden field that ties forms to the browser.
    pub token: &'a str,
    /// What was typed, when it was refused.
    pub typed: Option<&'a Form>,
    /// Why it was refused.
    pub problems: &'a Problems,
    /// More that the page shows.
    pub facts: Facts,
}

/// What a page shows of the appliance.
#[derive(Debug, Clone, Default)]
pub enum Facts {
    /// Nothing.
    #[default]
    None,
    /// Time zones.
    Zones(Vec<String>),
    /// Interfaces, and the address in the browser's own address line.
    Network(Reading<Vec<Interface>>),
    /// The disk.
    Storage(Reading<StorageStatus>),
}

impl View<'_> {
    fn problem(&self, field: &str) -> Option<&str> {
        self.problems
            .iter()
            .find(|(name, _)| *name == field)
            .map(|(_, problem)| problem.as_str())
    }

    fn first_problem(&self, field: &str) -> bool {
        self.problems.first().is_some_and(|(name, _)| *name == field)
    }

    /// What was typed, else what is known.
    fn value<'b>(&'b self, field: &str, known: Option<&'b str>) -> &'b str {
        self.typed
            .map_or(known.unwrap_or_default(), |form| form.get(field))
    }

    fn claim(&self) -> Option<&Claim> {
        match self.setup {
            Setup::Claimed(_, claim) => Some(claim),
            Setup::Open(_) | Setup::Provisioned => None,
        }
    }
}

/// A step's short name.
pub fn step_name(t: &Strings, step: Step) -> &'static str {
    match step {
        Step::Welcome => t.step_welcome,
        Step::Name => t.step_name,
        Step::TimeZone => t.step_time_zone,
        Step::Administrator => t.step_administrator,
        Step::Network => t.step_network,
        Step::Storage => t.step_storage,
        Step::Updates => t.step_updates,
        Step::Summary => t.step_summary,
    }
}

/// The page of a step.
pub fn page(view: &View<'_>) -> Markup {
    let t = view.t;
    let (title, lead) = match view.step {
        Step::Welcome => (t.welcome_title, t.welcome_lead),
        Step::Name => (t.name_title, t.name_lead),
        Step::TimeZone => (t.zone_title, t.zone_lead),
        Step::Administrator => (t.admin_title, t.admin_lead),
        Step::Network => (t.network_title, t.network_lead),
        Step::Storage => (t.storage_title, t.storage_lead),
        Step::Updates => (t.updates_title, t.updates_lead),
        Step::Summary => (t.summary_title, t.summary_lead),
    };
    let fields = match view.step {
        Step::Welcome => welcome(view),
        Step::Name => name(view),
        Step::TimeZone => time_zone(view),
        Step::Administrator => administrator(view),
        Step::Network => network_summary(view),
        Step::Storage => storage(view),
        Step::Updates => updates(view),
        Step::Summary => summary(view),
    };
    let growing = matches!(
        &view.facts,
        Facts::Storage(Ok(StorageStatus {
            growth: Growth::Growing { .. },
            ..
        }))
    );
    let head = html! { @if growing { noscript { meta http-equiv="refresh" content="3"; } } };
    let prefix = if view.problems.is_empty() {
        String::new()
    } else {
        format!("{}: ", t.error_prefix)
    };
    let frame = Frame {
        t,
        title: &format!("{prefix}{title}"),
        head,
        nav: None,
        wide: false,
    };
    layout(
        &frame,
        html! {
            (progress(view))
            section.card {
                h1 data-testid={ "step-" (view.step.slug()) } { (title) }
                p.lead { (lead) }
                (form_error(view.problem("")))
                form method="post" action={ "/setup/" (view.step.slug()) } data-testid={ "form-" (view.step.slug()) } data-once novalidate {
                    (token(view.token))
                    input type="hidden" name="revision" value=(view.setup.draft().map_or(0, |d| d.revision));
                    (fields)
                    (buttons(view))
                }
            }
        },
    )
}

fn progress(view: &View<'_>) -> Markup {
    let t = view.t;
    let current = view.setup.current().unwrap_or(Step::Summary);
    let number = Step::ALL
        .iter()
        .position(|s| *s == view.step)
        .map_or(1, |at| at + 1)
        .to_string();
    let count = Step::ALL.len().to_string();
    html! {
        nav.progress aria-label=(t.setup_progress) {
            p data-testid="progress" { (fill(t.step_of, &[("n", &number), ("count", &count)])) span.muted { " \u{b7} " (step_name(t, view.step)) } }
            ol {
                @for step in Step::ALL {
                    @let class = if step == view.step { "here" } else if step < view.step || step < current { "past" } else { "ahead" };
                    li class=(class) {
                        @if step <= current && step != view.step { a href={ "/setup/" (step.slug()) } { span.name { (step_name(t, step)) } } }
                        @else { span aria-current=[(step == view.step).then_some("step")] { span.name { (step_name(t, step)) } } }
                    }
                }
            }
        }
    }
}

fn buttons(view: &View<'_>) -> Markup {
    let t = view.t;
    let primary = match view.step {
        Step::Welcome => t.welcome_begin,
        Step::Summary => t.summary_finish,
        Step::Storage => {
            let waiting = matches!(
                &view.facts,
                Facts::Storage(Ok(StorageStatus {
                    growth: Growth::Possible | Growth::Failed { .. },
                    ..
                }))
            );
            if waiting {
                return html! {
                    div.actions {
                        button.primary type="submit" name="do" value="grow" data-testid="grow" { (t.storage_grow) }
                        button.secondary type="submit" name="do" value="continue" data-testid="primary" { (t.storage_skip) }
                        (back(view))
                    }
                };
            }
            t.go_on
        }
        _ => t.go_on,
    };
    html! {
        div.actions {
            button.primary type="submit" name="do" value="continue" data-testid="primary" { (primary) }
            (back(view))
        }
    }
}

fn back(view: &View<'_>) -> Markup {
    html! {
        @if let Some(previous) = view.step.previous() {
            a.button.secondary.back href={ "/setup/" (previous.slug()) } data-testid="back" { (view.t.back) }
        }
    }
}

fn welcome(view: &View<'_>) -> Markup {
    let t = view.t;
    let problem = view.problem("language");
    let known = view.setup.draft().and_then(|d| d.language.as_deref());
    let value = view.value("language", known);
    html! {
        ul.points {
            li { (TICK) span { (t.welcome_point_private) } }
            li { (TICK) span { (t.welcome_point_safe) } }
        }
        div.field {
            label for="language" { (t.welcome_language) }
            select id="language" name="language" data-testid="language" aria-invalid=[problem.map(|_| "true")]
                aria-describedby=[described("language", true, problem.is_some())] autofocus[view.first_problem("language")] {
                @for (tag, name) in LANGUAGES { option value=(tag) lang=(tag) selected[value == tag] { (name) } }
            }
            p.hint id="language-hint" { (t.welcome_language_hint) }
            (field_error("language", problem))
        }
    }
}

fn name(view: &View<'_>) -> Markup {
    let t = view.t;
    let problem = view.problem("host_name");
    let known = view
        .setup
        .draft()
        .and_then(|d| d.host_name.as_ref())
        .map(|n| n.as_str());
    let value = view.value("host_name", known.or(Some(t.name_placeholder)));
    html! {
        div.field {
            label for="host_name" { (t.name_label) }
            input id="host_name" name="host_name" type="text" value=(value) autocomplete="off" autocapitalize="none" autocorrect="off"
                spellcheck="false" maxlength="63" required data-testid="host-name" data-lowercase aria-invalid=[problem.map(|_| "true")]
                aria-describedby=[described("host_name", true, problem.is_some())] autofocus[view.first_problem("host_name")];
            (field_error("host_name", problem))
            p.hint id="host_name-hint" { (t.name_hint) " " span.mono data-mirror="host_name" data-before="http://" data-after=".local" { "http://" (value) ".local" } }
        }
    }
}

fn time_zone(view: &View<'_>) -> Markup {
    let t = view.t;
    let problem = view.problem("time_zone");
    let known = view
        .setup
        .draft()
        .and_then(|d| d.time_zone.as_ref())
        .map(|z| z.as_str());
    let value = view.value("time_zone", known);
    let Facts::Zones(zones) = &view.facts else {
        return html! {};
    };
    let mut areas: Vec<&str> = zones
        .iter()
        .filter_map(|zone| zone.split_once('/').map(|(area, _)| area))
        .collect();
    areas.dedup();
    html! {
        div.field data-zone data-suggested=(t.zone_suggested) data-now=(t.zone_now) data-matches=(t.zone_matches) data-none=(t.zone_no_match) {
            div.search hidden data-zone-search-box {
                label for="zone-search" { (t.zone_search) }
                input id="zone-search" type="search" placeholder=(t.zone_search_placeholder) autocomplete="off" spellcheck="false" data-zone-search data-testid="time-zone-search" aria-controls="time_zone";
                p.hint role="status" data-zone-count {}
            }
            label for="time_zone" { (t.zone_label) }
            select id="time_zone" name="time_zone" required data-testid="time-zone" data-zone-select aria-invalid=[problem.map(|_| "true")]
                aria-describedby=[described("time_zone", true, problem.is_some())] autofocus[view.first_problem("time_zone")] {
                option value="" selected[value.is_empty()] { (t.zone_choose) }
                @for area in areas {
                    optgroup label=(area) {
                        @for zone in zones.iter().filter(|z| z.split_once('/').is_some_and(|(a, _)| a == area)) {
                            option value=(zone) selected[zone == value] { (zone.split_once('/').map_or("", |(_, city)| city).replace('_', " ").replace('/', ", ")) }
                        }
                    }
                }
                optgroup label=(t.zone_other) { option value="UTC" selected[value == "UTC"] { "UTC" } }
            }
            (field_error("time_zone", problem))
            p.hint id="time_zone-hint" { (t.zone_hint) }
            p.hint.zone-now role="status" data-zone-now {}
        }
    }
}

fn administrator(view: &View<'_>) -> Markup {
    let t = view.t;
    let claim = view.claim();
    let known = claim.and_then(|c| c.administrator.as_ref()).map(|n| n.as_str());
    let (name_problem, password_problem, repeat_problem) = (
        view.problem("name"),
        view.problem("password"),
        view.problem("repeat"),
    );
    let invalid = |problem: Option<&str>| problem.map(|_| "true");
    html! {
        @if claim.is_some() { p.banner.good data-testid="administrator-set" { (TICK) span { (t.admin_kept) } } }
        div.field {
            label for="name" { (t.admin_name) }
            input id="name" name="name" type="text" value=(view.value("name", known)) autocomplete="username" autocapitalize="none"
                autocorrect="off" spellcheck="false" maxlength="32" required data-testid="name" data-lowercase aria-invalid=[invalid(name_problem)]
                aria-describedby=[described("name", true, name_problem.is_some())] autofocus[view.first_problem("name")];
            (field_error("name", name_problem))
            p.hint id="name-hint" { (t.admin_name_hint) }
        }
        div.field {
            label for="password" { (if claim.is_some() { t.admin_new_password } else { t.admin_password }) }
            div.with-button {
                input id="password" name="password" type="password" autocomplete="new-password" maxlength="256" data-testid="password"
                    aria-invalid=[invalid(password_problem)] aria-describedby=[described("password", true, password_problem.is_some())]
                    data-strength="/setup/strength" autofocus[view.first_problem("password")];
                (show_button(t, "password"))
            }
            div.strength hidden data-strength-box data-testid="strength" {
                meter min="0" max="5" low="2.5" high="3.5" optimum="5" value="0" data-strength-meter aria-label=(t.admin_strength) {}
                p.hint role="status" data-strength-text {}
            }
            (field_error("password", password_problem))
            p.hint id="password-hint" { (t.admin_password_hint) }
        }
        div.field {
            label for="repeat" { (t.admin_repeat) }
            div.with-button {
                input id="repeat" name="repeat" type="password" autocomplete="new-password" maxlength="256" data-testid="repeat"
                    aria-invalid=[invalid(repeat_problem)] aria-describedby=[described("repeat", false, repeat_problem.is_some())]
                    autofocus[view.first_problem("repeat")];
                (show_button(t, "repeat"))
            }
            (field_error("repeat", repeat_problem))
        }
    }
}

fn network_summary(view: &View<'_>) -> Markup {
    let t = view.t;
    let host = view
        .setup
        .draft()
        .and_then(|d| d.host_name.as_ref())
        .map_or("hearth", |n| n.as_str());
    let Facts::Network(interfaces) = &view.facts else {
        return html! {};
    };
    let address = interfaces
        .as_ref()
        .ok()
        .and_then(|found| reachable(found))
        .map(|address| match address {
            IpAddr::V4(v4) => format!("http://{v4}"),
            IpAddr::V6(v6) => format!("http://[{v6}]"),
        });
    html! {
        dl.facts {
            div { dt { (t.network_by_name) } dd { span.mono data-testid="network-name" { "http://" (host) ".local" } p.hint { (t.network_by_name_hint) } } }
            div { dt { (t.network_by_address) } dd {
                @match &address {
                    Some(address) => { span.mono data-testid="network-address" { (address) } p.hint { (t.network_by_address_hint) } }
                    None => { span data-testid="network-address" { (t.network_none) } }
                }
            } }
        }
        div.boxed { (network(t, interfaces)) }
    }
}

fn storage(view: &View<'_>) -> Markup {
    let t = view.t;
    let Facts::Storage(status) = &view.facts else {
        return html! {};
    };
    html! {
        div data-poll="/setup/storage-status" { (storage_part(t, status)) }
    }
}

/// The part of the storage page that lives.
pub fn storage_part(t: &Strings, status: &Reading<StorageStatus>) -> Markup {
    match status {
        Err(reason) => {
            html! { p.banner.warn data-testid="storage-unavailable" { (fill(t.storage_unavailable, &[("reason", reason)])) } }
        }
        Ok(status) => html! {
            dl.facts {
                div { dt { (t.storage_disk) } dd data-testid="disk-size" { (crate::strings::bytes(status.disk_bytes)) " " span.muted { (status.disk) } } }
                div { dt { (t.storage_data) } dd data-testid="data-size" { (crate::strings::bytes(status.data_bytes)) } }
            }
            (growth(t, status))
            @if matches!(status.growth, Growth::Growing { .. }) { p.muted { (t.storage_growing_hint) } }
        },
    }
}

/// The choices: policy, value, label, hint.
pub fn policies(t: &Strings) -> [(UpdatePolicy, &'static str, &'static str, &'static str); 3] {
    [
        (
            UpdatePolicy::Automatic,
            "automatic",
            t.updates_automatic,
            t.updates_automatic_hint,
        ),
        (
            UpdatePolicy::Notify,
            "notify",
            t.updates_notify,
            t.updates_notify_hint,
        ),
        (
            UpdatePolicy::Manual,
            "manual",
            t.updates_manual,
            t.updates_manual_hint,
        ),
    ]
}

/// The policy of a form's value.
pub fn policy(t: &Strings, value: &str) -> Option<UpdatePolicy> {
    policies(t)
        .into_iter()
        .find(|(_, name, _, _)| *name == value)
        .map(|(policy, ..)| policy)
}

fn updates(view: &View<'_>) -> Markup {
    let t = view.t;
    let problem = view.problem("policy");
    let known = view
        .setup
        .draft()
        .and_then(|d| d.update_policy)
        .unwrap_or_default();
    html! {
        fieldset aria-describedby=[described("policy", false, problem.is_some())] {
            legend { (t.updates_legend) }
            @for (policy, value, label, hint) in policies(t) {
                label.choice {
                    input type="radio" name="policy" value=(value) checked[policy == known] data-testid={ "policy-" (value) }
                        autofocus[view.first_problem("policy") && policy == known];
                    span { strong { (label) } span.hint { (hint) } }
                }
            }
            (field_error("policy", problem))
        }
    }
}

/// The answers so far: step, label, value if there is one.
pub fn answers(t: &Strings, setup: &Setup) -> Vec<(Step, &'static str, Option<String>)> {
    let draft = setup.draft().cloned().unwrap_or_default();
    let language = draft.language.map(|tag| {
        LANGUAGES
            .iter()
            .find(|(known, _)| *known == tag)
            .map_or(tag.clone(), |(_, name)| (*name).to_owned())
    });
    let administrator = match setup {
        Setup::Claimed(_, claim) => Some(
            claim
                .administrator
                .as_ref()
                .map_or(t.summary_administrator_unknown.to_owned(), |name| {
                    name.as_str().to_owned()
                }),
        ),
        Setup::Open(_) | Setup::Provisioned => None,
    };
    let storage = draft.storage.map(|choice| match choice {
        StorageChoice::Grow { .. } => t.summary_storage_grow.to_owned(),
        StorageChoice::Later => t.summary_storage_later.to_owned(),
    });
    let updates = draft.update_policy.and_then(|chosen| {
        policies(t)
            .into_iter()
            .find(|(policy, ..)| *policy == chosen)
            .map(|(_, _, label, _)| label.to_owned())
    });
    vec![
        (Step::Welcome, t.summary_language, language),
        (
            Step::Name,
            t.summary_name,
            draft.host_name.map(|n| n.as_str().to_owned()),
        ),
        (
            Step::TimeZone,
            t.summary_zone,
            draft.time_zone.map(|z| z.as_str().replace('_', " ")),
        ),
        (Step::Administrator, t.summary_administrator, administrator),
        (Step::Storage, t.summary_storage, storage),
        (Step::Updates, t.summary_updates, updates),
    ]
}

fn summary(view: &View<'_>) -> Markup {
    let t = view.t;
    html! {
        dl.facts.summary {
            @for (step, label, value) in answers(t, view.setup) {
                div {
                    dt { (label) }
                    dd data-testid={ "summary-" (step.slug()) } { (value.unwrap_or_default()) }
                    a href={ "/setup/" (step.slug()) } aria-label=(fill(t.summary_change_what, &[("what", label)])) data-testid={ "change-" (step.slug()) } { (t.summary_change) }
                }
            }
        }
    }
}

/// The draft changed in another browser.
pub fn stale(t: &Strings, setup: &Setup) -> Markup {
    let frame = Frame {
        t,
        title: t.stale_title,
        head: html! {},
        nav: None,
        wide: false,
    };
    layout(
        &frame,
        html! {
            section.card data-testid="stale" {
                h1 data-testid="heading" { (t.stale_title) }
                p.lead { (t.stale_lead) }
                dl.facts {
                    @for (_, label, value) in answers(t, setup) {
                        div { dt { (label) } dd { @match value { Some(value) => (value), None => span.muted { (t.stale_nothing) } } } }
                    }
                }
                div.actions { a.button.primary href="/setup" data-testid="stale-continue" { (t.stale_continue) } }
            }
        },
    )
}
