//! The receiving half: puts packets in order and holds them until they are read.

use std::collections::{BTreeMap, VecDeque};

use super::buffer::take_front;
use super::numbers::Numbers;
use crate::udx::packet::{Flags, SackBlock, Seq};

/// What an early packet is charged beside its payload, so that empty ones are not free.
const EARLY_OVERHEAD_BYTES: usize = 128;
/// How far ahead of the next one a packet may be, as in libudx.
const MAX_AHEAD: u64 = 65536;

#[derive(Debug)]
pub(super) struct Receiver {
    numbers: Numbers,
    /// The packet that is waited for.
    next: u64,
    /// In order, not read yet.
    ready: VecDeque<u8>,
    /// After a gap.
    early: BTreeMap<u64, Box<[u8]>>,
    early_bytes: usize,
    /// The packet with which the stream ends.
    end: Option<u64>,
    window: usize,
    /// The window that the peer was last told of.
    told: usize,
}

impl Receiver {
    pub(super) fn new(first: Seq, window: u32) -> Self {
        let window = window as usize;
        Self {
            numbers: Numbers::new(first),
            next: 0,
            ready: VecDeque::new(),
            early: BTreeMap::new(),
            early_bytes: 0,
            end: None,
            window,
            told: window,
        }
    }

    /// Takes a packet with DATA or END, if there is room; what is refused comes again. `true`: there is more to read.
    pub(super) fn take(&mut self, seq: Seq, flags: Flags, payload: &[u8]) -> bool {
        let Some(number) = self.numbers.near(self.next, seq) else {
            return false;
        };
        if number < self.next || number >= self.next + MAX_AHEAD || self.end.is_some_and(|end| number > end) {
            return false;
        }
        let payload = if flags.has(Flags::DATA) { payload } else { &[] };
        if number > self.next {
            self.take_early(number, flags, payload);
            return false;
        }
        // The next one has a window of its own, or early packets could keep it out for ever.
        if self.ready.len() >= self.window && !payload.is_empty() {
            return false;
        }
        let before = self.ready.len();
        self.note_end(number, flags);
        self.ready.extend(payload);
        self.next += 1;
        if let Some(again) = self.early.remove(&number) {
            self.early_bytes -= again.len() + EARLY_OVERHEAD_BYTES;
        }
        while let Some(payload) = self.early.remove(&self.next) {
            self.early_bytes -= payload.len() + EARLY_OVERHEAD_BYTES;
            self.ready.extend(payload);
            self.next += 1;
        }
        self.ready.len() > before
    }

    fn take_early(&mut self, number: u64, flags: Flags, payload: &[u8]) {
        let bytes = payload.len() + EARLY_OVERHEAD_BYTES;
        if self.held_bytes() + bytes > self.window || self.early.contains_key(&number) {
            return;
        }
        self.note_end(number, flags);
        self.early_bytes += bytes;
        self.early.insert(number, payload.into());
    }

    /// The first end counts; nothing is after it.
    fn note_end(&mut self, number: u64, flags: Flags) {
        if flags.has(Flags::END) && self.end.is_none() {
            self.end = Some(number);
            for (_, payload) in self.early.split_off(&(number + 1)) {
                self.early_bytes -= payload.len() + EARLY_OVERHEAD_BYTES;
            }
        }
    }

    /// Bytes held, early packets with what they cost.
    pub(super) fn held_bytes(&self) -> usize {
        self.ready.len() + self.early_bytes
    }

    /// Everything before it has arrived.
    pub(super) fn next(&self) -> Seq {
        self.numbers.seq(self.next)
    }

    /// What to tell the peer that it may send.
    pub(super) fn advertise(&mut self) -> u32 {
        self.told = self.room();
        u32::try_from(self.told).unwrap_or(u32::MAX)
    }

    fn room(&self) -> usize {
        self.window.saturating_sub(self.held_bytes())
    }

    /// The peer believes in a much smaller window than there is.
    pub(super) fn should_tell(&self) -> bool {
        self.told < self.window / 4 && self.room() >= self.window / 2
    }

    pub(super) fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }

    /// The early packets as blocks, oldest first.
    pub(super) fn blocks(&self) -> impl Iterator<Item = SackBlock> {
        let mut early = self.early.keys().copied().peekable();
        std::iter::from_fn(move || {
            let start = early.next()?;
            let mut end = start + 1;
            while early.next_if_eq(&end).is_some() {
                end += 1;
            }
            Some(SackBlock {
                start: self.numbers.seq(start),
                end: self.numbers.seq(end),
            })
        })
    }

    /// Moves bytes out; 0 when there are none.
    pub(super) fn read(&mut self, out: &mut [u8]) -> usize {
        take_front(&mut self.ready, out)
    }

    /// The peer's end and everything before it have arrived.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some_and(|end| self.next > end)
    }

    /// Nothing is left to read, and nothing will come.
    pub(super) fn is_drained(&self) -> bool {
        self.has_ended() && self.ready.is_empty()
    }
}
