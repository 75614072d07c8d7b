//! The running slot gets all its tries back.

use std::fmt;

use boot_state::{Running, Slot};

use crate::state_disk::{StateDisk, StateDiskError};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The slot was good with all its tries: nothing was written, which spares the card.
    AlreadyGood(Slot),
    /// The slot is good now.
    MarkedGood {
        /// The slot.
        slot: Slot,
        /// Sequence number of the state that says so.
        sequence: u64,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyGood(slot) => write!(f, "slot {slot} is good already"),
            Self::MarkedGood { slot, sequence } => {
                write!(f, "slot {slot} is marked good (boot state {sequence})")
            }
        }
    }
}

/// Marks the running slot good.
pub fn mark_good(disk: &StateDisk, running: Running) -> Result<Outcome, StateDiskError> {
    let store = disk.load()?;
    let next = store.state().mark_good(running);
    if next == store.state() && !store.is_default() {
        return Ok(Outcome::AlreadyGood(running.slot()));
    }
    let write = store.prepare(next);
    disk.write(&write)?;
    Ok(Outcome::MarkedGood {
        slot: running.slot(),
        sequence: write.sequence(),
    })
}

#[cfg(test)]
mod tests {
    use boot_state::{Boot, Bootstate, COPY_OFFSETS, MAX_TRIES, SECTOR_LEN, Step};
    use tempfile::NamedTempFile;

    use super::*;

    fn partition(copies: [[u8; SECTOR_LEN]; 2]) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        let mut bytes = vec![0; 1 << 20];
        for (copy, offset) in copies.iter().zip(COPY_OFFSETS) {
            bytes[offset as usize..][..SECTOR_LEN].copy_from_slice(copy);
        }
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn boot_once(disk: &StateDisk) -> Slot {
        match Boot::new(disk.load().unwrap()).choose() {
            Step::Try(attempt) => {
                disk.write(&attempt.write).unwrap();
                attempt.slot
            }
            Step::Hopeless(why) => panic!("{why:?}"),
        }
    }

    #[test]
    fn a_boot_takes_a_try_and_marking_good_gives_all_back() {
        let file = partition(Bootstate::initial());
        let disk = StateDisk::at(file.path());
        for _ in 0..5 {
            let slot = boot_once(&disk);
            assert_eq!(slot, Slot::A);
            assert_eq!(
                disk.load().unwrap().state().slot(slot).tries_left(),
                MAX_TRIES - 1
            );
            let outcome = mark_good(&disk, Running::from_boot(slot)).unwrap();
            let store = disk.load().unwrap();
            assert_eq!(
                outcome,
                Outcome::MarkedGood {
                    slot,
                    sequence: store.sequence()
                }
            );
            assert!(store.state().slot(slot).good());
            assert_eq!(store.state().slot(slot).tries_left(), MAX_TRIES);
        }
    }

    #[test]
    fn a_good_slot_costs_no_write() {
        let file = partition(Bootstate::initial());
        let disk = StateDisk::at(file.path());
        let running = Running::from_boot(boot_once(&disk));
        mark_good(&disk, running).unwrap();
        let before = std::fs::read(file.path()).unwrap();
        assert_eq!(mark_good(&disk, running).unwrap(), Outcome::AlreadyGood(Slot::A));
        assert_eq!(std::fs::read(file.path()).unwrap(), before);
    }

    #[test]
    fn only_the_older_copy_is_written_so_a_torn_write_changes_nothing() {
        let file = partition(Bootstate::initial());
        let disk = StateDisk::at(file.path());
        let running = Running::from_boot(boot_once(&disk));
        let before = disk.load().unwrap();
        let copies = std::fs::read(file.path()).unwrap();
        mark_good(&disk, running).unwrap();
        let after = std::fs::read(file.path()).unwrap();
        let differs: Vec<_> = (0..after.len()).filter(|i| after[*i] != copies[*i]).collect();
        let written = COPY_OFFSETS
            .iter()
            .position(|o| (*o as usize..*o as usize + SECTOR_LEN).contains(&differs[0]));
        let start = COPY_OFFSETS[written.unwrap()] as usize;
        assert!(differs.iter().all(|i| (start..start + SECTOR_LEN).contains(i)));
        for cut in 1..SECTOR_LEN {
            let mut torn = copies.clone();
            torn[start..start + cut].copy_from_slice(&after[start..start + cut]);
            std::fs::write(file.path(), torn).unwrap();
            let state = disk.load().unwrap().state();
            assert!(
                state == before.state() || state.slot(Slot::A).tries_left() == MAX_TRIES,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn lost_boot_state_is_written_anew() {
        let file = partition([[0; SECTOR_LEN]; 2]);
        let disk = StateDisk::at(file.path());
        assert!(disk.load().unwrap().is_default());
        mark_good(&disk, Running::from_boot(Slot::B)).unwrap();
        let store = disk.load().unwrap();
        assert!(!store.is_default() && store.state().slot(Slot::B).good());
    }

    #[test]
    fn a_device_that_is_too_small_or_missing_is_an_error() {
        let file = NamedTempFile::new().unwrap();
        assert!(matches!(
            StateDisk::at(file.path()).load(),
            Err(StateDiskError::Read(_))
        ));
        assert!(mark_good(&StateDisk::at("/nonexistent"), Running::from_boot(Slot::A)).is_err());
    }
}
