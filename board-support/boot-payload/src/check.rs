//! Are the bytes of a part those that were signed?

use crate::header::{MAX_COMMAND_LINE, Part, PartKind};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Why the bytes of a part were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PartError {
    /// More or fewer bytes than the header says.
    #[error("{kind}: {given} bytes instead of {expected}")]
    Length {
        /// Which part.
        kind: PartKind,
        /// Bytes given.
        given: u64,
        /// Bytes in the header.
        expected: u64,
    },
    /// The SHA-256 is another one.
    #[error("{kind}: damaged (SHA-256 differs)")]
    Hash {
        /// Which part.
        kind: PartKind,
    },
    /// The command line is not one line of UTF-8.
    #[error("command line: not one line of UTF-8 text")]
    Text,
}

/// Hashes a part piece by piece.
#[derive(Debug, Clone)]
pub struct PartHash {
    part: Part,
    seen: u64,
    sha256: Sha256,
}

impl PartHash {
    /// Nothing seen yet.
    pub fn new(part: &Part) -> Self {
        Self {
            part: *part,
            seen: 0,
            sha256: Sha256::new(),
        }
    }

    /// The next bytes of the part.
    pub fn update(&mut self, bytes: &[u8]) {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        self.sha256.update(bytes);
    }

    /// All bytes were seen: are they the right ones?
    pub fn finish(self) -> Result<(), PartError> {
        let kind = self.part.kind();
        if self.seen != self.part.stored_len() {
            return Err(PartError::Length {
                kind,
                given: self.seen,
                expected: self.part.stored_len(),
            });
        }
        if self.sha256.finalize().as_slice() != self.part.sha256() {
            return Err(PartError::Hash { kind });
        }
        Ok(())
    }
}

impl Part {
    /// Checks all bytes of the part at once.
    pub fn check(&self, stored: &[u8]) -> Result<(), PartError> {
        let mut hash = PartHash::new(self);
        hash.update(stored);
        hash.finish()
    }
}

/// One line of at most [`MAX_COMMAND_LINE`] bytes without control characters: it becomes part of a longer one.
pub(crate) fn command_line(bytes: &[u8]) -> Result<&str, PartError> {
    let text = core::str::from_utf8(bytes).map_err(|_| PartError::Text)?;
    if bytes.len() as u64 > MAX_COMMAND_LINE || text.chars().any(char::is_control) {
        return Err(PartError::Text);
    }
    Ok(text)
}

impl crate::Header {
    /// Checks all bytes of one part at once.
    pub fn check_part(&self, kind: PartKind, stored: &[u8]) -> Result<(), PartError> {
        self.part(kind).check(stored)
    }

    /// Checks the bytes of the command line and returns it as text.
    pub fn check_command_line<'a>(&self, stored: &'a [u8]) -> Result<&'a str, PartError> {
        self.check_part(PartKind::CommandLine, stored)?;
        command_line(stored)
    }
}
