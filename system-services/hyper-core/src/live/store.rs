//! Checking and storing what peers sent, on a thread that may block.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::{Live, Shared, lock, standing};
use crate::core::{Applied, CoreError, Incoming, NotApplied};
use crate::manifest::{Manifest, Verifier};
use crate::merkle::{Proof, Reorg};
use crate::replicator::{Done, End, Fault, Work, short, work_bytes};
use crate::store::Snapshot;

/// Proofs that are stored in one commit, in bytes: enough that its cost does not count, few enough to keep the next ones coming.
const COMMIT_BYTES: usize = 2 << 20;

/// A proof that is taken apart.
struct Parts {
    proof: Proof,
    value: Option<Vec<u8>>,
    manifest: Option<Manifest>,
}

/// Ends the state of storing, after a panic too.
struct Storing<'a>(&'a Live);

impl Drop for Storing<'_> {
    fn drop(&mut self) {
        lock(&self.0.shared).storing = false;
    }
}

impl Live {
    /// Starts the thread that checks and stores, until there is nothing left.
    pub(super) fn start_storing(self: &Arc<Self>, shared: &mut Shared) {
        // Without a runtime there are no connections, and nothing comes.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            shared.storing = true;
            let live = Arc::clone(self);
            runtime.spawn_blocking(move || live.store_all());
        }
    }

    fn store_all(self: Arc<Self>) {
        let storing = Storing(&self);
        loop {
            let batch = {
                let mut shared = lock(&self.shared);
                let batch = shared.replicator.take_work(COMMIT_BYTES);
                if batch.is_empty() {
                    // Under the lock: what comes next starts a thread again.
                    shared.storing = false;
                    std::mem::forget(storing);
                    return;
                }
                batch
            };
            self.store(batch);
        }
    }

    fn store(self: &Arc<Self>, batch: Vec<Work>) {
        let bytes = batch.iter().map(|work| work_bytes(&work.data)).sum();
        self.store_batch(batch);
        let mut shared = lock(&self.shared);
        shared.replicator.work_left(bytes, Instant::now());
        self.settle(&mut shared, &mut HashMap::new());
    }

    fn store_batch(self: &Arc<Self>, batch: Vec<Work>) {
        let (moves, proofs): (Vec<_>, Vec<_>) = batch.into_iter().partition(|work| work.fork);
        let mut values = HashMap::new();
        if !proofs.is_empty() {
            let _order = self.order.read().unwrap_or_else(PoisonError::into_inner);
            let done = self.store_proofs(proofs, &mut values);
            self.tell(done, &mut values);
        }
        for work in moves {
            let _order = self.order.write().unwrap_or_else(PoisonError::into_inner);
            let (peer, request) = (work.peer, work.request);
            let end = self
                .step_to_fork(work)
                .unwrap_or_else(|error| self.failed(&error));
            let done = Done {
                peer,
                request,
                block: None,
                end,
            };
            self.tell(vec![done], &mut values);
        }
    }

    /// Tells what became of work.
    fn tell(self: &Arc<Self>, done: Vec<Done>, values: &mut HashMap<u64, Vec<u8>>) {
        let mut shared = lock(&self.shared);
        let now = Instant::now();
        let read = self
            .core
            .snapshot()
            .and_then(|snapshot| standing(&self.core, &snapshot));
        let standing = match read {
            Ok(standing) => standing,
            Err(error) => {
                tracing::error!(core = short(self.core.key()), %error, "the core cannot be read");
                shared.replicator.suspend(now);
                shared.replicator.standing()
            }
        };
        if done.iter().any(|done| matches!(done.end, End::Unstored)) {
            shared.replicator.suspend(now);
        }
        shared.replicator.done(standing, done, now);
        self.settle(&mut shared, values);
    }

    fn failed(&self, error: &CoreError) -> End {
        tracing::error!(
            core = short(self.core.key()),
            %error,
            "what peers sent is not stored; it is asked for again later"
        );
        End::Unstored
    }

    /// Checks proofs and stores those that hold, in one commit.
    fn store_proofs(&self, batch: Vec<Work>, values: &mut HashMap<u64, Vec<u8>>) -> Vec<Done> {
        let mut done = Vec::with_capacity(batch.len());
        let mut whole = Vec::with_capacity(batch.len());
        for work in batch {
            let block = work.data.block.as_ref().map(|block| block.index);
            let place = Done {
                peer: work.peer,
                request: work.request,
                block,
                end: End::Stale,
            };
            match take_apart(work) {
                Ok(parts) => whole.push((place, parts)),
                Err(end) => done.push(Done { end, ..place }),
            }
        }
        let incoming: Vec<Incoming<'_>> = whole.iter().map(|(_, parts)| parts.incoming()).collect();
        let applied = match self.core.apply_all(&incoming) {
            Ok(applied) => applied,
            Err(error) => {
                let failed = whole.into_iter().map(|(place, _)| Done {
                    end: self.failed(&error),
                    ..place
                });
                done.extend(failed);
                return done;
            }
        };
        for ((place, parts), applied) in whole.into_iter().zip(applied) {
            let end = end_of(place.block, &applied);
            if let (End::Stored, Some(block), Some(value)) = (&end, place.block, parts.value) {
                values.insert(block, value);
            }
            done.push(Done { end, ..place });
        }
        done
    }

    /// Takes a step of the move to a newer fork: its signed tree, or nodes of it.
    fn step_to_fork(&self, work: Work) -> Result<End, CoreError> {
        let parts = match take_apart(work) {
            Ok(parts) => parts,
            Err(end) => return Ok(end),
        };
        let (proof, value) = (&parts.proof, parts.value.as_deref());
        let mut slot = lock(&self.reorg);
        let (snapshot, reorg) = if proof.upgrade.is_some() {
            let verifier = match self.verifier_for(&parts)? {
                Ok(verifier) => verifier,
                Err(end) => return Ok(end),
            };
            let snapshot = self.core.snapshot()?;
            match Reorg::new(snapshot.tree(), &verifier, proof, value, &snapshot) {
                Ok(reorg) => {
                    self.keep_manifest(&verifier)?;
                    (snapshot, reorg)
                }
                Err(error) => return Ok(End::of_error(None, &error)),
            }
        } else {
            let Some((snapshot, mut reorg)) = slot.take() else {
                return Ok(End::Stale);
            };
            if let Err(error) = reorg.update(proof, value, &snapshot) {
                let end = End::of_error(None, &error);
                *slot = Some((snapshot, reorg));
                return Ok(end);
            }
            (snapshot, reorg)
        };
        let fork = proof.fork;
        match reorg.finish() {
            Err(reorg) => {
                let want = reorg.request();
                *slot = Some((snapshot, *reorg));
                Ok(want.map_or(End::Stale, |want| End::Fork { fork, want }))
            }
            Ok(reorged) => {
                let ancestors = reorged.ancestors;
                self.cut_snapshots(ancestors);
                self.move_to_fork(&snapshot, &reorged)
            }
        }
    }

    fn move_to_fork(&self, snapshot: &Snapshot, reorged: &crate::merkle::Reorged) -> Result<End, CoreError> {
        match self.core.reorg(snapshot, reorged) {
            Ok(_) => Ok(End::Moved {
                ancestors: reorged.ancestors,
            }),
            Err(CoreError::Changed) => Ok(End::Stale),
            Err(error @ (CoreError::Signature { .. } | CoreError::IncompleteFork { .. })) => {
                Ok(End::Refused(Fault::Tree(error.to_string())))
            }
            Err(error) => Err(error),
        }
    }

    /// Who signs the core: as is known, as the peer says, or, if it says nothing, as in a compat core.
    fn verifier_for(&self, parts: &Parts) -> Result<Result<Verifier, End>, CoreError> {
        if let Some(known) = self.core.verifier()? {
            return Ok(Ok(known.clone()));
        }
        let key = *self.core.key();
        Ok(match &parts.manifest {
            Some(manifest) => Verifier::new(key, manifest.clone()).map_err(|error| End::of_manifest(&error)),
            None => Ok(Verifier::compat(key)),
        })
    }

    /// Stores the manifest with which a fork's tree was checked, if nobody knew it yet.
    fn keep_manifest(&self, verifier: &Verifier) -> Result<(), CoreError> {
        if self.core.verifier()?.is_some() {
            return Ok(());
        }
        // A proof of nothing brings the manifest alone.
        let nothing = Proof {
            fork: self.core.snapshot()?.tree().fork(),
            ..Proof::default()
        };
        let incoming = Incoming {
            proof: &nothing,
            value: None,
            manifest: Some(verifier.manifest()),
        };
        match self.core.apply(incoming)? {
            Ok(_) => Ok(()),
            // The fork changed meanwhile: the step is taken again.
            Err(_) => Err(CoreError::Changed),
        }
    }
}

impl Parts {
    fn incoming(&self) -> Incoming<'_> {
        Incoming {
            proof: &self.proof,
            value: self.value.as_deref(),
            manifest: self.manifest.as_ref(),
        }
    }
}

fn take_apart(work: Work) -> Result<Parts, End> {
    let block = work.data.block.as_ref().map(|block| block.index);
    let proof = Proof::try_from(&work.data).map_err(|error| End::of_node(block, &error))?;
    let manifest = match &work.data.manifest {
        None => None,
        Some(encoded) => {
            Some(Manifest::decode(&encoded.0).map_err(|error| End::Refused(Fault::Tree(error.to_string())))?)
        }
    };
    Ok(Parts {
        proof,
        value: work.data.block.map(|block| block.value),
        manifest,
    })
}

fn end_of(block: Option<u64>, applied: &Result<Applied, NotApplied>) -> End {
    match applied {
        Ok(_) => End::Stored,
        Err(NotApplied::Proof(error)) => End::of_error(block, error),
        Err(NotApplied::Manifest(error)) => End::of_manifest(error),
        Err(error @ NotApplied::NoManifest) => End::Refused(Fault::Tree(error.to_string())),
    }
}
