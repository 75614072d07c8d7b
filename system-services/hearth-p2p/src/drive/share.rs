//! `drive seed`, `drive download`.

use anyhow::Result;
use clap::Args;
use hyper_core::session::DownloadRange;
use hyper_drive::drive::Drive;

use super::{WhichDrive, which};
use crate::context::Context;
use crate::event::Event;
use crate::network::{Network, Reach, Role};
use crate::progress::{Progress, stored_bytes};
use crate::refusal::Refusal;

/// Gives a drive to whoever knows its key, until Ctrl-C. Of a drive that was made elsewhere, all is fetched too.
#[derive(Debug, Args)]
pub(super) struct SeedOptions {
    #[command(flatten)]
    which: WhichDrive,
    /// Give what is here, fetch nothing.
    #[arg(long)]
    no_fetch: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Fetches the files of a drive, as it is now, into this storage.
#[derive(Debug, Args)]
pub(super) struct DownloadOptions {
    #[command(flatten)]
    which: WhichDrive,
    /// A file or folder of the drive.
    #[arg(value_name = "PATH", default_value = "/")]
    path: String,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn seed(options: SeedOptions, context: &Context) -> Result<()> {
    let store = context.open()?;
    let drive = options.which.open(&store, options.reach.get_options())?;
    let network = Network::start(context, &store, &options.reach, [drive.db()], Role::Giving).await?;
    let serving = async {
        which::say(context, &drive)?;
        let fetching = async {
            match drive.is_writable() || options.no_fetch {
                true => Ok(()),
                false => fetch_all(&drive).await,
            }
        };
        tokio::try_join!(fetching, tell_version(context, &drive))?;
        Ok(())
    };
    let done = context.stop.or(serving).await;
    network.close().await;
    done.unwrap_or(Ok(()))
}

/// Fetches both cores for ever.
async fn fetch_all(drive: &Drive) -> Result<()> {
    let _finding = drive.db().finding_peers();
    let mut names = drive.db().download(DownloadRange::LIVE);
    let contents = async {
        let blobs = drive.blobs().await?.core().clone();
        let _finding = blobs.finding_peers();
        blobs.download(DownloadRange::LIVE).done().await?;
        anyhow::Ok(())
    };
    tokio::try_join!(contents, async { Ok(names.done().await?) })?;
    Ok(())
}

async fn tell_version(context: &Context, drive: &Drive) -> Result<()> {
    let mut changes = drive.db().changes();
    let mut told = drive.version();
    while changes.changed().await.is_ok() {
        let version = drive.version();
        if std::mem::replace(&mut told, version) != version {
            context
                .output
                .tell(&Event::Version { version }, format!("version {version}"))?;
        }
    }
    Ok(())
}

/// Fetches files; how far it is, is seen by how much of all contents is here.
async fn fetch(context: &Context, drive: &Drive, path: &str) -> Result<u64> {
    let mut download = drive.download(path)?;
    let mut contents = drive.blobs().await?.core().changes();
    let mut progress = Progress::bytes(context.output, 0);
    loop {
        tokio::select! {
            files = download.done() => return Ok(files?),
            changed = contents.changed() => {
                changed?;
                let state = *contents.borrow_and_update();
                progress.set_of(stored_bytes(state), state.byte_length)?;
            }
        }
    }
}

pub(super) async fn download(options: DownloadOptions, context: &Context) -> Result<()> {
    let store = context.open()?;
    let drive = options.which.open(&store, options.reach.get_options())?;
    let network = Network::start(context, &store, &options.reach, [drive.db()], Role::Taking).await?;
    let fetching = async {
        network.learn(drive.db()).await?;
        fetch(context, &drive, &options.path).await
    };
    let done = context.stop.or(fetching).await;
    network.close().await;
    let files = done.unwrap_or(Err(Refusal::CutOff.into()))?;
    let version = drive.version();
    let event = Event::Downloaded { files, version };
    context
        .output
        .say(&event, format!("{files} files of version {version} are here"))?;
    Ok(())
}
