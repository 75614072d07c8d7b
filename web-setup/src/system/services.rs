//! State of services, from systemd over D-Bus.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use zbus::OwnedObjectPath;

use super::Reading;
use crate::bus::Bus;

/// Ours, and what they stand on.
pub const PATTERNS: [&str; 10] = [
    "hearth-*.service",
    "hearth-*.socket",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-journald.service",
    "systemd-udevd.service",
    "dbus-broker.service",
    "dbus.service",
    "iwd.service",
];
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_UNITS: usize = 40;

/// What a unit does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitState {
    /// It runs, or listens.
    Running,
    /// It did what it had to do, or waits to be needed.
    Idle,
    /// It is starting or stopping.
    Changing,
    /// It failed.
    Failed,
}

/// One unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// systemd's description.
    pub description: String,
    /// What it does now.
    pub state: UnitState,
    /// systemd's own word, such as `running`, `listening`, `dead`.
    pub detail: String,
}

/// Who knows about services.
pub trait ServiceManager: Send + Sync {
    /// Units by [`PATTERNS`], failed ones first.
    fn units(&self) -> Pin<Box<dyn Future<Output = Reading<Vec<Unit>>> + Send + '_>>;
}

/// systemd, over the system bus.
#[derive(Debug, Clone)]
pub struct Systemd {
    bus: Bus,
}

impl Systemd {
    /// Nothing is connected yet.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }
}

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

impl ServiceManager for Systemd {
    fn units(&self) -> Pin<Box<dyn Future<Output = Reading<Vec<Unit>>> + Send + '_>> {
        Box::pin(async move {
            let work = async {
                let connection = self.bus.connection().await?;
                let states: [&str; 0] = [];
                let reply = connection
                    .call_method(
                        Some("org.freedesktop.systemd1"),
                        "/org/freedesktop/systemd1",
                        Some("org.freedesktop.systemd1.Manager"),
                        "ListUnitsByPatterns",
                        &(states.as_slice(), PATTERNS.as_slice()),
                    )
                    .await
                    .map_err(|e| {
                        if !matches!(e, zbus::Error::MethodError(..)) {
                            self.bus.forget();
                        }
                        format!("systemd: {e}")
                    })?;
                let raw: Vec<RawUnit> = reply.body().deserialize().map_err(|e| format!("systemd: {e}"))?;
                Ok(sorted(raw.into_iter().map(|u| unit(u.0, u.1, &u.3, u.4))))
            };
            tokio::time::timeout(PATIENCE, work)
                .await
                .map_err(|_| format!("systemd did not answer for {} seconds", PATIENCE.as_secs()))?
        })
    }
}

/// One unit from systemd's words.
pub fn unit(name: String, description: String, active: &str, sub: String) -> Unit {
    let state = match (active, sub.as_str()) {
        ("failed", _) => UnitState::Failed,
        ("activating", "auto-restart") => UnitState::Failed,
        ("activating" | "deactivating" | "reloading" | "refreshing", _) => UnitState::Changing,
        ("active", "exited") | ("inactive", _) => UnitState::Idle,
        ("active", _) => UnitState::Running,
        _ => UnitState::Changing,
    };
    Unit {
        name,
        description,
        state,
        detail: sub,
    }
}

fn sorted(units: impl Iterator<Item = Unit>) -> Vec<Unit> {
    let mut units: Vec<Unit> = units.take(MAX_UNITS).collect();
    let order = |u: &Unit| match u.state {
        UnitState::Failed => 0,
        UnitState::Changing => 1,
        _ if u.name.starts_with("hearth-") => 2,
        UnitState::Running => 3,
        UnitState::Idle => 4,
    };
    units.sort_by(|a, b| (order(a), &a.name).cmp(&(order(b), &b.name)));
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_units_come_first_and_a_crash_loop_counts_as_failed() {
        let make = |name: &str, active: &str, sub: &str| unit(name.into(), String::new(), active, sub.into());
        let units = sorted(
            [
                make("dbus-broker.service", "active", "running"),
                make("hearth-web.service", "active", "running"),
                make("hearth-updater.service", "inactive", "dead"),
                make("systemd-resolved.service", "activating", "auto-restart"),
            ]
            .into_iter(),
        );
        let names: Vec<(&str, UnitState)> = units.iter().map(|u| (u.name.as_str(), u.state)).collect();
        assert_eq!(
            names,
            [
                ("systemd-resolved.service", UnitState::Failed),
                ("hearth-updater.service", UnitState::Idle),
                ("hearth-web.service", UnitState::Running),
                ("dbus-broker.service", UnitState::Running),
            ]
        );
    }
}
