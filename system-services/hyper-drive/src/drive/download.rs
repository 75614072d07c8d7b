//! Fetching files, so that they can be read without peers.

use tokio::task::{JoinHandle, JoinSet};

use super::error::{At, Part};
use super::{Drive, DriveError, Entry, FolderPath};

/// Files that are fetched at the same time.
const FILES_AT_ONCE: usize = 64;

/// Files that are being fetched, as long as this lives.
pub struct DriveDownload {
    drive: Drive,
    task: JoinHandle<Result<u64, DriveError>>,
}

impl DriveDownload {
    /// Waits until all files are stored here, and says how many there are.
    pub async fn done(&mut self) -> Result<u64, DriveError> {
        let ended = (&mut self.task).await;
        ended.map_err(|_| DriveError::Interrupted(self.drive.name()))?
    }
}

impl Drop for DriveDownload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drive {
    /// Fetches a file, or all files below a folder, of this version.
    pub fn download(&self, path: &str) -> Result<DriveDownload, DriveError> {
        let folder = FolderPath::new(path)?;
        let (drive, name) = (self.snapshot()?, path.to_owned());
        Ok(self.spawn(async move {
            let mut fetching = Fetching::new(&drive);
            if !name.ends_with('/')
                && folder != FolderPath::root()
                && let Some(entry) = drive.entry(&name).await?
            {
                fetching.begin(entry).await?;
                return fetching.done().await;
            }
            let mut files = drive.list(&name)?;
            while let Some(entry) = files.next().await? {
                fetching.begin(entry).await?;
            }
            fetching.done().await
        }))
    }

    /// Fetches the files below a folder that are not the same in another version.
    pub fn download_diff(&self, version: u64, folder: &str) -> Result<DriveDownload, DriveError> {
        let drive = self.snapshot()?;
        let mut differences = drive.diff(version, folder)?;
        Ok(self.spawn(async move {
            let mut fetching = Fetching::new(&drive);
            while let Some(difference) = differences.next().await? {
                if let Some(entry) = difference.left {
                    fetching.begin(entry).await?;
                }
            }
            fetching.done().await
        }))
    }

    fn spawn(&self, work: impl Future<Output = Result<u64, DriveError>> + Send + 'static) -> DriveDownload {
        DriveDownload {
            drive: self.clone(),
            task: tokio::spawn(work),
        }
    }
}

/// The files that are being fetched.
struct Fetching<'a> {
    drive: &'a Drive,
    tasks: JoinSet<Result<(), DriveError>>,
    files: u64,
}

impl<'a> Fetching<'a> {
    fn new(drive: &'a Drive) -> Self {
        Self {
            drive,
            tasks: JoinSet::new(),
            files: 0,
        }
    }

    /// Begins to fetch a file. Waits as long as many are being fetched.
    async fn begin(&mut self, entry: Entry) -> Result<(), DriveError> {
        let Some(id) = entry.value.blob.filter(|id| id.block_length > 0) else {
            return Ok(());
        };
        while self.tasks.len() >= FILES_AT_ONCE {
            self.one_done().await?;
        }
        let (drive, blobs) = (self.drive.clone(), self.drive.blobs().await?.clone());
        self.tasks
            .spawn(async move { blobs.download(&id).await.at(&drive, Part::Path(&entry.path)) });
        Ok(())
    }

    async fn one_done(&mut self) -> Result<(), DriveError> {
        if let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|_| DriveError::Interrupted(self.drive.name()))??;
            self.files += 1;
        }
        Ok(())
    }

    async fn done(mut self) -> Result<u64, DriveError> {
        while !self.tasks.is_empty() {
            self.one_done().await?;
        }
        Ok(self.files)
    }
}
