//! Peers whose proofs do not fit: they lie, or the core's writer signed two trees.
//!
//! Such a peer is asked for its signed tree from the first block on (request 0, as by the JavaScript peer). If that tree is as ours, the peer
//! lied and is dropped. If it is another one, there is a conflict: all peers are shown our tree, so that they see it too, and the core is
//! no longer replicated.

use std::time::{Duration, Instant};

use super::types::{Action, Fault, Purpose, Work};
use super::wishes::Wishes;
use super::{PeerId, Replicator, work_bytes};
use crate::core::Conflict;
use crate::messages::{Data, Message, Priority, Request, RequestUpgrade};

/// The number of a request for a tree, and of trees that nobody asked for.
pub(super) const TREE: u64 = 0;

/// Some hundred nodes and a signature of many signers.
const MOST_TREE_BYTES: usize = 64 << 10;

/// A peer may take so long to show its tree.
const SHOWING: Duration = Duration::from_secs(20);

/// A peer whose proof does not fit.
#[derive(Debug)]
pub(super) struct Suspect {
    fault: Fault,
    since: Instant,
}

fn request(fork: u64, length: u64) -> Request {
    Request {
        id: TREE,
        fork,
        block: None,
        hash: None,
        seek: None,
        upgrade: Some(RequestUpgrade { start: 0, length }),
        manifest: false,
        priority: Priority::NORMAL,
    }
}

impl Replicator {
    /// Why nothing is replicated any more, if so.
    pub(crate) fn conflict(&self) -> Option<Conflict> {
        self.conflict
    }

    /// Blocks of which both we and a peer have a tree of the same fork; 0 if neither can be compared.
    fn comparable(&self, id: PeerId) -> u64 {
        let state = self.at.state;
        let peer = self.peers.get(&id);
        let same = peer.filter(|peer| peer.remote_fork() == state.fork);
        same.map_or(0, |peer| peer.remote_length().min(state.length))
    }

    /// A proof of a peer does not fit.
    pub(super) fn refuse(&mut self, id: PeerId, number: u64, fault: Fault, now: Instant) {
        let length = self.comparable(id);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if number == TREE || length == 0 {
            let fault = peer.suspect.take().map_or(fault, |suspect| suspect.fault);
            return self.act(id, Action::Drop(fault));
        }
        if peer.suspect.is_some() {
            return;
        }
        peer.suspect = Some(Suspect { fault, since: now });
        peer.showed_tree = false;
        self.take_back_all(id);
        let fork = self.at.state.fork;
        self.send(id, Message::Request(request(fork, length)));
        self.fill_all(now);
    }

    /// A peer's tree is ours, or cannot be compared: nothing excuses the proof that does not fit.
    pub(super) fn drop_suspect(&mut self, id: PeerId) {
        let peer = self.peers.get_mut(&id);
        if let Some(suspect) = peer.and_then(|peer| peer.suspect.take()) {
            self.act(id, Action::Drop(suspect.fault));
        }
    }

    pub(super) fn drop_late_suspects(&mut self, now: Instant) {
        for id in self.ids() {
            let suspect = self.peers.get(&id).and_then(|peer| peer.suspect.as_ref());
            if suspect.is_some_and(|suspect| now.saturating_duration_since(suspect.since) >= SHOWING) {
                self.drop_suspect(id);
            }
        }
    }

    /// A tree from the first block on: asked for, or shown by a peer that knows of a conflict. Each peer may show one unasked.
    pub(super) fn on_tree(&mut self, id: PeerId, data: Data) {
        let bytes = work_bytes(&data);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut peer.showed_tree, true) || bytes > MOST_TREE_BYTES {
            return;
        }
        self.work_bytes += bytes;
        self.work.push_back(Work {
            peer: id,
            request: TREE,
            data,
            purpose: Purpose::Compare,
        });
    }

    /// The core has two signed trees.
    pub(super) fn freeze(&mut self, conflict: Conflict) {
        self.conflict = Some(conflict);
        self.wishes = Wishes::default();
        self.fork = None;
        for id in self.ids() {
            // We surely have the roots of the tree that differs.
            let length = self.comparable(id).min(conflict.length);
            if length > 0 {
                self.act(id, Action::Show(request(self.at.state.fork, length)));
            }
            self.act(id, Action::Close);
        }
    }
}

/// Whether it proves a tree from the first block on, unasked or as request [`TREE`].
pub(super) fn is_tree(data: &Data) -> bool {
    data.request == TREE && data.upgrade.as_ref().is_some_and(|upgrade| upgrade.start == 0)
}

#[cfg(test)]
mod tests {
    use super::super::fuzz::whole_core;
    use super::super::node::Node;
    use super::*;
    use crate::core::{Core, CoreOptions};
    use crate::crypto::KeyPair;
    use crate::messages::{NoData, NoDataReason};
    use crate::replicate::answer::answer;
    use crate::store::Store;

    const BLOCKS: u64 = 100;

    /// A reader that knows the tree, and what its peer has.
    struct Reader {
        node: Node,
        peer: PeerId,
        writer: Core,
        now: Instant,
    }

    impl Reader {
        fn new() -> Self {
            let options = CoreOptions::from_key_pair(KeyPair::from_seed(&[4; 32]));
            let writer = Store::in_memory().unwrap().core(options).unwrap();
            let blocks: Vec<_> = (0..BLOCKS).map(|number| format!("block {number}")).collect();
            writer.append(&blocks).unwrap();
            let core = Store::in_memory()
                .unwrap()
                .core(CoreOptions::from_key(*writer.key()));
            let mut node = Node::new(core.unwrap(), 1).unwrap();
            node.replicator.session_began();
            let now = Instant::now();
            let peer = node.replicator.add_peer([1; 32], now);
            let mut reader = Self {
                node,
                peer,
                writer,
                now,
            };
            reader.hear(whole_core(BLOCKS, 0));
            let upgrade = reader.asked();
            reader.hear(reader.answer(&upgrade));
            reader.hear(whole_core(BLOCKS, BLOCKS));
            assert_eq!(reader.node.replicator.state().length, BLOCKS);
            reader
        }

        fn hear(&mut self, message: Message) {
            self.node
                .replicator
                .receive(self.peer, message, self.now)
                .unwrap();
            while self.node.store(1 << 20, self.now).unwrap() {}
        }

        /// The only request that the peer is sent now.
        fn asked(&mut self) -> Request {
            let (messages, ends) = self.node.act(self.peer).unwrap();
            assert!(ends.is_empty(), "{ends:?}");
            let request = |message: &Message| match message {
                Message::Request(request) => Some(*request),
                _ => None,
            };
            let all: Vec<_> = messages.iter().filter_map(request).collect();
            let [request] = all[..] else { panic!("{all:?}") };
            request
        }

        fn answer(&self, request: &Request) -> Message {
            answer(&self.writer, &self.writer.snapshot().unwrap(), request).message
        }

        /// The peer lies about block 5, and is asked for its tree.
        fn lied_to(&mut self) -> Request {
            self.hear(Message::Range(crate::messages::Range {
                drop: false,
                start: 0,
                length: BLOCKS,
            }));
            self.node.replicator.want_block(5, self.now);
            let asked = self.asked();
            let Message::Data(mut data) = self.answer(&asked) else {
                panic!("no block");
            };
            data.block.as_mut().unwrap().value[0] ^= 1;
            self.hear(Message::Data(data));
            let asked = self.asked();
            assert_eq!(asked, request(0, BLOCKS));
            asked
        }

        fn drops_for_the_lie(&mut self) -> bool {
            let ends = self.node.act(self.peer).unwrap().1;
            assert_eq!(self.node.replicator.conflict(), None);
            matches!(ends[..], [Action::Drop(Fault::Block { block: 5, .. })])
        }
    }

    #[test]
    fn a_peer_whose_proof_is_wrong_is_dropped_once_its_tree_turns_out_to_be_ours() {
        let mut reader = Reader::new();
        let tree = reader.lied_to();
        assert!(!reader.drops_for_the_lie());
        reader.hear(reader.answer(&tree));
        assert!(reader.drops_for_the_lie());
    }

    #[test]
    fn a_peer_whose_proof_is_wrong_is_dropped_when_it_shows_a_tree_that_is_not_signed() {
        let mut reader = Reader::new();
        let tree = reader.lied_to();
        let Message::Data(mut data) = reader.answer(&tree) else {
            panic!("no tree");
        };
        data.upgrade.as_mut().unwrap().nodes[0].hash[0] ^= 1;
        reader.hear(Message::Data(data));
        assert!(reader.drops_for_the_lie());
    }

    #[test]
    fn a_peer_whose_proof_is_wrong_is_dropped_when_it_shows_no_tree() {
        let mut reader = Reader::new();
        let request = reader.lied_to().id;
        reader.now += SHOWING - Duration::from_millis(1);
        reader.node.replicator.tick(reader.now);
        assert!(!reader.drops_for_the_lie());
        reader.now += Duration::from_millis(1);
        reader.node.replicator.tick(reader.now);
        assert!(reader.drops_for_the_lie());

        let mut reader = Reader::new();
        assert_eq!(reader.lied_to().id, request);
        let reason = NoDataReason::NOT_AVAILABLE;
        reader.hear(Message::NoData(NoData { request, reason }));
        assert!(reader.drops_for_the_lie());
    }

    #[test]
    fn trees_that_nobody_asked_for_are_not_piled_up() {
        let mut reader = Reader::new();
        let tree = reader.answer(&request(0, BLOCKS));
        for _ in 0..100 {
            let (replicator, peer) = (&mut reader.node.replicator, reader.peer);
            replicator.receive(peer, tree.clone(), reader.now).unwrap();
        }
        assert_eq!(reader.node.replicator.work.len(), 1);
        while reader.node.store(1, reader.now).unwrap() {}
        assert!(reader.node.act(reader.peer).unwrap().1.is_empty());
        assert_eq!(reader.node.replicator.work_bytes, 0);
    }
}
