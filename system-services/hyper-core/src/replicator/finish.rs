//! What became of proofs.

use std::time::Instant;

use super::conflict::TREE;
use super::types::{Done, End, Outcome, Standing};
use super::{ForkMove, InFlight, Replicator};
use crate::session::CoreState;

/// How many peers say that they have no longer tree before it is believed.
const ENOUGH_PEERS: usize = 3;

impl Replicator {
    /// A proof has come for a request, and is being checked and stored.
    pub(super) fn storing(&mut self, flying: InFlight) {
        // The upgrade stays under way until it is stored: the next one starts from there.
        if let Some(seek) = flying.seek {
            self.wishes.storing_seeks.insert(flying.request.id, seek);
        }
    }

    /// Proofs were checked, and those that hold are stored.
    pub(crate) fn done(&mut self, standing: Standing, all: Vec<Done>, now: Instant) {
        let before = self.at.state;
        let moved = all.iter().find_map(|done| match done.end {
            End::Moved { ancestors } => Some(ancestors),
            _ => None,
        });
        self.at = standing;
        if let Some(ancestors) = moved {
            self.cut(ancestors, before.length, now);
        }
        let mut stored = Vec::new();
        for done in all {
            self.finish(done, &mut stored, now);
        }
        stored.sort_unstable();
        for run in stored.chunk_by(|a, b| a + 1 == *b) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                self.have(*first..last + 1);
            }
        }
        if moved.is_none() && grew(&before, &standing.state) {
            self.grown(now);
        }
        self.fill_all(now);
    }

    fn finish(&mut self, done: Done, stored: &mut Vec<u64>, now: Instant) {
        self.free_upgrade(done.request);
        let seek = self.wishes.storing_seeks.remove(&done.request);
        self.end_seek(seek);
        if let Some(fork) = &mut self.fork
            && fork.request == Some(done.request)
        {
            fork.request = None;
            if matches!(done.end, End::Stale) {
                // From the start, at the next tick.
                self.fork = None;
            }
        }
        if let Some(block) = done.block {
            if let Some(attempts) = self.attempts.get_mut(&block) {
                attempts.storing = attempts.storing.saturating_sub(1);
            }
            if matches!(done.end, End::Stored) {
                stored.push(block);
                self.local.set(block..block + 1, true);
            }
            self.free_block(block);
        }
        match done.end {
            End::Stored | End::Moved { .. } => {
                if let Some(peer) = self.peers.get_mut(&done.peer) {
                    peer.gave();
                }
            }
            End::Stale if done.request == TREE => self.drop_suspect(done.peer),
            End::Stale => {
                if let Some(peer) = self.peers.get_mut(&done.peer) {
                    peer.gave_nothing(now);
                }
            }
            End::Unstored => {}
            End::Refused(fault) => self.refuse(done.peer, done.request, fault, now),
            End::Same => self.drop_suspect(done.peer),
            End::Conflict(conflict) => self.freeze(conflict),
            End::Fork { fork, want } => {
                let known = self.fork.as_ref();
                let older = known.is_none_or(|known| known.fork <= fork);
                let same = known.is_some_and(|known| known.fork == fork && known.want == want);
                if older && !same && fork > self.at.state.fork {
                    let request = None;
                    self.fork = Some(ForkMove { fork, want, request });
                }
            }
        }
    }

    /// Those who wait for the core to grow need not, if no peer can make it so.
    pub(super) fn settle_updates(&mut self) {
        if self.wishes.updates.is_empty() || self.upgrade.is_some() || self.fork.is_some() {
            return;
        }
        let awaited = self.opening > 0 && self.peers.len() < ENOUGH_PEERS;
        if awaited || (self.finding > 0 && !self.had_peers) {
            return;
        }
        let state = self.at.state;
        let hopeful = self.peers.values().any(|peer| match peer.sync {
            None => true,
            Some(sync) if sync.fork > state.fork => sync.length > 0,
            Some(sync) => {
                sync.fork == state.fork
                    && sync.length > state.length
                    && !peer.refused_upgrade
                    && (sync.can_upgrade || peer.acked != state.length)
            }
        });
        if !hopeful {
            for waiter in std::mem::take(&mut self.wishes.updates) {
                self.outcomes.push((waiter, Outcome::Update(false)));
            }
        }
    }
}

fn grew(before: &CoreState, now: &CoreState) -> bool {
    (before.fork, before.length) != (now.fork, now.length)
}
