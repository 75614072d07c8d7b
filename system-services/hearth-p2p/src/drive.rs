//! `drive`: folders of files that are read from anywhere.

mod files;
mod list;
mod mirror;
mod share;
mod which;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::which::{NOT_WAITING, WhichDrive};
use crate::context::Context;
use crate::event::Event;

/// Folders of files (Hyperdrive 13), written in one place and read anywhere, whole or the part that is needed.
///
/// A drive is meant by its name in this storage or by its key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hearth-p2p drive put films holiday.mp4           the file holiday.mp4 of the drive films
  hearth-p2p drive put films - /notes.txt          standard input as a file
  hearth-p2p drive ls films
  hearth-p2p drive get films /holiday.mp4 --from 1000000 --to 2000000 > part
  hearth-p2p drive get films /holiday.mp4 copy.mp4
  hearth-p2p drive mirror films ~/films --up       the drive becomes like the folder
  hearth-p2p drive seed films                      gives it to others, until Ctrl-C
  hearth-p2p drive mirror KEY ~/copy --online      the folder becomes like another's drive")]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Makes a drive with this name, or says the key of the one that has it.
    Create {
        #[command(flatten)]
        which: WhichDrive,
    },
    /// Says what is known of a drive.
    Info {
        #[command(flatten)]
        which: WhichDrive,
    },
    Put(files::PutOptions),
    Get(files::GetOptions),
    Del(files::DelOptions),
    Ls(list::Options),
    Mirror(mirror::Options),
    Seed(share::SeedOptions),
    Download(share::DownloadOptions),
}

/// Does it.
pub async fn run(options: Options, context: &Context) -> Result<()> {
    match options.verb {
        Verb::Create { which } => {
            let drive = which.open_or_create(&context.open()?, NOT_WAITING)?;
            which::say(context, &drive)
        }
        Verb::Info { which } => which::say(context, &which.open(&context.open()?, NOT_WAITING)?),
        Verb::Put(options) => files::put(options, context).await,
        Verb::Get(options) => files::get(options, context).await,
        Verb::Del(options) => files::del(options, context).await,
        Verb::Ls(options) => list::run(options, context).await,
        Verb::Mirror(options) => mirror::run(options, context).await,
        Verb::Seed(options) => share::seed(options, context).await,
        Verb::Download(options) => share::download(options, context).await,
    }
}

/// What the drive's version is after a change.
fn say_version(context: &Context, version: u64) -> Result<()> {
    context
        .output
        .say(&Event::Version { version }, format!("version {version}"))?;
    Ok(())
}
