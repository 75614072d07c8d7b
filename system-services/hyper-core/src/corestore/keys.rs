//! Which key pair a name stands for.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{self, Hash, KeyPair};

/// The secret from which a store's own cores have their key pairs: the same primary key gives the same cores anywhere, in the
/// JavaScript stack too. It is wiped when it is dropped, and never printed.
#[derive(Clone)]
pub struct PrimaryKey(Zeroizing<[u8; 32]>);

impl PrimaryKey {
    /// From 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A new one.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut bytes[..])?;
        Ok(Self(bytes))
    }

    /// The 32 bytes: whoever has them can write all cores of the store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether it is the same one, in a time that tells nothing of where they differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0[..]))
    }

    /// The key pair of a name in a namespace.
    pub(super) fn key_pair(&self, namespace: &Hash, name: &str) -> KeyPair {
        let own = crypto::namespace(b"corestore", 0);
        let seed = crypto::keyed_hash(&self.0, &[&own, namespace, name.as_bytes()]);
        KeyPair::from_seed(&Zeroizing::new(seed))
    }
}

/// The namespace of a store's root.
pub(super) const ROOT: Hash = [0; 32];

/// The namespace that is called `name` within another.
pub(super) fn namespace(within: &Hash, name: &str) -> Hash {
    crypto::hash(&[within, name.as_bytes()])
}
