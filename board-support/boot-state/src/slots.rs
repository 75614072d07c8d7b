//! What is known of the slots, and the updater's transitions.

use core::fmt;
use thiserror::Error;

/// Tries that a slot gets.
pub const MAX_TRIES: u8 = 3;

/// One of the two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Slot a.
    A,
    /// Slot b.
    B,
}

impl Slot {
    /// Both, a first.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`, as on the kernel's command line and at the end of partition names.
    pub fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// From its letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.letter() == letter)
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}

/// The slot that runs, known from this boot (`hearth.slot=` on the command line), never from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running(Slot);

/// The slot that does not run: the only one that may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inactive(Slot);

impl Running {
    /// From the facts of this boot.
    pub fn from_boot(slot: Slot) -> Self {
        Self(slot)
    }

    /// Which slot.
    pub fn slot(self) -> Slot {
        self.0
    }

    /// The other one.
    pub fn inactive(self) -> Inactive {
        Inactive(self.0.other())
    }
}

impl Inactive {
    /// Which slot.
    pub fn slot(self) -> Slot {
        self.0
    }

    fn running(self) -> Slot {
        self.0.other()
    }
}

/// One slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotState {
    pub(crate) tries_left: u8,
    pub(crate) good: bool,
    pub(crate) complete: bool,
}

impl SlotState {
    pub(crate) const NEW: Self = Self {
        tries_left: MAX_TRIES,
        good: false,
        complete: true,
    };

    /// Boots that may still fail, at most [`MAX_TRIES`].
    pub fn tries_left(self) -> u8 {
        self.tries_left
    }
    /// It was marked good at least once since it was installed.
    pub fn good(self) -> bool {
        self.good
    }
    /// Nothing is being written into it.
    pub fn complete(self) -> bool {
        self.complete
    }
    /// It may be tried.
    pub fn bootable(self) -> bool {
        self.complete && self.tries_left > 0
    }
}

/// Why a transition was refused; the state is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// Writing over the fallback while the running slot has not proved itself could leave no slot that works.
    #[error("slot {0} runs but is not marked good yet; the other slot is its fallback and stays")]
    RunningNotGood(Slot),
    /// The slot is being written.
    #[error("slot {0} is incomplete: its installation was not finished")]
    Incomplete(Slot),
    /// Nothing is being written into the slot.
    #[error("slot {0} is not being installed")]
    NotInstalling(Slot),
}

/// What is known of the slots. The sequence number is [`crate::Bootstate`]'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub(crate) slots: [SlotState; 2],
    pub(crate) primary: Slot,
    pub(crate) last_booted: Option<Slot>,
    pub(crate) heals: u32,
    pub(crate) rollbacks: u32,
}

impl Default for State {
    /// Both slots complete with all tries, slot a first: a new disk, or one that lost both copies.
    fn default() -> Self {
        Self {
            slots: [SlotState::NEW; 2],
            primary: Slot::A,
            last_booted: None,
            heals: 0,
            rollbacks: 0,
        }
    }
}

impl State {
    /// One slot.
    pub fn slot(&self, slot: Slot) -> SlotState {
        self.slots[slot.index()]
    }
    /// The slot that is tried first.
    pub fn primary(&self) -> Slot {
        self.primary
    }
    /// The slot that was tried last.
    pub fn last_booted(&self) -> Option<Slot> {
        self.last_booted
    }
    /// How often exhausted counters were renewed.
    pub fn heals(&self) -> u32 {
        self.heals
    }
    /// How often the primary slot ran out of tries and the other took its place.
    pub fn rollbacks(&self) -> u32 {
        self.rollbacks
    }

    pub(crate) fn slot_mut(&mut self, slot: Slot) -> &mut SlotState {
        &mut self.slots[slot.index()]
    }

    /// The running slot works: all its tries are back.
    ///
    /// It runs, so it is complete, whatever was noted. A primary that can still be tried (an update that was just
    /// activated) stays primary.
    pub fn mark_good(mut self, running: Running) -> Self {
        *self.slot_mut(running.slot()) = SlotState {
            good: true,
            ..SlotState::NEW
        };
        if !self.slot(self.primary).bootable() {
            self.primary = running.slot();
        }
        self
    }

    /// A slot does not work: it is not tried again, unless nothing else is left.
    pub fn mark_bad(mut self, slot: Slot) -> Self {
        let state = self.slot_mut(slot);
        state.tries_left = 0;
        state.good = false;
        self
    }

    /// Before the first byte is written into the inactive slot: it cannot be chosen from here on.
    pub fn begin_install(mut self, target: Inactive) -> Result<Self, Refused> {
        let running = self.slot(target.running());
        if !running.good || !running.complete {
            return Err(Refused::RunningNotGood(target.running()));
        }
        *self.slot_mut(target.slot()) = SlotState {
            tries_left: 0,
            good: false,
            complete: false,
        };
        self.primary = target.running();
        Ok(self)
    }

    /// After the last byte is written and flushed: the slot is complete, and still not tried by itself.
    pub fn finish_install(mut self, target: Inactive) -> Result<Self, Refused> {
        let slot = self.slot_mut(target.slot());
        if slot.complete {
            return Err(Refused::NotInstalling(target.slot()));
        }
        slot.complete = true;
        Ok(self)
    }

    /// The inactive slot is tried first from the next boot on, with all tries.
    pub fn activate(mut self, target: Inactive) -> Result<Self, Refused> {
        let slot = self.slot_mut(target.slot());
        if !slot.complete {
            return Err(Refused::Incomplete(target.slot()));
        }
        slot.tries_left = MAX_TRIES;
        self.primary = target.slot();
        Ok(self)
    }

    /// Takes an activation back before the restart: the running slot is tried first again.
    ///
    /// Both slots keep their tries and what is known of them, so that the other one is still the fallback. One that never
    /// proved itself is no fallback: follow with [`State::mark_bad`].
    pub fn deactivate(mut self, running: Running) -> Self {
        self.primary = running.slot();
        self
    }
}
