//! Reads the state from its files, and carries out what the machine orders, in its order.

use std::io;
use std::path::Path;

use ipc::settings::{HostName, Settings, TimeZone};
use thiserror::Error;

use crate::places::{Places, read_small};
use crate::secrets::Administrator;
use crate::state::{Action, State};

/// Why an action failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Writing a file failed; the state is as before.
    #[error("{path}: cannot be written")]
    Write {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The settings or the administrator have no text form.
    #[error("{what} cannot be written down: {problem}")]
    Form {
        /// What.
        what: &'static str,
        /// Why.
        problem: String,
    },
}

/// Writes that survive a pulled plug. Two implementations: the disk, and a fake that stops at any step.
pub trait Files {
    /// Replaces a file by one rename; afterwards either the old or the new content is there, whatever happens.
    fn write_durably(&mut self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;
    /// Makes a folder with this mode durably; its parent exists.
    fn make_folder(&mut self, path: &Path, mode: u32) -> io::Result<()>;
}

/// The disk.
#[derive(Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn write_durably(&mut self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        os_io::durable::write_atomically(path, bytes, mode).map_err(|e| e.source)
    }

    fn make_folder(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        os_io::durable::create_folder(path, mode).map_err(|e| e.source)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    }
}

/// What the files say. Never fails: what cannot be read becomes [`State::Unreadable`].
pub fn load(places: &Places) -> State {
    match try_load(places) {
        Ok(state) => state,
        Err(reason) => State::Unreadable { reason },
    }
}

fn try_load(places: &Places) -> Result<State, String> {
    let administrator = match read_small(&places.administrator()) {
        Ok(Some(text)) => {
            let text = zeroize::Zeroizing::new(text);
            Some(
                Administrator::parse(&text)
                    .map_err(|e| format!("The administrator cannot be read ({e})."))?,
            )
        }
        Ok(None) => None,
        Err(e) => return Err(format!("The administrator cannot be read ({e}).")),
    };
    let settings = match read_small(&places.settings()) {
        Ok(Some(text)) => {
            Settings::parse(&text).map_err(|e| format!("The settings cannot be read ({e})."))?
        }
        Ok(None) => Settings::default(),
        Err(e) => return Err(format!("The settings cannot be read ({e}).")),
    };
    Ok(match (settings.provisioned, administrator) {
        (true, administrator) => State::Provisioned {
            settings,
            administrator,
        },
        (false, Some(administrator)) => State::AdministratorChosen(administrator),
        (false, None) => State::Unclaimed,
    })
}

/// Carries out one action that writes; the others are the caller's.
pub fn persist(files: &mut impl Files, places: &Places, action: &Action) -> Result<(), StoreError> {
    match action {
        Action::PersistAdministrator(administrator) => {
            let text = administrator.to_toml().map_err(|e| StoreError::Form {
                what: "the administrator",
                problem: e.to_string(),
            })?;
            let folder = places.secrets();
            files
                .make_folder(&folder, 0o700)
                .map_err(|source| write_error(&folder, source))?;
            write(files, &places.administrator(), text.as_bytes(), 0o600)
        }
        Action::PersistSettings(settings) => {
            let text = settings.to_toml().map_err(|e| StoreError::Form {
                what: "the settings",
                problem: e.to_string(),
            })?;
            write(files, &places.settings(), text.as_bytes(), 0o644)
        }
        Action::PersistResetMarker => write(files, &places.factory_reset_marker(), b"", 0o600),
        Action::ApplyHostName(_) | Action::ApplyTimeZone(_) | Action::Reboot => Ok(()),
    }
}

fn write(files: &mut impl Files, path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    files
        .write_durably(path, bytes, mode)
        .map_err(|source| write_error(path, source))
}

fn write_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Write {
        path: path.display().to_string(),
        source,
    }
}

/// Uses the host name now; at the next boot early-boot does the same from the settings.
/// resolved watches the kernel's name and announces the new one.
pub fn apply_host_name(places: &Places, name: &HostName) -> io::Result<()> {
    let line = format!("{}\n", name.as_str());
    Disk.write_durably(&places.at("/etc/hostname"), line.as_bytes(), 0o644)?;
    if places.is_appliance() {
        os_io::host::set_hostname(name.as_str()).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Uses the time zone now: programs look at `/etc/localtime` again on their own.
pub fn apply_time_zone(places: &Places, zone: &TimeZone) -> io::Result<()> {
    let new = places.at("/etc/.localtime.new");
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(Path::new("/usr/share/zoneinfo").join(zone.as_str()), &new)?;
    std::fs::rename(&new, places.at("/etc/localtime"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Password;
    use crate::state::Event;
    use ipc::settings::{AccountName, SetupRequest};

    /// The power goes before or after the n-th operation has its effect.
    struct Cut {
        left: usize,
        after_effect: bool,
    }

    impl Cut {
        fn run(&mut self, effect: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
            if self.left == 0 {
                if self.after_effect {
                    effect()?;
                }
                return Err(io::Error::other("power cut"));
            }
            self.left -= 1;
            effect()
        }
    }

    impl Files for Cut {
        fn write_durably(&mut self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
            self.run(|| Disk.write_durably(path, bytes, mode))
        }
        fn make_folder(&mut self, path: &Path, mode: u32) -> io::Result<()> {
            self.run(|| Disk.make_folder(path, mode))
        }
    }

    fn places() -> (tempfile::TempDir, Places) {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::below(folder.path());
        for needed in ["/var/lib/hearth-provisioner", "/etc", "/data"] {
            std::fs::create_dir_all(places.at(needed)).unwrap();
        }
        (folder, places)
    }

    /// Walks the whole setup; stops at the first failure, as a cut does.
    fn set_up(files: &mut impl Files, places: &Places, ada: &Administrator) -> Result<(), StoreError> {
        let request =
            SetupRequest::parse("host_name='attic'\ntime_zone='UTC'\nlanguage='en'\nupdate_policy='manual'")
                .unwrap();
        for event in [
            Event::AdministratorSubmitted(ada.clone()),
            Event::SetupSubmitted(request),
        ] {
            let Ok((_, actions)) = load(places).step(event) else {
                continue;
            };
            for action in actions {
                persist(files, places, &action)?;
            }
        }
        Ok(())
    }

    #[test]
    fn a_cut_at_any_step_leaves_one_whole_state_and_the_next_try_finishes() {
        let ada = Administrator::new(
            AccountName::parse("ada").unwrap(),
            &Password::typed("12345678".into()),
        )
        .unwrap();
        let mut finished = 0;
        for after_effect in [false, true] {
            for left in 0..8 {
                let (_folder, places) = places();
                let whole = set_up(&mut Cut { left, after_effect }, &places, &ada).is_ok();
                finished += usize::from(whole);
                match load(&places) {
                    State::Unclaimed | State::AdministratorChosen(_) => assert!(!whole),
                    State::Provisioned { administrator, .. } => {
                        assert_eq!(administrator.as_ref(), Some(&ada))
                    }
                    State::Unreadable { reason } => panic!("{reason}"),
                }
                set_up(&mut Disk, &places, &ada).unwrap();
                assert!(matches!(load(&places), State::Provisioned { .. }));
            }
        }
        assert!(
            finished > 0 && finished < 16,
            "the cuts reach from the first step past the last: {finished}"
        );
    }

    #[test]
    fn secrets_are_for_root_alone_and_settings_for_everyone() {
        use std::os::unix::fs::PermissionsExt;
        let ada = Administrator::new(
            AccountName::parse("ada").unwrap(),
            &Password::typed("12345678".into()),
        )
        .unwrap();
        let (_folder, places) = places();
        set_up(&mut Disk, &places, &ada).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&places.secrets()), 0o700);
        assert_eq!(mode(&places.administrator()), 0o600);
        assert_eq!(mode(&places.settings()), 0o644);
    }

    #[test]
    fn damaged_settings_are_never_taken_for_an_unclaimed_box() {
        let (_folder, places) = places();
        for text in [
            "",
            "provisioned = tru",
            "provisioned = false\nhost_name = 3",
            &"x".repeat(100_000),
        ] {
            std::fs::write(places.settings(), text).unwrap();
            assert!(matches!(load(&places), State::Unreadable { .. }), "{text:.30}");
        }
    }

    #[test]
    fn host_name_and_time_zone_are_applied_below_the_root() {
        let (_folder, places) = places();
        apply_host_name(&places, &HostName::parse("attic").unwrap()).unwrap();
        for zone in ["Europe/Paris", "UTC"] {
            apply_time_zone(&places, &TimeZone::parse(zone).unwrap()).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(places.at("/etc/hostname")).unwrap(),
            "attic\n"
        );
        let link = std::fs::read_link(places.at("/etc/localtime")).unwrap();
        assert_eq!(link, Path::new("/usr/share/zoneinfo/UTC"));
    }
}
