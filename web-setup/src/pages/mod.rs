//! The frame of every page, its small parts, and the pages that only say something.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::routes::assets;
use crate::strings::{Strings, fill};

pub mod dashboard;
pub mod device;
pub mod login;
pub mod updates;

/// The mark: a house with a flame. Drawn with the text's colour and the accent.
pub const LOGO: PreEscaped<&str> = PreEscaped(
    r#"<svg class="logo" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true" focusable="false"><path d="M4 14.6 16 4.5l12 10.1V26a2.5 2.5 0 0 1-2.5 2.5h-19A2.5 2.5 0 0 1 4 26z" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linejoin="round"/><path class="flame" d="M16.4 11.5c.5 2.6 4.6 4.5 4.6 8.6a5 5 0 0 1-10 .1c0-2 .9-3.2 1.9-4.3.2 1.2.7 1.9 1.4 2.2-.3-2.7.5-5 2.1-6.6z"/></svg>"#,
);

/// What stands around a page's content.
pub struct Frame<'a> {
    /// The sentences.
    pub t: &'a Strings,
    /// Title of the page; "Hearth" is added.
    pub title: &'a str,
    /// More for the head.
    pub head: Markup,
    /// The navigation of a person who is logged in.
    pub nav: Option<Nav<'a>>,
    /// Wide pages have columns.
    pub wide: bool,
}

/// The navigation.
pub struct Nav<'a> {
    /// Address of the page that is shown.
    pub here: &'a str,
    /// The form token of the session.
    pub token: &'a str,
    /// Name of the box.
    pub host_name: &'a str,
}

/// A whole page.
pub fn layout(frame: &Frame<'_>, content: Markup) -> Markup {
    let t = frame.t;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (frame.title) " \u{2013} " (t.product) }
                link rel="stylesheet" href=(assets::style_url());
                link rel="icon" type="image/svg+xml" href=(assets::icon_url());
                script src=(assets::script_url()) defer {}
                (frame.head)
            }
            body {
                a.skip href="#main" { (t.skip_link) }
                header.top {
                    div.bar {
                        a.brand href="/" {
                            (LOGO)
                            span { (frame.nav.as_ref().map_or(t.product, |nav| nav.host_name)) }
                        }
                        @if let Some(nav) = &frame.nav {
                            nav aria-label=(t.nav_label) {
                                @for (href, text, id) in [("/", t.nav_overview, "nav-overview"), ("/updates", t.nav_updates, "nav-updates"), ("/device", t.nav_device, "nav-device")] {
                                    a href=(href) aria-current=[(nav.here == href).then_some("page")] data-testid=(id) { (text) }
                                }
                                form method="post" action="/logout" {
                                    (token(nav.token))
                                    button.quiet type="submit" data-testid="logout" { (t.nav_logout) }
                                }
                            }
                        }
                    }
                }
                main id="main" class=(if frame.wide { "wide" } else { "narrow" }) { (content) }
                footer { p { (t.footer) } }
            }
        }
    }
}

/// The hidden field that ties a form to its browser.
pub fn token(value: &str) -> Markup {
    html! { input type="hidden" name="token" value=(value); }
}

/// What stands with a form's field when its value was refused.
pub fn field_error(field: &str, problem: Option<&str>) -> Markup {
    html! {
        @if let Some(problem) = problem {
            p.problem id={ (field) "-error" } data-testid={ "error-" (field) } { (ALERT) span { (problem) } }
        }
    }
}

/// A problem that belongs to no field.
pub fn form_error(problem: Option<&str>) -> Markup {
    html! {
        @if let Some(problem) = problem {
            div.banner.bad role="alert" data-testid="error-form" { (ALERT) p { (problem) } }
        }
    }
}

/// A round sign with an exclamation mark.
pub const ALERT: PreEscaped<&str> = PreEscaped(
    r#"<svg class="sign" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" focusable="false"><circle cx="10" cy="10" r="8.2" fill="none" stroke="currentColor" stroke-width="1.8"/><path d="M10 5.6v5.2M10 13.7v.2" stroke="currentColor" stroke-width="2" stroke-linecap="round"/></svg>"#,
);

/// A round sign with a tick.
pub const TICK: PreEscaped<&str> = PreEscaped(
    r#"<svg class="sign" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" focusable="false"><circle cx="10" cy="10" r="8.2" fill="none" stroke="currentColor" stroke-width="1.8"/><path d="m6.3 10.3 2.5 2.5 4.9-5.2" fill="none" stroke="currentColor" stroke-width="1.9" stroke-linecap="round" stroke-linejoin="round"/></svg>"#,
);

/// The ids of what describes a field, for `aria-describedby`.
pub fn described(field: &str, hint: bool, problem: bool) -> Option<String> {
    match (hint, problem) {
        (false, false) => None,
        (true, false) => Some(format!("{field}-hint")),
        (false, true) => Some(format!("{field}-error")),
        (true, true) => Some(format!("{field}-error {field}-hint")),
    }
}

/// A page that says one thing.
pub struct Notice<'a> {
    /// Title and heading.
    pub title: &'a str,
    /// One paragraph.
    pub lead: &'a str,
    /// Name for tests.
    pub testid: &'a str,
    /// What to do next.
    pub body: Markup,
}

/// A page that says one thing.
pub fn notice(t: &Strings, notice: &Notice<'_>) -> Markup {
    let frame = Frame {
        t,
        title: notice.title,
        head: html! {},
        nav: None,
        wide: false,
    };
    layout(
        &frame,
        html! {
            section.card.center data-testid=(notice.testid) {
                h1 data-testid="heading" { (notice.title) }
                p.lead { (notice.lead) }
                div.actions { (notice.body) }
            }
        },
    )
}

/// Nobody can come in: what happened, what to do.
pub fn closed(t: &Strings, reason: &str) -> Markup {
    let frame = Frame {
        t,
        title: t.closed_title,
        head: html! {},
        nav: None,
        wide: false,
    };
    layout(
        &frame,
        html! {
            section.card data-testid="closed" {
                h1 data-testid="heading" { (t.closed_title) }
                p.lead { (t.closed_lead) }
                h2 { (t.closed_what) }
                div.banner.bad { (ALERT) p data-testid="closed-reason" { (reason) } }
                h2 { (t.closed_do) }
                ol.steps-to-do { li { (t.closed_do_1) } li { (t.closed_do_2) } li { (t.closed_do_3) } }
                div.actions { a.button.secondary href="/" data-testid="try-again" { (t.try_again) } }
            }
        },
    )
}

/// A page that waits until the box is back. `boot` is the present start's id as `/health` tells it.
pub fn waiting(t: &Strings, title: &str, lead: &str, boot: &str) -> Markup {
    let frame = Frame {
        t,
        title,
        head: html! {},
        nav: None,
        wide: false,
    };
    layout(
        &frame,
        html! {
            section.card.center data-testid="waiting" data-wait-boot=(boot) data-down=(t.wait_down) data-back=(t.wait_back) data-long=(t.wait_long) {
                div.spinner aria-hidden="true" {}
                h1 data-testid="heading" { (title) }
                p.lead { (lead) }
                p.status role="status" data-wait-status data-testid="wait-status" { (t.wait_status) }
                div.actions { a.button.primary href="/" data-wait-link data-testid="wait-continue" { (t.wait_link) } }
            }
        },
    )
}

/// The page after powering off.
pub fn powered_off(t: &Strings) -> Markup {
    notice(
        t,
        &Notice {
            title: t.off_title,
            lead: t.off_lead,
            testid: "powering-off",
            body: html! {},
        },
    )
}

/// Setup is done.
pub fn ready(t: &Strings, host_name: &str) -> Markup {
    let frame = Frame {
        t,
        title: t.done_title,
        head: html! {},
        nav: None,
        wide: false,
    };
    let url = format!("http://{host_name}.local");
    layout(
        &frame,
        html! {
            section.card.center data-testid="done" {
                div.big-tick { (TICK) }
                h1 data-testid="heading" { (t.done_title) }
                p.lead { (fill(t.done_lead, &[("name", host_name)])) }
                p.muted { (t.done_address) }
                p.address { a href=(url) data-testid="done-address" { (url) } }
                p.muted { (t.done_address_hint) }
                div.actions { a.button.primary href="/login" data-testid="to-login" { (t.done_login) } }
            }
        },
    )
}
