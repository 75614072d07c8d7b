//! Which core holds a drive's contents.

use std::sync::LazyLock;

use hyper_core::crypto::{self, Hash};
use hyper_core::manifest::{Manifest, ManifestFields, Signer, Verifier};

/// Keeps the signatures of a drive's contents apart from those of its database.
static BLOBS: LazyLock<Hash> = LazyLock::new(|| crypto::namespace(b"hyperdrive", 0));

/// The core of the contents, from that of the database: the same signers, each in a namespace of its own.
///
/// `None` for cores of hypercore 10, and for manifests of version 0, which know no such derivation.
pub fn blobs_verifier(db: &Verifier) -> Option<Verifier> {
    let fields = db.manifest().fields();
    if db.is_compat() || fields.version < 1 {
        return None;
    }
    let signer = |signer: &Signer| Signer {
        namespace: crypto::hash(&[&*BLOBS, db.key(), &signer.namespace]),
        public_key: signer.public_key,
    };
    let manifest = Manifest::new(ManifestFields {
        version: fields.version,
        allow_patch: fields.allow_patch,
        quorum: fields.quorum,
        signers: fields.signers.iter().map(signer).collect(),
        prologue: None,
        linked: None,
        user_data: None,
    });
    Some(Verifier::of_manifest(manifest.ok()?))
}
