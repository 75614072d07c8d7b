//! The sector: 512 bytes, little-endian.
//!
//! | byte | size | what |
//! |---|---|---|
//! | 0 | 8 | magic `HRTHSTAT` |
//! | 8 | 4 | format version, 1 |
//! | 16 | 8 | sequence number |
//! | 24 | 1 | primary slot: 0 a, 1 b |
//! | 25 | 1 | slot tried last: 0 a, 1 b, 255 none |
//! | 28 | 2 | slot a: tries left (0 to 3), flags (bit 0 good, bit 1 incomplete) |
//! | 30 | 2 | slot b |
//! | 32 | 4 | heals |
//! | 36 | 4 | rollbacks |
//! | 508 | 4 | CRC-32 (IEEE) of bytes 0 to 507 |
//!
//! All other bytes are zero.

use crate::slots::{MAX_TRIES, Slot, SlotState, State};
use thiserror::Error;

/// Bytes of one copy: one sector, the unit that a disk writes whole or tears.
pub const SECTOR_LEN: usize = 512;

const MAGIC: [u8; 8] = *b"HRTHSTAT";
const FORMAT: u32 = 1;
const NO_SLOT: u8 = 255;
const GOOD: u8 = 1;
const INCOMPLETE: u8 = 2;

/// Why a copy was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SectorError {
    /// Never written.
    #[error("no boot state here (wrong magic number)")]
    Magic,
    /// Torn or rotten.
    #[error("damaged (CRC differs)")]
    Crc,
    /// Written by newer software.
    #[error("format version {0} is not known here")]
    Format(u32),
    /// A field has a value that is never written.
    #[error("the byte at {0} has an impossible value")]
    Value(usize),
}

/// The bytes of a state with its sequence number.
pub fn encode(state: &State, sequence: u64) -> [u8; SECTOR_LEN] {
    let mut bytes = [0; SECTOR_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    bytes[24] = state.primary.index() as u8;
    bytes[25] = state.last_booted.map_or(NO_SLOT, |slot| slot.index() as u8);
    for slot in Slot::ALL {
        let at = 28 + slot.index() * 2;
        let SlotState {
            tries_left,
            good,
            complete,
        } = state.slot(slot);
        bytes[at] = tries_left;
        bytes[at + 1] = if good { GOOD } else { 0 } | if complete { 0 } else { INCOMPLETE };
    }
    bytes[32..36].copy_from_slice(&state.heals.to_le_bytes());
    bytes[36..40].copy_from_slice(&state.rollbacks.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..508]);
    bytes[508..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The state in a copy, and its sequence number. Accepts only what [`encode`] writes.
pub fn decode(bytes: &[u8; SECTOR_LEN]) -> Result<(State, u64), SectorError> {
    if bytes[..8] != MAGIC {
        return Err(SectorError::Magic);
    }
    if crc32fast::hash(&bytes[..508]) != u32_at(bytes, 508) {
        return Err(SectorError::Crc);
    }
    let format = u32_at(bytes, 8);
    if format != FORMAT {
        return Err(SectorError::Format(format));
    }
    let reserved = (12..16).chain(26..28).chain(40..508).find(|at| bytes[*at] != 0);
    if let Some(at) = reserved {
        return Err(SectorError::Value(at));
    }
    let state = State {
        slots: [slot_at(bytes, 28)?, slot_at(bytes, 30)?],
        primary: letter_at(bytes, 24)?,
        last_booted: if bytes[25] == NO_SLOT {
            None
        } else {
            Some(letter_at(bytes, 25)?)
        },
        heals: u32_at(bytes, 32),
        rollbacks: u32_at(bytes, 36),
    };
    Ok((
        state,
        u64::from(u32_at(bytes, 16)) | u64::from(u32_at(bytes, 20)) << 32,
    ))
}

fn letter_at(bytes: &[u8; SECTOR_LEN], at: usize) -> Result<Slot, SectorError> {
    Slot::ALL
        .get(usize::from(bytes[at]))
        .copied()
        .ok_or(SectorError::Value(at))
}

fn slot_at(bytes: &[u8; SECTOR_LEN], at: usize) -> Result<SlotState, SectorError> {
    let (tries_left, flags) = (bytes[at], bytes[at + 1]);
    if tries_left > MAX_TRIES {
        return Err(SectorError::Value(at));
    }
    let slot = SlotState {
        tries_left,
        good: flags & GOOD != 0,
        complete: flags & INCOMPLETE == 0,
    };
    let contradicts = !slot.complete && (slot.good || tries_left > 0);
    if flags & !(GOOD | INCOMPLETE) != 0 || contradicts {
        return Err(SectorError::Value(at + 1));
    }
    Ok(slot)
}

fn u32_at(bytes: &[u8; SECTOR_LEN], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
