//! The appliance's public settings: one TOML file, written by the provisioner, read by everyone.
//!
//! A raw struct says what the file says; [`Settings`] is what a program may rely on.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest host name that is valid as one DNS label (RFC 1035, 2.3.4).
pub const MAX_HOST_NAME: usize = 63;

/// Why settings were refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// Not TOML, an unknown key, or a wrong type.
    #[error("settings: {0}")]
    Syntax(String),
    /// A value is out of its range.
    #[error("settings: {key}: {problem}")]
    Value {
        /// The offending key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// When updates are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdatePolicy {
    /// Download and install at night, restart once if needed.
    #[default]
    Automatic,
    /// Tell when there is one; a person installs it.
    Notify,
    /// Never on its own.
    Manual,
}

impl UpdatePolicy {
    /// Every variant.
    pub const ALL: [Self; 3] = [Self::Automatic, Self::Notify, Self::Manual];

    /// As in the settings and on the bus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Notify => "notify",
            Self::Manual => "manual",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// One DNS label: lower-case letters, digits and hyphens, no hyphen at either end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct HostName(String);

impl HostName {
    /// The name that an appliance has before setup.
    pub fn unprovisioned() -> Self {
        Self("hearth".into())
    }

    /// Checks a name; the problem is a sentence for the person who typed it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Enter a name.".into());
        }
        if text.len() > MAX_HOST_NAME {
            return Err(format!("Use at most {MAX_HOST_NAME} characters."));
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return Err("Use only lower-case letters a to z, digits and hyphens.".into());
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err("A name cannot begin or end with a hyphen.".into());
        }
        if text == "localhost" {
            return Err(
                "\u{201c}localhost\u{201d} always means the device itself; choose another name.".into(),
            );
        }
        Ok(Self(text.into()))
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An IANA time zone name by shape (`Area/City`, `UTC`); whether it exists is the caller's to check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TimeZone(String);

impl TimeZone {
    /// UTC.
    pub fn utc() -> Self {
        Self("UTC".into())
    }

    /// Checks the shape. The name becomes a path below `/usr/share/zoneinfo`, so it must not climb.
    pub fn parse(text: &str) -> Result<Self, String> {
        let part_ok = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
        };
        if text.is_empty() {
            return Err("Choose a time zone.".into());
        }
        if text.len() > 64 || text.split('/').count() > 3 || !text.split('/').all(part_ok) {
            return Err("This is not the name of a time zone, such as Europe/Paris.".into());
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Name of the administrator: 1 to 32 characters, a letter first, then letters, digits, `.`, `_`, `-`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AccountName(String);

impl AccountName {
    /// Checks a name; the problem is a sentence for the person who typed it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = text.bytes();
        match bytes.next() {
            None => return Err("Enter a name.".into()),
            Some(b) if !b.is_ascii_lowercase() => return Err("Begin with a lower-case letter a to z.".into()),
            Some(_) => {}
        }
        if text.len() > 32 {
            return Err("Use at most 32 characters.".into());
        }
        if !bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')) {
            return Err("Use only lower-case letters, digits, dots, underscores and hyphens.".into());
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What finishing the wizard asks for; becomes [`Settings`] in one write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetupRequest {
    /// Name of the box.
    pub host_name: HostName,
    /// Time zone.
    pub time_zone: TimeZone,
    /// Language of the pages, a BCP 47 tag; only `en` for now.
    pub language: String,
    /// When updates are installed.
    pub update_policy: UpdatePolicy,
}

/// The appliance's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Setup was finished: the wizard is locked until factory-reset.
    pub provisioned: bool,
    /// Name of the administrator.
    pub administrator: Option<AccountName>,
    /// Name of the box.
    pub host_name: HostName,
    /// Time zone.
    pub time_zone: TimeZone,
    /// Language of the pages.
    pub language: String,
    /// When updates are installed.
    pub update_policy: UpdatePolicy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            provisioned: false,
            administrator: None,
            host_name: HostName::unprovisioned(),
            time_zone: TimeZone::utc(),
            language: "en".into(),
            update_policy: UpdatePolicy::default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    host_name: String,
    time_zone: String,
    language: String,
    update_policy: UpdatePolicy,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    provisioned: bool,
    administrator: Option<String>,
    host_name: String,
    time_zone: String,
    language: String,
    update_policy: UpdatePolicy,
}

fn language(text: String) -> Result<String, SettingsError> {
    if text == "en" {
        return Ok(text);
    }
    Err(SettingsError::Value {
        key: "language",
        problem: format!("{text:?} is not available; use \"en\""),
    })
}

fn value<T>(key: &'static str, parsed: Result<T, String>) -> Result<T, SettingsError> {
    parsed.map_err(|problem| SettingsError::Value { key, problem })
}

fn syntax(error: toml::de::Error) -> SettingsError {
    SettingsError::Syntax(error.to_string().trim_end().replace('\n', " "))
}

impl SetupRequest {
    /// From TOML.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let raw: RawRequest = toml::from_str(text).map_err(syntax)?;
        Ok(Self {
            host_name: value("host_name", HostName::parse(&raw.host_name))?,
            time_zone: value("time_zone", TimeZone::parse(&raw.time_zone))?,
            language: language(raw.language)?,
            update_policy: raw.update_policy,
        })
    }

    /// As TOML.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        toml::to_string(self).map_err(|e| SettingsError::Syntax(e.to_string()))
    }
}

impl Settings {
    /// From TOML.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let raw: RawSettings = toml::from_str(text).map_err(syntax)?;
        Ok(Self {
            provisioned: raw.provisioned,
            administrator: raw
                .administrator
                .map(|name| value("administrator", AccountName::parse(&name)))
                .transpose()?,
            host_name: value("host_name", HostName::parse(&raw.host_name))?,
            time_zone: value("time_zone", TimeZone::parse(&raw.time_zone))?,
            language: language(raw.language)?,
            update_policy: raw.update_policy,
        })
    }

    /// As TOML.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        toml::to_string(self).map_err(|e| SettingsError::Syntax(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_round_trip() {
        for update_policy in UpdatePolicy::ALL {
            let settings = Settings {
                provisioned: true,
                administrator: Some(AccountName::parse("ada").unwrap()),
                host_name: HostName::parse("attic-1").unwrap(),
                time_zone: TimeZone::parse("America/Argentina/Ushuaia").unwrap(),
                update_policy,
                ..Settings::default()
            };
            let text = settings.to_toml().unwrap();
            assert!(
                text.contains(&format!("update_policy = \"{}\"", update_policy.name())),
                "{text}"
            );
            assert_eq!(UpdatePolicy::from_name(update_policy.name()), Some(update_policy));
            assert_eq!(Settings::parse(&text).unwrap(), settings);
        }
    }

    #[test]
    fn unknown_keys_and_climbing_paths_are_refused_by_name() {
        let error = SetupRequest::parse(
            "host_name='a'\ntime_zone='../../etc/passwd'\nlanguage='en'\nupdate_policy='notify'",
        )
        .unwrap_err();
        assert!(error.to_string().contains("time_zone"), "{error}");
        let error = SetupRequest::parse("hostname='a'").unwrap_err();
        assert!(error.to_string().contains("hostname"), "{error}");
    }

    #[test]
    fn host_names_are_one_dns_label() {
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a b",
            "ä",
            "localhost",
            &"a".repeat(64),
        ] {
            assert!(HostName::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "hearth", "attic-1", &"a".repeat(63)] {
            assert!(HostName::parse(good).is_ok(), "{good:?}");
        }
    }
}
