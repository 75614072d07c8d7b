//! Short texts of fixed size.

use core::fmt;
use thiserror::Error;

/// Why a fixed-size text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TextError {
    /// Nothing before the first NUL.
    #[error("is empty")]
    Empty,
    /// Longer than the field.
    #[error("is longer than its field")]
    TooLong,
    /// A space, a control character or a byte beyond ASCII. The text is shown on consoles: nothing in it may steer them.
    #[error("has a character that is not printable ASCII")]
    Character,
    /// Something behind the first NUL: two headers that read alike would have different bytes.
    #[error("has bytes behind its end")]
    Padding,
}

/// 1 to `N` printable ASCII characters, NUL-padded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// From the bytes of a header.
    pub fn parse(field: &[u8; N]) -> Result<Self, TextError> {
        let len = field.iter().position(|b| *b == 0).unwrap_or(N);
        let (text, padding) = field.split_at(len);
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        if !text.iter().all(u8::is_ascii_graphic) {
            return Err(TextError::Character);
        }
        if padding.iter().any(|b| *b != 0) {
            return Err(TextError::Padding);
        }
        Ok(Self(*field))
    }

    /// From a text, for writing.
    pub fn new(text: &str) -> Result<Self, TextError> {
        let mut field = [0; N];
        field
            .get_mut(..text.len())
            .ok_or(TextError::TooLong)?
            .copy_from_slice(text.as_bytes());
        if text.contains('\0') {
            return Err(TextError::Character);
        }
        Self::parse(&field)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(N);
        // Checked to be ASCII when it was made.
        core::str::from_utf8(&self.0[..len]).unwrap_or_default()
    }

    /// As it stands in the header.
    pub fn bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
