//! What peers are told of our core.

use std::ops::Range;

use super::types::{Action, Check};
use super::{PeerId, Replicator};
use crate::messages::{self, Bitfield, Message, Sync, Want};

/// Peers are told unasked of so many blocks at the end.
const LAST_BLOCKS: u64 = 256;

/// The longest range of which a peer may ask which blocks we have (its own figure).
const LONGEST_WANT: u64 = 1 << 21;

impl Replicator {
    fn contiguous(&self) -> u64 {
        self.at.state.contiguous_length.min(self.at.state.length)
    }

    /// The first that a peer hears.
    pub(super) fn greet(&mut self, id: PeerId) {
        self.send_sync(id);
        let length = self.contiguous();
        if length > 0 {
            self.send_have(id, 0..length, false);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.announced = length;
            }
        }
    }

    fn send_have(&mut self, id: PeerId, blocks: Range<u64>, drop: bool) {
        let message = messages::Range {
            drop,
            start: blocks.start,
            length: blocks.end - blocks.start,
        };
        self.send(id, Message::Range(message));
    }

    fn send_sync(&mut self, id: PeerId) {
        let (at, downloading) = (self.at, self.is_downloading());
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.checking {
            peer.needs_sync = true;
            return;
        }
        peer.needs_sync = false;
        let same_fork = peer.remote_fork() == at.state.fork;
        peer.can_upgrade &= same_fork;
        let sync = Sync {
            fork: at.state.fork,
            length: at.state.length,
            remote_length: if same_fork { peer.remote_length() } else { 0 },
            can_upgrade: peer.can_upgrade,
            uploading: true,
            downloading,
            has_manifest: at.has_manifest && !at.compat,
            allow_push: false,
        };
        self.send(id, Message::Sync(sync));
    }

    /// Tells a peer where we stand, if need be after a look whether we can bring it there.
    pub(super) fn signal(&mut self, id: PeerId) {
        let state = self.at.state;
        let Some(peer) = self.peers.get(&id) else { return };
        let shorter = peer.remote_fork() == state.fork && peer.remote_length() < state.length;
        if shorter && !peer.can_upgrade && !peer.checking {
            self.check(id);
        }
        self.send_sync(id);
    }

    pub(super) fn signal_all(&mut self) {
        self.ids().into_iter().for_each(|id| self.signal(id));
    }

    /// Lets it be looked up whether our tree is a longer one than the peer's.
    pub(super) fn check(&mut self, id: PeerId) {
        let state = self.at.state;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.checking {
            peer.check_again = true;
            return;
        }
        let remote_length = peer.remote_length();
        peer.checking = true;
        let check = Check {
            remote_length,
            fork: state.fork,
            length: state.length,
        };
        // Without a look: nothing can always be grown from, and what is no shorter never.
        if remote_length == 0 || remote_length >= state.length {
            self.checked(id, check, remote_length == 0);
        } else {
            self.act(id, Action::Check(check));
        }
    }

    /// The answer to [`Action::Check`].
    pub(crate) fn checked(&mut self, id: PeerId, check: Check, can_upgrade: bool) {
        let state = self.at.state;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.checking = false;
        if std::mem::take(&mut peer.check_again) {
            return self.check(id);
        }
        let as_then = check.fork == state.fork && check.remote_length == peer.remote_length();
        let mut tell = peer.needs_sync;
        if as_then && peer.remote_fork() == state.fork {
            tell |= peer.can_upgrade != can_upgrade;
            peer.can_upgrade = can_upgrade;
            if can_upgrade {
                peer.upgradable = (check.fork, check.remote_length);
            }
        }
        if tell || (peer.remote_fork() == state.fork && state.length > peer.remote_length()) {
            self.send_sync(id);
        }
    }

    /// Tells the peers that blocks are there now, or no longer.
    pub(super) fn announce(&mut self, blocks: Range<u64>, drop: bool) {
        if blocks.start >= blocks.end {
            return;
        }
        let (length, contiguous) = (self.at.state.length, self.contiguous());
        let whole = contiguous == length && !drop;
        for id in self.ids() {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            if drop {
                peer.announced = peer.announced.min(blocks.start);
                self.send_have(id, blocks.clone(), true);
                continue;
            }
            if whole {
                // From sparse to whole: one message says it all.
                if peer.announced < length {
                    peer.announced = length;
                    self.send_have(id, 0..length, false);
                }
                continue;
            }
            let of_interest = blocks.start + LAST_BLOCKS >= length || peer.remote_wants.overlaps(&blocks);
            if of_interest && peer.has.next_unset(blocks.start) < blocks.end {
                self.send_have(id, blocks.clone(), false);
            }
        }
    }

    /// What is said to a peer that wants to know which blocks we have.
    pub(crate) fn answer_want(&self, want: Want) -> Option<Message> {
        let (length, contiguous) = (self.at.state.length, self.contiguous());
        let end = want.start.saturating_add(want.length);
        if end < contiguous || contiguous == length || (want.any && want.start < contiguous) {
            return Some(Message::Range(messages::Range {
                drop: false,
                start: 0,
                length: contiguous,
            }));
        }
        let end = end.min(length);
        let first = self.local.next_set(want.start).filter(|block| *block < end)?;
        if want.any {
            return Some(Message::Range(messages::Range {
                drop: false,
                start: first,
                length: 1,
            }));
        }
        let start = want.start / 32 * 32;
        let words = usize::try_from((end - start).min(LONGEST_WANT).div_ceil(32)).ok()?;
        Some(Message::Bitfield(Bitfield {
            start,
            words: self.local.words(start, words),
        }))
    }

    pub(super) fn is_long_want(want: &Want) -> bool {
        want.length > LONGEST_WANT && !want.any
    }
}
