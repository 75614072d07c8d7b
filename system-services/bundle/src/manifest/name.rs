//! Names of files inside a bundle.

use std::fmt;

/// Longest name in bytes, as of Linux file systems.
pub const MAX_FILE_NAME: usize = 255;

/// One plain path component: never a path, so that a signed manifest cannot reach out of its bundle
/// (real RAUC accepted `../../etc/passwd`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileNameError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// Longer than [`MAX_FILE_NAME`].
    #[error("it is longer than {MAX_FILE_NAME} bytes")]
    TooLong,
    /// `.` or `..`.
    #[error("it is a folder's own name")]
    Dots,
    /// A path separator or a control character.
    #[error("it holds {0:?}; only one plain file name is allowed")]
    Forbidden(char),
}

impl FileName {
    /// Checks that `name` is one plain component: no `/`, `\`, control character; not `.` or `..`.
    pub fn new(name: &str) -> Result<Self, FileNameError> {
        if name.is_empty() {
            return Err(FileNameError::Empty);
        }
        if name.len() > MAX_FILE_NAME {
            return Err(FileNameError::TooLong);
        }
        if matches!(name, "." | "..") {
            return Err(FileNameError::Dots);
        }
        match name.chars().find(|c| matches!(c, '/' | '\\') || c.is_control()) {
            Some(forbidden) => Err(FileNameError::Forbidden(forbidden)),
            None => Ok(Self(name.to_owned())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for FileName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for FileName {
    type Err = FileNameError;

    fn from_str(name: &str) -> Result<Self, FileNameError> {
        Self::new(name)
    }
}
