//! Proving to others what is stored, and storing what others prove.

use std::borrow::Cow;

use super::{Core, CoreError};
use crate::crypto;
use crate::manifest::{Manifest, Verifier, WrongManifest};
use crate::merkle::{
    self, Leaf, NodeProof, Proof, ProofRequest, ReadError, Reorged, Tree, TreeError, VerifyError, verify_leaf,
};
use crate::store::{Changed, Head, Snapshot, StoreError, Writer};

/// What a peer sent.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// The proof.
    pub proof: &'a Proof,
    /// The block's bytes, if the proof is for a block.
    pub value: Option<&'a [u8]>,
    /// The manifest, if the peer gave it.
    pub manifest: Option<&'a Manifest>,
}

/// What of a peer's message is now stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The block.
    pub block: Option<u64>,
    /// The core's length, if it grew.
    pub length: Option<u64>,
}

/// Why a peer's message is not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    /// It proves nothing.
    #[error(transparent)]
    Proof(#[from] VerifyError),
    /// Its manifest is another core's.
    #[error(transparent)]
    Manifest(#[from] WrongManifest),
    /// It has no manifest, and none is known.
    #[error("the core's manifest is not known yet, and the peer did not send it")]
    NoManifest,
}

impl Snapshot {
    /// Proves what is asked for. The manifest's prologue, if it has one, is only ever given as a whole.
    pub fn prove(&self, verifier: &Verifier, request: &ProofRequest) -> Result<Proof, CoreError> {
        let prologue = verifier.prologue().map_or(0, |prologue| prologue.length);
        let signature = &self.head().signature;
        Ok(merkle::create_proof(
            self.tree(),
            signature,
            prologue,
            request,
            self,
        )?)
    }
}

impl Core {
    /// Proves what is asked for, and reads the block, if it is for one that is stored.
    pub fn prove(&self, request: &ProofRequest) -> Result<(Proof, Option<Vec<u8>>), CoreError> {
        let snapshot = self.snapshot()?;
        let proof = snapshot.prove(self.known_verifier()?, request)?;
        let value = match proof.node {
            Some(NodeProof::Block { block, .. }) => snapshot.get(block)?,
            _ => None,
        };
        Ok((proof, value))
    }

    /// Checks what a peer sent and stores it.
    pub fn apply(&self, incoming: Incoming<'_>) -> Result<Result<Applied, NotApplied>, CoreError> {
        let mut all = self.apply_all(&[incoming])?;
        all.pop().ok_or(CoreError::Changed)
    }

    /// Checks messages in their order and stores those that hold, in one commit. The outer error is ours, nothing is stored then; an
    /// inner one is that of the message at its place, and stops no other.
    pub fn apply_all(
        &self,
        incoming: &[Incoming<'_>],
    ) -> Result<Vec<Result<Applied, NotApplied>>, CoreError> {
        let leaves = hash_values(incoming);
        self.store.write(self.number, |writer| {
            let (head, tree) = writer.head()?;
            let mut state = State {
                verifier: writer.verifier(&self.key)?,
                before: head.contiguous_length,
                head,
                tree,
                key: self.key,
            };
            let mut out = Vec::with_capacity(incoming.len());
            for (message, leaf) in incoming.iter().zip(leaves) {
                out.push(state.take(writer, message, leaf)?);
            }
            if out.iter().all(Result::is_err) {
                return Ok(Changed::No(out));
            }
            writer.put_head(&state.tree, state.head.signature, state.before)?;
            Ok(Changed::Yes(out))
        })
    }

    /// Moves to another fork that a peer proved. `prepared_on` is the snapshot with which the move was prepared.
    pub fn reorg(&self, prepared_on: &Snapshot, reorged: &Reorged) -> Result<Head, CoreError> {
        self.store.write(self.number, |writer| {
            let (head, _) = writer.head()?;
            let (was, to) = (prepared_on.head(), &reorged.upgraded.tree);
            if was.fork != head.fork || was.length != head.length || to.fork() <= head.fork {
                return Err(CoreError::Changed);
            }
            let length = to.length();
            self.known_verifier()?
                .verify(to, &reorged.upgraded.signature)
                .map_err(|source| CoreError::Signature { length, source })?;
            let ancestors = reorged.ancestors.min(length);
            writer.truncate(head.length, ancestors)?;
            writer.put_nodes(reorged.nodes.iter().copied())?;
            match Tree::load(to.fork(), length, writer) {
                Ok(tree) if tree == *to => {}
                Ok(_) | Err(TreeError::MissingRoot(..)) => return Err(CoreError::IncompleteFork { length }),
                Err(error) => return Err(error.into()),
            }
            let signature = reorged.upgraded.signature.clone();
            let head = writer.put_head(to, signature, head.contiguous_length.min(ancestors))?;
            Ok(Changed::Yes(head))
        })
    }
}

/// The core while messages are taken.
struct State {
    key: crate::crypto::Hash,
    verifier: Option<Verifier>,
    head: Head,
    tree: Tree,
    /// Blocks without a gap before the first message.
    before: u64,
}

impl State {
    fn take(
        &mut self,
        writer: &mut Writer<'_>,
        message: &Incoming<'_>,
        leaf: Option<Leaf>,
    ) -> Result<Result<Applied, NotApplied>, CoreError> {
        let verifier = match (&self.verifier, message.manifest) {
            (Some(known), _) => Cow::Borrowed(known),
            // Peers send no manifest of a compat core: only who has the key's secret half can have signed it.
            (None, None) if message.proof.upgrade.is_some() => Cow::Owned(Verifier::compat(self.key)),
            (None, None) => return Ok(Err(NotApplied::NoManifest)),
            (None, Some(manifest)) => match Verifier::new(self.key, manifest.clone()) {
                Ok(verifier) => Cow::Owned(verifier),
                Err(wrong) => return Ok(Err(wrong.into())),
            },
        };
        let verified = match verify_leaf(&self.tree, &verifier, message.proof, leaf, writer) {
            Ok(verified) => verified,
            Err(VerifyError::Read(error)) => return Err(ours(error)),
            Err(error) => return Ok(Err(error.into())),
        };
        if let Cow::Owned(verifier) = verifier {
            writer.put_manifest(verifier.manifest())?;
            self.verifier = Some(verifier);
        }
        writer.put_nodes(verified.nodes)?;
        let block = match (&message.proof.node, message.value) {
            (Some(NodeProof::Block { block, .. }), Some(value)) => {
                // What was stored may be damaged: nothing of it stays.
                writer.drop_blocks(*block..*block + 1)?;
                writer.put_block(*block, value)?;
                writer.mark(*block..*block + 1, true)?;
                Some(*block)
            }
            _ => None,
        };
        let length = verified.upgraded.map(|upgraded| {
            self.tree = upgraded.tree;
            self.head.signature = upgraded.signature;
            self.tree.length()
        });
        Ok(Ok(Applied { block, length }))
    }
}

/// The hashes of all blocks, computed side by side.
fn hash_values(incoming: &[Incoming<'_>]) -> Vec<Option<Leaf>> {
    let values: Vec<&[u8]> = incoming.iter().filter_map(|message| message.value).collect();
    let mut hashes = crypto::leaf_hashes(&values).into_iter();
    let leaf = |message: &Incoming<'_>| {
        let size = message.value?.len() as u64;
        hashes.next().map(|hash| Leaf { size, hash })
    };
    incoming.iter().map(leaf).collect()
}

/// A failure of the storage under a proof is ours, not the peer's.
pub(super) fn ours(error: ReadError) -> CoreError {
    match error.source.downcast::<StoreError>() {
        Ok(store) => CoreError::Store(*store),
        Err(source) => CoreError::Tree(TreeError::Read(ReadError { at: error.at, source })),
    }
}
