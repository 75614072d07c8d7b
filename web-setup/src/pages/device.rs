//! Power, sessions, diagnosis, factory-reset.

use maud::{Markup, html};

use super::{Frame, Nav, described, field_error, form_error, layout, token};
use crate::strings::{Strings, fill};

/// The page.
pub fn page(t: &Strings, nav: Nav<'_>, sessions: usize, problem: Option<&str>) -> Markup {
    let hidden = token(nav.token);
    let frame = Frame {
        t,
        title: t.device_title,
        head: html! {},
        nav: Some(nav),
        wide: true,
    };
    layout(
        &frame,
        html! {
            h1 data-testid="heading" { (t.device_title) }
            (form_error(problem))
            div.grid.two {
                section.card {
                    h2 { (t.device_power) }
                    p.muted { (t.device_power_lead) }
                    div.actions.side {
                        form method="post" action="/device/reboot" data-once { (hidden) button.secondary type="submit" data-testid="reboot" { (t.device_reboot) } }
                        form method="post" action="/device/power-off" data-once { (hidden) button.secondary type="submit" data-testid="power-off" { (t.device_power_off) } }
                    }
                }
                section.card {
                    h2 { (t.device_diagnosis) }
                    p.muted { (t.device_diagnosis_lead) }
                    div.actions.side { form method="post" action="/device/diagnosis" { (hidden) button.secondary type="submit" data-testid="diagnosis" { (t.device_diagnosis_button) } } }
                }
                section.card {
                    h2 { (t.device_sessions) }
                    p data-testid="value-sessions" { (fill(t.device_sessions_count, &[("n", &sessions.to_string())])) }
                    p.muted { (t.device_logout_all_hint) }
                    div.actions.side { form method="post" action="/logout-everywhere" data-once { (hidden) button.secondary type="submit" data-testid="logout-everywhere" { (t.device_logout_all) } } }
                }
                section.card.danger {
                    h2 { (t.device_reset) }
                    p.muted { (t.device_reset_lead) }
                    div.actions.side { a.button.danger href="/device/factory-reset" data-testid="factory-reset" { (t.device_reset_link) } }
                }
            }
        },
    )
}

/// The typed confirmation of a factory-reset.
pub fn reset(t: &Strings, nav: Nav<'_>, typed: &str, problem: Option<&str>, failure: Option<&str>) -> Markup {
    let hidden = token(nav.token);
    let name = nav.host_name.to_owned();
    let frame = Frame {
        t,
        title: t.reset_title,
        head: html! {},
        nav: Some(nav),
        wide: false,
    };
    layout(
        &frame,
        html! {
            section.card.danger {
                h1 data-testid="heading" { (t.reset_title) }
                (form_error(failure))
                p.lead { (t.reset_lead) }
                ul.losses { li { (t.reset_loss_1) } li { (t.reset_loss_2) } li { (t.reset_loss_3) } }
                p.muted { (t.reset_keeps) }
                form method="post" action="/device/factory-reset" data-testid="form-factory-reset" data-once {
                    (hidden)
                    div.field {
                        label for="confirm" { (fill(t.reset_label, &[("name", &name)])) }
                        input id="confirm" name="confirm" type="text" value=(typed) autocomplete="off" autocapitalize="none" autocorrect="off"
                            spellcheck="false" maxlength="63" required aria-invalid=[problem.map(|_| "true")]
                            aria-describedby=[described("confirm", false, problem.is_some())] autofocus[problem.is_some()] data-testid="confirm";
                        (field_error("confirm", problem))
                    }
                    div.actions {
                        button.danger type="submit" data-testid="submit" { (t.reset_button) }
                        a.button.secondary href="/device" data-testid="cancel" { (t.reset_cancel) }
                    }
                }
            }
        },
    )
}
