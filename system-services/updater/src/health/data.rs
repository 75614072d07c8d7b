//! Does `data` take writes?

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use thiserror::Error;

/// Why a new version would not pass its health gate because of `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoRoom {
    /// Nearly full.
    #[error("{}, then try again", self.to_be_mended())]
    Full {
        /// Bytes that are free.
        free_bytes: u64,
        /// Bytes that must be.
        needed_bytes: u64,
    },
    /// It does not say.
    #[error("{}, then try again", self.to_be_mended())]
    NoAnswer(#[source] rustix::io::Errno),
}

impl NoRoom {
    /// What is wrong and what to do, without what comes after it: a person tries again, or the box goes on by itself.
    pub fn to_be_mended(&self) -> String {
        match self {
            Self::Full {
                free_bytes,
                needed_bytes,
            } => format!(
                "the data partition has only {} MB free, and a new version needs {} MB there to pass its health check; \
                 delete what you do not need",
                megabytes(*free_bytes),
                megabytes(needed_bytes.saturating_add(99_999))
            ),
            Self::NoAnswer(_) => "the data partition does not answer; restart the box".into(),
        }
    }
}

/// Whether the file system of `folder` has so many bytes free.
pub fn room(folder: &Path, needed_bytes: u64) -> Result<(), NoRoom> {
    let space = rustix::fs::statvfs(folder).map_err(NoRoom::NoAnswer)?;
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    if free_bytes < needed_bytes {
        return Err(NoRoom::Full {
            free_bytes,
            needed_bytes,
        });
    }
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

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
    room(folder, free_bytes).map_err(|problem| match problem {
        NoRoom::Full {
            free_bytes,
            needed_bytes,
        } => format!(
            "The data partition is full ({} KiB are free, {} are needed).",
            free_bytes >> 10,
            needed_bytes >> 10
        ),
        NoRoom::NoAnswer(error) => format!("The data partition does not answer ({error})."),
    })
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
    #[test]
    fn a_full_partition_is_told_with_both_numbers_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        room(folder.path(), 1).unwrap();
        assert!(matches!(
            room(folder.path(), u64::MAX),
            Err(NoRoom::Full {
                needed_bytes: u64::MAX,
                ..
            })
        ));
        let full = NoRoom::Full {
            free_bytes: 3_199_999,
            needed_bytes: 8_388_608,
        };
        let text = full.to_string();
        assert!(
            text.contains("3.1 MB free") && text.contains("8.4 MB") && text.contains("delete"),
            "{text}"
        );
    }
}
