//! What peers say.

use std::time::Instant;

use super::conflict::{TREE, is_tree};
use super::types::{Asked, Fault, Purpose, Work};
use super::{InFlight, MOST_ASKED, PeerId, Replicator};
use crate::flat_tree::MAX_BLOCKS;
use crate::messages::{Bitfield, Data, Message, NoData, NoDataReason, Range, Request, Sync, Want};

/// At so many requests that cannot be answered a peer is dropped (its own figure).
const MOST_INVALID: u32 = 64;

/// What a kept proof costs beside its bytes.
const WORK_OVERHEAD_BYTES: usize = 512;

impl Replicator {
    /// Takes a message of a peer. An error is to end the connection.
    pub(crate) fn receive(&mut self, id: PeerId, message: Message, now: Instant) -> Result<(), Fault> {
        match message {
            Message::Sync(sync) => self.on_sync(id, sync, now),
            Message::Request(request) => self.on_asked(id, Asked::Proof(request)),
            Message::Cancel(cancel) => {
                self.on_cancel(id, cancel.request);
                Ok(())
            }
            Message::Data(data) => self.on_data(id, data, now),
            Message::NoData(nothing) => {
                self.on_no_data(id, nothing, now);
                Ok(())
            }
            Message::Want(want) => self.on_want(id, want),
            Message::Unwant(want) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.remote_wants.remove(want);
                }
                Ok(())
            }
            Message::Bitfield(bitfield) => {
                self.on_bitfield(id, &bitfield, now);
                Ok(())
            }
            Message::Range(range) => {
                self.on_range(id, range, now);
                Ok(())
            }
            Message::Extension(extension) => {
                self.on_extension(id, extension);
                Ok(())
            }
        }
    }

    fn on_sync(&mut self, id: PeerId, sync: Sync, now: Instant) -> Result<(), Fault> {
        if sync.length > MAX_BLOCKS {
            return Err(Fault::Length(sync.length));
        }
        let state = self.at.state;
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok(());
        };
        let same_fork = sync.fork == state.fork;
        let same_length = peer.sync.is_some_and(|before| before.length == sync.length);
        peer.sync = Some(sync);
        peer.acked = if same_fork { sync.remote_length } else { 0 };
        peer.refused_upgrade = false;
        if self.close_if_idle(id) {
            return Ok(());
        }
        self.ask_for_fork(id, now);
        if same_fork && !same_length {
            self.check(id);
        } else if let Some(peer) = self.peers.get_mut(&id) {
            peer.can_upgrade &= same_fork;
            if same_fork && state.length > sync.length && !peer.checking {
                self.signal(id);
            }
        }
        self.fill(id, now);
        self.settle_updates();
        Ok(())
    }

    fn on_asked(&mut self, id: PeerId, asked: Asked) -> Result<(), Fault> {
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok(());
        };
        if let Asked::Proof(request) = asked {
            // A second request of the same number replaces the first.
            peer.asked.retain(|other| !is_request(other, request.id));
        }
        if peer.asked.len() >= MOST_ASKED {
            return Err(Fault::TooManyRequests { limit: MOST_ASKED });
        }
        match asked {
            Asked::Proof(request) if request.priority > crate::messages::Priority::NORMAL => {
                let behind = peer.asked.iter().take_while(|other| is_urgent(other)).count();
                peer.asked.insert(behind, asked);
            }
            asked => peer.asked.push_back(asked),
        }
        Ok(())
    }

    fn on_cancel(&mut self, id: PeerId, request: u64) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.asked.retain(|asked| !is_request(asked, request));
        }
    }

    fn on_want(&mut self, id: PeerId, want: Want) -> Result<(), Fault> {
        if Self::is_long_want(&want) {
            return Ok(());
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.remote_wants.add(want);
        }
        self.on_asked(id, Asked::Have(want))
    }

    /// A request of the peer that no proof can answer.
    pub(crate) fn was_invalid(&mut self, id: PeerId) -> Result<(), Fault> {
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok(());
        };
        peer.invalid += 1;
        if peer.invalid >= MOST_INVALID {
            return Err(Fault::InvalidRequests(peer.invalid));
        }
        Ok(())
    }

    fn on_bitfield(&mut self, id: PeerId, bitfield: &Bitfield, now: Instant) {
        if bitfield.start >= MAX_BLOCKS || !bitfield.start.is_multiple_of(32) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.has.put_words(bitfield.start, &bitfield.words);
        self.fill(id, now);
    }

    fn on_range(&mut self, id: PeerId, range: Range, now: Instant) {
        let blocks = range.start..range.start.saturating_add(range.length).min(MAX_BLOCKS);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.has.set(blocks.clone(), !range.drop);
        if !range.drop {
            self.take_over(id, blocks, now);
            self.fill(id, now);
        }
    }

    fn on_data(&mut self, id: PeerId, data: Data, now: Instant) -> Result<(), Fault> {
        if is_tree(&data) {
            self.on_tree(id, data);
            return Ok(());
        }
        // What was taken back, or what nobody asked for.
        let known = self
            .requests
            .get(&data.request)
            .is_some_and(|flying| flying.peer == id);
        if !known {
            return Ok(());
        }
        let Some(flying) = self.answered(data.request, now) else {
            return Ok(());
        };
        let request = data.request;
        let newer = data.fork > self.at.state.fork;
        let outdated = flying.fork
            && flying.request.hash.is_some()
            && self
                .fork
                .as_ref()
                .is_none_or(|fork| fork.request != Some(request));
        if data.fork != flying.request.fork || newer != flying.fork || outdated {
            // One of us has moved to another fork meanwhile, or more is known of it.
            self.release(&flying, now);
            self.fill(id, now);
            return Ok(());
        }
        if !answers(&flying.request, &data) {
            self.release(&flying, now);
            return Err(Fault::OtherAnswer { request });
        }
        let asked_block = flying.request.block.map(|block| block.index);
        if asked_block.is_some() && data.block.is_none() {
            self.gave_nothing(id, &flying, now);
            return Ok(());
        }
        if let Some(block) = asked_block {
            self.attempts.entry(block).or_default().storing += 1;
        }
        self.work_bytes += work_bytes(&data);
        self.work.push_back(Work {
            peer: id,
            request,
            data,
            purpose: if flying.fork {
                Purpose::Fork
            } else {
                Purpose::Store
            },
        });
        self.storing(flying);
        self.fill(id, now);
        Ok(())
    }

    fn on_no_data(&mut self, id: PeerId, nothing: NoData, now: Instant) {
        if nothing.request == TREE {
            return self.drop_suspect(id);
        }
        let known = self
            .requests
            .get(&nothing.request)
            .is_some_and(|flying| flying.peer == id);
        if !known {
            return;
        }
        let Some(flying) = self.answered(nothing.request, now) else {
            return;
        };
        if nothing.reason == NoDataReason::INVALID_REQUEST
            && let Some(peer) = self.peers.get_mut(&id)
        {
            peer.gave_nothing(now);
        }
        self.gave_nothing(id, &flying, now);
    }

    fn gave_nothing(&mut self, id: PeerId, flying: &InFlight, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.gave_nothing(now);
            // What was asked of its fork before says nothing of this one.
            if flying.request.fork == peer.remote_fork() {
                let block = flying.request.block.map(|block| block.index);
                let leaf = flying.request.hash.map(|node| node.index / 2);
                if let Some(block) = block.or(leaf) {
                    peer.has.set(block..block + 1, false);
                }
            }
            peer.refused_upgrade |= flying.request.upgrade.is_some();
        }
        self.release(flying, now);
        self.fill_all(now);
    }

    /// The next proofs to check and store, of about so many bytes.
    pub(crate) fn take_work(&mut self, bytes: usize) -> Vec<Work> {
        let mut taken = 0;
        let mut out = Vec::new();
        while let Some(work) = self.work.front() {
            taken += work_bytes(&work.data);
            if taken > bytes && !out.is_empty() {
                break;
            }
            out.extend(self.work.pop_front());
        }
        out
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// Such work is done, or given up.
    pub(crate) fn work_left(&mut self, bytes: usize, now: Instant) {
        self.work_bytes = self.work_bytes.saturating_sub(bytes);
        self.fill_all(now);
    }
}

/// What a piece of work counts as.
pub(crate) fn work_bytes(data: &Data) -> usize {
    let block = data
        .block
        .as_ref()
        .map_or((0, 0), |block| (block.value.len(), block.nodes.len()));
    let hash = data.hash.as_ref().map_or(0, |hash| hash.nodes.len());
    let seek = data.seek.as_ref().map_or(0, |seek| seek.nodes.len());
    let upgrade = data.upgrade.as_ref().map_or((0, 0), |upgrade| {
        let nodes = upgrade.nodes.len() + upgrade.additional_nodes.len();
        (upgrade.signature.len(), nodes)
    });
    let manifest = data.manifest.as_ref().map_or(0, |manifest| manifest.0.len());
    let nodes = block.1 + hash + seek + upgrade.1;
    block.0 + upgrade.0 + manifest + nodes * size_of::<crate::messages::Node>() + WORK_OVERHEAD_BYTES
}

fn is_request(asked: &Asked, id: u64) -> bool {
    matches!(asked, Asked::Proof(request) if request.id == id)
}

fn is_urgent(asked: &Asked) -> bool {
    matches!(asked, Asked::Proof(request) if request.priority > crate::messages::Priority::NORMAL)
}

/// Whether a proof has nothing that was not asked for.
fn answers(request: &Request, data: &Data) -> bool {
    let block = data.block.as_ref().map(|block| block.index);
    let hash = data.hash.as_ref().map(|hash| hash.index);
    let seek = data.seek.as_ref().map(|seek| seek.bytes);
    (block.is_none() || block == request.block.map(|block| block.index))
        && (hash.is_none() || hash == request.hash.map(|hash| hash.index))
        && (seek.is_none() || seek == request.seek.map(|seek| seek.bytes))
        && (data.upgrade.is_none() || request.upgrade.is_some())
}
