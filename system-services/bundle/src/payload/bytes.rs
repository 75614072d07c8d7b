//! Little-endian numbers of a table that was read.

use super::PayloadError;

/// Takes numbers from the front; an end before that is a malformed table.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PayloadError> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(PayloadError::Malformed { what: self.what })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), PayloadError> {
        self.rest = self
            .rest
            .get(count..)
            .ok_or(PayloadError::Malformed { what: self.what })?;
        Ok(())
    }

    pub(super) fn u16(&mut self) -> Result<u16, PayloadError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, PayloadError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, PayloadError> {
        self.take().map(u64::from_le_bytes)
    }
}
