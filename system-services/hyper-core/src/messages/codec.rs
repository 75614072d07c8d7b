//! Reading and writing of compact-encoding's elements, as the wire messages and the mux need them.
//!
//! The primitives are the `compact-encoding` crate's. Own code is the cursor around them, for three reasons: the
//! crate's list
//! decoders reserve the memory that the sender announces, its numbers reach beyond what a JavaScript peer can read,
//! and its errors
//! do not say which field is at fault.

use compact_encoding::{CompactEncoding, get_slices_checked, take_array};

use super::{Fault, MalformedMessage};

/// The greatest number that is valid on the wire: JavaScript's `Number.MAX_SAFE_INTEGER`, 2^53 - 1.
///
/// Two of them can be added in a `u64` without overflow.
pub const MAX_UINT: u64 = (1 << 53) - 1;

/// The most entries of one list; the peer's own limit (`compact-encoding`, `array`).
pub const MAX_LIST_ENTRIES: u64 = 0x10_0000;

/// A cursor over the bytes of one message. Lengths are compared with what is left before anything is reserved.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    message: &'static str,
    len: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// `message` names what is read, for errors.
    pub fn new(message: &'static str, bytes: &'a [u8]) -> Self {
        Self {
            message,
            len: bytes.len(),
            rest: bytes,
        }
    }

    /// Whether everything is read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    fn fault(&self, field: &'static str, fault: Fault) -> MalformedMessage {
        MalformedMessage {
            message: self.message,
            field,
            offset: self.len - self.rest.len(),
            fault,
        }
    }

    /// A number of variable width.
    pub fn uint(&mut self, field: &'static str) -> Result<u64, MalformedMessage> {
        let (value, rest) = u64::decode(self.rest).map_err(|_| self.fault(field, Fault::EndsEarly))?;
        if value > MAX_UINT {
            return Err(self.fault(field, Fault::NumberTooGreat));
        }
        self.rest = rest;
        Ok(value)
    }

    /// Exactly `N` bytes.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], MalformedMessage> {
        let (value, rest) = take_array(self.rest).map_err(|_| self.fault(field, Fault::EndsEarly))?;
        self.rest = rest;
        Ok(value)
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], MalformedMessage> {
        let len = self.uint(field)?;
        self.slice(field, len)
    }

    /// UTF-8 text behind its length in bytes.
    pub fn text(&mut self, field: &'static str) -> Result<&'a str, MalformedMessage> {
        let bytes = self.bytes(field)?;
        std::str::from_utf8(bytes).map_err(|_| self.fault(field, Fault::NotUtf8))
    }

    /// 32-bit words, little endian, behind their count.
    pub fn words(&mut self, field: &'static str) -> Result<Vec<u32>, MalformedMessage> {
        // No overflow: a number on the wire has at most 53 bits.
        let bytes = self.uint(field)? * 4;
        let bytes = self.slice(field, bytes)?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| u32::from_le_bytes(*word))
            .collect())
    }

    /// Entries behind their count, each of at least `entry_bytes`.
    pub fn list<T>(
        &mut self,
        field: &'static str,
        entry_bytes: usize,
        mut entry: impl FnMut(&mut Self) -> Result<T, MalformedMessage>,
    ) -> Result<Vec<T>, MalformedMessage> {
        let count = self.uint(field)?;
        if count > MAX_LIST_ENTRIES {
            return Err(self.fault(field, Fault::ListTooLong));
        }
        let most = self.rest.len() / entry_bytes.max(1);
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= most)
            .ok_or_else(|| self.fault(field, Fault::EndsEarly))?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(entry(self)?);
        }
        Ok(entries)
    }

    fn slice(&mut self, field: &'static str, len: u64) -> Result<&'a [u8], MalformedMessage> {
        let early = |_| self.fault(field, Fault::EndsEarly);
        let len = usize::try_from(len).map_err(|_| self.fault(field, Fault::EndsEarly))?;
        let (slice, rest) = get_slices_checked(self.rest, len).map_err(early)?;
        self.rest = rest;
        Ok(slice)
    }
}

/// Appends a number in its shortest form. Numbers beyond [`MAX_UINT`] can be written, but no peer reads them.
pub fn put_uint(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=0xfc => out.push(bytes[0]),
        0xfd..=0xffff => {
            out.push(0xfd);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xfe);
            out.extend_from_slice(&bytes[..4]);
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Appends bytes behind their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A byte of flags: bit `i` is set when the `i`-th condition holds.
pub fn flags<const N: usize>(conditions: [bool; N]) -> u64 {
    conditions
        .iter()
        .enumerate()
        .fold(0, |flags, (bit, set)| flags | (u64::from(*set) << bit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_the_crate_writes_them_and_read_back(value in 0..=MAX_UINT, shift in 0u32..53) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_uint(&mut out, value);
            prop_assert_eq!(&out[..], &*value.to_encoded_bytes().unwrap());
            prop_assert_eq!(Reader::new("test", &out).uint("value"), Ok(value));
        }
    }

    #[test]
    fn a_number_that_javascript_cannot_hold_is_refused() {
        let mut out = Vec::new();
        put_uint(&mut out, MAX_UINT + 1);
        let error = Reader::new("test", &out).uint("value").unwrap_err();
        assert_eq!(error.fault, Fault::NumberTooGreat);
    }

    #[test]
    fn an_announced_list_longer_than_the_message_reserves_nothing() {
        let mut out = Vec::new();
        put_uint(&mut out, MAX_LIST_ENTRIES);
        let error = Reader::new("test", &out)
            .list("list", 1, |r| r.uint("entry"))
            .unwrap_err();
        assert_eq!(error.fault, Fault::EndsEarly);
        out.clear();
        put_uint(&mut out, MAX_LIST_ENTRIES + 1);
        let error = Reader::new("test", &out)
            .list("list", 1, |r| r.uint("entry"))
            .unwrap_err();
        assert_eq!(error.fault, Fault::ListTooLong);
    }
}
