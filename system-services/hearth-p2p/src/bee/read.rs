//! `bee get`, `bee scan`.

use anyhow::Result;
use clap::Args;
use hyper_drive::bee::{Bee, Entry, KeyRange};

use super::ReadBee;
use crate::context::Context;
use crate::event::Event;
use crate::refusal::Refusal;

/// Writes what a key stands for to standard output. A key that is not there is exit code 3.
#[derive(Debug, Args)]
pub(super) struct GetOptions {
    #[command(flatten)]
    bee: ReadBee,
    /// The key.
    #[arg(value_name = "KEY")]
    key: String,
}

/// Lists keys and what they stand for, in the order of the keys.
#[derive(Debug, Args)]
pub(super) struct ScanOptions {
    #[command(flatten)]
    bee: ReadBee,
    /// Keys that begin with this.
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["from", "to"])]
    prefix: Option<String>,
    /// This key and those after it.
    #[arg(long, value_name = "KEY")]
    from: Option<String>,
    /// Keys before this one.
    #[arg(long, value_name = "KEY")]
    to: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    /// The greatest key first.
    #[arg(long)]
    reverse: bool,
}

impl ScanOptions {
    fn range(&self) -> KeyRange {
        if let Some(prefix) = &self.prefix {
            return KeyRange::prefix(prefix);
        }
        let mut range = KeyRange::ALL;
        if let Some(from) = &self.from {
            range = range.gte(from);
        }
        if let Some(to) = &self.to {
            range = range.lt(to);
        }
        range
    }
}

pub(super) async fn get(options: GetOptions, context: &Context) -> Result<()> {
    let get = async |bee: Bee| {
        let Some(entry) = bee.get(&options.key).await? else {
            return Err(Refusal::NotFound(format!("the bee has no key {:?}", options.key)).into());
        };
        if context.output.is_json() {
            return say(context, &entry);
        }
        let value = entry.value.as_deref().unwrap_or_default();
        context.output.result(value)?;
        Ok(())
    };
    options.bee.read(context, get).await
}

pub(super) async fn scan(options: ScanOptions, context: &Context) -> Result<()> {
    let scan = async |bee: Bee| {
        let mut entries = bee.range(options.range())?.limit(options.limit);
        if options.reverse {
            entries = entries.reversed();
        }
        while let Some(entry) = entries.next().await? {
            say(context, &entry)?;
        }
        Ok(())
    };
    options.bee.read(context, scan).await
}

fn say(context: &Context, entry: &Entry) -> Result<()> {
    let value = entry.value.as_deref().unwrap_or_default();
    let event = Event::Entry {
        seq: entry.seq,
        key: (&entry.key[..]).into(),
        value: value.into(),
    };
    let shown = (
        String::from_utf8_lossy(&entry.key),
        String::from_utf8_lossy(value),
    );
    context.output.say(&event, format!("{}\t{}", shown.0, shown.1))?;
    Ok(())
}
