//! `core seed`.

use anyhow::Result;
use clap::Args;
use hyper_core::session::Session;
use tokio::task::JoinSet;

use super::download;
use crate::context::Context;
use crate::network::{Network, Reach, Role};
use crate::output::Output;
use crate::refusal::Refusal;
use crate::select::{Selector, Which};

/// Gives cores to whoever knows their keys, until Ctrl-C. Of a core that was made elsewhere, all is fetched too.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The cores: their names in this storage, or their keys.
    #[arg(value_name = "CORE", required_unless_present = "all")]
    cores: Vec<Selector>,
    /// All cores that have a name in this storage.
    #[arg(long, conflicts_with = "cores")]
    all: bool,
    /// Give what is here, fetch nothing.
    #[arg(long)]
    no_fetch: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(options: Options, context: &Context) -> Result<()> {
    let store = context.open()?;
    let cores = match options.all {
        true => store
            .names()?
            .into_iter()
            .map(|(name, _)| Selector::Name(name))
            .collect(),
        false => options.cores,
    };
    if cores.is_empty() {
        return Err(Refusal::NotFound(
            "no core has a name in this storage: `hearth-p2p core create NAME` makes one".into(),
        )
        .into());
    }
    let sessions = cores
        .into_iter()
        .map(|core| Which::plain(core).open(&store))
        .collect::<Result<Vec<_>>>()?;
    let network = Network::start(context, &store, &options.reach, &sessions, Role::Giving).await?;
    let telling = tell_all(context.output, sessions, !options.no_fetch);
    let done = context.stop.or(telling).await;
    network.close().await;
    done.unwrap_or(Ok(()))
}

/// Says how all of them grow; ends with the first that fails.
async fn tell_all(output: Output, sessions: Vec<Session>, fetch: bool) -> Result<()> {
    let mut all = JoinSet::new();
    for session in sessions {
        all.spawn(async move {
            match fetch && !session.is_writable() {
                true => download::follow(output, &session).await,
                false => download::tell_length(output, &session).await,
            }
        });
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    Ok(())
}
