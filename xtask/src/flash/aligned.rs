//! Memory as O_DIRECT wants it.

use std::ops::{Deref, DerefMut};

/// Suits every disk: a page.
const ALIGNMENT: usize = 4096;

/// Zeroed bytes that begin at a multiple of 4096. Over-allocates instead of asking for alignment, which would need
/// `unsafe`.
#[derive(Debug)]
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// `length` bytes.
    pub fn new(length: usize) -> Self {
        let bytes = vec![0; length + ALIGNMENT];
        // `align_offset` may say "impossible" (only when it is evaluated by the compiler): the write then says EINVAL.
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start, length }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_has_its_length() {
        for length in [0, 1, 512, 4096, 1 << 20] {
            let memory = Aligned::new(length);
            assert_eq!((memory.as_ptr() as usize % ALIGNMENT, memory.len()), (0, length));
        }
    }
}
