//! The little of Protocol Buffers that blocks of a bee are made of: fields that hold bytes, and numbers.
//!
//! Blocks are read in place: what is found are places in the block, not copies. A number may have 53 bits, as JavaScript's.

use std::ops::Range;

/// The greatest number that a JavaScript peer reads back as it was written.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {what}")]
pub struct Malformed {
    /// Where, counted from the start of the message.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// A cursor over one message, or over a part of it.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

/// A field of bytes: its number, and where in the message its bytes are.
pub(super) type Field = (u64, Range<usize>);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self::within(bytes, 0..bytes.len())
    }

    /// A reader of a part of a message; the part must be one that a reader of the same bytes gave.
    pub(super) fn within(bytes: &'a [u8], part: Range<usize>) -> Self {
        Self {
            bytes,
            at: part.start,
            end: part.end.min(bytes.len()),
        }
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed {
            offset: self.at,
            what,
        }
    }

    /// The next number, or nothing at the end.
    pub(super) fn number(&mut self) -> Result<Option<u64>, Malformed> {
        if self.at >= self.end {
            return Ok(None);
        }
        let mut value = 0u64;
        for (i, byte) in self.bytes[self.at..self.end].iter().enumerate() {
            // The eighth byte ends at bit 56, beyond what is allowed: no shift can overflow.
            value |= u64::from(byte & 0x7f) << (7 * i);
            if value > MAX_NUMBER || i >= 8 {
                return Err(self.malformed("a number has more than 53 bits"));
            }
            if byte & 0x80 == 0 {
                self.at += i + 1;
                return Ok(Some(value));
            }
        }
        Err(self.malformed("a number is cut off"))
    }

    /// So many bytes.
    pub(super) fn take(&mut self, bytes: u64) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        let bytes = usize::try_from(bytes)
            .ok()
            .filter(|bytes| *bytes <= self.end - start);
        let bytes = bytes.ok_or_else(|| self.malformed("a field is longer than what holds it"))?;
        self.at += bytes;
        Ok(start..self.at)
    }

    /// The next field that holds bytes, or nothing at the end. Fields of other types are passed over: newer versions may have them.
    pub(super) fn field(&mut self) -> Result<Option<Field>, Malformed> {
        let cut_off = |reader: &Self| reader.malformed("a field is cut off");
        while let Some(tag) = self.number()? {
            let bytes = match tag & 7 {
                0 => {
                    self.number()?.ok_or_else(|| cut_off(self))?;
                    0
                }
                1 => 8,
                2 => {
                    let len = self.number()?.ok_or_else(|| cut_off(self))?;
                    return Ok(Some((tag >> 3, self.take(len)?)));
                }
                5 => 4,
                _ => return Err(self.malformed("a field has a type that is not in use")),
            };
            self.take(bytes)?;
        }
        Ok(None)
    }
}

/// Bytes of a number.
pub(super) fn number_bytes(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends the head of a field of `len` bytes.
pub(super) fn put_field(out: &mut Vec<u8>, number: u8, len: usize) {
    out.push(number << 3 | 2);
    put_number(out, len as u64);
}

/// Appends a field that holds bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    put_field(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_read_back_and_takes_the_bytes_that_were_foretold(value in 0..=MAX_NUMBER, shift in 0u32..53) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_number(&mut out, value);
            prop_assert_eq!(out.len(), number_bytes(value));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.number(), Ok(Some(value)));
            prop_assert_eq!(reader.number(), Ok(None));
        }

        #[test]
        fn no_bytes_make_the_reader_panic_or_leave_the_message(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&bytes);
            while let Ok(Some((_, range))) = reader.field() {
                prop_assert!(bytes.get(range).is_some());
            }
        }
    }

    #[test]
    fn fields_of_other_types_are_passed_over() {
        // A number, eight bytes, four bytes, then field 3.
        let mut message = vec![0x08, 0x80, 0x01, 0x11];
        message.extend([0; 8]);
        message.push(0x15);
        message.extend([0; 4]);
        put_bytes(&mut message, 3, b"here");
        let (number, range) = Reader::new(&message).field().unwrap().unwrap();
        assert_eq!((number, &message[range]), (3, &b"here"[..]));
    }

    #[test]
    fn a_length_beyond_the_message_is_refused() {
        let message = [0x0a, 0x05, 1, 2];
        assert_eq!(Reader::new(&message).field().unwrap_err().offset, 2);
        let too_great = [0xff; 12];
        assert!(Reader::new(&too_great).number().is_err());
    }
}
