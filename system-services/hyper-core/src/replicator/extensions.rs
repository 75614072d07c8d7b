//! Messages of programs, which share the channels of a core: what came and is not read yet, and what waits to be sent.
//!
//! On the wire a message has its extension's name, or none if it is of the same extension as the one before it. Memory is bounded at
//! both ends: what comes while a program does not read is dropped in the end, what a program sends waits for room.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::types::Action;
use super::{PeerId, Replicator};
use crate::crypto::Hash;
use crate::messages::{Extension, Message};

/// The longest message of an extension, in bytes. The peer knows no limit; a longer one of it is dropped.
pub const MAX_EXTENSION_BYTES: usize = 256 << 10;

/// The longest name of an extension, in bytes. The peer knows no limit; messages of a longer one are dropped.
pub const MAX_EXTENSION_NAME_BYTES: usize = 256;

/// Bytes that wait to be read of one extension, and to be sent to one peer.
pub(super) const MOST_WAITING_BYTES: usize = 1 << 20;

/// What a waiting message costs beside its bytes.
const OVERHEAD_BYTES: usize = 64;

/// An extension that somebody here has registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ExtensionId(u64);

/// Whether a message to a peer waits to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Queued,
    /// Too much waits to be sent to the peer.
    Full,
    /// There is no such peer.
    NoPeer,
}

/// What came for an extension, the senders in turn.
#[derive(Debug)]
struct Inbox {
    id: ExtensionId,
    name: String,
    senders: HashMap<Hash, Sender>,
    /// Those of whom something waits.
    turns: VecDeque<Hash>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Sender {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Inbox {
    /// When there is no room, the newest message goes of whoever has the most waiting: a peer that floods crowds out only itself.
    fn push(&mut self, from: Hash, message: Vec<u8>) {
        let sender = self.senders.entry(from).or_default();
        if sender.messages.is_empty() {
            self.turns.push_back(from);
        }
        let cost = message.len() + OVERHEAD_BYTES;
        sender.bytes += cost;
        self.bytes += cost;
        sender.messages.push_back(message);
        if self.bytes > MOST_WAITING_BYTES {
            let most = self.senders.iter().max_by_key(|(_, sender)| sender.bytes);
            let most = most.map(|(key, _)| *key);
            most.map(|key| self.take(key, VecDeque::pop_back));
        }
    }

    fn pop(&mut self) -> Option<(Hash, Vec<u8>)> {
        let from = *self.turns.front()?;
        let message = self.take(from, VecDeque::pop_front)?;
        if self.senders.contains_key(&from) {
            self.turns.rotate_left(1);
        }
        Some((from, message))
    }

    fn take(&mut self, from: Hash, end: fn(&mut VecDeque<Vec<u8>>) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let sender = self.senders.get_mut(&from)?;
        let message = end(&mut sender.messages)?;
        let cost = message.len() + OVERHEAD_BYTES;
        sender.bytes -= cost;
        self.bytes -= cost;
        if sender.messages.is_empty() {
            self.senders.remove(&from);
            self.turns.retain(|key| *key != from);
        }
        Some(message)
    }
}

/// The extensions that are registered here.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    inboxes: Vec<Inbox>,
    /// For which something came.
    heard: Vec<ExtensionId>,
}

/// What is said to a peer and heard of it.
#[derive(Debug, Default)]
pub(super) struct Talk {
    outbox: VecDeque<(Arc<str>, Arc<[u8]>)>,
    bytes: usize,
    last_sent: Option<Arc<str>>,
    /// `None` too for one that is too long.
    last_heard: Option<String>,
}

impl Talk {
    fn push(&mut self, name: &Arc<str>, message: &Arc<[u8]>) -> bool {
        let cost = message.len() + OVERHEAD_BYTES;
        let room = self.bytes + cost <= MOST_WAITING_BYTES;
        if room {
            self.bytes += cost;
            self.outbox.push_back((Arc::clone(name), Arc::clone(message)));
        }
        room
    }

    fn pop(&mut self) -> Option<Extension> {
        let (name, message) = self.outbox.pop_front()?;
        self.bytes -= message.len() + OVERHEAD_BYTES;
        let again = self.last_sent.as_ref() == Some(&name);
        let written = if again { String::new() } else { name.to_string() };
        self.last_sent = Some(name);
        Some(Extension {
            name: written,
            message: message.to_vec(),
        })
    }

    /// The name that a message is of.
    fn heard(&mut self, name: String) -> Option<&str> {
        if !name.is_empty() {
            self.last_heard = (name.len() <= MAX_EXTENSION_NAME_BYTES).then_some(name);
        }
        self.last_heard.as_deref()
    }
}

impl Replicator {
    /// Lets messages of this name wait for somebody here. `None` if somebody waits for them already.
    pub(crate) fn register_extension(&mut self, name: &str) -> Option<ExtensionId> {
        if self.extensions.inboxes.iter().any(|inbox| inbox.name == name) {
            return None;
        }
        let id = ExtensionId(self.number());
        self.extensions.inboxes.push(Inbox {
            id,
            name: name.to_owned(),
            senders: HashMap::new(),
            turns: VecDeque::new(),
            bytes: 0,
        });
        Some(id)
    }

    /// Messages of this name are dropped again, those that wait too.
    pub(crate) fn unregister_extension(&mut self, id: ExtensionId) {
        self.extensions.inboxes.retain(|inbox| inbox.id != id);
    }

    pub(super) fn on_extension(&mut self, id: PeerId, extension: Extension) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(name) = peer.talk.heard(extension.name) else {
            return;
        };
        let mut inboxes = self.extensions.inboxes.iter_mut();
        if let Some(inbox) = inboxes.find(|inbox| inbox.name == name)
            && extension.message.len() <= MAX_EXTENSION_BYTES
        {
            inbox.push(peer.key, extension.message);
            self.extensions.heard.push(inbox.id);
        }
    }

    /// Extensions for which something came.
    pub(crate) fn take_heard(&mut self) -> Vec<ExtensionId> {
        std::mem::take(&mut self.extensions.heard)
    }

    /// The next message of an extension, and the key of the peer that sent it.
    pub(crate) fn next_heard(&mut self, id: ExtensionId) -> Option<(Hash, Vec<u8>)> {
        let mut inboxes = self.extensions.inboxes.iter_mut();
        inboxes.find(|inbox| inbox.id == id)?.pop()
    }

    /// Queues a message for the peer of this key; of several connections to it, for the newest.
    pub(crate) fn say(&mut self, to: &Hash, name: &Arc<str>, message: &Arc<[u8]>) -> Said {
        let mut newest_first = self.peers.iter().rev();
        let peer = newest_first.find(|(_, peer)| peer.key == *to);
        match peer.map(|(id, _)| *id) {
            None => Said::NoPeer,
            Some(id) if self.say_to(id, name, message) => Said::Queued,
            Some(_) => Said::Full,
        }
    }

    /// Queues a message for all peers, except those for whom too much waits. Says for how many.
    pub(crate) fn say_to_all(&mut self, name: &Arc<str>, message: &Arc<[u8]>) -> usize {
        let all = self.ids().into_iter();
        all.filter(|id| self.say_to(*id, name, message)).count()
    }

    fn say_to(&mut self, id: PeerId, name: &Arc<str>, message: &Arc<[u8]>) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else {
            return false;
        };
        let first = peer.talk.outbox.is_empty();
        let queued = peer.talk.push(name, message);
        if first && queued {
            self.act(id, Action::Say);
        }
        queued
    }

    /// The next message of an extension for a peer, sent as fast as its connection takes it.
    pub(crate) fn next_said(&mut self, id: PeerId) -> Option<Message> {
        self.peers.get_mut(&id)?.talk.pop().map(Message::Extension)
    }

    /// Bytes that wait, to be read and to be sent to a peer, at most.
    pub(super) fn most_waiting(&self) -> usize {
        let inboxes = self.extensions.inboxes.iter().map(|inbox| inbox.bytes);
        let outboxes = self.peers.values().map(|peer| peer.talk.bytes);
        inboxes.chain(outboxes).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox() -> Inbox {
        Inbox {
            id: ExtensionId(1),
            name: "chat".into(),
            senders: HashMap::new(),
            turns: VecDeque::new(),
            bytes: 0,
        }
    }

    #[test]
    fn a_peer_that_floods_crowds_out_only_itself() {
        let mut inbox = inbox();
        for number in 0..10_000u32 {
            inbox.push([1; 32], vec![0; 100 + number as usize % 1000]);
            assert!(inbox.bytes <= MOST_WAITING_BYTES);
        }
        for number in 0..100 {
            inbox.push([2; 32], vec![number; 1000]);
        }
        // They take turns.
        for number in 0..100 {
            assert_eq!(inbox.pop().unwrap().0, [1; 32]);
            assert_eq!(inbox.pop().unwrap(), ([2; 32], vec![number; 1000]));
        }
        while let Some((from, _)) = inbox.pop() {
            assert_eq!(from, [1; 32]);
        }
        assert_eq!((inbox.bytes, inbox.senders.len(), inbox.turns.len()), (0, 0, 0));
    }

    #[test]
    fn the_longest_messages_of_many_peers_fit() {
        let mut inbox = inbox();
        for sender in 0..9 {
            inbox.push([sender; 32], vec![0; MAX_EXTENSION_BYTES]);
            assert!(inbox.bytes <= MOST_WAITING_BYTES);
        }
        assert_eq!(std::iter::from_fn(|| inbox.pop()).count(), 3);
    }

    #[test]
    fn a_name_is_written_once_until_it_changes_and_read_back_so() {
        let (mut here, mut there) = (Talk::default(), Talk::default());
        let names = ["a", "a", "b", "a"];
        for name in names {
            assert!(here.push(&name.into(), &Arc::from(name.as_bytes())));
        }
        let sent: Vec<_> = std::iter::from_fn(|| here.pop()).collect();
        let written: Vec<_> = sent.iter().map(|message| message.name.as_str()).collect();
        assert_eq!(written, ["a", "", "b", "a"]);
        for (message, name) in sent.into_iter().zip(names) {
            assert_eq!(there.heard(message.name), Some(name));
        }
        assert_eq!(here.bytes, 0);
    }

    #[test]
    fn a_name_that_is_too_long_is_nobodys_and_so_are_the_messages_after_it_without_one() {
        let mut talk = Talk::default();
        assert_eq!(talk.heard(String::new()), None);
        assert_eq!(talk.heard("a".into()), Some("a"));
        assert_eq!(talk.heard("x".repeat(MAX_EXTENSION_NAME_BYTES + 1)), None);
        assert_eq!(talk.heard(String::new()), None);
    }

    #[test]
    fn what_a_peer_does_not_take_is_not_piled_up() {
        let mut talk = Talk::default();
        let (name, message) = ("a".into(), vec![0; 1000].into());
        let queued = (0..10_000).filter(|_| talk.push(&name, &message)).count();
        assert_eq!(queued, MOST_WAITING_BYTES / (1000 + OVERHEAD_BYTES));
        assert!(talk.pop().is_some() && talk.push(&name, &message) && !talk.push(&name, &message));
    }
}
