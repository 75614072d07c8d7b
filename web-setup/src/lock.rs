//! Who may come in now, told by files alone: the boot facts and the settings. Read anew at every request (a few hundred bytes
//! in memory), so that the lock on the wizard is never only a memory of this process.

use std::io::ErrorKind;

use ipc::boot_facts::{BootFacts, DataState};
use ipc::settings::Settings;

use crate::system::Root;

/// What this appliance offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// Never set up: the wizard.
    Setup,
    /// Set up: login and dashboard.
    Provisioned(Settings),
    /// Whose box this is cannot be known: neither.
    Closed {
        /// One sentence that says why.
        reason: String,
    },
}

/// Facts of this boot, or why they are not available.
pub fn boot_facts(root: &Root) -> Result<BootFacts, String> {
    let path = ipc::paths::BOOT_FACTS;
    let text = root.read(path).map_err(|e| format!("{path}: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{path}: {e}"))
}

/// Reads the lock.
pub fn read(root: &Root) -> Lock {
    match boot_facts(root) {
        Ok(BootFacts {
            data: DataState::Damaged { reason },
            ..
        }) => return Lock::Closed { reason },
        Ok(_) => {}
        // Without the report of early-boot it is not known whether `data` is the real one.
        Err(error) => {
            return Lock::Closed {
                reason: format!("The report of this start cannot be read ({error})."),
            };
        }
    }
    let path = ipc::paths::SETTINGS;
    match root.read(path) {
        Ok(text) => match Settings::parse(&text) {
            Ok(settings) if settings.provisioned => Lock::Provisioned(settings),
            Ok(_) => Lock::Setup,
            Err(error) => Lock::Closed {
                reason: format!("The settings of this device are damaged ({error})."),
            },
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Lock::Setup,
        Err(error) => Lock::Closed {
            reason: format!("The settings of this device cannot be read ({error})."),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::sample;

    #[test]
    fn setup_is_offered_only_when_nothing_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        assert!(matches!(read(&root), Lock::Closed { .. }), "no boot facts");
        sample::write(&root).unwrap();
        assert_eq!(read(&root), Lock::Setup);
        let settings = root.join(ipc::paths::SETTINGS);
        std::fs::create_dir_all(settings.parent().unwrap()).unwrap();
        std::fs::write(&settings, "provisioned = maybe").unwrap();
        assert!(matches!(read(&root), Lock::Closed { .. }), "damaged settings");
        let good = Settings {
            provisioned: true,
            ..Settings::default()
        };
        std::fs::write(&settings, good.to_toml().unwrap()).unwrap();
        assert_eq!(read(&root), Lock::Provisioned(good));
        let mut facts = boot_facts(&root).unwrap();
        facts.data = DataState::Damaged {
            reason: "The card lost blocks.".into(),
        };
        std::fs::write(
            root.join(ipc::paths::BOOT_FACTS),
            serde_json::to_string(&facts).unwrap(),
        )
        .unwrap();
        assert_eq!(
            read(&root),
            Lock::Closed {
                reason: "The card lost blocks.".into()
            }
        );
    }
}
