//! The index of a channel, checked: what there is for which board, and who gets it when.

mod error;
mod location;
mod text;

use bundle::cms::UnixTime;
use ipc::updater_version::Version;

pub use error::IndexError;
pub use location::{Location, LocationError};
pub use text::parse;

use crate::date;
use crate::name::ChannelName;

/// The format that is read and written here.
pub const FORMAT: u64 = 1;
/// Longest content of an index in bytes.
pub const MAX_CONTENT: usize = 256 * 1024;
/// Longest index file in bytes: the content and its signature.
pub const MAX_FILE: usize = MAX_CONTENT + 32 * 1024;

/// Boards and the like that one channel serves.
pub(crate) const MAX_COMPATIBLES: usize = 64;
/// Releases that are kept for each of them.
pub(crate) const MAX_RELEASES: usize = 32;
const MAX_WAVES: usize = 16;
const MAX_COMPATIBLE: usize = 64;
const MAX_DESCRIPTION: usize = 4096;
const MAX_CRLS: usize = 64 * 1024;
/// As what fetches bundles: a file beyond this is none of ours.
const MAX_BUNDLE: u64 = 16 << 30;
/// An index that holds for longer could be shown to a box for too long after it was replaced.
pub(crate) const MAX_LIFETIME_S: u64 = 366 * 86_400;
/// Last second of the year 9999.
const MAX_TIME: u64 = 253_402_300_799;

/// A channel's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Of which channel.
    pub channel: ChannelName,
    /// Grows with every index of the channel; never beyond `issued`, so that a stolen key cannot use all numbers up.
    pub serial: u64,
    /// When it was made.
    pub issued: UnixTime,
    /// From when on nothing is done because of it.
    pub expires: UnixTime,
    /// Revocation lists, PEM: how revocations reach the boxes.
    pub crls: Option<String>,
    /// What there is, by board; each board once.
    pub compatibles: Vec<Compatible>,
}

/// What there is for one kind of board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compatible {
    /// What a box must be to take these; as in the bundle's manifest.
    pub name: String,
    /// Its releases, each version and each bundle once.
    pub releases: Vec<Release>,
}

/// One bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Version of the system in it.
    pub version: Version,
    /// Where the bundle is.
    pub bundle: Location,
    /// SHA-256 of its manifest: nothing else may be there.
    pub manifest_hash: [u8; 32],
    /// Bytes of the whole bundle.
    pub size_bytes: u64,
    /// What changed, for people; may be empty, may have several lines.
    pub description: String,
    /// The oldest version from which it may be installed.
    pub upgrade_from: Option<Version>,
    /// As in the bundle's manifest: boxes on which a release with a higher one was good refuse it. 0 where none is named. For
    /// whoever publishes; boxes go by the manifest.
    pub rollback_index: u32,
    /// Mends something that should not wait: installed without waiting for the night (the restart waits).
    pub critical: bool,
    /// Offered to nobody any more.
    pub stopped: bool,
    /// When it was published; offered to nobody before.
    pub published: UnixTime,
    /// Who gets it when, in steps: later and more with each. Empty: everybody at once.
    pub waves: Vec<Wave>,
}

/// From a time on, a part of all boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wave {
    /// From when on.
    pub from: UnixTime,
    /// How many, 1 to 100.
    pub percent: u8,
}

impl Index {
    /// What there is for `compatible`.
    pub fn compatible(&self, compatible: &str) -> Option<&Compatible> {
        self.compatibles.iter().find(|entry| entry.name == compatible)
    }

    /// Every rule of the format; whoever changes an index has it checked before signing.
    pub fn check(&self) -> Result<(), IndexError> {
        let value = |key: &str, problem: String| Err(IndexError::value(key, problem));
        if self.expires.0 > MAX_TIME {
            return value("expires", "is after the year 9999".into());
        }
        if self.serial == 0 || self.serial > self.issued.0 {
            return value(
                "serial",
                "must be at least 1 and at most as large as issued".into(),
            );
        }
        if self.expires <= self.issued {
            return value("expires", format!("must be after issued ({})", date(self.issued)));
        }
        if self.expires.0 - self.issued.0 > MAX_LIFETIME_S {
            return value("expires", "is more than 366 days after issued".into());
        }
        if let Some(crls) = &self.crls
            && (crls.len() > MAX_CRLS || !crls.contains("-----BEGIN X509 CRL-----"))
        {
            return value(
                "crls",
                format!("must be revocation lists in PEM, at most {MAX_CRLS} bytes"),
            );
        }
        if self.compatibles.len() > MAX_COMPATIBLES {
            return value("compatible", format!("there are more than {MAX_COMPATIBLES}"));
        }
        for (position, compatible) in self.compatibles.iter().enumerate() {
            let named_before = |other: &Compatible| other.name == compatible.name;
            if self.compatibles[..position].iter().any(named_before) {
                return value("compatible", format!("{:?} is there twice", compatible.name));
            }
            compatible.check()?;
        }
        Ok(())
    }
}

impl Compatible {
    fn check(&self) -> Result<(), IndexError> {
        let name = &self.name;
        if name.is_empty() || name.len() > MAX_COMPATIBLE || name.chars().any(char::is_control) {
            return Err(IndexError::value(
                "compatible.name",
                format!("must have 1 to {MAX_COMPATIBLE} bytes without control characters"),
            ));
        }
        let value =
            |key: &str, problem: String| IndexError::value(&format!("compatible {name:?}: {key}"), problem);
        if self.releases.len() > MAX_RELEASES {
            return Err(value("release", format!("there are more than {MAX_RELEASES}")));
        }
        for (position, release) in self.releases.iter().enumerate() {
            for other in &self.releases[..position] {
                if other.version == release.version {
                    return Err(value(
                        "release",
                        format!("version {} is there twice", release.version),
                    ));
                }
                if other.manifest_hash == release.manifest_hash {
                    let problem = format!("{} and {} are the same bundle", other.version, release.version);
                    return Err(value("release", problem));
                }
            }
            release
                .check()
                .map_err(|(key, problem)| value(&format!("release {}: {key}", release.version), problem))?;
        }
        Ok(())
    }
}

impl Release {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.size_bytes == 0 || self.size_bytes > MAX_BUNDLE {
            return Err(("size_bytes", format!("must be 1 to {MAX_BUNDLE}")));
        }
        let control = |c: char| c.is_control() && c != '\n';
        if self.description.len() > MAX_DESCRIPTION || self.description.contains(control) {
            let problem = format!(
                "must have at most {MAX_DESCRIPTION} bytes, without control characters but line ends"
            );
            return Err(("description", problem));
        }
        if let Some(from) = &self.upgrade_from
            && *from >= self.version
        {
            return Err(("upgrade_from", format!("must be an older version, not {from}")));
        }
        if self.published.0 > MAX_TIME {
            return Err(("published", "is after the year 9999".into()));
        }
        check_waves(&self.waves).map_err(|problem| ("waves", problem))
    }
}

/// Later and more with each.
pub(crate) fn check_waves(waves: &[Wave]) -> Result<(), String> {
    if waves.len() > MAX_WAVES {
        return Err(format!("there are more than {MAX_WAVES}"));
    }
    for wave in waves {
        if !(1..=100).contains(&wave.percent) || wave.from.0 > MAX_TIME {
            return Err(format!(
                "{} % is not 1 to 100, or the time is after the year 9999",
                wave.percent
            ));
        }
    }
    for pair in waves.windows(2) {
        if pair[1].from <= pair[0].from || pair[1].percent <= pair[0].percent {
            return Err(format!(
                "{} % does not come later than {} % and reach more boxes",
                pair[1].percent, pair[0].percent
            ));
        }
    }
    Ok(())
}
