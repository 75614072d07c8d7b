//! Walks the wizard without a browser: for the tests that pull the plug in the middle of it.

use anyhow::{Context, Result, bail};

use crate::http::{Client, Response};

/// Name of the box in the tests.
pub const HOST_NAME: &str = "attic";
/// Name of the administrator in the tests.
pub const ADMINISTRATOR: &str = "ada";
/// Their password.
pub const PASSWORD: &str = "kettle-orbit-94-moss";

/// The steps in their order; behind them comes `ready`.
pub const STEPS: [&str; 8] = [
    "welcome",
    "name",
    "time-zone",
    "administrator",
    "network",
    "storage",
    "updates",
    "summary",
];

/// Where setup stands, as its answers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// At the step of this number.
    Step(usize),
    /// Finished.
    Provisioned,
}

/// What the box offers at `/`.
pub fn stage(client: &mut Client) -> Result<(Stage, String, Response)> {
    let (path, page) = client.get("/")?;
    let stage = stage_at(&path).with_context(|| format!("{path} ({}) is no step", page.status))?;
    Ok((stage, path, page))
}

fn stage_at(path: &str) -> Option<Stage> {
    match path.trim_start_matches("/setup/") {
        "/login" | "/ready" => Some(Stage::Provisioned),
        // Another browser, once there is an administrator: it has to prove the password first. Also the answer to the
        // administrator's form when the plug was pulled between the provisioner's write and the wizard's.
        "continue" => Some(Stage::Step(4)),
        slug => STEPS.iter().position(|s| *s == slug).map(Stage::Step),
    }
}

fn fields(step: &str) -> Vec<(&'static str, &'static str)> {
    let own: &[(&str, &str)] = match step {
        "welcome" => &[("language", "en")],
        "name" => &[("host_name", HOST_NAME)],
        "time-zone" => &[("time_zone", "Europe/Paris")],
        "administrator" => &[
            ("name", ADMINISTRATOR),
            ("password", PASSWORD),
            ("repeat", PASSWORD),
        ],
        "updates" => &[("policy", "notify")],
        _ => &[],
    };
    let action = if step == "storage" { "grow" } else { "continue" };
    own.iter().copied().chain([("do", action)]).collect()
}

/// Answers one step; the stage that this led to, once the box has acknowledged it.
pub fn advance(client: &mut Client) -> Result<Stage> {
    let (_, path, page) = stage(client)?;
    let slug = path.trim_start_matches("/setup/").to_string();
    let (next, answer) = match slug.as_str() {
        "/login" => return Ok(Stage::Provisioned),
        "continue" => client.submit(
            &page,
            "/setup/continue",
            &[("name", ADMINISTRATOR), ("password", PASSWORD)],
        )?,
        "storage" => {
            // Growing stays on the page; going on does not wait for its end.
            client.submit(&page, &path, &fields("storage"))?;
            let (_, page) = client.get("/setup/storage")?;
            client.submit(&page, "/setup/storage", &[("do", "continue")])?
        }
        _ => client.submit(&page, &path, &fields(&slug))?,
    };
    if answer.status != 200 {
        bail!("{path} was answered with {} at {next}", answer.status);
    }
    stage_at(&next).with_context(|| format!("{next} is no step"))
}

/// Logs in; the overview's page.
pub fn log_in(client: &mut Client) -> Result<Response> {
    let (_, page) = client.get("/login")?;
    let (path, page) = client.submit(
        &page,
        "/login",
        &[("name", ADMINISTRATOR), ("password", PASSWORD)],
    )?;
    if path != "/" || page.status != 200 {
        bail!("login led to {path} ({})", page.status);
    }
    Ok(page)
}
