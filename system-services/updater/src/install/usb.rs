//! The bundle on a USB stick labelled `HEARTH`.
//!
//! systemd mounts it (`run-hearth-usb.mount`: read-only, no devices, no programs), so that this service needs no right to mount.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use os_io::program::Program;
use os_io::root::Root;

use crate::engine::{EngineError, EngineErrorKind};

/// Where udev shows the stick.
const DEVICE: &str = "/dev/disk/by-label/HEARTH";
/// Where systemd mounts it.
const MOUNT: &str = "/run/hearth/usb";
/// The unit.
const UNIT: &str = "run-hearth-usb.mount";
/// Names looked at.
const MAX_NAMES: usize = 4096;

/// Mounts the stick and finds the only bundle in its top folder.
pub fn bundle(root: &Root) -> Result<PathBuf, EngineError> {
    if !root.path(DEVICE).exists() {
        return Err(unreachable(
            "There is no USB stick labelled HEARTH. Plug it in, or give the stick that label, and try again.",
        ));
    }
    Program::new(root.path("/usr/bin/systemctl"))
        .arg("start")
        .arg(UNIT)
        .timeout(Duration::from_secs(60))
        .run_ok()
        .map_err(|error| EngineError {
            kind: EngineErrorKind::Unreachable,
            sentence: "The USB stick cannot be read. Its file system should be FAT, exFAT or ext4.".into(),
            source: Some(Box::new(error)),
        })?;
    find(root)
}

fn find(root: &Root) -> Result<PathBuf, EngineError> {
    let entries = fs::read_dir(root.path(MOUNT)).map_err(|error| EngineError {
        kind: EngineErrorKind::Unreachable,
        sentence: "The USB stick cannot be read.".into(),
        source: Some(Box::new(error)),
    })?;
    let mut found: Vec<PathBuf> = entries
        .take(MAX_NAMES)
        .flatten()
        .map(|entry| entry.path())
        // macOS leaves files such as `._name.raucb` on every stick.
        .filter(|path| {
            let name = path
                .file_name()
                .map(|n| n.to_string_lossy().to_ascii_lowercase())
                .unwrap_or_default();
            name.ends_with(".raucb") && !name.starts_with('.')
        })
        .collect();
    found.sort();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(unreachable(
            "There is no update on the USB stick. Copy the .raucb file into its top folder.",
        )),
        [first, second, ..] => Err(unreachable(format!(
            "There is more than one update on the USB stick ({} and {}). Leave only the one to install.",
            name(first),
            name(second)
        ))),
    }
}

fn name(path: &std::path::Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn unreachable(sentence: impl Into<String>) -> EngineError {
    EngineError::new(EngineErrorKind::Unreachable, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_bundle_is_taken_and_anything_else_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let says = |root: &Root| find(root).unwrap_err().to_string();
        assert!(bundle(&root).unwrap_err().to_string().contains("labelled HEARTH"));
        assert!(says(&root).contains("cannot be read"));
        let stick = root.path(MOUNT);
        fs::create_dir_all(&stick).unwrap();
        fs::write(stick.join("._a.raucb"), "").unwrap();
        fs::write(stick.join("photo.jpg"), "").unwrap();
        assert!(says(&root).contains("no update on the USB stick"));
        fs::write(stick.join("A.RAUCB"), "").unwrap();
        assert_eq!(find(&root).unwrap(), stick.join("A.RAUCB"));
        fs::write(stick.join("b.raucb"), "").unwrap();
        assert!(says(&root).contains("(A.RAUCB and b.raucb)"));
    }
}
