//! The login, and its twin: going on with a setup that another browser began.

use maud::{Markup, html};

use super::{Frame, described, field_error, form_error, layout, token};
use crate::strings::Strings;

/// What the form shows.
#[derive(Debug, Default)]
pub struct View<'a> {
    /// The hidden field.
    pub token: &'a str,
    /// The name that was typed.
    pub name: &'a str,
    /// Problem of the name.
    pub name_problem: Option<&'a str>,
    /// Problem of the password.
    pub password_problem: Option<&'a str>,
    /// Problem of both, or of none.
    pub problem: Option<&'a str>,
    /// A friendly word, such as "You are logged out".
    pub word: Option<&'a str>,
}

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// Heading.
    pub title: &'a str,
    /// Paragraph below it.
    pub lead: &'a str,
    /// The button.
    pub button: &'a str,
    /// Where the form goes.
    pub action: &'a str,
    /// Name of the form for tests.
    pub testid: &'a str,
    /// A paragraph below the form.
    pub after: Option<&'a str>,
}

/// The page.
pub fn page(t: &Strings, words: &Words<'_>, view: &View<'_>) -> Markup {
    let frame = Frame {
        t,
        title: words.title,
        head: html! {},
        nav: None,
        wide: false,
    };
    let name_bad = view.name_problem.is_some();
    let password_bad = view.password_problem.is_some() || view.problem.is_some();
    layout(
        &frame,
        html! {
            section.card {
                h1 data-testid="heading" { (words.title) }
                p.lead { (words.lead) }
                @if let Some(word) = view.word { p.banner.good role="status" data-testid="word" { (word) } }
                (form_error(view.problem))
                form method="post" action=(words.action) data-testid=(words.testid) data-once {
                    (token(view.token))
                    div.field {
                        label for="name" { (t.login_name) }
                        input id="name" name="name" type="text" value=(view.name) autocomplete="username" autocapitalize="none"
                            autocorrect="off" spellcheck="false" maxlength="32" required aria-invalid=[name_bad.then_some("true")]
                            aria-describedby=[described("name", false, name_bad)] autofocus[name_bad || !password_bad]
                            data-testid="name";
                        (field_error("name", view.name_problem))
                    }
                    div.field {
                        label for="password" { (t.login_password) }
                        div.with-button {
                            input id="password" name="password" type="password" autocomplete="current-password" maxlength="256"
                                required aria-invalid=[password_bad.then_some("true")]
                                aria-describedby=[described("password", false, view.password_problem.is_some())]
                                autofocus[password_bad && !name_bad] data-testid="password";
                            (show_button(t, "password"))
                        }
                        (field_error("password", view.password_problem))
                    }
                    div.actions { button.primary type="submit" data-testid="submit" { (words.button) } }
                }
                @if let Some(after) = words.after { p.muted { (after) } }
            }
        },
    )
}

/// The button that shows a password; it is there only with JavaScript.
pub fn show_button(t: &Strings, field: &str) -> Markup {
    html! {
        button.reveal type="button" hidden data-reveal=(field) data-show=(t.admin_show) data-hide=(t.admin_hide) aria-pressed="false"
            aria-controls=(field) { (t.admin_show) }
    }
}
