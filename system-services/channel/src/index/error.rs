//! Why the content of an index is refused.

use super::{FORMAT, MAX_CONTENT};

/// Why the content of an index is refused: a sentence with the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Longer than [`MAX_CONTENT`].
    #[error("the channel's index has {bytes} bytes; at most {MAX_CONTENT} are allowed")]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// Not UTF-8.
    #[error("the channel's index is not text")]
    NotText,
    /// No TOML, or other keys than those of the format, or of another type.
    #[error("line {line} of the channel's index, {text:?}: {problem}")]
    Syntax {
        /// Which, from 1.
        line: usize,
        /// Its beginning.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// Made for later appliances.
    #[error(
        "the channel's index has the format {found}, this appliance knows {FORMAT}; install a newer version from a file or a USB stick"
    )]
    Format {
        /// What it says.
        found: u64,
    },
    /// A value that cannot be.
    #[error("{key} in the channel's index: {problem}")]
    Value {
        /// Which.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// It cannot be written down.
    #[error("the channel's index cannot be written: {0}")]
    Write(String),
}

impl IndexError {
    pub(crate) fn value(key: &str, problem: impl Into<String>) -> Self {
        Self::Value {
            key: key.into(),
            problem: problem.into(),
        }
    }
}
