//! Frames on the raw stream: a length (three bytes, little endian), then that many bytes.

use std::ops::RangeInclusive;

use super::StreamError;

/// Length of the length, in bytes.
pub(super) const LENGTH_BYTES: usize = 3;
/// Longest frame that the length can say, in bytes.
pub(super) const MAX_FRAME_BYTES: usize = (1 << 24) - 1;

/// How many times more than came in may be reserved for a frame.
pub(super) const LARGEST_ADVANCE: usize = 8;

/// Puts frames together. Memory is taken as bytes come in, not as lengths are announced.
#[derive(Default)]
pub(super) struct Frames {
    head: [u8; LENGTH_BYTES],
    /// How much of `head` is there.
    filled: usize,
    /// The first byte of the frame, kept apart so that what follows can be decrypted where it will be handed out.
    first: Option<u8>,
    rest: Vec<u8>,
}

/// A whole frame of at least one byte.
pub(super) struct Frame {
    pub(super) first: u8,
    pub(super) rest: Vec<u8>,
}

impl Frames {
    /// Whether a frame has begun and is not complete.
    pub(super) fn is_within_frame(&self) -> bool {
        self.filled > 0
    }

    /// Takes bytes off `input` until a frame is complete (then the others are left) or there are none.
    ///
    /// # Errors
    /// [`StreamError::FrameLength`] as soon as a length is known that is not in `allowed`, which starts at 1 or above.
    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        allowed: RangeInclusive<usize>,
    ) -> Result<Option<Frame>, StreamError> {
        while self.filled < LENGTH_BYTES {
            let Some(byte) = input.split_off_first() else {
                return Ok(None);
            };
            self.head[self.filled] = *byte;
            self.filled += 1;
        }
        let bytes = self.announced();
        if !allowed.contains(&bytes) {
            return Err(StreamError::FrameLength {
                bytes,
                min: *allowed.start(),
                max: *allowed.end(),
            });
        }
        let first = match self.first {
            Some(first) => first,
            None => match input.split_off_first() {
                Some(first) => *self.first.insert(*first),
                None => return Ok(None),
            },
        };
        let missing = bytes.saturating_sub(1 + self.rest.len());
        let taken = input.split_off(..missing.min(input.len())).unwrap_or_default();
        if self.rest.capacity() < bytes && (self.rest.len() + taken.len()) * LARGEST_ADVANCE >= bytes {
            self.rest.reserve_exact(missing);
        }
        self.rest.extend_from_slice(taken);
        if taken.len() < missing {
            return Ok(None);
        }
        let rest = std::mem::take(self).rest;
        Ok(Some(Frame { first, rest }))
    }

    fn announced(&self) -> usize {
        let [low, middle, high] = self.head;
        usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16
    }

    /// The length of the frame that has begun, if it is known, and how much of it is there, in bytes.
    pub(super) fn incomplete(&self) -> Option<(usize, usize)> {
        let received = self.rest.len() + usize::from(self.first.is_some());
        (self.filled == LENGTH_BYTES).then(|| (self.announced(), received))
    }

    /// How much memory is held, in bytes.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.rest.capacity()
    }
}
