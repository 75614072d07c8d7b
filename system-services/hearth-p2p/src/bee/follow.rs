//! `bee history`, `bee watch`.

use anyhow::Result;
use clap::Args;
use hyper_core::session::DownloadRange;
use hyper_drive::bee::{Change, History, HistoryEntry};

use super::WhichBee;
use crate::context::Context;
use crate::event::Event;
use crate::network::{Network, Online, Reach, Role};

/// Lists the changes that were made, the oldest first.
#[derive(Debug, Args)]
pub(super) struct HistoryOptions {
    #[command(flatten)]
    bee: WhichBee,
    /// From this change on: their numbers are those of their blocks, the first is 1.
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    /// The newest first.
    #[arg(long)]
    reverse: bool,
    #[command(flatten)]
    online: Online,
}

/// Says every change that is made from now on, until Ctrl-C.
#[derive(Debug, Args)]
pub(super) struct WatchOptions {
    #[command(flatten)]
    bee: WhichBee,
    /// The changes since then too, from this one on.
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn history(options: HistoryOptions, context: &Context) -> Result<()> {
    let store = context.open()?;
    let bee = options.bee.open(&store, options.online.get_options())?;
    let reading = async {
        let mut changes = bee.history(options.from..)?.limit(options.limit);
        if options.reverse {
            changes = changes.reversed();
        }
        say_all(context, changes).await
    };
    options.online.run(context, &store, bee.session(), reading).await
}

pub(super) async fn watch(options: WatchOptions, context: &Context) -> Result<()> {
    let store = context.open()?;
    let bee = options.bee.open_or_create(&store)?;
    let session = bee.session();
    let network = Network::start(context, &store, &options.reach, [session], Role::Taking).await?;
    let watching = async {
        if !session.is_writable() {
            network.learn(session).await?;
        }
        let from = options.from.unwrap_or_else(|| bee.version());
        let _news = session.download(DownloadRange {
            start: from,
            ..DownloadRange::LIVE
        });
        context.output.note(&Event::Version {
            version: bee.version(),
        })?;
        say_all(context, bee.live_history(from)?).await
    };
    let done = context.stop.or(watching).await;
    network.close().await;
    done.unwrap_or(Ok(()))
}

async fn say_all(context: &Context, mut changes: History) -> Result<()> {
    while let Some(change) = changes.next().await? {
        say(context, &change)?;
    }
    Ok(())
}

fn say(context: &Context, change: &HistoryEntry) -> Result<()> {
    let entry = &change.entry;
    let (key, seq) = (String::from_utf8_lossy(&entry.key), entry.seq);
    match change.change {
        Change::Put => {
            let value = entry.value.as_deref().unwrap_or_default();
            let event = Event::Put {
                seq,
                key: (&entry.key[..]).into(),
                value: value.into(),
            };
            let value = String::from_utf8_lossy(value);
            context
                .output
                .say(&event, format!("{seq}\tput\t{key}\t{value}"))?;
        }
        Change::Del => {
            let event = Event::Del {
                seq,
                key: (&entry.key[..]).into(),
            };
            context.output.say(&event, format!("{seq}\tdel\t{key}"))?;
        }
    }
    Ok(())
}
