//! `core`: append-only logs.

mod append;
mod audit;
mod blocks;
mod cat;
mod download;
mod seed;
mod show;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::select::Which;

/// Append-only, signed logs of blocks: written in one place, read anywhere.
///
/// A core is meant by its name in this storage or by its key. Who knows the key can read the core, and only who has the storage in
/// which it was made can append to it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hearth-p2p core create log                     makes a core, says its key
  hearth-p2p core append log first second        two blocks
  journalctl -f | hearth-p2p core append log --lines --seed
                                                 a block for every line; peers can follow
  hearth-p2p core cat log --from 10              blocks 10 and later, one after the other
  hearth-p2p core info KEY                       what of it is here
  hearth-p2p core seed log                       gives it to others, until Ctrl-C
  hearth-p2p core download KEY                   fetches all of it from its peers
  hearth-p2p core download KEY --blocks 7,100..  only these blocks
  hearth-p2p core audit --all                    what the disk has damaged")]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Makes a core with this name, or says the key of the one that has it.
    Create(CreateOptions),
    Append(append::Options),
    Cat(cat::Options),
    /// Says what is known of a core and how much of it is here.
    Info {
        #[command(flatten)]
        which: Which,
    },
    Seed(seed::Options),
    Download(download::Options),
    Audit(audit::Options),
    /// Lists the cores that have a name in this storage, and with `--all` those too that are only known by their key.
    List {
        /// All cores of the storage, those of bees and drives too.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
struct CreateOptions {
    /// Its name in this storage. The same name and primary key give the same core anywhere.
    #[arg(value_name = "NAME")]
    name: String,
    /// In the form of Hypercore 10, whose key is its public key: for peers that know no other.
    #[arg(long)]
    compat: bool,
    /// With the key pair of this secret instead of the storage's (`-`: standard input).
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
}

/// Does it.
pub async fn run(options: Options, context: &Context) -> Result<()> {
    match options.verb {
        Verb::Create(options) => show::create(options, context),
        Verb::Append(options) => append::run(options, context).await,
        Verb::Cat(options) => cat::run(options, context).await,
        Verb::Info { which } => show::info(&which, context),
        Verb::Seed(options) => seed::run(options, context).await,
        Verb::Download(options) => download::run(options, context).await,
        Verb::Audit(options) => audit::run(options, context).await,
        Verb::List { all } => show::list(all, context),
    }
}
