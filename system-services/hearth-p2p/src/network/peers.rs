//! The peers that are connected.

use std::sync::Arc;
use std::time::Duration;

use hyper_core::corestore::Corestore;
use hyper_core::key;
use hyper_swarm::connection::Connection;
use tokio::sync::watch;

use crate::event::Event;
use crate::output::Output;

/// How long peers are told that this end goes away.
const GOODBYE: Duration = Duration::from_secs(1);

/// Takes connections, replicates over them and counts them. Clones are the same.
#[derive(Clone)]
pub struct Peers {
    store: Corestore,
    output: Output,
    count: Arc<watch::Sender<usize>>,
    closing: Arc<watch::Sender<bool>>,
}

impl Peers {
    /// Nobody is connected.
    pub fn new(output: Output, store: Corestore) -> Self {
        Self {
            store,
            output,
            count: Arc::new(watch::Sender::new(0)),
            closing: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Waits until somebody is connected.
    pub async fn some(&self) {
        // The sender lives as long as `self`.
        let _ = self.count.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Ends all connections: peers need not wait to find out.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        let mut count = self.count.subscribe();
        let gone = count.wait_for(|count| *count == 0);
        // Whoever does not hear of it in time finds out by itself.
        let _ = tokio::time::timeout(GOODBYE, gone).await;
    }

    /// Waits until this end goes away.
    async fn closed(&self) {
        // The sender lives as long as `self`.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Replicates over a connection until it ends.
    pub async fn replicate(&self, connection: Connection) {
        let peer = key::to_z32(&connection.link.remote_public_key);
        self.count.send_modify(|count| *count += 1);
        let _counted = Counted(Arc::clone(&self.count));
        self.note(&Event::Connected { peer: &peer });
        let (link, handle) = (connection.link, connection.handle);
        let closing = self.closed();
        let mut replicating = self.store.replicate(link);
        let ended = tokio::select! {
            ended = &mut replicating => ended,
            () = closing => {
                handle.destroy();
                // It was ended here: there is nobody to blame.
                let _ = handle.closed().await;
                Ok(Ok(()))
            }
        };
        let blame = match ended {
            Ok(Err(error)) => Some(error.to_string()),
            _ => None,
        };
        // Whoever is cut off by an end of the program is not told of.
        if let Some(reason) = &blame {
            tracing::warn!(peer, reason, "dropped");
        }
        self.note(&Event::Disconnected {
            peer: &peer,
            reason: blame.as_deref(),
        });
    }

    /// Says an event to programs.
    pub fn note(&self, event: &Event<'_>) {
        // Nobody listens any more: the verb notices that by itself.
        let _ = self.output.note(event);
    }
}

/// One connection in the count.
struct Counted(Arc<watch::Sender<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
