//! Hashes, keys and what is signed, as hypercore 11 has them.
//!
//! All hashes are BLAKE2b with 32 bytes of output. The first byte says what is hashed (leaf 0, parent 1, roots 2), so that
//! no parent can pass for a leaf. Integers in hashes and in signed bytes are 64 bits, little endian.

use std::sync::LazyLock;

use blake2::digest::block_api::{Buffer, UpdateCore, VariableOutputCore};
use blake2::{Blake2b256, Blake2bVarCore, Digest};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// A hash, a public key or a core's key: 32 bytes.
pub type Hash = [u8; 32];

/// Bytes of an ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// The hash of byte strings one after the other.
pub fn hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Blake2b256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The keyed hash of byte strings one after the other. The crate's MAC type wants fallible keys; this cannot fail.
pub fn keyed_hash<const N: usize>(key: &[u8; N], parts: &[&[u8]]) -> Hash {
    const { assert!(N >= 1 && N <= 64, "BLAKE2b keys have 1 to 64 bytes") };
    let mut core = Blake2bVarCore::new_with_params(&[], &[], N, 32);
    let mut first_block = [0; 128];
    first_block[..N].copy_from_slice(key);
    let mut buffer = Buffer::<Blake2bVarCore>::new(&first_block);
    for part in parts {
        buffer.digest_blocks(part, |blocks| core.update_blocks(blocks));
    }
    let mut full = Default::default();
    core.finalize_variable_core(&mut buffer, &mut full);
    let mut out = [0; 32];
    out.copy_from_slice(&full[..32]);
    out
}

/// The hash of a block.
pub fn leaf_hash(block: &[u8]) -> Hash {
    hash_of(&leaf_state(block.len()).update(block).finalize())
}

/// The hashes of several blocks. Processors with wide registers hash four blocks in the time of two.
pub fn leaf_hashes(blocks: &[&[u8]]) -> Vec<Hash> {
    let mut states: Vec<_> = blocks.iter().map(|block| leaf_state(block.len())).collect();
    blake2b_simd::many::update_many(states.iter_mut().zip(blocks));
    states.iter().map(|state| hash_of(&state.finalize())).collect()
}

/// A hash that has what comes before a block of so many bytes. The crate is the one that uses the processor's wide registers: hashing
/// is the largest part of appending and of replicating.
fn leaf_state(bytes: usize) -> blake2b_simd::State {
    let mut state = blake2b_simd::Params::new().hash_length(32).to_state();
    state.update(&[0]).update(&(bytes as u64).to_le_bytes());
    state
}

fn hash_of(hash: &blake2b_simd::Hash) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(hash.as_bytes());
    out
}

/// The hash of two siblings, left first; `size` is the bytes below both.
pub fn parent_hash(size: u64, left: &Hash, right: &Hash) -> Hash {
    hash(&[&[1], &size.to_le_bytes(), left, right])
}

/// The hash of a tree: of its roots (hash, index, bytes below), left to right.
pub fn tree_hash(roots: impl IntoIterator<Item = (Hash, u64, u64)>) -> Hash {
    let mut hasher = Blake2b256::new_with_prefix([2]);
    for (hash, index, size) in roots {
        hasher.update(hash);
        hasher.update(index.to_le_bytes());
        hasher.update(size.to_le_bytes());
    }
    hasher.finalize().into()
}

/// What a core is found by: told to strangers, from which its key cannot be learnt.
pub fn discovery_key(key: &Hash) -> Hash {
    keyed_hash(key, &[b"hypercore"])
}

/// The hash that keeps one use apart from all others: number `id` of the program `name`.
pub fn namespace(name: &[u8], id: u8) -> Hash {
    hash(&[&hash(&[name]), &[id]])
}

/// Hypercore's own namespaces, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Before a signed tree.
    Tree,
    /// The capability that who opened the connection shows.
    ReplicateInitiator,
    /// The capability that who accepted the connection shows.
    ReplicateResponder,
    /// Before a manifest that is hashed.
    Manifest,
    /// Of signers that name no other.
    DefaultSigner,
    /// Of the default block encryption.
    DefaultEncryption,
}

impl Namespace {
    /// Its 32 bytes.
    pub fn bytes(self) -> &'static Hash {
        static ALL: LazyLock<[Hash; 6]> =
            LazyLock::new(|| std::array::from_fn(|id| namespace(b"hypercore", id as u8)));
        &ALL[self as usize]
    }
}

/// Shows a peer, on this one connection only, that its other end knows the key of a core.
/// `handshake_hash` is that of the connection's Noise handshake.
pub fn capability(initiator: bool, key: &Hash, handshake_hash: &[u8; 64]) -> Hash {
    let role = if initiator {
        Namespace::ReplicateInitiator
    } else {
        Namespace::ReplicateResponder
    };
    keyed_hash(handshake_hash, &[role.bytes(), key])
}

/// What is signed of a tree: 112 bytes. `context` is the manifest's hash, or a signer's namespace in version 0.
pub fn tree_signable(context: &Hash, tree: &Hash, length: u64, fork: u64) -> [u8; 112] {
    let mut out = [0; 112];
    out[..32].copy_from_slice(Namespace::Tree.bytes());
    out[32..64].copy_from_slice(context);
    out[64..96].copy_from_slice(tree);
    out[96..104].copy_from_slice(&length.to_le_bytes());
    out[104..].copy_from_slice(&fork.to_le_bytes());
    out
}

/// What is signed of the tree of a core whose key is a public key (hypercore 10): 80 bytes.
pub fn tree_signable_compat(tree: &Hash, length: u64, fork: u64) -> [u8; 80] {
    let mut out = [0; 80];
    out[..32].copy_from_slice(Namespace::Tree.bytes());
    out[32..64].copy_from_slice(tree);
    out[64..72].copy_from_slice(&length.to_le_bytes());
    out[72..].copy_from_slice(&fork.to_le_bytes());
    out
}

/// Whether `signature` is that of `public_key` over `message`.
///
/// As strict as libsodium, which the peers use: keys and points of small order and keys that are not in canonical form are
/// refused. Two peers must never disagree on what is signed.
pub fn verify(message: &[u8], signature: &[u8], public_key: &Hash) -> bool {
    let (Ok(signature), Ok(key)) = (
        Signature::from_slice(signature),
        VerifyingKey::from_bytes(public_key),
    ) else {
        return false;
    };
    key.to_edwards().compress().as_bytes() == public_key && key.verify_strict(message, &signature).is_ok()
}

/// An ed25519 key pair. The secret is wiped when it is dropped, and never printed.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// The key pair of a seed of 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// From the 64 bytes that the peers store: seed, then public key. `None` if the two do not belong together.
    pub fn from_secret_key(bytes: &[u8; 64]) -> Option<Self> {
        SigningKey::from_keypair_bytes(bytes).ok().map(Self)
    }

    /// The 64 bytes that the peers store: seed, then public key. The caller wipes them.
    pub fn secret_key(&self) -> [u8; 64] {
        self.0.to_keypair_bytes()
    }

    /// The public key.
    pub fn public_key(&self) -> Hash {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_side_by_side_are_those_one_by_one_and_those_of_the_other_crate() {
        let lengths = (0..40).chain([127, 128, 1000, 65_536, 131_072, 131_073]);
        let blocks: Vec<_> = lengths.map(|length| vec![length as u8; length]).collect();
        for count in 0..blocks.len() {
            let some: Vec<_> = blocks[count..].iter().map(Vec::as_slice).collect();
            let one_by_one: Vec<_> = some.iter().map(|block| leaf_hash(block)).collect();
            assert_eq!(leaf_hashes(&some), one_by_one);
            for (block, ours) in some.iter().zip(one_by_one) {
                assert_eq!(ours, hash(&[&[0], &(block.len() as u64).to_le_bytes(), block]));
            }
        }
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let pair = KeyPair::from_seed(&[7; 32]);
        let other = KeyPair::from_seed(&[8; 32]);
        let signature = pair.sign(b"message");
        assert!(verify(b"message", &signature, &pair.public_key()));
        assert!(!verify(b"massage", &signature, &pair.public_key()));
        assert!(!verify(b"message", &signature, &other.public_key()));
        assert!(!verify(b"message", &signature[..63], &pair.public_key()));
    }

    #[test]
    fn a_key_of_small_order_signs_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!verify(b"anything", &signature, &identity));
        // The same point written with a number beyond the field's prime.
        let mut non_canonical = [0xff; 32];
        non_canonical[0] = 0xee;
        non_canonical[31] = 0x7f;
        assert!(!verify(b"anything", &signature, &non_canonical));
    }

    #[test]
    fn the_stored_secret_key_gives_the_pair_again_unless_halves_are_mixed() {
        let pair = KeyPair::from_seed(&[7; 32]);
        let mut bytes = pair.secret_key();
        assert_eq!(
            KeyPair::from_secret_key(&bytes).unwrap().public_key(),
            pair.public_key()
        );
        bytes[0] ^= 1;
        assert!(KeyPair::from_secret_key(&bytes).is_none());
    }
}
