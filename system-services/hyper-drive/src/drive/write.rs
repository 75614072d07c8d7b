//! Changing a drive.

use super::error::{At, Part};
use super::{Drive, DriveError, EntryValue, FilePath, Metadata};
use crate::blobs::{BlobWriter, WriteOptions};

/// What is noted of a file with its content.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PutOptions {
    /// Whether it may be run.
    pub executable: bool,
    /// What a program keeps with it.
    pub metadata: Option<Metadata>,
}

impl PutOptions {
    fn into_value(self) -> EntryValue {
        EntryValue {
            executable: self.executable,
            metadata: self.metadata,
            ..EntryValue::default()
        }
    }
}

/// Writes a file piece by piece. The drive has it when it is finished, whole; one that is dropped leaves nothing.
pub struct FileWriter {
    drive: Drive,
    path: FilePath,
    value: EntryValue,
    content: BlobWriter,
}

impl FileWriter {
    /// Adds bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), DriveError> {
        let written = self.content.write(bytes).await;
        written.at(&self.drive, Part::Path(self.path.as_str()))
    }

    /// Stores the rest, and notes the file.
    pub async fn finish(mut self) -> Result<(), DriveError> {
        let stored = self.content.finish().await;
        self.value.blob = Some(stored.at(&self.drive, Part::Path(self.path.as_str()))?);
        self.drive.note(&self.path, &self.value).await
    }
}

impl Drive {
    /// Puts a file. Its content is on the disk before it is noted.
    pub async fn put(&self, path: &str, content: &[u8]) -> Result<(), DriveError> {
        self.put_with(path, content, PutOptions::default()).await
    }

    /// Puts a file.
    pub async fn put_with(&self, path: &str, content: &[u8], options: PutOptions) -> Result<(), DriveError> {
        let path = FilePath::new(path)?;
        let blob = self.blobs().await?.put(content).await;
        let value = EntryValue {
            blob: Some(blob.at(self, Part::Path(path.as_str()))?),
            ..options.into_value()
        };
        self.note(&path, &value).await
    }

    /// Puts a file piece by piece.
    pub async fn writer(&self, path: &str, options: PutOptions) -> Result<FileWriter, DriveError> {
        self.open_writer(path, options, WriteOptions::default()).await
    }

    /// Puts a file piece by piece; blocks that the file has already are not stored again. Peers older than hyperblobs 2.9 cannot read such files.
    pub async fn dedup_writer(&self, path: &str, options: PutOptions) -> Result<FileWriter, DriveError> {
        let previous = self.entry(path).await?.and_then(|entry| entry.value.blob);
        let dedup = WriteOptions {
            dedup: true,
            previous,
        };
        self.open_writer(path, options, dedup).await
    }

    async fn open_writer(
        &self,
        path: &str,
        options: PutOptions,
        how: WriteOptions,
    ) -> Result<FileWriter, DriveError> {
        Ok(FileWriter {
            path: FilePath::new(path)?,
            content: self.blobs().await?.writer(how),
            value: options.into_value(),
            drive: self.clone(),
        })
    }

    /// Puts a symbolic link. Where it leads is not looked at.
    pub async fn symlink(&self, path: &str, target: &str) -> Result<(), DriveError> {
        let value = EntryValue {
            linkname: Some(target.to_owned()),
            ..EntryValue::default()
        };
        self.put_entry(path, &value).await
    }

    /// Notes something of a file, whose content is stored already.
    pub async fn put_entry(&self, path: &str, value: &EntryValue) -> Result<(), DriveError> {
        self.note(&FilePath::new(path)?, value).await
    }

    async fn note(&self, path: &FilePath, value: &EntryValue) -> Result<(), DriveError> {
        let json = encode(path, value)?;
        let put = self.files.put(path.as_str(), json).await;
        put.at(self, Part::Path(path.as_str())).map(drop)
    }

    /// Removes a file or link, and says whether there was one. Its content stays for earlier versions: [`Drive::clear`] frees its room.
    pub async fn del(&self, path: &str) -> Result<bool, DriveError> {
        let path = FilePath::new(path)?;
        let gone = self.files.del(path.as_str()).await;
        gone.at(self, Part::Path(path.as_str()))
            .map(|gone| gone.is_some())
    }

    /// Frees the room of a file's content. The file stays noted; peers that have the content can give it again.
    pub async fn clear(&self, path: &str) -> Result<(), DriveError> {
        match self.entry(path).await?.and_then(|entry| entry.value.blob) {
            Some(id) => self.blobs().await?.clear(&id).await.at(self, Part::Path(path)),
            None => Ok(()),
        }
    }

    /// Frees the room of all contents, those of earlier versions too.
    pub async fn clear_all(&self) -> Result<(), DriveError> {
        let core = self.blobs().await?.core();
        core.clear(0..core.length()).await.at(self, Part::Contents)
    }

    /// Frees the room of the whole drive. That there was such a drive, and its keys, stay in the store.
    pub async fn purge(&self) -> Result<(), DriveError> {
        // Another's drive of which nothing came yet does not say where its contents are: there are none here.
        if self.db().is_writable() || self.db().length() > 0 {
            self.clear_all().await?;
        }
        let db = self.db();
        db.clear(0..db.length()).await.at(self, Part::Database)
    }

    /// Blocks of contents that this version needs, as the peers count: up to the end of the last file's.
    pub async fn blobs_length(&self) -> Result<u64, DriveError> {
        let mut files = self.list("/")?;
        let mut length = 0;
        while let Some(entry) = files.next().await? {
            length = entry.value.blob.map_or(length, |id| length.max(id.blocks().end));
        }
        Ok(length)
    }

    /// Goes back to a version for good: what came later is dropped, here and at all peers.
    pub async fn truncate(&self, version: u64) -> Result<(), DriveError> {
        let too_long = |what, length, to| {
            Err(DriveError::Length {
                drive: self.name(),
                what,
                length,
                to,
            })
        };
        if version > self.db().length() {
            return too_long("versions", self.db().length(), version);
        }
        let blobs_length = self.checkout(version)?.blobs_length().await?;
        let blobs = self.blobs().await?.core();
        if blobs_length > blobs.length() {
            return too_long("blocks of contents", blobs.length(), blobs_length);
        }
        // Names first: a name whose content is gone would be worse than a content without a name.
        self.db().truncate(version, None).await.at(self, Part::Database)?;
        blobs.truncate(blobs_length, None).await.at(self, Part::Contents)
    }
}

pub(super) fn encode(path: &FilePath, value: &EntryValue) -> Result<Vec<u8>, DriveError> {
    value.encode().map_err(|source| DriveError::Note {
        path: path.as_str().to_owned(),
        source,
    })
}
