//! Where a bundle is: below the folder of the index, or anywhere on HTTPS.

use std::fmt;

const MAX_PATH: usize = 512;
const MAX_URL: usize = 2048;

/// Where a bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A path below the folder of the index: names of letters, digits, `.`, `_`, `-`, `~` with `/` between, none of them
    /// beginning with a dot. No `+` and no `%`: web servers and S3 do not agree on what they mean.
    Below(String),
    /// An `https://` address.
    Https(String),
}

/// Why a text is no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// Not below the folder of the index.
    #[error(
        "{text:?} is neither a plain path below the index's folder (letters, digits, '.', '_', '-', '~', '/'; no name begins with a dot) nor an https:// address"
    )]
    Path {
        /// Its beginning.
        text: String,
    },
    /// An address with parts that an address of a bundle does not have.
    #[error(
        "{text:?} is not an https:// address of a file: no blanks, no user name, no fragment, at most {MAX_URL} bytes"
    )]
    Address {
        /// Its beginning.
        text: String,
    },
}

impl Location {
    /// Checks a text.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let start = || text.chars().take(80).collect();
        let Some(rest) = text.strip_prefix("https://") else {
            let plain = text.len() <= MAX_PATH && text.split('/').all(name_ok);
            return if plain {
                Ok(Self::Below(text.into()))
            } else {
                Err(LocationError::Path { text: start() })
            };
        };
        let (host, path) = rest.split_once('/').unwrap_or_default();
        let host_ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
        let path_ok = |b: u8| b.is_ascii_graphic() && !matches!(b, b'#' | b'\\' | b'"' | b'<' | b'>');
        let climbs = |name: &str| name == "." || name == "..";
        if text.len() > MAX_URL
            || host.is_empty()
            || path.is_empty()
            || !host.bytes().all(host_ok)
            || !path.bytes().all(path_ok)
            || path.split(['/', '?']).any(climbs)
        {
            return Err(LocationError::Address { text: start() });
        }
        Ok(Self::Https(text.into()))
    }

    /// The whole address, when the index was fetched from `index_url`.
    pub fn resolve(&self, index_url: &str) -> String {
        match self {
            Self::Https(url) => url.clone(),
            Self::Below(path) => {
                let end = index_url.find(['?', '#']).unwrap_or(index_url.len());
                let folder = index_url[..end].rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{path}")
            }
        }
    }

    /// As it is written in the index.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Below(text) | Self::Https(text) => text,
        }
    }
}

fn name_ok(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'~');
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(allowed)
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_below_the_folder_of_the_index_or_on_https() {
        let below = Location::parse("bundles/hearth-pi/1.2.3-ab.raucb").unwrap();
        for index in [
            "https://updates.example/hearth/stable.hearth-channel",
            "https://updates.example/hearth/stable.hearth-channel?x=/y",
        ] {
            assert_eq!(
                below.resolve(index),
                "https://updates.example/hearth/bundles/hearth-pi/1.2.3-ab.raucb"
            );
        }
        let elsewhere = Location::parse("https://cdn.example:8443/a/b.raucb?x=1").unwrap();
        assert_eq!(
            elsewhere.resolve("https://x/y"),
            "https://cdn.example:8443/a/b.raucb?x=1"
        );
    }

    #[test]
    fn what_climbs_or_hides_is_refused() {
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "../a",
            "a/../b",
            ".hidden",
            "a\\b",
            "a b",
            "a%2e",
            "a+b",
            "a?b",
            "http://x/a",
            "file:///a",
            "https://",
            "https://x",
            "https://x/",
            "https:///a",
            "https://u@x/a",
            "https://x/a b",
            "https://x/a#b",
            "https://x/../a",
            "https://x/ä",
            "HTTPS://x/a",
        ] {
            assert!(Location::parse(bad).is_err(), "{bad:?}");
        }
    }
}
