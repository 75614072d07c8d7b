//! The builder's error: what failed, where, and what to do.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Result of this crate.
pub type Result<T, E = BuildError> = std::result::Result<T, E>;

/// Why no image came out.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{command}: {problem}")]
    Program {
        /// The command line.
        command: String,
        /// Exit status and what it said.
        problem: String,
    },
    /// A declaration (profile, board, lock, unit) is wrong.
    #[error("{what}: {problem}")]
    Invalid {
        /// File or key.
        what: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Packages are missing and cannot be had.
    #[error("{0}")]
    Packages(String),
    /// The finished image is not what it should be.
    #[error("the image is not sound:\n{}", .0.iter().map(|p| format!("  - {p}")).collect::<Vec<_>>().join("\n"))]
    Unsound(Vec<String>),
}

impl BuildError {
    /// A wrong declaration.
    pub fn invalid(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            problem: problem.into(),
        }
    }
}

/// Adds action and path to an I/O error; a full disk is named as such.
pub trait FileContext<T> {
    /// `action` is a verb in the infinitive, such as `read`.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> FileContext<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| {
            let path = path.as_ref().to_path_buf();
            if source.kind() == std::io::ErrorKind::StorageFull {
                return BuildError::Invalid {
                    what: path.display().to_string(),
                    problem: "the disk is full: free some space (an image needs about 3 GB) and run again"
                        .into(),
                };
            }
            BuildError::File { action, path, source }
        })
    }
}
