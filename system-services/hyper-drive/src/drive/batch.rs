//! Many changes at once.

use std::ops::Range;

use super::error::{At, Part};
use super::write::encode;
use super::{Drive, DriveError, EntryValue, FilePath, PutOptions};
use crate::blobs::{Appender, BLOCK_BYTES, BlobId, Position};

/// Changes that become part of a drive together, or not at all: one commit of the database, and as few as can be of the contents.
///
/// Contents are written as they come, in bounded memory; the changes themselves are kept in memory until then. Other writers of contents wait for a batch
/// that has written some, until it is flushed or dropped.
pub struct DriveBatch {
    drive: Drive,
    contents: Option<Appender>,
    changes: Vec<Change>,
    /// Blocks of files that were given up halfway.
    orphans: Vec<Range<u64>>,
}

enum Change {
    /// A file whose content is in the batch, from the first position to the second.
    Put(FilePath, EntryValue, Position, Position),
    Entry(FilePath, EntryValue),
    Del(FilePath),
}

impl Drive {
    /// Changes that become part of the drive together.
    pub fn batch(&self) -> DriveBatch {
        DriveBatch {
            drive: self.clone(),
            contents: None,
            changes: Vec::new(),
            orphans: Vec::new(),
        }
    }
}

impl DriveBatch {
    /// Changes so far.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Puts a file.
    pub async fn put(&mut self, path: &str, content: &[u8], options: PutOptions) -> Result<(), DriveError> {
        let mut file = self.begin(path, options).await?;
        for block in content.chunks(BLOCK_BYTES) {
            file.push(block.to_vec()).await?;
        }
        file.finish();
        Ok(())
    }

    /// Puts a file piece by piece. Dropped before it is finished, the file is not part of the batch.
    pub(crate) async fn begin(
        &mut self,
        path: &str,
        options: PutOptions,
    ) -> Result<BatchFile<'_>, DriveError> {
        let path = FilePath::new(path)?;
        if self.contents.is_none() {
            self.contents = Some(self.drive.blobs().await?.appender());
        }
        let value = EntryValue {
            executable: options.executable,
            metadata: options.metadata,
            ..EntryValue::default()
        };
        let start = self.position();
        Ok(BatchFile {
            noted: Some((path, value)),
            batch: self,
            start,
        })
    }

    fn position(&self) -> Position {
        self.contents.as_ref().map(Appender::position).unwrap_or_default()
    }

    /// Puts a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), DriveError> {
        let value = EntryValue {
            linkname: Some(target.to_owned()),
            ..EntryValue::default()
        };
        self.put_entry(path, value)
    }

    /// Notes something of a file, whose content is stored already.
    pub fn put_entry(&mut self, path: &str, value: EntryValue) -> Result<(), DriveError> {
        self.changes.push(Change::Entry(FilePath::new(path)?, value));
        Ok(())
    }

    /// Removes a file or link.
    pub fn del(&mut self, path: &str) -> Result<(), DriveError> {
        self.changes.push(Change::Del(FilePath::new(path)?));
        Ok(())
    }

    /// Makes the changes, and says the version that then is. The contents are on the disk before anything is noted.
    pub async fn flush(mut self) -> Result<u64, DriveError> {
        let start = match &mut self.contents {
            Some(contents) => contents.finish().await.at(&self.drive, Part::Contents)?,
            None => Default::default(),
        };
        let mut notes = self.drive.files.batch();
        for change in self.changes {
            let (path, value) = match change {
                Change::Del(path) => {
                    let gone = notes.del(path.as_str()).await;
                    gone.at(&self.drive, Part::Path(path.as_str()))?;
                    continue;
                }
                Change::Entry(path, value) => (path, value),
                Change::Put(path, value, from, to) => {
                    let blob = BlobId {
                        block_offset: start.length + from.blocks,
                        block_length: to.blocks - from.blocks,
                        byte_offset: start.byte_length + from.bytes,
                        byte_length: to.bytes - from.bytes,
                        block_map: false,
                    };
                    (
                        path,
                        EntryValue {
                            blob: Some(blob),
                            ..value
                        },
                    )
                }
            };
            let put = notes.put(path.as_str(), encode(&path, &value)?).await;
            put.at(&self.drive, Part::Path(path.as_str()))?;
        }
        let version = notes.flush().await.at(&self.drive, Part::Database)?;
        for blocks in self.orphans {
            let core = self.drive.blobs().await?.core();
            let cleared = core
                .clear(start.length + blocks.start..start.length + blocks.end)
                .await;
            cleared.at(&self.drive, Part::Contents)?;
        }
        Ok(version)
    }
}

/// A file of a batch, while its content is written.
pub(crate) struct BatchFile<'a> {
    batch: &'a mut DriveBatch,
    /// `None` once it is part of the batch.
    noted: Option<(FilePath, EntryValue)>,
    start: Position,
}

impl BatchFile<'_> {
    /// Adds a block of the content: every one but the last has to be of [`BLOCK_BYTES`].
    pub(crate) async fn push(&mut self, block: Vec<u8>) -> Result<(), DriveError> {
        match &mut self.batch.contents {
            Some(contents) => contents.push(block).await.at(&self.batch.drive, Part::Contents),
            None => Ok(()),
        }
    }

    /// Makes the file part of the batch.
    pub(crate) fn finish(mut self) {
        let end = self.batch.position();
        if let Some((path, value)) = self.noted.take() {
            self.batch.changes.push(Change::Put(path, value, self.start, end));
        }
    }
}

impl Drop for BatchFile<'_> {
    fn drop(&mut self) {
        let end = self.batch.position();
        if self.noted.is_some() && end.blocks > self.start.blocks {
            self.batch.orphans.push(self.start.blocks..end.blocks);
        }
    }
}
