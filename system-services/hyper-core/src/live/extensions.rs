//! Messages of programs between the sessions of a core and its peers.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{Live, Shared, lock};
use crate::crypto::Hash;
use crate::messages::Message;
use crate::replicator::{ExtensionId, PeerId, Said};

impl Live {
    /// Registers an extension, and says who is told when something came for it.
    pub(crate) fn register_extension(&self, name: &str) -> Option<(ExtensionId, Arc<Notify>)> {
        let mut shared = lock(&self.shared);
        let id = shared.replicator.register_extension(name)?;
        let heard = Arc::new(Notify::new());
        shared.extensions.insert(id, Arc::clone(&heard));
        Some((id, heard))
    }

    pub(crate) fn unregister_extension(&self, id: ExtensionId) {
        let mut shared = lock(&self.shared);
        shared.replicator.unregister_extension(id);
        shared.extensions.remove(&id);
    }

    pub(crate) fn say(self: &Arc<Self>, to: &Hash, name: &Arc<str>, message: &Arc<[u8]>) -> Said {
        self.with(|replicator, _| replicator.say(to, name, message))
    }

    pub(crate) fn say_to_all(self: &Arc<Self>, name: &Arc<str>, message: &Arc<[u8]>) -> usize {
        self.with(|replicator, _| replicator.say_to_all(name, message))
    }

    pub(crate) fn next_heard(&self, id: ExtensionId) -> Option<(Hash, Vec<u8>)> {
        lock(&self.shared).replicator.next_heard(id)
    }

    /// The next message for a peer; its connection has room.
    pub(crate) fn next_said(&self, peer: PeerId) -> Option<Message> {
        let message = lock(&self.shared).replicator.next_said(peer)?;
        self.said.notify_waiters();
        Some(message)
    }

    /// Told when there may be room for another message, or a peer is gone.
    pub(crate) fn room_to_say(&self) -> &Notify {
        &self.said
    }
}

/// Tells those who wait for messages.
pub(super) fn tell_heard(shared: &mut Shared) {
    for id in shared.replicator.take_heard() {
        if let Some(heard) = shared.extensions.get(&id) {
            heard.notify_one();
        }
    }
}
