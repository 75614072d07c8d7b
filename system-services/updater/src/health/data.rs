//! Does `data` take writes?

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Writes, syncs and removes a small file, and looks at the free space.
pub fn writable(folder: &Path, free_bytes: u64) -> Result<(), String> {
    let probe = folder.join("health-probe");
    let written = File::create(&probe)
        .and_then(|mut file| {
            file.write_all(&[0x5a; 4096])?;
            file.sync_all()
        })
        .map_err(|e| format!("The data partition cannot be written ({e})."));
    let removed = fs::remove_file(&probe).map_err(|e| format!("The data partition cannot be written ({e})."));
    written.and(removed)?;
    let space =
        rustix::fs::statvfs(folder).map_err(|e| format!("The data partition does not answer ({e})."))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free < free_bytes {
        return Err(format!(
            "The data partition is full ({} KiB are free, {} are needed).",
            free >> 10,
            free_bytes >> 10
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_takes_writes_passes_and_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        writable(folder.path(), 1).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(writable(folder.path(), u64::MAX).unwrap_err().contains("is full"));
        assert!(
            writable(&folder.path().join("gone"), 1)
                .unwrap_err()
                .contains("cannot be written")
        );
    }
}
