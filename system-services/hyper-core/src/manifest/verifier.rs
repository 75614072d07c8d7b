//! Whether a tree is signed as its core's manifest demands, and signing it.

use std::collections::{HashMap, HashSet};

use super::{Manifest, MultiSignature, PartialSignature, Prologue, SignedPart, Signer};
use crate::crypto::{self, Hash, KeyPair, SIGNATURE_BYTES};
use crate::flat_tree::{self, Position};
use crate::merkle::{Batch, Node, Tree, UpgradeProof, apply_upgrade};
use crate::messages::MalformedMessage;

/// A manifest that is not that of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the manifest does not belong to the core: its hash is not the core's key")]
pub struct WrongManifest;

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] MalformedMessage),
    /// Nobody can sign this core.
    #[error("the core has no signers: it is what its prologue says")]
    NoSigners,
    /// The tree contradicts the prologue.
    #[error("the tree is not the prologue of the core's manifest")]
    NotThePrologue,
    /// Too few have signed.
    #[error("{signatures} have signed, {quorum} must")]
    Quorum {
        /// Signatures.
        signatures: usize,
        /// Signatures demanded.
        quorum: u64,
    },
    /// A signature of nobody.
    #[error("signer {0} is not in the core's manifest")]
    UnknownSigner(u64),
    /// A signature that counts once.
    #[error("signer {0} has signed twice")]
    SignedTwice(u64),
    /// The nodes do not lead to a longer tree.
    #[error("the nodes that come with the signature of signer {0} do not lead to the tree it signed")]
    Patch(u64),
    /// The mathematics say no.
    #[error("the signature of signer {0} is wrong")]
    Wrong(u64),
}

/// A tree that cannot be signed with this key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key pair is not that of a signer in the core's manifest")]
pub struct SignError;

/// Checks and makes the signatures of one core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    key: Hash,
    manifest: Manifest,
    compat: bool,
}

impl Verifier {
    /// The verifier of the core with this key. The manifest must hash to the key; or, in a compat core, name it as its only signer.
    pub fn new(key: Hash, manifest: Manifest) -> Result<Self, WrongManifest> {
        let compat = matches!(&manifest.fields().signers[..], [only] if only.public_key == key);
        if !compat && manifest.hash() != key {
            return Err(WrongManifest);
        }
        Ok(Self {
            key,
            manifest,
            compat,
        })
    }

    /// The verifier of a compat core: its key is the signer's.
    pub fn compat(key: Hash) -> Self {
        Self {
            key,
            manifest: Manifest::single(key),
            compat: true,
        }
    }

    /// The verifier of a core whose key is the manifest's hash.
    pub fn of_manifest(manifest: Manifest) -> Self {
        Self {
            key: manifest.hash(),
            manifest,
            compat: false,
        }
    }

    /// The core's key.
    pub fn key(&self) -> &Hash {
        &self.key
    }

    /// The core's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the core's key is its signer's, as in hypercore 10.
    pub fn is_compat(&self) -> bool {
        self.compat
    }

    /// What the core starts with.
    pub fn prologue(&self) -> Option<&Prologue> {
        self.manifest.fields().prologue.as_ref().filter(|_| !self.compat)
    }

    /// Whether a signature is one naked ed25519 signature.
    fn is_naked(&self) -> bool {
        let fields = self.manifest.fields();
        self.compat || (fields.version == 0 && !fields.allow_patch && fields.signers.len() == 1)
    }

    /// What a signer signs of a tree.
    fn signable(&self, signer: &Signer, tree: &Tree) -> Signable {
        if self.compat {
            return Signable::Compat(crypto::tree_signable_compat(
                &tree.hash(),
                tree.length(),
                tree.fork(),
            ));
        }
        let context = if self.manifest.fields().version == 0 {
            &signer.namespace
        } else {
            &self.key
        };
        Signable::Full(crypto::tree_signable(
            context,
            &tree.hash(),
            tree.length(),
            tree.fork(),
        ))
    }

    /// Checks that the tree is signed as the manifest demands.
    pub fn verify(&self, tree: &Tree, signature: &[u8]) -> Result<(), SignatureError> {
        if self.is_naked() {
            return self.verify_one(tree, 0, signature);
        }
        let version_0 = self.manifest.fields().version == 0;
        match self.prologue() {
            // A prologue is known beforehand: its own tree needs no signature.
            Some(prologue) if !version_0 && tree.length() <= prologue.length => {
                let same = tree.length() == prologue.length && tree.hash() == prologue.hash;
                same.then_some(()).ok_or(SignatureError::NotThePrologue)
            }
            _ if self.manifest.fields().quorum == 0 => Err(SignatureError::NoSigners),
            _ if version_0 => self.verify_all(tree, &MultiSignature::decode_version_0(signature)?),
            _ => self.verify_all(tree, &MultiSignature::decode(signature)?),
        }
    }

    /// Only the first signatures, as many as must be, are looked at, as the peers do.
    fn verify_all(&self, tree: &Tree, signature: &MultiSignature) -> Result<(), SignatureError> {
        let fields = self.manifest.fields();
        let quorum = usize::try_from(fields.quorum)
            .ok()
            .filter(|quorum| *quorum <= signature.parts.len());
        let Some(quorum) = quorum else {
            return Err(SignatureError::Quorum {
                signatures: signature.parts.len(),
                quorum: fields.quorum,
            });
        };
        let patch: HashMap<_, _> = signature
            .patch
            .iter()
            .map(|node| (node.position, *node))
            .collect();
        let mut seen = HashSet::new();
        for part in signature.parts.iter().take(quorum) {
            if !seen.insert(part.signer) {
                return Err(SignatureError::SignedTwice(part.signer));
            }
            if part.patch != 0 && fields.allow_patch {
                let longer = self.patched(tree, part, &patch)?;
                self.verify_one(&longer, part.signer, &part.signature)?;
            } else {
                self.verify_one(tree, part.signer, &part.signature)?;
            }
        }
        Ok(())
    }

    fn verify_one(&self, tree: &Tree, signer: u64, signature: &[u8]) -> Result<(), SignatureError> {
        let who = usize::try_from(signer)
            .ok()
            .and_then(|place| self.manifest.fields().signers.get(place))
            .ok_or(SignatureError::UnknownSigner(signer))?;
        let holds = crypto::verify(self.signable(who, tree).bytes(), signature, &who.public_key);
        holds.then_some(()).ok_or(SignatureError::Wrong(signer))
    }

    /// The longer tree that a signer signed.
    fn patched(
        &self,
        tree: &Tree,
        part: &SignedPart,
        patch: &HashMap<Position, Node>,
    ) -> Result<Tree, SignatureError> {
        let wrong = SignatureError::Patch(part.signer);
        let (start, length) = (tree.length(), part.patch);
        let end = start
            .checked_add(length)
            .filter(|end| *end <= flat_tree::MAX_BLOCKS)
            .ok_or(wrong)?;
        let path = flat_tree::upgrade_path(start, end);
        let nodes = path
            .iter()
            .map(|at| patch.get(at).copied())
            .collect::<Option<_>>()
            .ok_or(wrong)?;
        let upgrade = UpgradeProof {
            start,
            length,
            nodes,
            additional_nodes: Vec::new(),
            signature: Vec::new(),
        };
        let mut batch = Batch::new(tree.clone());
        apply_upgrade(&mut batch, &upgrade, None, self.prologue()).map_err(|_| wrong)?;
        Ok(batch.into_parts().0)
    }

    /// Signs a tree alone. `None`: this signer must sign together with others, who need [`Verifier::sign_part`].
    pub fn sign(&self, tree: &Tree, pair: &KeyPair) -> Result<Option<Vec<u8>>, SignError> {
        let part = self.sign_part(tree, pair)?;
        if self.is_naked() {
            return Ok(Some(part.signature.to_vec()));
        }
        let alone = self.manifest.fields().quorum == 1;
        Ok(alone.then(|| {
            self.assemble(&[PartialSignature {
                part,
                nodes: Vec::new(),
            }])
        }))
    }

    /// Signs a tree together with others.
    pub fn sign_part(&self, tree: &Tree, pair: &KeyPair) -> Result<SignedPart, SignError> {
        let public_key = pair.public_key();
        let signers = &self.manifest.fields().signers;
        let found = signers
            .iter()
            .zip(0..)
            .find(|(signer, _)| signer.public_key == public_key);
        let (who, signer) = found.ok_or(SignError)?;
        let signature: [u8; SIGNATURE_BYTES] = pair.sign(self.signable(who, tree).bytes());
        Ok(SignedPart {
            signer,
            signature,
            patch: 0,
        })
    }

    /// Joins signatures of several signers.
    pub fn assemble(&self, signatures: &[PartialSignature]) -> Vec<u8> {
        match self.manifest.fields().version {
            0 => MultiSignature::encode_version_0(signatures),
            _ => MultiSignature::assemble(signatures).encode(),
        }
    }
}

/// The bytes that are signed.
enum Signable {
    Compat([u8; 80]),
    Full([u8; 112]),
}

impl Signable {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Compat(bytes) => bytes,
            Self::Full(bytes) => bytes,
        }
    }
}
