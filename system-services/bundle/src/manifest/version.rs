//! Versions and their order, for the protection against downgrades.

use std::cmp::Ordering;
use std::fmt;

/// Longest version in bytes.
const MAX_VERSION: usize = 128;

/// `major[.minor[.patch]][-pre][+build]`, ordered as semantic versioning says (2.0.0, item 11).
///
/// Unlike there, a missing minor or patch is 0 (RAUC's `1.14`) and leading zeros are read (`2026.08.1`).
/// Build metadata is not kept: it has no order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    numbers: [u64; 3],
    pre: Vec<Identifier>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Identifier {
    // The order of the variants is the rule: numbers are below words.
    Number(u64),
    Word(String),
}

/// Why a text is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Longer than 128 bytes.
    #[error("the version is longer than {MAX_VERSION} bytes")]
    TooLong,
    /// Not one to three numbers.
    #[error("a version is one to three numbers with dots between, such as 1.4.2")]
    Numbers,
    /// An empty or strange identifier behind `-` or `+`.
    #[error("what follows '-' or '+' in a version is letters, digits and hyphens, with dots between")]
    Identifier,
}

impl Version {
    /// Reads a version.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        if text.len() > MAX_VERSION {
            return Err(VersionError::TooLong);
        }
        let (text, build) = split(text, '+');
        let (core, pre) = split(text, '-');
        if let Some(build) = build {
            identifiers(build)?;
        }
        Ok(Self {
            numbers: numbers(core)?,
            pre: pre.map_or(Ok(Vec::new()), identifiers)?,
        })
    }

    /// True for a version with a `-pre` part: below the release of the same numbers.
    pub fn is_prerelease(&self) -> bool {
        !self.pre.is_empty()
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn numbers(core: &str) -> Result<[u64; 3], VersionError> {
    let mut numbers = [0; 3];
    for (position, part) in core.split('.').enumerate() {
        *numbers.get_mut(position).ok_or(VersionError::Numbers)? =
            number(part).ok_or(VersionError::Numbers)?;
    }
    Ok(numbers)
}

fn number(text: &str) -> Option<u64> {
    // `parse` alone would take a plus sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn identifiers(text: &str) -> Result<Vec<Identifier>, VersionError> {
    text.split('.')
        .map(|part| {
            if part.is_empty()
                || !part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            {
                return Err(VersionError::Identifier);
            }
            Ok(number(part).map_or_else(|| Identifier::Word(part.to_owned()), Identifier::Number))
        })
        .collect()
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| match (self.is_prerelease(), other.is_prerelease()) {
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                _ => self.pre.cmp(&other.pre),
            })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        for (position, identifier) in self.pre.iter().enumerate() {
            f.write_str(if position == 0 { "-" } else { "." })?;
            match identifier {
                Identifier::Number(number) => write!(f, "{number}")?,
                Identifier::Word(word) => f.write_str(word)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn the_order_is_that_of_semantic_versioning() {
        let ascending = [
            "0.9",
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
            "2026.08.1",
            "2026.8.2",
        ];
        for pair in ascending.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn missing_numbers_are_zero_and_build_metadata_has_no_order() {
        assert_eq!(version("1"), version("1.0.0"));
        assert_eq!(version("1.2+abc"), version("1.2.0+def.5"));
        assert_eq!(version("1.2.3-rc.1+x").to_string(), "1.2.3-rc.1");
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "1.",
            ".1",
            "1.2.3.4",
            "a",
            "+1",
            "1.-2",
            " 1",
            "99999999999999999999999",
        ] {
            assert_eq!(Version::parse(text), Err(VersionError::Numbers), "{text:?}");
        }
        for text in ["1-", "1-a..b", "1-a_b", "1+", "1+ä"] {
            assert_eq!(Version::parse(text), Err(VersionError::Identifier), "{text:?}");
        }
        assert_eq!(Version::parse(&"1".repeat(129)), Err(VersionError::TooLong));
    }
}
