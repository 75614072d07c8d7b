//! `core audit`.

use anyhow::Result;
use clap::Args;
use hyper_core::core::CoreOptions;
use hyper_core::corestore::Corestore;
use hyper_core::key;
use hyper_core::session::Session;
use hyper_core::store::DamagedPart;

use crate::context::Context;
use crate::event::Event;
use crate::progress::Progress;
use crate::refusal::Refusal;
use crate::select::{Selector, Which};

/// Blocks that are looked through between two looks at the clock.
const STEP_BLOCKS: u64 = 256;

/// Reads all that is stored of cores and says what of it the disk has damaged. (What is damaged is never given out in any case:
/// whoever reads it is told.)
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The cores: their names in this storage, or their keys.
    #[arg(value_name = "CORE", required_unless_present = "all")]
    cores: Vec<Selector>,
    /// All cores of the storage, those of bees and drives too.
    #[arg(long, conflicts_with = "cores")]
    all: bool,
    /// Forget the damaged blocks, so that `core download` or `drive download` fetches them again. With `--all` also go on
    /// without changes that the disk has lost: before you append to a core that peers have, fetch what they have of it
    /// (`core download KEY --live`).
    #[arg(long)]
    clear: bool,
}

pub(super) async fn run(options: Options, context: &Context) -> Result<()> {
    let store = context.open()?;
    let lost = store.store().lost_changes()?.is_some();
    if lost && options.clear && !options.all {
        let why = "the storage takes no changes until those that are lost are given up: `hearth-p2p core audit --all --clear`";
        return Err(Refusal::Damaged(why.into()).into());
    }
    if lost && options.clear {
        store.store().give_up_lost_changes()?;
    }
    let mut damaged = u64::from(lost);
    for session in sessions(&options, &store)? {
        damaged += audit(&session, &store, options.clear, context).await?;
    }
    if damaged > 0 {
        let next = match (options.clear, lost) {
            (true, true) => {
                "what is damaged is forgotten: `hearth-p2p core download KEY --live` fetches what peers have, do so before you append"
            }
            (true, false) => {
                "damaged blocks are forgotten: `hearth-p2p core download KEY` fetches them from peers"
            }
            (false, true) => {
                "with `--all --clear` what is damaged is forgotten, so that `core download` can fetch it from peers"
            }
            (false, false) => {
                "with `--clear` damaged blocks are forgotten, so that `core download` can fetch them from peers"
            }
        };
        return Err(Refusal::Damaged(format!("{damaged} damaged; {next}")).into());
    }
    Ok(())
}

fn sessions(options: &Options, store: &Corestore) -> Result<Vec<Session>> {
    if !options.all {
        let cores = options.cores.iter().cloned();
        return cores.map(|core| Which::plain(core).open_stored(store)).collect();
    }
    let found = store.list()?.into_iter();
    let opened = found.filter_map(|discovery_key| store.get_by_discovery_key(&discovery_key).transpose());
    Ok(opened.collect::<Result<_, _>>()?)
}

/// Says what is damaged of a core, and how many parts that are.
async fn audit(session: &Session, store: &Corestore, clear: bool, context: &Context) -> Result<u64> {
    let core = store.store().core(CoreOptions::from_key(*session.key()))?;
    let (key, length) = (key::to_z32(session.key()), session.length());
    let mut progress = Progress::bytes(context.output, session.byte_length());
    let mut count = 0;
    for first in (0..length).step_by(STEP_BLOCKS as usize) {
        let end = length.min(first + STEP_BLOCKS);
        for part in core.snapshot()?.audit(first..end)? {
            count += 1;
            say(&key, part, context)?;
            if let (true, DamagedPart::Block(block) | DamagedPart::MissingBlock(block)) = (clear, part) {
                session.clear(block..block + 1).await?;
            }
        }
        // Blocks are of much the same length: near enough for a bar.
        progress.set((u128::from(session.byte_length()) * u128::from(end) / u128::from(length)) as u64)?;
    }
    if count == 0 {
        let whole = Event::Audited {
            key: &key,
            blocks: length,
        };
        context
            .output
            .say(&whole, format!("{key}  {length} blocks, nothing is damaged"))?;
    }
    Ok(count)
}

fn say(key: &str, part: DamagedPart, context: &Context) -> Result<()> {
    let what = part.to_string();
    let damaged = Event::Damaged { key, part: &what };
    Ok(context.output.say(&damaged, format!("{key}  {what}"))?)
}
