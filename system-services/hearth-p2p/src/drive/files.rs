//! `drive put`, `drive get`, `drive del`.

use std::ops::Bound;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use hyper_drive::drive::{Drive, PutOptions as FileOptions};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{NOT_WAITING, WhichDrive, say_version};
use crate::context::Context;
use crate::network::Online;
use crate::progress::Progress;
use crate::refusal::{self, Refusal};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Copies a file into a drive. The drive is made if it is not there.
#[derive(Debug, Args)]
pub(super) struct PutOptions {
    #[command(flatten)]
    which: WhichDrive,
    /// The file (`-`: standard input).
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its path in the drive. By default its name.
    #[arg(value_name = "PATH")]
    path: Option<String>,
}

/// Copies a file out of a drive. One that is not there is exit code 3.
#[derive(Debug, Args)]
pub(super) struct GetOptions {
    #[command(flatten)]
    which: WhichDrive,
    /// Its path in the drive.
    #[arg(value_name = "PATH")]
    path: String,
    /// Where to: a file, whole or not at all. By default standard output.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The first byte, counted from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// The byte after the last.
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// As the drive was at this version.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    #[command(flatten)]
    online: Online,
}

/// Removes a file from a drive. Earlier versions keep it.
#[derive(Debug, Args)]
pub(super) struct DelOptions {
    #[command(flatten)]
    which: WhichDrive,
    /// Its path in the drive.
    #[arg(value_name = "PATH")]
    path: String,
}

pub(super) async fn put(options: PutOptions, context: &Context) -> Result<()> {
    let drive = options.which.open_or_create(&context.open()?, NOT_WAITING)?;
    if !drive.is_writable() {
        return Err(Refusal::Refused(
            "the drive was not made in this storage: nothing can be put into it here".into(),
        )
        .into());
    }
    let path = match (&options.path, options.file.file_name()) {
        (Some(path), _) => path.clone(),
        (None, Some(name)) if options.file != Path::new("-") => name.to_string_lossy().into_owned(),
        _ => {
            return Err(
                Refusal::Usage("say under which path of the drive: drive put DRIVE - PATH".into()).into(),
            );
        }
    };
    let (input, size, executable) = open(&options.file).await?;
    let copying = copy_in(context, &drive, &path, input, size, executable);
    context
        .stop
        .or(copying)
        .await
        .unwrap_or(Err(Refusal::CutOff.into()))?;
    say_version(context, drive.version())
}

type Input = Box<dyn AsyncRead + Send + Unpin>;

/// The file, its size if that is known, whether it may be run.
async fn open(path: &Path) -> Result<(Input, Option<u64>, bool)> {
    if path == Path::new("-") {
        return Ok((Box::new(tokio::io::stdin()), None, false));
    }
    let failed = |error| refusal::of_file(path, "read", error);
    let file = File::open(path).await.map_err(failed)?;
    let metadata = file.metadata().await.map_err(failed)?;
    if metadata.is_dir() {
        return Err(Refusal::Usage(format!(
            "{} is a folder: `hearth-p2p drive mirror` copies folders",
            path.display()
        ))
        .into());
    }
    let size = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), size, metadata.permissions().mode() & 0o100 != 0))
}

async fn copy_in(
    context: &Context,
    drive: &Drive,
    path: &str,
    mut input: Input,
    size: Option<u64>,
    executable: bool,
) -> Result<()> {
    let options = FileOptions {
        executable,
        metadata: None,
    };
    let mut writer = drive.writer(path, options).await?;
    let mut progress = size.map(|size| Progress::bytes(context.output, size));
    let (mut buffer, mut done) = (vec![0; BUFFER_BYTES], 0);
    loop {
        let read = input.read(&mut buffer).await.context("the file cannot be read")?;
        if read == 0 {
            return Ok(writer.finish().await?);
        }
        writer.write(&buffer[..read]).await?;
        done += read as u64;
        if let Some(progress) = &mut progress {
            progress.set(done)?;
        }
    }
}

pub(super) async fn get(options: GetOptions, context: &Context) -> Result<()> {
    let store = context.open()?;
    let drive = options.which.open(&store, options.online.get_options())?;
    let copying = async {
        let drive = match options.version {
            Some(version) => &drive.checkout(version)?,
            None => &drive,
        };
        match &options.file {
            None => copy_out(context, drive, &options, &mut tokio::io::stdout())
                .await
                .map(drop),
            Some(file) => copy_to_file(context, drive, &options, file).await,
        }
    };
    options.online.run(context, &store, drive.db(), copying).await
}

/// The file gets its name when it is whole.
async fn copy_to_file(context: &Context, drive: &Drive, options: &GetOptions, path: &Path) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let failed = |error| refusal::of_file(&part, "written", error);
    let mut file = File::create(&part).await.map_err(failed)?;
    let copied = copy_out(context, drive, options, &mut file).await;
    let done = match copied {
        Ok(executable) => {
            file.sync_all().await.map_err(failed)?;
            let mode = if executable { 0o755 } else { 0o644 };
            // What the user's umask says of a new file holds for this one too, but for who may run it.
            let mut permissions = file.metadata().await.map_err(failed)?.permissions();
            permissions.set_mode(permissions.mode() | (mode & 0o111 & (permissions.mode() >> 2)));
            file.set_permissions(permissions).await.map_err(failed)?;
            tokio::fs::rename(&part, path).await.map_err(failed)
        }
        Err(error) => Err(error),
    };
    if done.is_err() {
        // The error that is told is the first one.
        let _ = tokio::fs::remove_file(&part).await;
    }
    done
}

/// Says whether the file may be run.
async fn copy_out(
    context: &Context,
    drive: &Drive,
    options: &GetOptions,
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<bool> {
    let missing = || Refusal::NotFound(format!("the drive has no file {}", options.path));
    let entry = drive.follow(&options.path).await?.ok_or_else(missing)?;
    let end = options.to.map_or(Bound::Unbounded, Bound::Excluded);
    let range = (Bound::Included(options.from), end);
    let mut reader = drive.read_entry(&entry, range).await?.ok_or_else(missing)?;
    let size = entry.value.blob.map_or(0, |blob| blob.byte_length);
    let wanted = options.to.unwrap_or(size).min(size).saturating_sub(options.from);
    let mut progress = options
        .file
        .as_ref()
        .map(|_| Progress::bytes(context.output, wanted));
    let mut done = 0;
    while let Some(bytes) = reader.next().await? {
        to.write_all(&bytes).await?;
        done += bytes.len() as u64;
        if let Some(progress) = &mut progress {
            progress.set(done)?;
        }
    }
    to.flush().await?;
    Ok(entry.value.executable)
}

pub(super) async fn del(options: DelOptions, context: &Context) -> Result<()> {
    let drive = options.which.open(&context.open()?, NOT_WAITING)?;
    if !drive.del(&options.path).await? {
        return Err(Refusal::NotFound(format!("the drive has no file {}", options.path)).into());
    }
    say_version(context, drive.version())
}
