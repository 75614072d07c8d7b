//! A core's manifest: who signs it, and what it starts with. Its hash is the core's key.
//!
//! Versions 0 to 3 as hypercore 11 reads them; new cores get version 1, or 2 where a field needs it. Cores of hypercore 10
//! (*compat*) have one signer, whose public key is the core's key.

mod codec;
mod multisig;
mod verifier;

pub use codec::ManifestError;
pub use multisig::{MultiSignature, PartialSignature, SignedPart};
pub use verifier::{SignError, SignatureError, Verifier, WrongManifest};

use crate::crypto::{Hash, Namespace};
use crate::flat_tree::MAX_BLOCKS;

/// The newest version that is read.
pub const NEWEST_VERSION: u8 = 3;

/// The most signers, and the most linked cores, of one manifest. Our own limit: checking a signature costs one
/// curve operation for each signer.
pub const MAX_SIGNERS: usize = 1024;

/// One who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Keeps cores of the same key apart: any 32 bytes, [`Namespace::DefaultSigner`] where nothing else is chosen.
    pub namespace: Hash,
    /// The ed25519 public key.
    pub public_key: Hash,
}

impl Signer {
    /// A signer in the default namespace.
    pub fn new(public_key: Hash) -> Self {
        Self {
            namespace: *Namespace::DefaultSigner.bytes(),
            public_key,
        }
    }
}

/// What a core starts with, fixed before anyone signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prologue {
    /// Hash of the tree of these blocks.
    pub hash: Hash,
    /// Blocks.
    pub length: u64,
}

/// The fields of a manifest, not checked against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFields {
    /// 0 to [`NEWEST_VERSION`].
    pub version: u8,
    /// Whether signers may sign different lengths: the shorter ones are patched with nodes in the signature.
    pub allow_patch: bool,
    /// How many signers must sign.
    pub quorum: u64,
    /// Who may sign. A core without signers is what its prologue says.
    pub signers: Vec<Signer>,
    /// What the core starts with.
    pub prologue: Option<Prologue>,
    /// Keys of cores that belong to it (from version 2).
    pub linked: Option<Vec<Hash>>,
    /// Anything (from version 2).
    pub user_data: Option<Vec<u8>>,
}

/// Fields that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidManifest {
    /// A version that is not known.
    #[error("manifest version {0} is not known: this program reads versions 0 to {NEWEST_VERSION}")]
    Version(u64),
    /// More signatures are demanded than there are signers.
    #[error("the manifest demands {quorum} signatures but has {signers} signers")]
    Quorum {
        /// Signatures demanded.
        quorum: u64,
        /// Signers.
        signers: usize,
    },
    /// Too many signers or linked cores.
    #[error("the manifest has more than {MAX_SIGNERS} signers or linked cores")]
    TooMany,
    /// A prologue longer than a core can be.
    #[error("the manifest has a prologue of {0} blocks, more than a core can hold")]
    PrologueLength(u64),
    /// A field of a newer version.
    #[error("a manifest of version {0} has no linked cores and no user data")]
    FieldOfNewerVersion(u8),
    /// Version 0 has a prologue's hash only, and only without signers.
    #[error("a manifest of version 0 has a prologue only without signers and without length")]
    PrologueInVersion0,
}

/// A manifest whose fields agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest(ManifestFields);

impl Manifest {
    /// The manifest of a new core with one signer in the default namespace.
    pub fn single(public_key: Hash) -> Self {
        Self(ManifestFields {
            version: 1,
            allow_patch: false,
            quorum: 1,
            signers: vec![Signer::new(public_key)],
            prologue: None,
            linked: None,
            user_data: None,
        })
    }

    /// Checks that the fields agree.
    pub fn new(fields: ManifestFields) -> Result<Self, InvalidManifest> {
        let ManifestFields {
            version,
            quorum,
            ref signers,
            ref prologue,
            ref linked,
            ..
        } = fields;
        if version > NEWEST_VERSION {
            return Err(InvalidManifest::Version(version.into()));
        }
        if signers.len().max(linked.as_ref().map_or(0, Vec::len)) > MAX_SIGNERS {
            return Err(InvalidManifest::TooMany);
        }
        if quorum > signers.len() as u64 {
            return Err(InvalidManifest::Quorum {
                quorum,
                signers: signers.len(),
            });
        }
        if version < 2 && (linked.is_some() || fields.user_data.is_some()) {
            return Err(InvalidManifest::FieldOfNewerVersion(version));
        }
        if let Some(prologue) = prologue {
            if prologue.length > MAX_BLOCKS {
                return Err(InvalidManifest::PrologueLength(prologue.length));
            }
            if version == 0 && (prologue.length != 0 || !signers.is_empty() || fields.allow_patch) {
                return Err(InvalidManifest::PrologueInVersion0);
            }
        }
        Ok(Self(fields))
    }

    /// The fields.
    pub fn fields(&self) -> &ManifestFields {
        &self.0
    }
}

/// How many of so many signers must sign where nothing else is chosen: more than half.
pub fn default_quorum(signers: usize) -> u64 {
    if signers == 0 { 0 } else { signers as u64 / 2 + 1 }
}
