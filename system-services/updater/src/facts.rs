//! The facts of this boot, as early-boot wrote them.

use std::fs::File;
use std::io::{self, Read};

use boot_state::{Running, Slot};
use ipc::boot_facts::{self, BootFacts, DataState};
use ipc::paths::BOOT_FACTS;
use os_io::root::Root;
use thiserror::Error;

/// The file is some hundred bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Why there are no facts.
#[derive(Debug, Error)]
pub enum FactsError {
    /// Not there or not readable: this system was not started by early-boot.
    #[error("read {BOOT_FACTS}")]
    Read(#[source] io::Error),
    /// Not what early-boot writes.
    #[error("{BOOT_FACTS} is not understood")]
    Syntax(#[source] serde_json::Error),
}

/// Reads them.
pub fn read(root: &Root) -> Result<BootFacts, FactsError> {
    let mut text = String::new();
    File::open(root.path(BOOT_FACTS))
        .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(FactsError::Read)?;
    serde_json::from_str(&text).map_err(FactsError::Syntax)
}

/// The slot that runs.
pub fn running(facts: &BootFacts) -> Running {
    Running::from_boot(match facts.slot {
        boot_facts::Slot::A => Slot::A,
        boot_facts::Slot::B => Slot::B,
    })
}

/// What is wrong with `data`, if something is.
pub fn data_problem(facts: &BootFacts) -> Option<&str> {
    match &facts.data {
        DataState::Mounted | DataState::Repaired => None,
        DataState::Damaged { reason } => Some(reason),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Facts of a boot from slot b.
    pub fn example() -> BootFacts {
        BootFacts {
            slot: boot_facts::Slot::B,
            healed: false,
            version: "0.1.0".into(),
            rollback_index: 0,
            profile: "dev".into(),
            board: "qemu-arm64".into(),
            development_keys: true,
            disk: "/dev/vda".into(),
            data_device: "/dev/vda7".into(),
            bootstate_device: "/dev/vda2".into(),
            data: DataState::Mounted,
            handed_over_ms: 2000,
        }
    }

    #[test]
    fn facts_are_read_as_early_boot_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert!(matches!(read(&root), Err(FactsError::Read(_))));
        std::fs::create_dir_all(root.path("/run/hearth")).unwrap();
        std::fs::write(root.path(BOOT_FACTS), serde_json::to_vec(&example()).unwrap()).unwrap();
        assert_eq!(read(&root).unwrap(), example());
        assert_eq!(running(&example()).slot(), Slot::B);
        std::fs::write(root.path(BOOT_FACTS), "{}").unwrap();
        assert!(matches!(read(&root), Err(FactsError::Syntax(_))));
    }
}
