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
/// Taking an announcement back may take so long; after that it is left to expire. Nodes that do not answer are given up after
/// six seconds.
const TAKING_BACK: Duration = Duration::from_secs(10);

/// What is wanted of a topic's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What of the topic. [`JoinOptions::NOTHING`]: no announcement is to be out.
    pub(super) options: JoinOptions,
    /// Counts up whenever this is wanted anew, or something else is.
    pub(super) round: u64,
}

/// The task of one topic. One after the other: an announcement is never taken back by a task of the same topic that ends late.
pub(super) struct Discovery {
    pub(super) dht: Dht,
    pub(super) topic: Topic,
    pub(super) key_pair: KeyPair,
    /// The last round that has come to its end.
    pub(super) done: watch::Sender<u64>,
    /// Weak: the topics do not keep the swarm alive.
    pub(super) swarm: mpsc::WeakSender<Command>,
    /// Its pauses differ from those of others by this.
    pub(super) random: u32,
}

impl Discovery {
    /// Until nobody is there to want anything.
    pub(super) async fn run(self, mut wanted: watch::Receiver<Wanted>) {
        let mut announced = false;
        loop {
            let Wanted { options, round } = *wanted.borrow_and_update();
            if announced && !options.server {
                self.unannounce().await;
                announced = false;
            }
            announced |= options.server;
            // What is wanted may change meanwhile: the round is begun anew then.
            let changed = tokio::select! {
                () = self.refresh(options) => None,
                changed = wanted.changed() => Some(changed),
            };
            let changed = match changed {
                Some(changed) => changed,
                None => {
                    self.done.send_replace(round);
                    tokio::select! {
                        () = self.pause(options) => Ok(()),
                        changed = wanted.changed() => changed,
                    }
                }
            };
            if changed.is_err() {
                break;
            }
        }
        if announced {
            self.unannounce().await;
        }
    }

    async fn unannounce(&self) {
        let taking_back = self.dht.unannounce(self.topic, &self.key_pair);
        if tokio::time::timeout(TAKING_BACK, taking_back).await.is_err() {
            tracing::debug!("topic left without taking the announcement back everywhere");
        }
    }

    /// Until it is time for another round.
    async fn pause(&self, options: JoinOptions) {
        if options == JoinOptions::NOTHING {
            return std::future::pending().await;
        }
        let jitter = MAX_JITTER / u32::MAX * self.random;
        tokio::time::sleep(REFRESH + jitter).await;
    }

    async fn refresh(&self, options: JoinOptions) {
        if options == JoinOptions::NOTHING {
            return;
        }
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
