//! `core cat`.

use std::ops::Range;

use anyhow::Result;
use clap::Args;
use hyper_core::key;
use hyper_core::session::Session;

use crate::context::Context;
use crate::event::Event;
use crate::network::Online;
use crate::refusal::Refusal;
use crate::select::Which;

/// Writes blocks to standard output, as they are and one after the other.
///
/// What is not in this storage is an error (exit code 3), unless peers are asked (`--online`).
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Which,
    /// The first block, counted from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// The block after the last. By default all are written.
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Every block as a line.
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    online: Online,
}

pub(super) async fn run(options: Options, context: &Context) -> Result<()> {
    let store = context.open()?;
    let session = options.which.open(&store)?;
    let writing = write(&options, &session, context);
    options.online.run(context, &store, &session, writing).await
}

async fn write(options: &Options, session: &Session, context: &Context) -> Result<()> {
    for block in blocks(options, session)? {
        let Some(value) = session.get_with(block, options.online.get_options()).await? else {
            return Err(missing(session, block).into());
        };
        if context.output.is_json() {
            context.output.note(&Event::Block {
                block,
                value: value.as_slice().into(),
            })?;
            continue;
        }
        context.output.raw(&value)?;
        if options.lines {
            context.output.raw(b"\n")?;
        }
    }
    Ok(())
}

fn blocks(options: &Options, session: &Session) -> Result<Range<u64>> {
    let length = session.length();
    let to = options.to.unwrap_or(length);
    match to > length {
        true => Err(missing(session, options.from.max(length)).into()),
        false => Ok(options.from..to),
    }
}

fn missing(session: &Session, block: u64) -> Refusal {
    let (key, length) = (key::to_z32(session.key()), session.length());
    if block >= length && session.is_writable() {
        return Refusal::NotFound(format!(
            "the core {key} has {length} blocks: block {block} is not there yet"
        ));
    }
    Refusal::NotFound(format!(
        "block {block} of the core {key} is not in this storage: `hearth-p2p core download {key}` fetches it"
    ))
}
