//! A folder becomes like a drive.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::listing::{Listed, Listing, Pair, Pairs};
use super::meter::{Meter, Progress};
use super::plan::{Action, Kind, decide};
use super::{DiskPath, Folder, LeftOut, MirrorError, MirrorOptions, Report, blocking};
use crate::blobs::{BLOCK_BYTES, BlobReader, ReadOptions};
use crate::drive::{Drive, DriveError, Entry};

/// How much is copied at the same time: a file of one block counts 1, a longer one [`LONG`]. Memory for all: 4 MiB.
const AT_ONCE: usize = 64;
/// What a file of more than one block counts.
const LONG: u32 = 8;
/// Pieces of a file between the network and the disk.
const PIECES: usize = 4;

/// Makes a folder like a drive, as it is now. Files that cannot be copied are left out, and said; the folder is not what it should be then.
pub async fn to_folder(
    drive: &Drive,
    folder: &Folder,
    options: &MirrorOptions,
    progress: impl Fn(&Progress) + Send + Sync + 'static,
) -> Result<Report, MirrorError> {
    if drive.version() < 2 && !drive.is_writable() {
        return Err(MirrorError::NothingKnown(drive.name()));
    }
    let export = Export {
        drive: drive.snapshot()?,
        folder: folder.clone(),
        options: options.clone(),
        meter: Arc::new(Meter::new(progress)),
    };
    let mut report = Report::default();
    export.prepare(&mut report).await?;
    export.copy(&mut report).await?;
    if !options.dry_run {
        let flushed = folder.clone();
        let flushed = blocking(move || flushed.flush()).await?;
        flushed.map_err(MirrorError::folder(folder, "flushed to the disk"))?;
    }
    Ok(report)
}

struct Export {
    drive: Drive,
    folder: Folder,
    options: MirrorOptions,
    meter: Arc<Meter>,
}

/// A file or link that is to be copied.
struct Job {
    drive: Drive,
    folder: Folder,
    meter: Arc<Meter>,
    read: ReadOptions,
    dry_run: bool,
    path: DiskPath,
    kind: Kind,
    entry: Entry,
    action: Action,
}

/// What became of it.
enum Done {
    Kept,
    Added(u64),
    Changed(u64),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error(transparent)]
    Drive(#[from] DriveError),
    #[error(transparent)]
    Blob(#[from] crate::blobs::BlobError),
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    #[error("it cannot be written")]
    Disk(#[from] io::Error),
}

impl Export {
    fn pairs(&self, tidy: bool) -> Result<Pairs, MirrorError> {
        let ignore = &self.options.ignore;
        let source = Listing::of_drive(&self.drive, ignore)?;
        Ok(Pairs::new(source, Listing::of_folder(&self.folder, ignore, tidy)))
    }

    /// Removes what has to go, so that it is not in the way, and sums up what has to come.
    async fn prepare(&self, report: &mut Report) -> Result<(), MirrorError> {
        let (mut files, mut bytes) = (0, 0);
        let mut pairs = self.pairs(!self.options.dry_run)?;
        while let Some(pair) = pairs.next().await? {
            match pair {
                Pair::Source(source, target) => {
                    files += 1;
                    if self.decide(&source, target.as_ref()) != Action::Keep {
                        bytes += length(&source.item.kind);
                    }
                }
                Pair::Target(target) if self.options.prune => self.remove(target, report).await?,
                Pair::Target(_) | Pair::LeftOut(_) => {}
            }
        }
        self.meter.expect(files, bytes);
        Ok(())
    }

    fn decide(&self, source: &Listed, target: Option<&Listed>) -> Action {
        let target = target.map(|target| &target.item.kind);
        decide(Some(&source.item.kind), target, self.options.compare, false)
    }

    async fn remove(&self, target: Listed, report: &mut Report) -> Result<(), MirrorError> {
        let path = target.item.path;
        if self.options.dry_run {
            report.removed += 1;
            return Ok(());
        }
        let Ok(disk_path) = DiskPath::new(&path) else {
            return Ok(());
        };
        let folder = self.folder.clone();
        match blocking(move || folder.remove(&disk_path)).await? {
            Ok(()) => report.removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => report.leave_out(LeftOut::because(path, &error)),
        }
        Ok(())
    }

    async fn copy(&self, report: &mut Report) -> Result<(), MirrorError> {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let mut jobs = JoinSet::new();
        let mut pairs = self.pairs(false)?;
        while let Some(pair) = pairs.next().await? {
            let (source, target) = match pair {
                Pair::Source(source, target) => (source, target),
                Pair::LeftOut(left_out) => {
                    report.leave_out(left_out);
                    continue;
                }
                Pair::Target(_) => continue,
            };
            report.files += 1;
            let action = self.decide(&source, target.as_ref());
            let Some(job) = self.job(source, action) else {
                continue;
            };
            let weight = if length(&job.kind) > BLOCK_BYTES as u64 {
                LONG
            } else {
                1
            };
            let Ok(permit) = Arc::clone(&room).acquire_many_owned(weight).await else {
                return Err(MirrorError::Interrupted);
            };
            jobs.spawn(async move {
                let done = job.run().await;
                drop(permit);
                (job.entry.path, done)
            });
            while let Some(ended) = jobs.try_join_next() {
                self.note(report, ended)?;
            }
        }
        while let Some(ended) = jobs.join_next().await {
            self.note(report, ended)?;
        }
        Ok(())
    }

    fn job(&self, source: Listed, action: Action) -> Option<Job> {
        Some(Job {
            drive: self.drive.clone(),
            folder: self.folder.clone(),
            meter: Arc::clone(&self.meter),
            read: ReadOptions {
                wait: true,
                timeout: self.options.timeout,
            },
            dry_run: self.options.dry_run,
            path: DiskPath::new(&source.item.path).ok()?,
            kind: source.item.kind,
            entry: source.entry?,
            action,
        })
    }

    fn note(
        &self,
        report: &mut Report,
        ended: Result<(String, Result<Done, CopyError>), tokio::task::JoinError>,
    ) -> Result<(), MirrorError> {
        let (path, done) = ended.map_err(|_| MirrorError::Interrupted)?;
        match done {
            Ok(Done::Kept) => {}
            Ok(Done::Added(bytes)) => {
                report.added += 1;
                report.bytes_copied += bytes;
            }
            Ok(Done::Changed(bytes)) => {
                report.changed += 1;
                report.bytes_copied += bytes;
            }
            // No other file will fare better.
            Err(CopyError::Disk(error)) if is_full(&error) => {
                return Err(MirrorError::folder(&self.folder, "written")(error));
            }
            Err(error) => report.leave_out(LeftOut::because(path, &error)),
        }
        self.meter.file();
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

fn length(kind: &Kind) -> u64 {
    match kind {
        Kind::File { bytes, .. } => bytes.unwrap_or_default(),
        Kind::Link { .. } => 0,
    }
}

impl Job {
    async fn run(&self) -> Result<Done, CopyError> {
        let same = match self.action {
            Action::Keep => return Ok(Done::Kept),
            Action::Compare => self.is_same().await?,
            Action::SetExecutable => true,
            _ => false,
        };
        if same {
            return self.set_executable().await;
        }
        let bytes = match (&self.kind, self.dry_run) {
            (kind, true) => length(kind),
            (Kind::Link { target, .. }, false) => self.link(target.clone()).await?,
            (Kind::File { executable, .. }, false) => self.file(*executable).await?,
        };
        Ok(match self.action {
            Action::Add => Done::Added(bytes),
            _ => Done::Changed(bytes),
        })
    }

    async fn link(&self, target: String) -> Result<u64, CopyError> {
        let (folder, path) = (self.folder.clone(), self.path.clone());
        blocking(move || folder.link(&path, &target)).await??;
        Ok(0)
    }

    async fn set_executable(&self) -> Result<Done, CopyError> {
        let Kind::File { executable, .. } = self.kind else {
            return Ok(Done::Kept);
        };
        let (folder, path, dry_run) = (self.folder.clone(), self.path.clone(), self.dry_run);
        let changed = blocking(move || folder.set_executable(&path, executable, dry_run)).await??;
        Ok(if changed { Done::Changed(0) } else { Done::Kept })
    }

    /// The file's content in the drive.
    async fn content(&self) -> Result<Option<BlobReader>, CopyError> {
        match &self.entry.value.blob {
            Some(id) => Ok(Some(self.drive.blobs().await?.read_with(id, .., self.read))),
            None => Ok(None),
        }
    }

    async fn is_same(&self) -> Result<bool, CopyError> {
        let Some(content) = self.content().await? else {
            return Ok(true);
        };
        same(content, &self.folder, &self.path, &self.meter).await
    }

    async fn file(&self, executable: bool) -> Result<u64, CopyError> {
        let Some(mut content) = self.content().await? else {
            return self.write(executable, Vec::new()).await;
        };
        if length(&self.kind) <= BLOCK_BYTES as u64 && !matches!(self.kind, Kind::File { bytes: None, .. }) {
            let bytes = content.to_vec(BLOCK_BYTES as u64).await?;
            return self.write(executable, bytes).await;
        }
        let (pieces, mut incoming) = mpsc::channel(PIECES);
        let (folder, path) = (self.folder.clone(), self.path.clone());
        let writing = tokio::task::spawn_blocking(move || -> io::Result<()> {
            let mut new = folder.begin(&path, executable)?;
            loop {
                match incoming.blocking_recv() {
                    Some(Piece::Bytes(bytes)) => new.file().write_all(&bytes)?,
                    Some(Piece::End) => return new.finish(),
                    // Who should say that it is whole went away.
                    None => return Err(io::Error::from(io::ErrorKind::Interrupted)),
                }
            }
        });
        let read = send(&mut content, &pieces, &self.meter).await;
        drop(pieces);
        let written = writing.await.map_err(|_| MirrorError::Interrupted)?;
        // Why there is no more to write comes before why that is not written.
        let bytes = read?;
        written?;
        Ok(bytes)
    }

    async fn write(&self, executable: bool, bytes: Vec<u8>) -> Result<u64, CopyError> {
        let (folder, path, length) = (self.folder.clone(), self.path.clone(), bytes.len() as u64);
        let written = blocking(move || {
            let mut new = folder.begin(&path, executable)?;
            new.file().write_all(&bytes)?;
            new.finish()
        });
        written.await??;
        self.meter.bytes(length);
        Ok(length)
    }
}

/// What goes from a drive to a thread that works on the disk.
enum Piece {
    Bytes(Bytes),
    End,
}

/// Sends a content, then its end, as long as it is wanted. Says its bytes.
async fn send(
    content: &mut BlobReader,
    pieces: &mpsc::Sender<Piece>,
    meter: &Meter,
) -> Result<u64, CopyError> {
    let mut sent = 0;
    while let Some(bytes) = content.next().await? {
        let length = bytes.len() as u64;
        if pieces.send(Piece::Bytes(bytes)).await.is_err() {
            return Ok(sent);
        }
        sent += length;
        meter.bytes(length);
    }
    let _ = pieces.send(Piece::End).await;
    Ok(sent)
}

/// Whether a file on the disk is what the drive has. A file that vanished is not.
pub(super) async fn same(
    mut content: BlobReader,
    folder: &Folder,
    path: &DiskPath,
    meter: &Meter,
) -> Result<bool, CopyError> {
    let (pieces, mut incoming) = mpsc::channel(PIECES);
    let (folder, path) = (folder.clone(), path.clone());
    let comparing = tokio::task::spawn_blocking(move || -> io::Result<bool> {
        let mut file = match folder.read(&path) {
            Ok((file, _)) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut buffer = Vec::new();
        loop {
            match incoming.blocking_recv() {
                Some(Piece::Bytes(bytes)) => {
                    buffer.resize(bytes.len(), 0);
                    match file.read_exact(&mut buffer) {
                        Ok(()) if buffer == bytes => {}
                        Ok(()) => return Ok(false),
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                        Err(error) => return Err(error),
                    }
                }
                Some(Piece::End) => return Ok(file.read(&mut [0])? == 0),
                None => return Err(io::Error::from(io::ErrorKind::Interrupted)),
            }
        }
    });
    let sent = send(&mut content, &pieces, meter).await;
    drop(pieces);
    let same = comparing.await.map_err(|_| MirrorError::Interrupted)?;
    sent?;
    Ok(same?)
}
