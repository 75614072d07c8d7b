//! Blocks that only who has the encryption key can read, as hypercore 11 encrypts them.
//!
//! Peers replicate and verify the encrypted bytes without that key. A block is stored as 8 bytes of padding and the block
//! under XSalsa20. The padding is the core's fork when the block was written (64 bits, little endian), itself under XSalsa20 with
//! the blinding key and the nonce *number of the block, 16 zeros*; the block's nonce is *number of the block, padding, 8 zeros*.
//! So no nonce serves twice for different bytes, unless a core is truncated and goes on under the same fork.
//!
//! There is no tag: that the bytes are those of the writer is what the core's signature says. With another key a block decrypts to
//! noise, not to an error.

use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

use crate::crypto::{self, Hash, Namespace};

/// Bytes by which a block is longer when it is encrypted.
pub const PADDING_BYTES: usize = 8;

/// A block that cannot have been encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "block {block} has {bytes} bytes, an encrypted one has at least {PADDING_BYTES}: the core is not encrypted"
)]
pub struct NotEncrypted {
    /// The block.
    pub block: u64,
    /// Its bytes.
    pub bytes: usize,
}

/// Encrypts and decrypts the blocks of one core. Its keys are wiped when it is dropped, and never printed.
#[derive(Clone)]
pub struct BlockCipher {
    current: BlockKeys,
    compat: BlockKeys,
}

/// The keys of one of the two derivations.
#[derive(Clone)]
struct BlockKeys {
    block: Zeroizing<[u8; 32]>,
    blinding: Zeroizing<[u8; 32]>,
}

impl BlockKeys {
    fn new(block: Hash) -> Self {
        Self {
            blinding: Zeroizing::new(crypto::hash(&[&block])),
            block: Zeroizing::new(block),
        }
    }
}

impl BlockCipher {
    /// The cipher of the core with key `core`. Many cores may share one encryption key: each has a key of its own for its blocks.
    pub fn new(encryption_key: &[u8; 32], core: &Hash) -> Self {
        Self {
            current: BlockKeys::new(block_key(encryption_key, core)),
            compat: BlockKeys::new(crypto::keyed_hash(core, &[encryption_key])),
        }
    }

    /// The cipher of the core whose blocks have this key of their own ([`block_key`]), with which no other core can be read.
    pub fn of_block_key(key: &[u8; 32]) -> Self {
        let keys = BlockKeys::new(*key);
        Self {
            compat: keys.clone(),
            current: keys,
        }
    }

    fn keys(&self, compat: bool) -> &BlockKeys {
        if compat { &self.compat } else { &self.current }
    }

    /// Encrypts a block that is appended. `compat` says whether the core is one of hypercore 10 ([`Verifier::is_compat`]): those derive their
    /// keys otherwise.
    ///
    /// [`Verifier::is_compat`]: crate::manifest::Verifier::is_compat
    pub fn encrypt(&self, compat: bool, block: u64, fork: u64, plain: &[u8]) -> Vec<u8> {
        let keys = self.keys(compat);
        let mut padding = fork.to_le_bytes();
        apply(&keys.blinding, block, &[0; PADDING_BYTES], &mut padding);
        let mut out = Vec::with_capacity(PADDING_BYTES + plain.len());
        out.extend_from_slice(&padding);
        out.extend_from_slice(plain);
        apply(&keys.block, block, &padding, &mut out[PADDING_BYTES..]);
        out
    }

    /// Decrypts a block as it is stored.
    pub fn decrypt(&self, compat: bool, block: u64, mut stored: Vec<u8>) -> Result<Vec<u8>, NotEncrypted> {
        let Some(padding) = stored.first_chunk::<PADDING_BYTES>().copied() else {
            let bytes = stored.len();
            return Err(NotEncrypted { block, bytes });
        };
        stored.drain(..PADDING_BYTES);
        apply(&self.keys(compat).block, block, &padding, &mut stored);
        Ok(stored)
    }
}

/// The key with which the blocks of one core are encrypted, derived from an encryption key that other cores may share. Whoever is
/// given this key alone reads this core alone. (Cores of hypercore 10 derive theirs otherwise.)
pub fn block_key(encryption_key: &[u8; 32], core: &Hash) -> [u8; 32] {
    crypto::hash(&[Namespace::DefaultEncryption.bytes(), core, encryption_key])
}

/// XSalsa20 from its start on, under the nonce of a block.
fn apply(key: &[u8; 32], block: u64, padding: &[u8; PADDING_BYTES], bytes: &mut [u8]) {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&block.to_le_bytes());
    nonce[8..16].copy_from_slice(padding);
    XSalsa20::new(key.into(), &nonce.into()).apply_keystream(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_block_too_short_to_be_encrypted_is_refused() {
        let cipher = BlockCipher::new(&[1; 32], &[2; 32]);
        let refused = cipher.decrypt(false, 3, vec![0; 7]);
        assert_eq!(refused, Err(NotEncrypted { block: 3, bytes: 7 }));
        assert_eq!(cipher.decrypt(false, 3, vec![0; 8]), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn a_block_is_read_as_it_was_written(compat: bool, block: u64, fork: u64, plain: Vec<u8>) {
            let cipher = BlockCipher::new(&[1; 32], &[2; 32]);
            let stored = cipher.encrypt(compat, block, fork, &plain);
            prop_assert_eq!(stored.len(), plain.len() + PADDING_BYTES);
            prop_assert_eq!(cipher.decrypt(compat, block, stored), Ok(plain));
        }

        #[test]
        fn the_same_block_looks_different_elsewhere(block in 0..1000u64, fork in 0..1000u64) {
            let cipher = BlockCipher::new(&[1; 32], &[2; 32]);
            let other_core = BlockCipher::new(&[1; 32], &[3; 32]);
            let plain = [0; 32];
            let here = cipher.encrypt(false, block, fork, &plain);
            prop_assert_ne!(&here, &cipher.encrypt(false, block + 1, fork, &plain));
            prop_assert_ne!(&here, &cipher.encrypt(false, block, fork + 1, &plain));
            prop_assert_ne!(&here, &cipher.encrypt(true, block, fork, &plain));
            prop_assert_ne!(&here, &other_core.encrypt(false, block, fork, &plain));
        }
    }
}
