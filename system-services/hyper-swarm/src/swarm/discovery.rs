//! One topic: looks for its peers again and again, and announces the own key there (hyperswarm's `lib/peer-discovery.js`).

use std::time::Duration;

use hyper_core::crypto::KeyPair;
use tokio::sync::{mpsc, watch};

use super::driver::Command;
use super::{JoinOptions, Topic};
use crate::dht::{AnnounceOptions, Dht};

/// Announcements are forgotten after some 20 minutes.
const REFRESH: Duration = Duration::from_secs(10 * 60);
/// At most this is added, so that not all topics are refreshed at once.
const MAX_JITTER: Duration = Duration::from_secs(2 * 60);

/// What is wanted of a topic's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What of the topic.
    pub(super) options: JoinOptions,
    /// Counts up: refresh at once.
    pub(super) round: u64,
}

/// How the task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// The last round that has come to its end.
    pub(super) round: u64,
    /// The topic is left, and no announcement is out.
    pub(super) left: bool,
}

/// The task of one topic.
pub(super) struct Discovery {
    pub(super) dht: Dht,
    pub(super) topic: Topic,
    pub(super) key_pair: KeyPair,
    pub(super) progress: watch::Sender<Progress>,
    /// Weak: the topics do not keep the swarm alive.
    pub(super) swarm: mpsc::WeakSender<Command>,
    /// Its pauses differ from those of others by this.
    pub(super) random: u32,
}

impl Discovery {
    /// Until nothing is wanted any more ([`JoinOptions::NOTHING`], or nobody is there to want).
    pub(super) async fn run(self, mut wanted: watch::Receiver<Wanted>) {
        let mut announced = false;
        loop {
            let Wanted { options, round } = *wanted.borrow_and_update();
            if announced && !options.server {
                self.dht.unannounce(self.topic, &self.key_pair).await;
                announced = false;
            }
            if options == JoinOptions::NOTHING {
                break;
            }
            let clear = options.server && !announced;
            announced |= options.server;
            // What is wanted may change meanwhile: the round is begun anew then.
            tokio::select! {
                () = self.refresh(options, clear) => {
                    self.progress.send_modify(|progress| progress.round = round);
                }
                changed = wanted.changed() => {
                    if changed.is_err() { break }
                    continue;
                }
            }
            let jitter = MAX_JITTER / u32::MAX * self.random;
            tokio::select! {
                () = tokio::time::sleep(REFRESH + jitter) => {}
                changed = wanted.changed() => if changed.is_err() { break },
            }
        }
        if announced {
            self.dht.unannounce(self.topic, &self.key_pair).await;
        }
        self.progress.send_modify(|progress| progress.left = true);
    }

    async fn refresh(&self, options: JoinOptions, clear: bool) {
        let mut lookup = self.dht.lookup(self.topic);
        while let Some(reply) = lookup.next().await {
            for peer in reply.peers {
                if options.client {
                    let found = Command::Found {
                        topic: self.topic,
                        peer: peer.public_key,
                        relay_addresses: peer.relay_addresses,
                    };
                    self.tell(found).await;
                }
            }
        }
        let closest = lookup.finish().await;
        if !options.server {
            return;
        }
        let (ask, relay_addresses) = tokio::sync::oneshot::channel();
        self.tell(Command::RelayAddresses(ask)).await;
        let Ok(relay_addresses) = relay_addresses.await else {
            return;
        };
        let announce = AnnounceOptions {
            relay_addresses,
            clear,
            ..AnnounceOptions::default()
        };
        let announced = self
            .dht
            .announce_to(self.topic, &self.key_pair, &announce, &closest)
            .await;
        if let Err(error) = announced {
            tracing::debug!(%error, "topic not announced");
        }
    }

    async fn tell(&self, command: Command) {
        if let Some(swarm) = self.swarm.upgrade() {
            // The swarm may have ended meanwhile.
            let _ = swarm.send(command).await;
        }
    }
}
