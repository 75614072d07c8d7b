//! `bee`: sorted key-value stores on a core.

mod follow;
mod read;
mod write;

use anyhow::Result;
use clap::{Args, Subcommand};
use hyper_core::corestore::Corestore;
use hyper_core::session::GetOptions;
use hyper_drive::bee::Bee;

use crate::context::Context;
use crate::event::Event;
use crate::network::Online;
use crate::select::Which;

/// Sorted key-value stores (Hyperbee 2), written in one place and read anywhere.
///
/// A bee is meant by the name of its core in this storage, or by its key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hearth-p2p bee put phones alice 5551234
  hearth-p2p bee put phones alice 5555678 --if-value 5551234
                                               only while it is what you think it is (else exit code 6)
  printf 'bob\\t5550000\\n' | hearth-p2p bee put phones --lines
                                               many at once: a key, a tab, a value a line
  hearth-p2p bee get phones alice
  hearth-p2p bee scan phones --prefix a --limit 10
  hearth-p2p bee history phones --reverse      the newest change first
  hearth-p2p bee scan phones --version 3       as it was
  hearth-p2p bee get KEY alice --online        of another computer's bee
  hearth-p2p bee watch KEY                     every change, as it is made")]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Put(write::PutOptions),
    Get(read::GetOptions),
    Del(write::DelOptions),
    Scan(read::ScanOptions),
    History(follow::HistoryOptions),
    Watch(follow::WatchOptions),
}

/// Which bee.
#[derive(Debug, Args)]
struct WhichBee {
    #[command(flatten)]
    core: Which,
    /// The sub-database of this name, in which keys are without it.
    #[arg(long, value_name = "NAME")]
    sub: Vec<String>,
}

impl WhichBee {
    fn open_or_create(&self, store: &Corestore) -> Result<Bee> {
        Ok(self.within(Bee::new(self.core.open_or_create(store)?)))
    }

    /// Opens a bee that is there.
    fn open(&self, store: &Corestore, get_options: GetOptions) -> Result<Bee> {
        let bee = Bee::new(self.core.open(store)?);
        Ok(self.within(bee.with_get_options(get_options)))
    }

    fn within(&self, bee: Bee) -> Bee {
        self.sub.iter().fold(bee, |bee, name| bee.sub(name))
    }
}

/// A bee that is read.
#[derive(Debug, Args)]
struct ReadBee {
    #[command(flatten)]
    which: WhichBee,
    /// As it was at this version: `bee history` shows them.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    #[command(flatten)]
    online: Online,
}

impl ReadBee {
    /// Reads the bee as it is when peers have said their news.
    async fn read<T: Future<Output = Result<()>>>(
        &self,
        context: &Context,
        read: impl FnOnce(Bee) -> T,
    ) -> Result<()> {
        let store = context.open()?;
        let bee = self.which.open(&store, self.online.get_options())?;
        let session = bee.session().clone();
        let reading = async {
            read(match self.version {
                Some(version) => bee.checkout(version)?,
                None => bee,
            })
            .await
        };
        self.online.run(context, &store, &session, reading).await
    }
}

/// Does it.
pub async fn run(options: Options, context: &Context) -> Result<()> {
    match options.verb {
        Verb::Put(options) => write::put(options, context).await,
        Verb::Get(options) => read::get(options, context).await,
        Verb::Del(options) => write::del(options, context).await,
        Verb::Scan(options) => read::scan(options, context).await,
        Verb::History(options) => follow::history(options, context).await,
        Verb::Watch(options) => follow::watch(options, context).await,
    }
}

/// What the bee's version is after a change.
fn say_version(context: &Context, bee: &Bee) -> Result<()> {
    let version = bee.version();
    context
        .output
        .say(&Event::Version { version }, format!("version {version}"))?;
    Ok(())
}
