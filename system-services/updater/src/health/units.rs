//! Are our units active, as systemd says?

use std::time::Duration;

use zbus::{Connection, OwnedObjectPath};

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// `a(ssssssouso)`: name, description, load, active and sub state, following, path, job id, job type, job path.
type RawUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn list_units_by_names(&self, names: &[&str]) -> zbus::Result<Vec<RawUnit>>;
}

/// All of `units` are active; otherwise which is not, in a sentence.
pub async fn active(bus: Option<&Connection>, units: &[String]) -> Result<(), String> {
    if units.is_empty() {
        return Ok(());
    }
    let bus = bus.ok_or("The message bus does not answer.")?;
    let ask = async {
        let names: Vec<&str> = units.iter().map(String::as_str).collect();
        ManagerProxy::new(bus).await?.list_units_by_names(&names).await
    };
    let answer = tokio::time::timeout(PATIENCE, ask)
        .await
        .map_err(|_| format!("systemd did not answer for {} seconds.", PATIENCE.as_secs()))?
        .map_err(|e| format!("systemd does not answer ({e})."))?;
    let state = |name: &String| {
        answer
            .iter()
            .find(|unit| unit.0 == *name)
            .map_or("not there", |unit| unit.3.as_str())
    };
    match units.iter().find(|name| state(name) != "active") {
        Some(name) => Err(format!("The service {name} is {}.", state(name))),
        None => Ok(()),
    }
}
