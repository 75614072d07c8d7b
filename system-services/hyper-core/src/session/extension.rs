//! Messages of programs to the same program at the peers of a core.

use std::sync::Arc;

use tokio::sync::Notify;

use super::Session;
use crate::crypto::Hash;
use crate::key;
use crate::live::{Live, Presence};
use crate::replicator::{ExtensionId, MAX_EXTENSION_BYTES, MAX_EXTENSION_NAME_BYTES, Said};

/// Why an extension is not registered or a message not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// Each name has one reader.
    #[error("the extension {name:?} of the core is registered already")]
    Registered {
        /// The name.
        name: String,
    },
    /// No name, or too long a one.
    #[error("the name of an extension has 1 to {MAX_EXTENSION_NAME_BYTES} bytes, not {bytes}")]
    Name {
        /// Its length.
        bytes: usize,
    },
    /// The message is too long.
    #[error("a message of an extension has at most {MAX_EXTENSION_BYTES} bytes, not {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The core is not replicated with that peer now.
    #[error("the core is not replicated with peer {} now", key::to_hex(peer))]
    NoPeer {
        /// The peer's key.
        peer: Hash,
    },
}

/// A name under which programs send each other messages along a core, as long as this lives (`registerExtension` of the JavaScript
/// peer). Messages of names that nobody registered are dropped. The bytes are those on the wire: a JavaScript program sends its own as
/// they are with the encoding `binary`, and with their length before them when it says none.
///
/// They are sent in their order and unreliably: what waits when a connection ends is lost. Those that come wait for
/// [`Extension::recv`], 1 MiB of them; when there are more, the newest of the peer that has the most waiting are dropped, so that
/// one that floods loses its own and holds up neither the others nor replication.
pub struct Extension {
    live: Arc<Live>,
    /// The core stays open to peers.
    _presence: Arc<Presence>,
    id: ExtensionId,
    name: Arc<str>,
    heard: Arc<Notify>,
}

impl Session {
    /// Registers an extension of the core: see [`Extension`].
    ///
    /// # Errors
    /// [`ExtensionError::Registered`] as long as another handle of this name lives, [`ExtensionError::Name`].
    pub fn extension(&self, name: &str) -> Result<Extension, ExtensionError> {
        let bytes = name.len();
        if !(1..=MAX_EXTENSION_NAME_BYTES).contains(&bytes) {
            return Err(ExtensionError::Name { bytes });
        }
        let registered = self.live.register_extension(name);
        let (id, heard) = registered.ok_or_else(|| ExtensionError::Registered { name: name.into() })?;
        Ok(Extension {
            live: Arc::clone(&self.live),
            _presence: Arc::clone(&self._presence),
            id,
            name: name.into(),
            heard,
        })
    }
}

impl Extension {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a message to the peer of this key. Waits while 1 MiB is still to be sent to that peer.
    ///
    /// # Errors
    /// [`ExtensionError::NoPeer`], also when the peer goes while this waits; [`ExtensionError::TooLong`].
    pub async fn send(&self, peer: &Hash, message: &[u8]) -> Result<(), ExtensionError> {
        let message = self.checked(message)?;
        loop {
            // Before the look: what changes after it wakes this.
            let room = self.live.room_to_say().notified();
            match self.live.say(peer, &self.name, &message) {
                Said::Queued => return Ok(()),
                Said::Full => room.await,
                Said::NoPeer => return Err(ExtensionError::NoPeer { peer: *peer }),
            }
        }
    }

    /// Sends a message to all peers with which the core is replicated now, and says to how many. Does not wait: peers to which 1 MiB
    /// is still to be sent are passed over.
    ///
    /// # Errors
    /// [`ExtensionError::TooLong`].
    pub fn broadcast(&self, message: &[u8]) -> Result<usize, ExtensionError> {
        let message = self.checked(message)?;
        Ok(self.live.say_to_all(&self.name, &message))
    }

    /// The next message, and the public key of the peer that sent it; peers of whom several wait take turns. Waits until there is one.
    /// Nothing is lost when the future is dropped.
    pub async fn recv(&self) -> (Hash, Vec<u8>) {
        loop {
            if let Some(message) = self.live.next_heard(self.id) {
                return message;
            }
            self.heard.notified().await;
        }
    }

    fn checked(&self, message: &[u8]) -> Result<Arc<[u8]>, ExtensionError> {
        match message.len() {
            bytes if bytes > MAX_EXTENSION_BYTES => Err(ExtensionError::TooLong { bytes }),
            _ => Ok(message.into()),
        }
    }
}

impl Drop for Extension {
    fn drop(&mut self) {
        self.live.unregister_extension(self.id);
    }
}
