//! Which blocks are stored: one bit for each block, in pages.
//!
//! Pages without bits are not stored and full ones take no room, so that the pages of a core that is there as a whole stay few
//! and small whatever its length.

use std::ops::Range;

/// Blocks of a page.
pub const PAGE_BLOCKS: u64 = 8192;

/// Bytes of a page that is neither empty nor full.
pub const PAGE_BYTES: usize = PAGE_BLOCKS as usize / 8;

const WORDS: usize = PAGE_BYTES / 8;

/// The bits of [`PAGE_BLOCKS`] blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Page {
    /// No block is stored.
    #[default]
    Empty,
    /// Every block is stored.
    Full,
    /// Some are; the lowest bit of the first word is the first block.
    Mixed(Box<[u64; WORDS]>),
}

impl Page {
    /// Reads a stored page: no bytes are a full page, [`PAGE_BYTES`] the bits, lowest bit first. `None` for any other length.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::Full);
        }
        let (words, rest) = bytes.as_chunks::<8>();
        if words.len() != WORDS || !rest.is_empty() {
            return None;
        }
        let mut page = Box::new([0; WORDS]);
        for (word, bytes) in page.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        Some(Self::Mixed(page).normalized())
    }

    /// The page as it is stored, `None` if it is not to be stored.
    pub fn encode(&self) -> Option<Vec<u8>> {
        match self {
            Self::Empty => None,
            Self::Full => Some(Vec::new()),
            Self::Mixed(words) => Some(words.iter().flat_map(|word| word.to_le_bytes()).collect()),
        }
    }

    /// Whether the block at this place of the page is stored. Places beyond the page are not.
    pub fn get(&self, place: u64) -> bool {
        match self {
            _ if place >= PAGE_BLOCKS => false,
            Self::Empty => false,
            Self::Full => true,
            Self::Mixed(words) => words[(place / 64) as usize] >> (place % 64) & 1 == 1,
        }
    }

    /// The page with the bits at these places changed. Places beyond the page are left out.
    pub fn with(self, places: Range<u64>, value: bool) -> Self {
        let end = places.end.min(PAGE_BLOCKS);
        if places.start >= end {
            return self;
        }
        let mut words = match self {
            Self::Empty => Box::new([0; WORDS]),
            Self::Full => Box::new([u64::MAX; WORDS]),
            Self::Mixed(words) => words,
        };
        for at in places.start / 64..=(end - 1) / 64 {
            let first = places.start.saturating_sub(64 * at);
            let last = (end - 1 - 64 * at).min(63);
            let mask = (u64::MAX << first) & (u64::MAX >> (63 - last));
            let word = &mut words[at as usize];
            *word = if value { *word | mask } else { *word & !mask };
        }
        Self::Mixed(words).normalized()
    }

    /// The first place from `from` on whose bit is `value`.
    pub fn next(&self, from: u64, value: bool) -> Option<u64> {
        match self {
            _ if from >= PAGE_BLOCKS => None,
            Self::Empty => (!value).then_some(from),
            Self::Full => value.then_some(from),
            Self::Mixed(words) => {
                let mut mask = u64::MAX << (from % 64);
                for at in from / 64..WORDS as u64 {
                    let word = words[at as usize];
                    let found = if value { word } else { !word } & mask;
                    if found != 0 {
                        return Some(64 * at + u64::from(found.trailing_zeros()));
                    }
                    mask = u64::MAX;
                }
                None
            }
        }
    }

    fn normalized(self) -> Self {
        match self {
            Self::Mixed(words) if words.iter().all(|word| *word == 0) => Self::Empty,
            Self::Mixed(words) if words.iter().all(|word| *word == u64::MAX) => Self::Full,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_page_is_what_a_list_of_booleans_is(
            steps in prop::collection::vec((0..=PAGE_BLOCKS, 0..=PAGE_BLOCKS, any::<bool>()), 1..12),
            from in 0..PAGE_BLOCKS,
        ) {
            let (mut page, mut model) = (Page::Empty, vec![false; PAGE_BLOCKS as usize]);
            for (a, b, value) in steps {
                let places = a.min(b)..a.max(b);
                model[places.start as usize..places.end as usize].fill(value);
                page = page.with(places, value);
                prop_assert!(model.iter().zip(0..).all(|(bit, place)| page.get(place) == *bit));
                for value in [false, true] {
                    let next = (from..PAGE_BLOCKS).find(|place| model[*place as usize] == value);
                    prop_assert_eq!(page.next(from, value), next);
                }
                let again = page.encode().map_or(Some(Page::Empty), |bytes| Page::decode(&bytes));
                prop_assert_eq!(again.as_ref(), Some(&page));
            }
        }

        #[test]
        fn bytes_of_any_length_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(Page::decode(&bytes).is_some(), bytes.is_empty() || bytes.len() == PAGE_BYTES);
        }
    }
}
