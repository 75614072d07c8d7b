//! Which blocks someone has, in bounded memory: runs of whole pages, and single pages of which some blocks are there.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::bitfield::{PAGE_BLOCKS, Page};

/// Words of 32 bits of a page.
const PAGE_WORDS: u64 = PAGE_BLOCKS / 32;

/// A set of blocks. One that is full ([`Bits::bounded`]) forgets rather than grows: what is not known of a peer is asked again.
#[derive(Debug, Clone)]
pub(super) struct Bits {
    /// Pages of which every block is in the set: first page to the one after the last. Neither touch nor overlap.
    runs: BTreeMap<u64, u64>,
    /// Pages of which some blocks are.
    mixed: BTreeMap<u64, Page>,
    /// Entries of each.
    most: usize,
}

impl Bits {
    /// A set that grows as it must.
    pub(super) fn new() -> Self {
        Self::bounded(usize::MAX)
    }

    /// A set of at most so many runs and so many mixed pages (a KiB each).
    pub(super) fn bounded(most: usize) -> Self {
        Self {
            runs: BTreeMap::new(),
            mixed: BTreeMap::new(),
            most,
        }
    }

    pub(super) fn get(&self, block: u64) -> bool {
        self.page(block / PAGE_BLOCKS).get(block % PAGE_BLOCKS)
    }

    /// The run that holds a page.
    fn run(&self, page: u64) -> Option<Range<u64>> {
        let (start, end) = self.runs.range(..=page).next_back()?;
        (page < *end).then_some(*start..*end)
    }

    fn page(&self, page: u64) -> &Page {
        match self.mixed.get(&page) {
            Some(mixed) => mixed,
            None if self.run(page).is_some() => &Page::Full,
            None => &Page::Empty,
        }
    }

    /// Replaces what is known of a page.
    pub(super) fn put_page(&mut self, number: u64, page: Page) {
        match page {
            Page::Empty => {
                self.mixed.remove(&number);
                self.remove_runs(number..number + 1);
            }
            Page::Full => {
                self.mixed.remove(&number);
                self.add_run(number..number + 1);
            }
            mixed => {
                self.remove_runs(number..number + 1);
                if self.mixed.len() < self.most || self.mixed.contains_key(&number) {
                    self.mixed.insert(number, mixed);
                }
            }
        }
    }

    /// Puts blocks into the set or takes them out.
    pub(super) fn set(&mut self, blocks: Range<u64>, value: bool) {
        if blocks.start >= blocks.end {
            return;
        }
        let (first, last) = (blocks.start / PAGE_BLOCKS, (blocks.end - 1) / PAGE_BLOCKS);
        if first == last {
            return self.set_within(first, &blocks, value);
        }
        let whole = blocks.start.div_ceil(PAGE_BLOCKS)..blocks.end / PAGE_BLOCKS;
        if first < whole.start {
            self.set_within(first, &blocks, value);
        }
        if last >= whole.end {
            self.set_within(last, &blocks, value);
        }
        if whole.start < whole.end {
            let inside: Vec<u64> = self.mixed.range(whole.clone()).map(|(page, _)| *page).collect();
            for page in inside {
                self.mixed.remove(&page);
            }
            if value {
                self.add_run(whole);
            } else {
                self.remove_runs(whole);
            }
        }
    }

    fn set_within(&mut self, number: u64, blocks: &Range<u64>, value: bool) {
        let first = number * PAGE_BLOCKS;
        let places = blocks.start.saturating_sub(first)..(blocks.end - first).min(PAGE_BLOCKS);
        if let Some(Page::Mixed(words)) = self.mixed.get_mut(&number)
            && places.end - places.start == 1
        {
            let (word, bit) = ((places.start / 64) as usize, 1 << (places.start % 64));
            let before = words[word];
            words[word] = if value { before | bit } else { before & !bit };
            if !matches!(words[word], 0 | u64::MAX) {
                return;
            }
        }
        let page = self.page(number).clone().with(places, value);
        self.put_page(number, page);
    }

    /// Replaces what is known from `start` on, which is a multiple of 32, with a bit a block, lowest bit first.
    pub(super) fn put_words(&mut self, start: u64, words: &[u32]) {
        let mut at = start / 32;
        let mut rest = words;
        while !rest.is_empty() {
            let number = at / PAGE_WORDS;
            let place = (at % PAGE_WORDS) as usize;
            let (here, after) = rest.split_at(rest.len().min(PAGE_WORDS as usize - place));
            let mut page = self.page_words(number);
            page[place..place + here.len()].copy_from_slice(here);
            let bytes: Vec<u8> = page.iter().flat_map(|word| word.to_le_bytes()).collect();
            if let Some(page) = Page::decode(&bytes) {
                self.put_page(number, page);
            }
            at += here.len() as u64;
            rest = after;
        }
    }

    fn page_words(&self, number: u64) -> [u32; PAGE_WORDS as usize] {
        match self.page(number) {
            Page::Empty => [0; PAGE_WORDS as usize],
            Page::Full => [u32::MAX; PAGE_WORDS as usize],
            Page::Mixed(words) => std::array::from_fn(|at| (words[at / 2] >> (at % 2 * 32)) as u32),
        }
    }

    fn add_run(&mut self, mut pages: Range<u64>) {
        while let Some((start, end)) = self.runs.range(..=pages.end).next_back().map(|(a, b)| (*a, *b)) {
            if end < pages.start {
                break;
            }
            self.runs.remove(&start);
            pages = pages.start.min(start)..pages.end.max(end);
        }
        if self.runs.len() < self.most {
            self.runs.insert(pages.start, pages.end);
        }
    }

    fn remove_runs(&mut self, pages: Range<u64>) {
        while let Some((start, end)) = self.runs.range(..pages.end).next_back().map(|(a, b)| (*a, *b)) {
            if end <= pages.start {
                break;
            }
            self.runs.remove(&start);
            if start < pages.start {
                self.runs.insert(start, pages.start);
            }
            if end > pages.end && self.runs.len() < self.most {
                self.runs.insert(pages.end, end);
            }
        }
    }

    /// The first block from `from` on that is in the set.
    pub(super) fn next_set(&self, from: u64) -> Option<u64> {
        let page = from / PAGE_BLOCKS;
        if let Some(place) = self.page(page).next(from % PAGE_BLOCKS, true) {
            return Some(page * PAGE_BLOCKS + place);
        }
        let run = self.runs.range(page + 1..).next().map(|(start, _)| *start);
        let mixed = self.mixed.range(page + 1..).next().map(|(page, _)| *page);
        let page = run.into_iter().chain(mixed).min()?;
        Some(page * PAGE_BLOCKS + self.page(page).next(0, true)?)
    }

    /// The first block from `from` on that is not in the set.
    pub(super) fn next_unset(&self, from: u64) -> u64 {
        let (mut page, mut place) = (from / PAGE_BLOCKS, from % PAGE_BLOCKS);
        loop {
            if let Some(run) = self.run(page) {
                page = run.end;
            } else if let Some(found) = self.page(page).next(place, false) {
                return page * PAGE_BLOCKS + found;
            } else {
                page += 1;
            }
            place = 0;
        }
    }

    /// The first block within `blocks` that `has` has and neither `local` nor `busy`.
    pub(super) fn next_wanted(has: &Self, local: &Self, busy: &Self, blocks: Range<u64>) -> Option<u64> {
        let mut at = blocks.start;
        while at < blocks.end {
            at = local.next_unset(has.next_set(at)?);
            if at >= blocks.end {
                return None;
            }
            let page = at / PAGE_BLOCKS;
            let (has, local, busy) = (has.page(page), local.page(page), busy.page(page));
            let end = ((page + 1) * PAGE_BLOCKS).min(blocks.end);
            while at < end {
                let mut word = word(has, at) & !word(local, at) & !word(busy, at);
                word &= u64::MAX << (at % 64);
                let found = at / 64 * 64 + u64::from(word.trailing_zeros());
                if word != 0 {
                    return (found < end).then_some(found);
                }
                at = (at / 64 + 1) * 64;
            }
            at = end;
        }
        None
    }

    /// The bits from `start` on, which is a multiple of 32, in words.
    pub(super) fn words(&self, start: u64, count: usize) -> Vec<u32> {
        let mut out = Vec::with_capacity(count);
        let mut at = start / 32;
        while out.len() < count {
            let place = (at % PAGE_WORDS) as usize;
            let here = (count - out.len()).min(PAGE_WORDS as usize - place);
            out.extend_from_slice(&self.page_words(at / PAGE_WORDS)[place..place + here]);
            at += here as u64;
        }
        out
    }
}

/// The 64 bits around a block; blocks count modulo the page.
fn word(page: &Page, block: u64) -> u64 {
    match page {
        Page::Empty => 0,
        Page::Full => u64::MAX,
        Page::Mixed(words) => words[(block % PAGE_BLOCKS / 64) as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPAN: u64 = 5 * PAGE_BLOCKS;

    type Steps = Vec<(u64, u64, bool)>;

    fn steps() -> impl Strategy<Value = Steps> {
        let block = prop_oneof![0..SPAN, (0..=5u64).prop_map(|page| page * PAGE_BLOCKS), 0..200u64];
        prop::collection::vec((block.clone(), block, any::<bool>()), 0..10)
    }

    fn apply(bits: &mut Bits, model: &mut [bool], steps: &Steps) {
        for (a, b, value) in steps {
            let blocks = *a.min(b)..(*a.max(b)).min(SPAN);
            model[blocks.start as usize..blocks.end as usize].fill(*value);
            bits.set(blocks, *value);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_set_is_what_a_list_of_booleans_is(first in steps(), word: u32, at in 0..SPAN / 32 - 2, from in 0..SPAN) {
            let (mut bits, mut model) = (Bits::new(), vec![false; SPAN as usize]);
            apply(&mut bits, &mut model, &first);
            bits.put_words(at * 32, &[word, u32::MAX]);
            for bit in 0..64 {
                model[(at * 32 + bit) as usize] = bit >= 32 || word >> bit & 1 == 1;
            }
            prop_assert!(model.iter().zip(0..).all(|(bit, block)| bits.get(block) == *bit));
            let next = |value| (from..SPAN).find(|block| model[*block as usize] == value);
            prop_assert_eq!(bits.next_set(from), next(true));
            prop_assert_eq!(Some(bits.next_unset(from)).filter(|block| *block < SPAN), next(false));
            prop_assert_eq!(bits.words(at * 32, 2), vec![word, u32::MAX]);
        }

        #[test]
        fn the_next_wanted_block_is_found(a in steps(), b in steps(), c in steps(), from in 0..SPAN, to in 0..SPAN) {
            let sets = [a, b, c].map(|steps| {
                let (mut bits, mut model) = (Bits::new(), vec![false; SPAN as usize]);
                apply(&mut bits, &mut model, &steps);
                (bits, model)
            });
            let [(has, a), (local, b), (busy, c)] = &sets;
            let wanted = |at: &u64| {
                let at = *at as usize;
                a[at] && !b[at] && !c[at]
            };
            prop_assert_eq!(Bits::next_wanted(has, local, busy, from..to), (from..to).find(wanted));
        }

        #[test]
        fn a_bounded_set_stays_small_and_claims_nothing_that_was_not_said(steps in prop::collection::vec((0..1000u64, 0..1000u64, any::<bool>()), 0..300)) {
            let (mut bits, mut all) = (Bits::bounded(4), Bits::new());
            for (page, blocks, value) in steps {
                let start = page * PAGE_BLOCKS / 2;
                let range = start..start + blocks * 64;
                bits.set(range.clone(), value);
                all.set(range, value);
                prop_assert!(bits.runs.len() <= 4 && bits.mixed.len() <= 4);
            }
            let mut at = 0;
            while let Some(block) = bits.next_set(at) {
                prop_assert!(all.get(block));
                at = block + 4096;
            }
        }
    }
}
