//! Checking what peers sent, and storing what holds.

use std::collections::HashMap;
use std::sync::Mutex;

use super::lock;
use crate::core::{Applied, Core, CoreError, Incoming, NotApplied};
use crate::manifest::{Manifest, Verifier};
use crate::merkle::{Proof, Reorg, Reorged};
use crate::replicator::{Done, End, Fault, Work, short};
use crate::store::Snapshot;

/// A core, and a move to another fork while it is prepared.
pub(crate) struct Checker {
    core: Core,
    reorg: Mutex<Option<(Snapshot, Reorg)>>,
}

/// A proof that is taken apart.
struct Parts {
    proof: Proof,
    value: Option<Vec<u8>>,
    manifest: Option<Manifest>,
}

impl Checker {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            core,
            reorg: Mutex::default(),
        }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn failed(&self, error: &CoreError) -> End {
        tracing::error!(
            core = short(self.core.key()),
            %error,
            "what peers sent is not stored; it is asked for again later"
        );
        End::Unstored
    }

    /// Checks proofs and stores those that hold, in one commit.
    pub(crate) fn store_proofs(&self, batch: Vec<Work>, values: &mut HashMap<u64, Vec<u8>>) -> Vec<Done> {
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

    /// Compares the tree that a peer shows with ours.
    pub(crate) fn compare(&self, work: Work) -> Result<End, CoreError> {
        let parts = match take_apart(work) {
            Ok(parts) => parts,
            Err(end) => return Ok(end),
        };
        Ok(match self.core.compare(&parts.proof)? {
            Ok(None) => End::Same,
            Ok(Some(conflict)) => End::Conflict(conflict),
            Err(error) => End::of_error(None, &error),
        })
    }

    /// Takes a step of the move to a newer fork: its signed tree, or nodes of it. `before` is told how many blocks stay, before the others
    /// go.
    pub(crate) fn step_to_fork(&self, work: Work, before: impl FnOnce(u64)) -> Result<End, CoreError> {
        let parts = match take_apart(work) {
            Ok(parts) => parts,
            Err(end) => return Ok(end),
        };
        let (proof, value) = (&parts.proof, parts.value.as_deref());
        let mut slot = lock(&self.reorg);
        let (snapshot, reorg) = match slot.take() {
            // Another peer proved as long a tree of this fork before: what is known of it already is kept.
            Some((snapshot, reorg))
                if proof.upgrade.is_some()
                    && reorg.tree().fork() == proof.fork
                    && !is_longer(proof, &reorg) =>
            {
                (snapshot, reorg)
            }
            _ if proof.upgrade.is_some() => match self.begin_fork(&parts)? {
                Ok(begun) => begun,
                Err(end) => return Ok(end),
            },
            None => return Ok(End::Stale),
            Some((snapshot, mut reorg)) => {
                let updated = reorg.update(proof, value, &snapshot);
                if let Err(error) = updated {
                    // An answer to what was asked of a shorter tree of the fork is no lie.
                    tracing::debug!(core = short(self.core.key()), %error, "a step to another fork is taken again");
                    *slot = Some((snapshot, reorg));
                    return Ok(End::Stale);
                }
                (snapshot, reorg)
            }
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
                before(ancestors);
                self.move_to_fork(&snapshot, &reorged)
            }
        }
    }

    /// Checks the signed tree of a newer fork.
    fn begin_fork(&self, parts: &Parts) -> Result<Result<(Snapshot, Reorg), End>, CoreError> {
        let verifier = match self.verifier_for(parts)? {
            Ok(verifier) => verifier,
            Err(end) => return Ok(Err(end)),
        };
        let snapshot = self.core.snapshot()?;
        let value = parts.value.as_deref();
        match Reorg::new(snapshot.tree(), &verifier, &parts.proof, value, &snapshot) {
            Ok(reorg) => {
                self.keep_manifest(&verifier)?;
                Ok(Ok((snapshot, reorg)))
            }
            Err(error) => Ok(Err(End::of_error(None, &error))),
        }
    }

    fn move_to_fork(&self, snapshot: &Snapshot, reorged: &Reorged) -> Result<End, CoreError> {
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

/// Whether a proof is of a longer tree than that of the move that is being prepared.
fn is_longer(proof: &Proof, reorg: &Reorg) -> bool {
    let length = proof
        .upgrade
        .as_ref()
        .map_or(0, |upgrade| upgrade.start.saturating_add(upgrade.length));
    length > reorg.tree().length()
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
    let mut data = work.data;
    let block = data.block.as_ref().map(|block| block.index);
    let value = data.block.as_mut().map(|block| std::mem::take(&mut block.value));
    let manifest = data.manifest.take().map(|encoded| Manifest::decode(&encoded.0));
    let manifest = manifest
        .transpose()
        .map_err(|error| End::Refused(Fault::Tree(error.to_string())))?;
    let proof = Proof::try_from(data).map_err(|error| End::of_node(block, &error))?;
    Ok(Parts {
        proof,
        value,
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
