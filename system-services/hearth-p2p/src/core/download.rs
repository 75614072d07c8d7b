//! `core download`.

use anyhow::Result;
use clap::Args;
use hyper_core::key;
use hyper_core::session::{DownloadRange, Session};

use super::blocks::Blocks;
use super::show;
use crate::context::Context;
use crate::event::Event;
use crate::network::{Network, Reach, Role};
use crate::output::Output;
use crate::progress::{Progress, stored_bytes};
use crate::refusal::Refusal;
use crate::select::Which;

/// Fetches a core from its peers: all of it as it is now, or the blocks that are named.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Which,
    /// Only these blocks: 7, 10..20 or 100.., with commas between them.
    #[arg(long, value_name = "BLOCKS")]
    blocks: Option<Blocks>,
    /// Go on with what is appended later, until Ctrl-C.
    #[arg(long, conflicts_with = "blocks")]
    live: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(options: Options, context: &Context) -> Result<()> {
    let store = context.open()?;
    let session = options.which.open(&store)?;
    let network = Network::start(context, &store, &options.reach, [&session], Role::Taking).await?;
    let fetching = async {
        if options.live {
            return follow(context.output, &session).await;
        }
        let blocks = options.blocks.clone().unwrap_or_else(Blocks::all);
        network.learn(&session).await?;
        fetch(context, &session, &blocks).await
    };
    let done = context.stop.or(fetching).await;
    network.close().await;
    match done {
        Some(done) => done?,
        None if options.live => {}
        None => return Err(Refusal::CutOff.into()),
    }
    show::say(context, &session, None)
}

async fn fetch(context: &Context, session: &Session, blocks: &Blocks) -> Result<()> {
    let length = session.length();
    if blocks.needs() > length {
        let key = key::to_z32(session.key());
        return Err(Refusal::NotFound(format!("the core {key} has only {length} blocks")).into());
    }
    let mut progress = Progress::bytes(context.output, session.byte_length());
    for range in blocks.within(length) {
        let mut download = session.download(DownloadRange::from(range).linear());
        let mut changes = session.changes();
        loop {
            tokio::select! {
                done = download.done() => {
                    done?;
                    break;
                }
                _ = changes.changed() => progress.set(stored_bytes(*changes.borrow_and_update()))?,
            }
        }
    }
    Ok(())
}

/// Fetches for ever, and says how long the core is.
pub(super) async fn follow(output: Output, session: &Session) -> Result<()> {
    let _finding = session.finding_peers();
    let _all = session.download(DownloadRange::LIVE);
    tell_length(output, session).await
}

/// Says how long the core is whenever that changes.
pub(super) async fn tell_length(output: Output, session: &Session) -> Result<()> {
    let key = key::to_z32(session.key());
    let mut changes = session.changes();
    let mut told = None;
    loop {
        let state = *changes.borrow_and_update();
        let now = (state.length, state.contiguous_length, state.fork);
        if told.replace(now) != Some(now) {
            let event = Event::Length {
                key: &key,
                length: state.length,
                contiguous_length: state.contiguous_length,
                fork: state.fork,
            };
            output.tell(&event, format!("{key}  {} blocks", state.length))?;
        }
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}
