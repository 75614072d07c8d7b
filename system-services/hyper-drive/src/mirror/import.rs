//! A drive becomes like a folder.

use std::io::{self, Read};
use std::sync::Arc;

use rustix::fs::Stat;
use tokio::sync::mpsc;

use super::export::same;
use super::listing::{Listed, Listing, Pair, Pairs};
use super::meter::{Meter, Progress};
use super::plan::{Action, Kind, decide};
use super::{DiskPath, Folder, LeftOut, MirrorError, MirrorOptions, Report};
use crate::blobs::{BLOCK_BYTES, ReadOptions};
use crate::drive::{Drive, DriveBatch, EntryValue, PutOptions};

/// Changes that become part of the drive together: few enough that a mirror that is cut off has done most of its work.
const BATCH_CHANGES: usize = 256;
/// The same, in bytes of their contents.
const BATCH_BYTES: u64 = 64 << 20;
/// Blocks of a file between the disk and the drive.
const BLOCKS: usize = 16;

/// Makes a drive like a folder, as it is now. Files that cannot be read, or change meanwhile, are left out, and said; the drive keeps what it has of them.
pub async fn to_drive(
    folder: &Folder,
    drive: &Drive,
    options: &MirrorOptions,
    progress: impl Fn(&Progress) + Send + Sync + 'static,
) -> Result<Report, MirrorError> {
    if !drive.is_writable() {
        return Err(MirrorError::NotWritable(drive.name()));
    }
    let mut import = Import {
        batch: drive.batch(),
        batch_bytes: 0,
        drive,
        folder,
        options,
        meter: Arc::new(Meter::new(progress)),
    };
    let mut report = Report::default();
    import.prepare(&mut report).await?;
    import.copy(&mut report).await?;
    import.flush().await?;
    Ok(report)
}

struct Import<'a> {
    drive: &'a Drive,
    folder: &'a Folder,
    options: &'a MirrorOptions,
    meter: Arc<Meter>,
    batch: DriveBatch,
    batch_bytes: u64,
}

impl Import<'_> {
    fn pairs(&self) -> Result<Pairs, MirrorError> {
        let ignore = &self.options.ignore;
        let target = Listing::of_drive(&self.drive.snapshot()?, ignore)?;
        Ok(Pairs::new(Listing::of_folder(self.folder, ignore, false), target))
    }

    /// Removes what has to go, and sums up what has to come.
    async fn prepare(&mut self, report: &mut Report) -> Result<(), MirrorError> {
        let (mut files, mut bytes) = (0, 0);
        let mut pairs = self.pairs()?;
        while let Some(pair) = pairs.next().await? {
            match pair {
                Pair::Source(source, target) => {
                    files += 1;
                    if self.decide(&source, target.as_ref()) != Action::Keep {
                        bytes += length(&source.item.kind);
                    }
                }
                Pair::Target(target) if self.options.prune => {
                    report.removed += 1;
                    if !self.options.dry_run {
                        self.batch.del(&target.item.path)?;
                        self.flush_if_full().await?;
                    }
                }
                Pair::Target(_) | Pair::LeftOut(_) => {}
            }
        }
        self.flush().await?;
        self.meter.expect(files, bytes);
        Ok(())
    }

    fn decide(&self, source: &Listed, target: Option<&Listed>) -> Action {
        let target = target.map(|target| &target.item.kind);
        decide(Some(&source.item.kind), target, self.options.compare, false)
    }

    async fn copy(&mut self, report: &mut Report) -> Result<(), MirrorError> {
        let mut pairs = self.pairs()?;
        while let Some(pair) = pairs.next().await? {
            match pair {
                Pair::Source(source, target) => {
                    report.files += 1;
                    self.copy_one(source, target, report).await?;
                    self.meter.file();
                    self.flush_if_full().await?;
                }
                Pair::LeftOut(left_out) => report.leave_out(left_out),
                Pair::Target(_) => {}
            }
        }
        Ok(())
    }

    async fn copy_one(
        &mut self,
        source: Listed,
        target: Option<Listed>,
        report: &mut Report,
    ) -> Result<(), MirrorError> {
        let action = self.decide(&source, target.as_ref());
        let path = source.item.path.clone();
        let Ok(disk_path) = DiskPath::new(&path) else {
            return Ok(());
        };
        let noted = target.and_then(|target| target.entry).map(|entry| entry.value);
        let unchanged = match action {
            Action::Keep => return Ok(()),
            Action::SetExecutable => true,
            Action::Compare => match self.is_same(&disk_path, noted.as_ref()).await {
                Ok(same) => same,
                Err(left_out) => {
                    report.leave_out(left_out);
                    return Ok(());
                }
            },
            _ => false,
        };
        if let (true, Some(value)) = (unchanged, noted) {
            return self.set_executable(source, value, report);
        }
        match self.put(&disk_path, source.item.kind).await? {
            Ok(bytes) => {
                *if action == Action::Add {
                    &mut report.added
                } else {
                    &mut report.changed
                } += 1;
                report.bytes_copied += bytes;
            }
            Err(left_out) => report.leave_out(left_out),
        }
        Ok(())
    }

    async fn is_same(&self, path: &DiskPath, noted: Option<&EntryValue>) -> Result<bool, LeftOut> {
        let Some(id) = noted.and_then(|value| value.blob) else {
            return Ok(true);
        };
        let left_out = |error: &dyn std::error::Error| LeftOut::because(path.in_drive(), error);
        let options = ReadOptions {
            // A content that was cleared here is not the file's.
            wait: false,
            timeout: None,
        };
        let blobs = self.drive.blobs().await.map_err(|error| left_out(&error))?;
        let stored = blobs.has(&id).await.map_err(|error| left_out(&error))?;
        let content = blobs.read_with(&id, .., options);
        Ok(stored
            && same(content, self.folder, path, &self.meter)
                .await
                .map_err(|error| left_out(&error))?)
    }

    fn set_executable(
        &mut self,
        source: Listed,
        noted: EntryValue,
        report: &mut Report,
    ) -> Result<(), MirrorError> {
        let Kind::File { executable, .. } = source.item.kind else {
            return Ok(());
        };
        if noted.executable == executable {
            return Ok(());
        }
        report.changed += 1;
        if !self.options.dry_run {
            let value = EntryValue { executable, ..noted };
            self.batch.put_entry(&source.item.path, value)?;
        }
        Ok(())
    }

    /// Puts a file or link, and says the bytes of its content, or why it is left out.
    async fn put(&mut self, path: &DiskPath, kind: Kind) -> Result<Result<u64, LeftOut>, MirrorError> {
        if self.options.dry_run {
            return Ok(Ok(length(&kind)));
        }
        let executable = match kind {
            Kind::File { executable, .. } => executable,
            Kind::Link { linkname, .. } => {
                self.batch.symlink(&path.in_drive(), &linkname)?;
                return Ok(Ok(0));
            }
        };
        let options = PutOptions {
            executable,
            metadata: None,
        };
        let mut file = self.batch.begin(&path.in_drive(), options).await?;
        let (blocks, mut incoming) = mpsc::channel(BLOCKS);
        let (folder, source) = (self.folder.clone(), path.clone());
        let reading = tokio::task::spawn_blocking(move || read(&folder, &source, &blocks));
        let mut bytes = 0;
        while let Some(block) = incoming.recv().await {
            let length = Vec::len(&block) as u64;
            file.push(block).await?;
            bytes += length;
            self.meter.bytes(length);
        }
        match reading.await.map_err(|_| MirrorError::Interrupted)? {
            Ok(()) => {
                file.finish();
                self.batch_bytes += bytes;
                Ok(Ok(bytes))
            }
            Err(error) => Ok(Err(LeftOut::because(path.in_drive(), &error))),
        }
    }

    async fn flush_if_full(&mut self) -> Result<(), MirrorError> {
        if self.batch.len() >= BATCH_CHANGES || self.batch_bytes >= BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), MirrorError> {
        let batch = std::mem::replace(&mut self.batch, self.drive.batch());
        self.batch_bytes = 0;
        batch.flush().await?;
        Ok(())
    }
}

fn length(kind: &Kind) -> u64 {
    match kind {
        Kind::File { bytes, .. } => bytes.unwrap_or_default(),
        Kind::Link { .. } => 0,
    }
}

/// Sends a file in blocks. One that changes meanwhile is no file at any time.
fn read(folder: &Folder, path: &DiskPath, blocks: &mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    let (mut file, before) = folder.read(path)?;
    loop {
        let mut block = Vec::new();
        (&mut file).take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            break;
        }
        if blocks.blocking_send(block).is_err() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
    }
    let after = rustix::fs::fstat(&file)?;
    let marks = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    if marks(&before) != marks(&after) {
        return Err(io::Error::other("it changed while it was read: try again"));
    }
    Ok(())
}
