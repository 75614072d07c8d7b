//! Factory reset: empties `data` when the marker is there.
//!
//! A cut at any moment leaves the marker, so the next boot goes on; the marker is removed last, after everything else is
//! durable. What the household had is gone then, and setup begins anew.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use ipc::paths::FACTORY_RESET_MARKER;
use os_io::{durable, tree};

/// e2fsck's own folder; its content goes, the folder stays.
const LOST_AND_FOUND: &str = "lost+found";

/// Empties `data` if its marker asks for it; says whether it did. `before_removal` as in [`tree::remove_contents`].
pub fn factory_reset(data: &Path, before_removal: &mut dyn FnMut(u64) -> io::Result<()>) -> io::Result<bool> {
    let marker = data.join(FACTORY_RESET_MARKER);
    match fs::symlink_metadata(&marker) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let folder = File::open(data)?;
    tree::remove_contents(
        folder.as_fd(),
        &[FACTORY_RESET_MARKER, LOST_AND_FOUND],
        before_removal,
    )?;
    let lost = data.join(LOST_AND_FOUND);
    if fs::symlink_metadata(&lost).is_ok_and(|found| found.is_dir()) {
        tree::remove_contents(File::open(&lost)?.as_fd(), &[], before_removal)?;
    }
    // All removals are on the disk before the marker's.
    rustix::fs::syncfs(&folder)?;
    before_removal(0)?;
    durable::remove(&marker).map_err(|error| error.source)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn household(data: &Path, outside: &Path) {
        fs::create_dir_all(data.join("state/hearth-provisioner/secrets")).unwrap();
        fs::create_dir_all(data.join("lost+found/#12")).unwrap();
        for file in [
            "state/hearth-provisioner/settings.toml",
            "photo",
            "lost+found/#12/x",
            "factory-reset",
        ] {
            fs::write(data.join(file), "x").unwrap();
        }
        symlink(outside, data.join("state/link")).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn without_marker_nothing_is_touched() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("photo"), "x").unwrap();
        assert!(!factory_reset(data.path(), &mut |_| Ok(())).unwrap());
        assert_eq!(names(data.path()), ["photo"]);
    }

    #[test]
    fn a_cut_before_any_removal_keeps_the_marker_and_the_next_boot_finishes() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "x").unwrap();
        let mut cut_at = 0;
        loop {
            let data = tempfile::tempdir().unwrap();
            household(data.path(), outside.path());
            let mut step = 0;
            let result = factory_reset(data.path(), &mut |_| {
                step += 1;
                if step > cut_at {
                    Err(io::Error::other("cut"))
                } else {
                    Ok(())
                }
            });
            if result.is_ok() {
                break;
            }
            assert!(data.path().join(FACTORY_RESET_MARKER).exists(), "cut at {cut_at}");
            assert!(factory_reset(data.path(), &mut |_| Ok(())).unwrap());
            assert_eq!(names(data.path()), ["lost+found"], "cut at {cut_at}");
            assert_eq!(names(&data.path().join("lost+found")), [""; 0]);
            cut_at += 1;
        }
        assert!(cut_at > 8, "every removal was cut once: {cut_at}");
        assert!(outside.path().join("precious").exists());
    }
}
