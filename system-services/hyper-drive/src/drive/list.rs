//! Listing files, and what changed between versions.

use super::error::{At, Part};
use super::{Drive, DriveError, Entry, FolderPath};
use crate::bee::{self, KeyRange};

/// The files and links below a folder, at any depth, in the order of their names' bytes.
pub struct Entries {
    drive: Drive,
    folder: FolderPath,
    entries: bee::Entries,
}

impl Entries {
    /// The next one. After an error in what is noted of a file, the next call goes on with the one after it.
    pub async fn next(&mut self) -> Result<Option<Entry>, DriveError> {
        let next = self.entries.next().await;
        let next = next.at(&self.drive, Part::Path(self.folder.as_str()))?;
        next.map(|found| self.drive.read_entry_of(found)).transpose()
    }
}

/// One thing in a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct DirItem {
    /// Its name within the folder.
    pub name: String,
    /// What is noted of it; `None` for a folder.
    pub entry: Option<Entry>,
}

/// What is in a folder, itself: files, links and folders.
pub struct DirItems {
    drive: Drive,
    folder: FolderPath,
    /// What was not told yet.
    range: KeyRange,
}

impl DirItems {
    /// The next one. After an error in what is noted of a file, the next call goes on with the one after it.
    ///
    /// If there are a file and files below it of the same name, which no disk could have, both are told.
    pub async fn next(&mut self) -> Result<Option<DirItem>, DriveError> {
        let found = self.drive.files.peek(self.range.clone()).await;
        let Some(found) = found.at(&self.drive, Part::Path(self.folder.as_str()))? else {
            return Ok(None);
        };
        let start = self.folder.prefix().len();
        let below = found.key.get(start..).unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let end = below.iter().position(|byte| *byte == b'/');
        if let Some(end) = end {
            let name = text(&below[..end]);
            // Everything in that folder has '/' there, and '0' follows '/'.
            let behind = [&found.key[..start + end], b"0"].concat();
            self.range = self.folder.keys().gte(behind);
            return Ok(Some(DirItem { name, entry: None }));
        }
        let name = text(below);
        self.range = self.folder.keys().gt(&found.key);
        Ok(Some(DirItem {
            name,
            entry: Some(self.drive.read_entry_of(found)?),
        }))
    }
}

/// How one version differs from another at a path.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// What is noted in the version that was asked.
    pub left: Option<Entry>,
    /// What is noted in the other version.
    pub right: Option<Entry>,
}

/// The differences between two versions, in the order of the names.
pub struct Differences {
    drive: Drive,
    folder: FolderPath,
    differences: bee::Differences,
}

impl Differences {
    /// The next one.
    pub async fn next(&mut self) -> Result<Option<Difference>, DriveError> {
        let next = self.differences.next().await;
        let Some(found) = next.at(&self.drive, Part::Path(self.folder.as_str()))? else {
            return Ok(None);
        };
        let entry =
            |entry: Option<bee::Entry>| entry.map(|entry| self.drive.read_entry_of(entry)).transpose();
        Ok(Some(Difference {
            left: entry(found.left)?,
            right: entry(found.right)?,
        }))
    }
}

impl Drive {
    /// The files and links below a folder, at any depth, as they are now.
    pub fn list(&self, folder: &str) -> Result<Entries, DriveError> {
        let folder = FolderPath::new(folder)?;
        let entries = self.files.range(folder.keys());
        Ok(Entries {
            entries: entries.at(self, Part::Path(folder.as_str()))?,
            drive: self.clone(),
            folder,
        })
    }

    /// What is in a folder, itself, as it is now.
    pub fn read_dir(&self, folder: &str) -> Result<DirItems, DriveError> {
        let folder = FolderPath::new(folder)?;
        Ok(DirItems {
            drive: self.snapshot()?,
            range: folder.keys(),
            folder,
        })
    }

    /// How this version differs from another below a folder.
    pub fn diff(&self, version: u64, folder: &str) -> Result<Differences, DriveError> {
        let folder = FolderPath::new(folder)?;
        let other = self.files.checkout(version).at(self, Part::Database)?;
        let differences = self.files.diff(&other, folder.keys());
        Ok(Differences {
            differences: differences.at(self, Part::Path(folder.as_str()))?,
            drive: self.clone(),
            folder,
        })
    }
}
