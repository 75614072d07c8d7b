//! A replicator with its core and no connections: for tests, which carry the messages themselves.

use std::collections::HashMap;
use std::time::Instant;

use super::{Action, Asked, Done, PeerId, Purpose, Replicator, Start, Work, work_bytes};
use crate::core::Core;
use crate::live::{Checker, standing};
use crate::messages::Message;
use crate::replicate::answer::{answer, can_upgrade, with_missing_levels};
use crate::store::StoreError;

pub(super) struct Node {
    pub(super) checker: Checker,
    pub(super) replicator: Replicator,
}

impl Node {
    pub(super) fn new(core: Core, seed: u64) -> Result<Self, StoreError> {
        let standing = standing(&core)?;
        Ok(Self {
            checker: Checker::new(core),
            replicator: Replicator::new(Start {
                standing,
                conflict: None,
                seed,
            }),
        })
    }

    pub(super) fn core(&self) -> &Core {
        self.checker.core()
    }

    /// Does what is to be done for a peer: messages for it, and whether its channel or connection is to be closed.
    pub(super) fn act(&mut self, peer: PeerId) -> Result<(Vec<Message>, Vec<Action>), StoreError> {
        let (mut messages, mut ends) = (Vec::new(), Vec::new());
        for action in self.replicator.take_actions(peer) {
            match action {
                Action::Send(message) => messages.push(message),
                Action::Ask(mut request) => {
                    with_missing_levels(&self.core().snapshot()?, &mut request)?;
                    messages.push(Message::Request(request));
                }
                Action::Say => messages.extend(std::iter::from_fn(|| self.replicator.next_said(peer))),
                Action::Show(request) => {
                    messages.push(answer(self.core(), &self.core().snapshot()?, &request).message);
                }
                Action::Check(check) => {
                    let can = can_upgrade(&self.core().snapshot()?, check);
                    self.replicator.checked(peer, check, can);
                }
                end => ends.push(end),
            }
        }
        Ok((messages, ends))
    }

    /// Answers one thing that the peer asks for.
    pub(super) fn answer(&mut self, peer: PeerId) -> Result<Option<Message>, StoreError> {
        Ok(match self.replicator.next_asked(peer) {
            None => None,
            Some(Asked::Have(want)) => self.replicator.answer_want(want),
            Some(Asked::Proof(request)) => {
                Some(answer(self.core(), &self.core().snapshot()?, &request).message)
            }
        })
    }

    /// Checks and stores some of what came.
    pub(super) fn store(&mut self, bytes: usize, now: Instant) -> Result<bool, StoreError> {
        let batch = self.replicator.take_work(bytes);
        let any = !batch.is_empty();
        let counted = batch.iter().map(|work| work_bytes(&work.data)).sum();
        let to_store = |work: &Work| work.purpose == Purpose::Store;
        let (proofs, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(to_store);
        if !proofs.is_empty() {
            let done = self.checker.store_proofs(proofs, &mut HashMap::new());
            self.replicator.done(standing(self.core())?, done, now);
        }
        for work in others {
            let (peer, request) = (work.peer, work.request);
            let end = match work.purpose {
                Purpose::Compare => self.checker.compare(work),
                _ => self.checker.step_to_fork(work, |_| {}),
            };
            let end = end.unwrap_or_else(|error| self.checker.failed(&error));
            let done = Done {
                peer,
                request,
                block: None,
                end,
            };
            self.replicator.done(standing(self.core())?, vec![done], now);
        }
        self.replicator.work_left(counted, now);
        Ok(any)
    }
}
