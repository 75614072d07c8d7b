//! The text of an index: TOML, so that people can read what they sign.

use bundle::cms::UnixTime;
use ipc::updater_version::Version;
use serde::{Deserialize, Serialize};

use super::{Compatible, FORMAT, Index, IndexError, Location, MAX_CONTENT, Release, Wave};
use crate::name::ChannelName;

/// Read first, and alone: a later format may have any other keys.
#[derive(Deserialize)]
struct RawFormat {
    format: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIndex {
    format: u64,
    channel: String,
    serial: u64,
    issued: u64,
    expires: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    crls: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    compatible: Vec<RawCompatible>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCompatible {
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    release: Vec<RawRelease>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRelease {
    version: String,
    bundle: String,
    manifest_hash: String,
    size_bytes: u64,
    #[serde(default)]
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_from: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    rollback_index: u32,
    #[serde(default)]
    critical: bool,
    #[serde(default)]
    stopped: bool,
    published: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    waves: Vec<RawWave>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWave {
    from: u64,
    percent: u8,
}

/// Reads and checks the content of an index. That it was signed is for [`open`](crate::open()) to say.
pub fn parse(content: &[u8]) -> Result<Index, IndexError> {
    if content.len() > MAX_CONTENT {
        return Err(IndexError::TooLong { bytes: content.len() });
    }
    let text = std::str::from_utf8(content).map_err(|_| IndexError::NotText)?;
    let syntax = |error| syntax(text, &error);
    let RawFormat { format } = toml::from_str(text).map_err(syntax)?;
    if format != FORMAT {
        return Err(IndexError::Format { found: format });
    }
    let raw: RawIndex = toml::from_str(text).map_err(syntax)?;
    let index = Index {
        channel: ChannelName::parse(&raw.channel).map_err(|e| IndexError::value("channel", e.to_string()))?,
        serial: raw.serial,
        issued: UnixTime(raw.issued),
        expires: UnixTime(raw.expires),
        crls: raw.crls,
        compatibles: raw
            .compatible
            .into_iter()
            .map(RawCompatible::read)
            .collect::<Result<_, _>>()?,
    };
    index.check()?;
    Ok(index)
}

/// The line where it happened has the key on it.
fn syntax(text: &str, error: &toml::de::Error) -> IndexError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = &text.as_bytes()[..at];
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let shown = text.lines().nth(line).unwrap_or_default().trim();
    IndexError::Syntax {
        line: line + 1,
        text: shown.chars().take(80).collect(),
        problem: error
            .message()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(200)
            .collect(),
    }
}

impl RawCompatible {
    fn read(self) -> Result<Compatible, IndexError> {
        let name = self.name;
        let releases = self
            .release
            .into_iter()
            .map(|release| {
                let version = release.version.chars().take(64).collect::<String>();
                release.read().map_err(|(key, problem)| {
                    IndexError::value(
                        &format!("compatible {name:?}: release {version:?}: {key}"),
                        problem,
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Compatible { name, releases })
    }
}

impl RawRelease {
    fn read(self) -> Result<Release, (&'static str, String)> {
        let version = |key, text: &str| Version::parse(text).map_err(|problem| (key, problem.to_string()));
        Ok(Release {
            version: version("version", &self.version)?,
            bundle: Location::parse(&self.bundle).map_err(|problem| ("bundle", problem.to_string()))?,
            manifest_hash: from_hex(&self.manifest_hash)
                .ok_or_else(|| ("manifest_hash", "must be 64 lower-case hexadecimal digits".into()))?,
            size_bytes: self.size_bytes,
            description: self.description,
            upgrade_from: self
                .upgrade_from
                .map(|text| version("upgrade_from", &text))
                .transpose()?,
            rollback_index: self.rollback_index,
            critical: self.critical,
            stopped: self.stopped,
            published: UnixTime(self.published),
            waves: self
                .waves
                .iter()
                .map(|wave| Wave {
                    from: UnixTime(wave.from),
                    percent: wave.percent,
                })
                .collect(),
        })
    }
}

impl Index {
    /// The text to sign; [`parse`] reads the same from it.
    pub fn to_toml(&self) -> Result<String, IndexError> {
        self.check()?;
        let raw = RawIndex {
            format: FORMAT,
            channel: self.channel.to_string(),
            serial: self.serial,
            issued: self.issued.0,
            expires: self.expires.0,
            crls: self.crls.clone(),
            compatible: self.compatibles.iter().map(RawCompatible::write).collect(),
        };
        let text = toml::to_string(&raw).map_err(|error| IndexError::Write(error.to_string()))?;
        if text.len() > MAX_CONTENT {
            return Err(IndexError::TooLong { bytes: text.len() });
        }
        Ok(text)
    }
}

impl RawCompatible {
    fn write(compatible: &Compatible) -> Self {
        Self {
            name: compatible.name.clone(),
            release: compatible.releases.iter().map(RawRelease::write).collect(),
        }
    }
}

impl RawRelease {
    fn write(release: &Release) -> Self {
        Self {
            version: release.version.to_string(),
            bundle: release.bundle.to_string(),
            manifest_hash: release
                .manifest_hash
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            size_bytes: release.size_bytes,
            description: release.description.clone(),
            upgrade_from: release.upgrade_from.as_ref().map(ToString::to_string),
            rollback_index: release.rollback_index,
            critical: release.critical,
            stopped: release.stopped,
            published: release.published.0,
            waves: release
                .waves
                .iter()
                .map(|wave| RawWave {
                    from: wave.from.0,
                    percent: wave.percent,
                })
                .collect(),
        }
    }
}

/// For what is not written then.
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// 64 lower-case digits, so that one hash has one text.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests;
