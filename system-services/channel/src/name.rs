//! Names of channels, and of the files that hold their indexes.

use std::fmt;

/// What the name of an index file ends in. A later, incompatible format gets another ending, so that both can be served.
pub const FILE_ENDING: &str = ".hearth-channel";

const MAX_NAME: usize = 32;

/// Name of a channel: lower-case letters, digits and hyphens, a letter first, at most 32.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(String);

/// Why a text is no name of a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not the name of a channel: use lower-case letters, digits and hyphens, a letter first, at most {MAX_NAME}, such as stable"
)]
pub struct ChannelNameError {
    text: String,
}

impl ChannelName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, ChannelNameError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.len() > MAX_NAME
            || !text.starts_with(|first: char| first.is_ascii_lowercase())
            || !text.bytes().all(allowed)
        {
            return Err(ChannelNameError {
                text: text.chars().take(MAX_NAME + 1).collect(),
            });
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of its index file.
    pub fn file_name(&self) -> String {
        format!("{}{FILE_ENDING}", self.0)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_neither_climb_nor_hide() {
        assert_eq!(
            ChannelName::parse("stable").unwrap().file_name(),
            "stable.hearth-channel"
        );
        for bad in [
            "",
            "..",
            "a/b",
            "A",
            "1",
            "-a",
            "a b",
            "a\n",
            "ä",
            &"a".repeat(33),
        ] {
            assert!(ChannelName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
