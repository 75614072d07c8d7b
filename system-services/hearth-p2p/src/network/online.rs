//! Reading verbs that may ask peers.

use anyhow::Result;
use clap::Args;
use hyper_core::corestore::Corestore;
use hyper_core::session::{GetOptions, Session};

use super::{Network, Reach, Role};
use crate::context::Context;
use crate::refusal::Refusal;

/// Whether peers are asked.
#[derive(Debug, Clone, Args)]
pub struct Online {
    /// Ask peers for news, and for what is not in this storage.
    #[arg(long, help_heading = "Peers")]
    online: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Online {
    /// Whether what is not stored is waited for.
    pub fn get_options(&self) -> GetOptions {
        GetOptions {
            wait: self.online,
            timeout: Some(self.reach.patience()),
        }
    }

    /// Does something, connected to peers of this core if that is wanted. Ctrl-C cuts it off.
    pub async fn run(
        &self,
        context: &Context,
        store: &Corestore,
        session: &Session,
        work: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        if !self.online {
            return context.stop.or(work).await.unwrap_or(Err(Refusal::CutOff.into()));
        }
        let network = Network::start(context, store, &self.reach, [session], Role::Taking).await?;
        let connected = async {
            if !session.is_writable() {
                network.learn(session).await?;
            }
            work.await
        };
        let done = context.stop.or(connected).await;
        network.close().await;
        done.unwrap_or(Err(Refusal::CutOff.into()))
    }
}
