//! `updater.toml`: what the updater asks of a healthy system, and when it may restart the box.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::channel::choice::{Choice, ChoiceError, RawChoice};

/// Where the file is on the appliance.
pub const CONFIG_PATH: &str = "/usr/share/hearth/updater.toml";
/// The default file, as it is installed.
pub const DEFAULT: &str = include_str!("../updater.toml");
/// Longest file that is read.
const MAX_BYTES: usize = 64 * 1024;

/// Why the configuration is refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not readable.
    #[error("read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not TOML, an unknown key, or a wrong type.
    #[error("the updater's configuration: {0}")]
    Syntax(String),
    /// A value is out of its range.
    #[error("the updater's configuration: {key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The part about the channel.
    #[error("the updater's configuration, channel: {0}")]
    Channel(ChoiceError),
}

/// What is asked of a system that has to prove itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// Where the page may be; the first that answers counts.
    pub page: Vec<SocketAddr>,
    /// Units that must be active.
    pub units: Vec<String>,
    /// Free space that `data` must have.
    pub data_free_bytes: u64,
    /// How long everything may take to come up.
    pub patience: Duration,
    /// How long it must then stay so.
    pub soak: Duration,
    /// Between two looks during that time.
    pub interval: Duration,
    /// How long a look may fail during that time.
    pub hiccup: Duration,
}

/// The configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Health.
    pub health: HealthConfig,
    /// Hour of the day (0 to 23) in the box's time zone at which `tonight` restarts.
    pub night_hour: u8,
    /// Where updates are looked for, unless the owner chooses otherwise.
    pub channel: Choice,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    health: RawHealth,
    activation: RawActivation,
    #[serde(default)]
    channel: RawChoice,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHealth {
    page: Vec<SocketAddr>,
    units: Vec<String>,
    data_free_bytes: u64,
    patience_s: u64,
    soak_s: u64,
    interval_s: u64,
    hiccup_s: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawActivation {
    night_hour: u8,
}

impl Config {
    /// From TOML.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > MAX_BYTES {
            return Err(ConfigError::Syntax("the file is too long".into()));
        }
        let raw: Raw = toml::from_str(text)
            .map_err(|e| ConfigError::Syntax(e.to_string().trim_end().replace('\n', " ")))?;
        let value = |bad: bool, key, problem| {
            if bad {
                Err(ConfigError::Value { key, problem })
            } else {
                Ok(())
            }
        };
        let health = raw.health;
        value(health.page.is_empty(), "health.page", "name at least one address")?;
        let unit_ok = |unit: &String| unit.contains('.') && unit.len() < 256;
        value(
            !health.units.iter().all(unit_ok),
            "health.units",
            "these are not names of units, such as a.service",
        )?;
        value(health.interval_s == 0, "health.interval_s", "must be at least 1")?;
        value(
            health.patience_s > 3600 || health.soak_s > 86_400,
            "health",
            "patience_s is at most 3600, soak_s at most 86400",
        )?;
        value(
            raw.activation.night_hour > 23,
            "activation.night_hour",
            "must be 0 to 23",
        )?;
        let channel = Choice::none()
            .and_then(|none| none.with(raw.channel))
            .map_err(ConfigError::Channel)?;
        Ok(Self {
            channel,
            health: HealthConfig {
                page: health.page,
                units: health.units,
                data_free_bytes: health.data_free_bytes,
                patience: Duration::from_secs(health.patience_s),
                soak: Duration::from_secs(health.soak_s),
                interval: Duration::from_secs(health.interval_s),
                hiccup: Duration::from_secs(health.hiccup_s),
            },
            night_hour: raw.activation.night_hour,
        })
    }

    /// From a file; one that is not there means the defaults.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::parse(DEFAULT),
            Err(source) => Err(ConfigError::Read {
                path: path.display().to_string(),
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_is_valid_and_unknown_or_wrong_keys_are_named() {
        let config = Config::parse(DEFAULT).unwrap();
        assert_eq!(config.health.soak, Duration::from_secs(60));
        for (from, to, says) in [
            ("soak_s", "soak_ms", "soak_ms"),
            ("night_hour = 3", "night_hour = 24", "night_hour"),
            ("interval_s = 5", "interval_s = 0", "interval_s"),
            ("\"hearth-web.service\"", "\"web\"", "units"),
            ("address = \"\"", "address = \"ftp://x\"", "address"),
            ("to = \"05:00\"", "to = \"02:00\"", "quiet_hours"),
        ] {
            let error = Config::parse(&DEFAULT.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
