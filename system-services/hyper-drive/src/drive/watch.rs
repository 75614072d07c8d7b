//! Being told when files change.

use super::error::{At, Part};
use super::{Drive, DriveError, FolderPath};
use crate::bee::Watcher;

/// Tells of changes below a folder.
pub struct DriveWatcher {
    drive: Drive,
    folder: FolderPath,
    watcher: Watcher,
}

impl Drive {
    /// Tells of changes below a folder, from now on.
    pub fn watch(&self, folder: &str) -> Result<DriveWatcher, DriveError> {
        let folder = FolderPath::new(folder)?;
        let watcher = self.files.watch(folder.keys());
        Ok(DriveWatcher {
            watcher: watcher.at(self, Part::Path(folder.as_str()))?,
            drive: self.clone(),
            folder,
        })
    }
}

impl DriveWatcher {
    /// Waits until something changed, and gives the drive as it is now and as it was when it was given last. Their [`Drive::diff`] says what changed.
    pub async fn next(&mut self) -> Result<(Drive, Drive), DriveError> {
        let next = self.watcher.next().await;
        let (now, before) = next.at(&self.drive, Part::Path(self.folder.as_str()))?;
        Ok((self.drive.at_version(now), self.drive.at_version(before)))
    }
}
