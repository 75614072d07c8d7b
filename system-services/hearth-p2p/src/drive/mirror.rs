//! `drive mirror`.

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use clap::Args;
use hyper_drive::drive::Drive;
use hyper_drive::mirror::{self, Compare, Folder, Ignore, MirrorOptions, Report};

use super::WhichDrive;
use crate::context::Context;
use crate::event::Event;
use crate::network::Online;
use crate::progress::Progress;
use crate::refusal::Refusal;

/// Makes a folder on this computer like a drive, or with `--up` a drive like a folder.
///
/// What differs is copied. Names and links of a drive that would leave the folder are left out and said (exit code 1).
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: WhichDrive,
    /// The folder. It is made if it is not there.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Into the drive, out of the folder.
    #[arg(long)]
    up: bool,
    /// Remove what the source does not have.
    #[arg(long)]
    prune: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Take files of the same length for the same, without reading them.
    #[arg(long)]
    size_only: bool,
    /// A path of the drive to leave alone. May be given several times.
    #[arg(long, value_name = "PATH")]
    ignore: Vec<String>,
    #[command(flatten)]
    online: Online,
}

pub(super) async fn run(options: Options, context: &Context) -> Result<()> {
    let store = context.open()?;
    let drive = match options.up {
        true => options
            .which
            .open_or_create(&store, options.online.get_options())?,
        false => options.which.open(&store, options.online.get_options())?,
    };
    let copying = copy(context, &options, &drive);
    options.online.run(context, &store, drive.db(), copying).await
}

async fn copy(context: &Context, options: &Options, drive: &Drive) -> Result<()> {
    let how = MirrorOptions {
        prune: options.prune,
        dry_run: options.dry_run,
        compare: if options.size_only {
            Compare::Size
        } else {
            Compare::Content
        },
        ignore: Ignore::new(&options.ignore)?,
        timeout: options.online.get_options().timeout,
    };
    let bar = Mutex::new(Progress::bytes(context.output, 0));
    let tell = move |now: &mirror::Progress| {
        if let Ok(mut bar) = bar.lock() {
            // Nobody reads what is said: the copy goes on nevertheless.
            let _ = bar.set_of(now.bytes, now.total_bytes);
        }
    };
    let path = || options.folder.display();
    let report = match options.up {
        true => {
            let folder = Folder::open(&options.folder)
                .with_context(|| format!("the folder {} cannot be read", path()))?;
            mirror::to_drive(&folder, drive, &how, tell).await?
        }
        false => {
            let folder = Folder::create(&options.folder)
                .with_context(|| format!("the folder {} cannot be made", path()))?;
            mirror::to_folder(drive, &folder, &how, tell).await?
        }
    };
    say(context, &report)
}

fn say(context: &Context, report: &Report) -> Result<()> {
    for left_out in &report.left_out {
        let (path, reason) = (&left_out.path, &left_out.why);
        context.output.tell(
            &Event::LeftOut { path, reason },
            format!("left out: {path}: {reason}"),
        )?;
    }
    let event = Event::Mirrored {
        files: report.files,
        added: report.added,
        changed: report.changed,
        removed: report.removed,
        bytes: report.bytes_copied,
        left_out: report.left_out_count,
    };
    let sentence = format!(
        "{} files: {} added, {} changed, {} removed, {} bytes copied, {} left out",
        report.files,
        report.added,
        report.changed,
        report.removed,
        report.bytes_copied,
        report.left_out_count
    );
    context.output.say(&event, sentence)?;
    match report.left_out_count {
        0 => Ok(()),
        count => Err(Refusal::Partly(format!("{count} files were left out")).into()),
    }
}
