//! Who this box is: machine id, host name, time zone, from `data` into the overlay of `/etc`.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use ipc::paths::SETTINGS_ON_DATA;
use ipc::settings::{HostName, Settings, TimeZone};
use os_io::root::Root;
use os_io::{durable, random};

use crate::report::chain;

/// Our folder on `data`.
pub const FOLDER_ON_DATA: &str = "state/hearth-early-boot";
const MACHINE_ID: &str = "machine-id";
/// A settings file is some hundred bytes; more is not read.
const MAX_SETTINGS_BYTES: u64 = 64 * 1024;

/// What the box calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// 32 lower-case hexadecimal digits.
    pub machine_id: String,
    /// Host name.
    pub host_name: HostName,
    /// Time zone.
    pub time_zone: TimeZone,
    /// What was wrong on the way; each has a default instead.
    pub warnings: Vec<String>,
}

impl Identity {
    /// Reads the identity from `data`; makes and keeps a machine id if there is none. Nothing here stops a boot.
    pub fn read(data: &Path) -> Self {
        let mut warnings = Vec::new();
        let machine_id = match machine_id(&data.join(FOLDER_ON_DATA), &mut warnings) {
            Ok(id) => id,
            Err(error) => {
                warnings.push(format!("the machine id is not kept: {}", chain(&error)));
                new_machine_id().unwrap_or_else(|_| "1".repeat(32))
            }
        };
        let settings = settings(&data.join(SETTINGS_ON_DATA)).unwrap_or_else(|problem| {
            warnings.push(format!("settings are not readable, defaults apply: {problem}"));
            Settings::default()
        });
        Self {
            machine_id,
            host_name: settings.host_name,
            time_zone: settings.time_zone,
            warnings,
        }
    }

    /// Writes it into `/etc` of `root`, an overlay in memory. Returns what could not be written.
    pub fn apply(&self, root: &Root) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut note = |what: &str, result: io::Result<()>| {
            if let Err(error) = result {
                warnings.push(format!("{what} is not set: {error}"));
            }
        };
        note(
            "machine id",
            fs::write(root.path("/etc/machine-id"), format!("{}\n", self.machine_id)),
        );
        note(
            "host name",
            fs::write(
                root.path("/etc/hostname"),
                format!("{}\n", self.host_name.as_str()),
            ),
        );
        note("time zone", link_time_zone(root, self.time_zone.as_str()));
        warnings
    }
}

fn link_time_zone(root: &Root, zone: &str) -> io::Result<()> {
    if !root.path(format!("/usr/share/zoneinfo/{zone}")).is_file() {
        return Err(io::Error::other(format!(
            "{zone} is not a time zone of this image"
        )));
    }
    let link = root.path("/etc/localtime");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(format!("../usr/share/zoneinfo/{zone}"), link)
}

fn settings(file: &Path) -> Result<Settings, String> {
    match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Settings::default()),
        Err(error) => return Err(error.to_string()),
        Ok(found) if found.len() > MAX_SETTINGS_BYTES => return Err(format!("{} bytes", found.len())),
        Ok(_) => {}
    }
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    Settings::parse(&text).map_err(|error| error.to_string())
}

fn machine_id(folder: &Path, warnings: &mut Vec<String>) -> Result<String, os_io::Error> {
    let file = folder.join(MACHINE_ID);
    match fs::read_to_string(&file) {
        Ok(text) if is_machine_id(text.trim_end()) => return Ok(text.trim_end().to_owned()),
        Ok(_) => warnings.push("the machine id on data is damaged: the box gets a new one".into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warnings.push(format!("the machine id on data is not readable: {error}")),
    }
    durable::create_folder(folder, 0o755)?;
    let id = new_machine_id()?;
    durable::write_atomically(&file, format!("{id}\n").as_bytes(), 0o444)?;
    Ok(id)
}

fn is_machine_id(text: &str) -> bool {
    text.len() == 32
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|b| b != b'0')
}

/// Random, with the bits of a version 4 UUID: machine-id(5).
fn new_machine_id() -> Result<String, os_io::Error> {
    let mut bytes = [0; 16];
    random::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir_all(data.path().join("state/hearth-provisioner")).unwrap();
        data
    }

    #[test]
    fn the_machine_id_is_made_once() {
        let data = data();
        let first = Identity::read(data.path());
        assert!(
            is_machine_id(&first.machine_id) && first.warnings.is_empty(),
            "{first:?}"
        );
        assert_eq!(Identity::read(data.path()), first);
        assert_ne!(Identity::read(self::data().path()).machine_id, first.machine_id);
    }

    #[test]
    fn a_damaged_machine_id_is_replaced_and_told() {
        let data = data();
        for bad in ["", "xyz", &"0".repeat(32), &"A".repeat(32)] {
            fs::create_dir_all(data.path().join(FOLDER_ON_DATA)).unwrap();
            let file = data.path().join(FOLDER_ON_DATA).join(MACHINE_ID);
            let _ = fs::remove_file(&file);
            fs::write(&file, bad).unwrap();
            let identity = Identity::read(data.path());
            assert!(
                is_machine_id(&identity.machine_id) && identity.warnings.len() == 1,
                "{bad:?}"
            );
            assert!(Identity::read(data.path()).warnings.is_empty());
        }
    }

    #[test]
    fn damaged_settings_give_defaults_and_a_warning_and_stay_as_they_are() {
        let data = data();
        let file = data.path().join(SETTINGS_ON_DATA);
        fs::write(&file, "host_name = ").unwrap();
        let identity = Identity::read(data.path());
        assert_eq!(identity.host_name, HostName::unprovisioned());
        assert!(
            identity.warnings[0].contains("settings"),
            "{:?}",
            identity.warnings
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "host_name = ");
    }

    #[test]
    fn name_and_zone_of_the_settings_reach_etc() {
        let data = data();
        let settings = Settings {
            host_name: HostName::parse("attic").unwrap(),
            time_zone: TimeZone::parse("Europe/Paris").unwrap(),
            ..Settings::default()
        };
        fs::write(data.path().join(SETTINGS_ON_DATA), settings.to_toml().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        fs::create_dir_all(root.path("/etc")).unwrap();
        fs::create_dir_all(root.path("/usr/share/zoneinfo/Europe")).unwrap();
        let identity = Identity::read(data.path());
        assert!(
            identity.apply(&root)[0].contains("Europe/Paris"),
            "a zone that the image does not have"
        );
        fs::write(root.path("/usr/share/zoneinfo/Europe/Paris"), "").unwrap();
        assert_eq!(identity.apply(&root), [""; 0]);
        assert_eq!(identity.apply(&root), [""; 0], "twice");
        assert_eq!(fs::read_to_string(root.path("/etc/hostname")).unwrap(), "attic\n");
        let link = fs::read_link(root.path("/etc/localtime")).unwrap();
        assert_eq!(link, Path::new("../usr/share/zoneinfo/Europe/Paris"));
    }
}
