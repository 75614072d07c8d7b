//! Who has which blocks: `Want`, `Unwant`, `Bitfield`, `Range`.

use super::MalformedMessage;
use super::codec::{Reader, flags, put_uint};

/// A range of blocks of which the sender wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// The first block.
    pub start: u64,
    /// How many blocks.
    pub length: u64,
    /// One block that the receiver has in there is enough for an answer.
    pub any: bool,
}

impl Want {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_uint(out, self.start);
        put_uint(out, self.length);
        // Left out when there are none, as in the days before there were flags.
        if self.any {
            put_uint(out, 1);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        let start = reader.uint("start")?;
        let length = reader.uint("length")?;
        let flags = if reader.is_empty() {
            0
        } else {
            reader.uint("flags")?
        };
        Ok(Self {
            start,
            length,
            any: flags & 1 != 0,
        })
    }
}

/// Which blocks of a range the sender has; it replaces all that was known of that range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitfield {
    /// The block of the first bit; a multiple of 32 from the peer, with at most 65536 words.
    pub start: u64,
    /// A bit a block, lowest bit first.
    pub words: Vec<u32>,
}

impl Bitfield {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_uint(out, self.start);
        put_uint(out, self.words.len() as u64);
        out.extend(self.words.iter().flat_map(|word| word.to_le_bytes()));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        Ok(Self {
            start: reader.uint("start")?,
            words: reader.words("bitfield")?,
        })
    }
}

/// A run of blocks that the sender has, or has no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The sender has them no longer.
    pub drop: bool,
    /// The first block.
    pub start: u64,
    /// How many blocks; it may reach beyond the sender's length.
    pub length: u64,
}

impl Range {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let single = self.length == 1;
        put_uint(out, flags([self.drop, single]));
        put_uint(out, self.start);
        if !single {
            put_uint(out, self.length);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        let flags = reader.uint("flags")?;
        let start = reader.uint("start")?;
        let length = if flags & 2 != 0 { 1 } else { reader.uint("length")? };
        Ok(Self {
            drop: flags & 1 != 0,
            start,
            length,
        })
    }
}
