//! What the boot manager does with the state.

use crate::slots::{MAX_TRIES, Slot, State};
use crate::store::{Bootstate, SectorWrite};

/// One boot: asks for slot after slot until one starts.
#[derive(Debug, Clone)]
pub struct Boot {
    store: Bootstate,
    state: State,
    unusable: [bool; 2],
    healed: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Write, flush, then try this slot.
    Try(Attempt),
    /// Nothing is left to try in this boot: tell a person, wait, reset.
    Hopeless(Hopeless),
}

/// A slot to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The slot.
    pub slot: Slot,
    /// Its tries after this one.
    pub tries_left: u8,
    /// Counters were exhausted and have been renewed in this boot.
    pub healed: bool,
    /// The primary slot ran out of tries, and this one takes its place.
    pub rolled_back: bool,
    /// To be written and flushed **before** the slot is tried; then call [`Boot::written`].
    pub write: SectorWrite,
}

/// Why no slot is left in this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hopeless {
    /// Slots that are incomplete (an installation was cut), a and b. The others were tried in this boot.
    pub incomplete: [bool; 2],
}

impl Boot {
    /// At the beginning of a boot.
    pub fn new(store: Bootstate) -> Self {
        Self {
            store,
            state: store.state(),
            unusable: [false; 2],
            healed: false,
        }
    }

    /// What the disk says, as far as [`Boot::written`] was called.
    pub fn store(&self) -> &Bootstate {
        &self.store
    }

    /// Chooses the next slot.
    pub fn choose(&mut self) -> Step {
        let mut state = self.state;
        let mut rolled_back = false;
        if Slot::ALL.into_iter().all(|slot| !self.can_try(&state, slot)) && !self.heal(&mut state) {
            let incomplete = Slot::ALL.map(|slot| !state.slot(slot).complete);
            return Step::Hopeless(Hopeless { incomplete });
        }
        if !state.slot(state.primary).bootable() {
            // Out of tries for good, not only damaged in this boot: the other slot takes its place, once.
            state.primary = state.primary.other();
            state.rollbacks = state.rollbacks.saturating_add(1);
            rolled_back = true;
        }
        let slot = if self.can_try(&state, state.primary) {
            state.primary
        } else {
            state.primary.other()
        };
        let tried = state.slot_mut(slot);
        tried.tries_left = tried.tries_left.saturating_sub(1);
        let tries_left = tried.tries_left;
        state.last_booted = Some(slot);
        self.state = state;
        Step::Try(Attempt {
            slot,
            tries_left,
            healed: self.healed,
            rolled_back,
            write: self.store.prepare(state),
        })
    }

    /// The write of the attempt is on disk.
    pub fn written(&mut self, write: &SectorWrite) {
        self.store.written(write);
    }

    /// The slot's payload is damaged, or its kernel refused to start: not again in this boot.
    pub fn mark_unusable_this_boot(&mut self, slot: Slot) {
        self.unusable[slot.index()] = true;
    }

    fn can_try(&self, state: &State, slot: Slot) -> bool {
        state.slot(slot).bootable() && !self.unusable[slot.index()]
    }

    /// New tries for every complete slot, when one of them has not failed in this boot.
    fn heal(&mut self, state: &mut State) -> bool {
        let hope = |state: &State, slot: Slot| state.slot(slot).complete && !self.unusable[slot.index()];
        if self.healed || !Slot::ALL.into_iter().any(|slot| hope(state, slot)) {
            return false;
        }
        for slot in Slot::ALL {
            let slot = state.slot_mut(slot);
            if slot.complete {
                slot.tries_left = MAX_TRIES;
            }
        }
        // A slot that was good once goes first; with no difference, the primary stays.
        let score = |slot: Slot| (hope(state, slot), state.slot(slot).good);
        if score(state.primary.other()) > score(state.primary) {
            state.primary = state.primary.other();
        }
        state.heals = state.heals.saturating_add(1);
        self.healed = true;
        true
    }
}
