//! What `updater status` shows.

use std::fmt;

use boot_state::{Bootstate, Slot};
use ipc::boot_facts::BootFacts;
use serde::Serialize;

/// The state of the slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The slot that runs.
    pub running: String,
    /// Version of the image that runs.
    pub version: String,
    /// The slot that the next boot tries first.
    pub primary: String,
    /// The slot that was tried last.
    pub last_booted: Option<String>,
    /// Number of the newest valid copy, 0 for none.
    pub sequence: u64,
    /// Both copies, in their order on the partition.
    pub copies: [CopyStatus; 2],
    /// Slot a and slot b.
    pub slots: [SlotStatus; 2],
    /// How often exhausted counters were renewed.
    pub heals: u32,
    /// How often a slot ran out of tries and the other took its place.
    pub rollbacks: u32,
}

/// One copy of the boot state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyStatus {
    /// What is wrong with it, if something is.
    pub damage: Option<String>,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotStatus {
    /// `a` or `b`.
    pub slot: String,
    /// Boots that may still fail.
    pub tries_left: u8,
    /// It was marked good since it was installed.
    pub good: bool,
    /// Nothing is being written into it.
    pub complete: bool,
}

/// Reads facts and boot state of this box, without the service.
pub fn read() -> anyhow::Result<Status> {
    let facts = crate::facts::read(&os_io::root::Root::system())?;
    let store = crate::state_disk::StateDisk::at(&facts.bootstate_device).load()?;
    Ok(Status::new(&facts, &store))
}

impl Status {
    /// From what was read.
    pub fn new(facts: &BootFacts, store: &Bootstate) -> Self {
        let state = store.state();
        Self {
            running: crate::facts::running(facts).slot().letter().into(),
            version: facts.version.clone(),
            primary: state.primary().letter().into(),
            last_booted: state.last_booted().map(|slot| slot.letter().into()),
            sequence: store.sequence(),
            copies: store.damage().map(|damage| CopyStatus {
                damage: damage.map(|d| d.to_string()),
            }),
            slots: Slot::ALL.map(|slot| {
                let known = state.slot(slot);
                SlotStatus {
                    slot: slot.letter().into(),
                    tries_left: known.tries_left(),
                    good: known.good(),
                    complete: known.complete(),
                }
            }),
            heals: state.heals(),
            rollbacks: state.rollbacks(),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "running: slot {}, version {}", self.running, self.version)?;
        for (number, copy) in self.copies.iter().enumerate() {
            writeln!(f, "copy {number}: {}", copy.damage.as_deref().unwrap_or("valid"))?;
        }
        writeln!(
            f,
            "boot state {}: {} heals, {} rollbacks",
            self.sequence, self.heals, self.rollbacks
        )?;
        for slot in &self.slots {
            let primary = if slot.slot == self.primary {
                ", tried first"
            } else {
                ""
            };
            let quality = match (slot.complete, slot.good) {
                (false, _) => "incomplete",
                (true, true) => "good",
                (true, false) => "not proved yet",
            };
            writeln!(
                f,
                "slot {}: {quality}, {} tries left{primary}",
                slot.slot, slot.tries_left
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use boot_state::Running;

    use super::*;

    #[test]
    fn a_damaged_copy_and_both_slots_are_shown() {
        let [mut first, second] = Bootstate::initial();
        first[100] = 1;
        let store = Bootstate::load([&first, &second]);
        let mut store = store;
        let write = store.prepare(store.state().mark_good(Running::from_boot(Slot::B)));
        store.written(&write);
        let status = Status::new(&crate::facts::tests::example(), &store);
        let text = status.to_string();
        for line in [
            "running: slot b, version 0.1.0",
            "copy 0: damaged",
            "copy 1: valid",
            "slot b: good, 3 tries left",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["slots"][1]["good"], true);
        assert_eq!(json["sequence"], 3);
    }
}
