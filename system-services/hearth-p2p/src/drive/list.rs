//! `drive ls`.

use anyhow::Result;
use clap::Args;
use hyper_drive::drive::{Drive, Entry};

use super::WhichDrive;
use crate::context::Context;
use crate::event::Event;
use crate::network::Online;

/// Lists files.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: WhichDrive,
    /// The folder in the drive.
    #[arg(value_name = "FOLDER", default_value = "/")]
    folder: String,
    /// All files below the folder, not only what is in itself.
    #[arg(long, short)]
    recursive: bool,
    /// As the drive was at this version.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    #[command(flatten)]
    online: Online,
}

pub(super) async fn run(options: Options, context: &Context) -> Result<()> {
    let store = context.open()?;
    let drive = options.which.open(&store, options.online.get_options())?;
    let listing = list(&options, &drive, context);
    options.online.run(context, &store, drive.db(), listing).await
}

async fn list(options: &Options, drive: &Drive, context: &Context) -> Result<()> {
    let drive = match options.version {
        Some(version) => &drive.checkout(version)?,
        None => drive,
    };
    if options.recursive {
        let mut entries = drive.list(&options.folder)?;
        while let Some(entry) = entries.next().await? {
            say_file(context, &entry.path, &entry)?;
        }
        return Ok(());
    }
    let mut items = drive.read_dir(&options.folder)?;
    while let Some(item) = items.next().await? {
        match &item.entry {
            Some(entry) => say_file(context, &item.name, entry)?,
            None => {
                let event = Event::Folder { path: &item.name };
                context
                    .output
                    .say(&event, format!("{:>14}  {}/", "", item.name))?;
            }
        }
    }
    Ok(())
}

fn say_file(context: &Context, path: &str, entry: &Entry) -> Result<()> {
    let bytes = entry.value.blob.map_or(0, |blob| blob.byte_length);
    let link = entry.value.linkname.as_deref();
    let event = Event::File {
        path,
        bytes,
        executable: entry.value.executable,
        link,
    };
    let mark = if entry.value.executable { "*" } else { "" };
    let target = link.map(|target| format!(" -> {target}")).unwrap_or_default();
    context
        .output
        .say(&event, format!("{bytes:>14}  {path}{mark}{target}"))?;
    Ok(())
}
