//! `bee history`.

use anyhow::Result;
use clap::Args;
use hyper_drive::bee::{Change, HistoryEntry};

use super::WhichBee;
use crate::context::Context;
use crate::event::Event;

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
}

pub(super) async fn history(options: HistoryOptions, context: &Context) -> Result<()> {
    let bee = options.bee.open(&context.open()?)?;
    let mut changes = bee.history(options.from..)?.limit(options.limit);
    if options.reverse {
        changes = changes.reversed();
    }
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
