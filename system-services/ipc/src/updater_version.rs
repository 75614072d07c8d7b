//! Versions of the appliance, compared as semantic versions (semver.org 2.0, paragraph 11): `major.minor.patch[-pre]`.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest version text that is read.
const MAX_LEN: usize = 64;

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a version such as 1.2.3 or 1.2.3-rc.1")]
pub struct VersionError {
    text: String,
}

/// A version. Build metadata (`+…`) is kept in the text and ignored in comparisons, as the specification says; two
/// versions are equal when neither is before the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    text: String,
    core: [u64; 3],
    pre: Vec<Identifier>,
}

/// One part of a pre-release. Numbers come before words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl Version {
    /// From text. Also `1` and `1.2` are taken, as 1.0.0 and 1.2.0.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError {
            text: text.chars().take(MAX_LEN).collect(),
        };
        if text.len() > MAX_LEN {
            return Err(error());
        }
        let (rest, build) = text
            .split_once('+')
            .map_or((text, None), |(rest, build)| (rest, Some(build)));
        let (core, pre) = rest
            .split_once('-')
            .map_or((rest, None), |(core, pre)| (core, Some(pre)));
        let mut numbers = [0; 3];
        for (count, part) in core.split('.').enumerate() {
            *numbers.get_mut(count).ok_or_else(error)? = number(part).ok_or_else(error)?;
        }
        let word_ok =
            |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if build.is_some_and(|build| !build.split('.').all(word_ok)) {
            return Err(error());
        }
        let mut identifiers = Vec::new();
        for part in pre.into_iter().flat_map(|pre| pre.split('.')) {
            if !word_ok(part) {
                return Err(error());
            }
            identifiers.push(if part.bytes().all(|b| b.is_ascii_digit()) {
                Identifier::Number(number(part).ok_or_else(error)?)
            } else {
                Identifier::Word(part.into())
            });
        }
        Ok(Self {
            text: text.into(),
            core: numbers,
            pre: identifiers,
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Digits without a leading zero.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = text.len() == 1 || !text.starts_with('0');
    (digits && plain).then(|| text.parse().ok()).flatten()
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.core
            .cmp(&other.core)
            .then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ => self.pre.cmp(&other.pre),
            })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;
    fn try_from(text: String) -> Result<Self, VersionError> {
        Self::parse(&text)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_are_ordered_as_the_specification_orders_them() {
        let ascending = [
            "0.9.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2",
            "1.10",
            "2",
        ];
        for (i, first) in ascending.iter().enumerate() {
            for (j, second) in ascending.iter().enumerate() {
                assert_eq!(
                    version(first).cmp(&version(second)),
                    i.cmp(&j),
                    "{first} {second}"
                );
            }
        }
        assert_eq!(version("1.0.0+a"), version("1.0.0+b"));
        assert_eq!(version("1"), version("1.0.0"));
    }

    #[test]
    fn what_is_no_version_is_refused_with_its_text() {
        for bad in [
            "",
            "1.",
            ".1",
            "01.0.0",
            "1.0.0.0",
            "1.0.0-",
            "1.0.0-a..b",
            "1.0.0-01",
            "1.0.0+",
            "v1.0.0",
            "1.0.0 ",
            "1.0.0-ä",
            "99999999999999999999.0.0",
            "-1",
        ] {
            let error = Version::parse(bad).unwrap_err();
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
        assert!(Version::parse(&"1".repeat(100)).unwrap_err().to_string().len() < 140);
    }
}
