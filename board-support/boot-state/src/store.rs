//! The two copies.

use crate::sector::{SECTOR_LEN, SectorError, decode, encode};
use crate::slots::State;

/// Where the copies begin, in bytes from the beginning of the partition: far apart, so that no erase block of an
/// ordinary card holds both.
pub const COPY_OFFSETS: [u64; 2] = [0, 524_288];

/// One write that the caller carries out, and flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectorWrite {
    copy: usize,
    sequence: u64,
    state: State,
}

impl SectorWrite {
    /// Bytes from the beginning of the partition.
    pub fn offset(&self) -> u64 {
        COPY_OFFSETS[self.copy]
    }
    /// 0 or 1.
    pub fn copy(&self) -> usize {
        self.copy
    }
    /// What to write.
    pub fn bytes(&self) -> [u8; SECTOR_LEN] {
        encode(&self.state, self.sequence)
    }
    /// The sequence number in it.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// What the partition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstate {
    state: State,
    sequence: u64,
    newest: Option<usize>,
    damage: [Option<SectorError>; 2],
}

impl Bootstate {
    /// Takes the newest valid copy; with none, the default (see [`Bootstate::is_default`]).
    pub fn load(copies: [&[u8; SECTOR_LEN]; 2]) -> Self {
        let decoded = copies.map(decode);
        let damage = decoded.map(Result::err);
        let newest = match (decoded[0], decoded[1]) {
            (Ok((_, first)), Ok((_, second))) => Some(usize::from(second > first)),
            (Ok(_), Err(_)) => Some(0),
            (Err(_), Ok(_)) => Some(1),
            (Err(_), Err(_)) => None,
        };
        let (state, sequence) = newest
            .and_then(|copy| decoded[copy].ok())
            .unwrap_or((State::default(), 0));
        Self {
            state,
            sequence,
            newest,
            damage,
        }
    }

    /// Both copies for a new disk.
    pub fn initial() -> [[u8; SECTOR_LEN]; 2] {
        [encode(&State::default(), 1), encode(&State::default(), 2)]
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }
    /// Sequence number of the newest valid copy; 0 when there is none.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
    /// Both copies were invalid: the state is not what was, but the default.
    pub fn is_default(&self) -> bool {
        self.newest.is_none()
    }
    /// What was wrong with each copy when it was loaded.
    pub fn damage(&self) -> [Option<SectorError>; 2] {
        self.damage
    }

    /// How to make `next` the state: the copy that is **not** the newest valid one, one number higher.
    pub fn prepare(&self, next: State) -> SectorWrite {
        let copy = self.newest.map_or(0, |newest| 1 - newest);
        SectorWrite {
            copy,
            sequence: self.sequence.saturating_add(1),
            state: next,
        }
    }

    /// The write is on disk. (When it failed, do not say so: the next one then goes to the same copy again.)
    pub fn written(&mut self, write: &SectorWrite) {
        self.newest = Some(write.copy);
        self.sequence = write.sequence;
        self.state = write.state;
    }
}
