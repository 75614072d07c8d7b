//! What a D-Bus object says of itself.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use zbus::Connection;

/// RAUC's bus name.
pub const BUS_NAME: &str = "de.pengutronix.rauc";
/// RAUC's object.
pub const OBJECT: &str = "/";
/// RAUC's interface.
pub const INTERFACE: &str = "de.pengutronix.rauc.Installer";

/// The members of RAUC's interface as the owner of its name tells them: one line for each method, signal and property, with
/// every argument's direction, name and type, as in `method Info(in bundle s, out compatible s, out version s)`.
///
/// # Errors
/// When nobody owns the name, or the object lacks the interface.
pub async fn members(connection: &Connection) -> Result<BTreeSet<String>> {
    let reply = connection
        .call_method(
            Some(BUS_NAME),
            OBJECT,
            Some("org.freedesktop.DBus.Introspectable"),
            "Introspect",
            &(),
        )
        .await?;
    let xml: String = reply.body().deserialize()?;
    let start = xml
        .find(&format!("<interface name=\"{INTERFACE}\">"))
        .with_context(|| format!("no {INTERFACE} in {xml}"))?;
    let end = xml[start..].find("</interface>").context("no end of it")?;
    Ok(of_xml(&xml[start..start + end]))
}

fn of_xml(interface: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut member: Option<(String, Vec<String>)> = None;
    let finish = |member: &mut Option<(String, Vec<String>)>, found: &mut BTreeSet<String>| {
        if let Some((name, arguments)) = member.take() {
            found.insert(format!("{name}({})", arguments.join(", ")));
        }
    };
    for tag in interface.split('<').map(str::trim) {
        let attribute = |name: &str| {
            let rest = tag.split(&format!(" {name}=\"")).nth(1)?;
            rest.split('"').next().map(str::to_owned)
        };
        let name = attribute("name").unwrap_or_default();
        let kind = attribute("type").unwrap_or_default();
        match tag.split([' ', '>', '/']).next() {
            Some(what @ ("method" | "signal")) => {
                finish(&mut member, &mut found);
                member = Some((format!("{what} {name}"), vec![]));
            }
            Some("arg") => {
                if let Some((what, arguments)) = &mut member {
                    // Of a signal there is no other direction.
                    let out = what.starts_with("signal");
                    let given = attribute("direction").unwrap_or_else(|| "in".into());
                    let direction = if out { "out" } else { given.as_str() };
                    arguments.push(format!("{direction} {name} {kind}"));
                }
            }
            Some("property") => {
                finish(&mut member, &mut found);
                let access = attribute("access").unwrap_or_default();
                found.insert(format!("property {name} {kind} {access}"));
            }
            _ => {}
        }
    }
    finish(&mut member, &mut found);
    found
}
