//! ed25519 keys as Noise uses them. The rules of the multiplication are libsodium's `crypto_scalarmult_ed25519_noclamp`,
//! which the JavaScript peers call: a key is canonical, of the prime-order group and not the identity, or it is refused.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// Length of a public key, in bytes.
pub const PUBLIC_KEY_BYTES: usize = 32;

/// The curve's name within the protocol name. Not in the Noise specification; the peers' own word.
pub(super) const NAME: &str = "Ed25519";

/// A static key: the scalar and its point. The same seed gives the same public key as for ed25519 signatures.
pub struct KeyPair {
    scalar: Zeroizing<[u8; 32]>,
    public_key: [u8; PUBLIC_KEY_BYTES],
}

impl KeyPair {
    /// The key pair of an ed25519 seed (RFC 8032, section 5.1.5). libsodium's 64-byte secret key is seed, then public key.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let digest = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(seed)));
        let mut scalar = Zeroizing::new([0; 32]);
        scalar.copy_from_slice(&digest[..32]);
        *scalar = clamp_integer(*scalar);
        Self::from_scalar(scalar)
    }

    /// The key pair of a scalar that is used as it is: the peers derive such *tweaked* keys from others, and there is no
    /// seed behind them. Little endian; only its value modulo the group's order counts.
    #[must_use]
    pub fn from_scalar(scalar: Zeroizing<[u8; 32]>) -> Self {
        let number = Zeroizing::new(Scalar::from_bytes_mod_order(*scalar));
        let public_key = EdwardsPoint::mul_base(&number).compress().to_bytes();
        Self { scalar, public_key }
    }

    /// The public key: what peers are called by.
    #[must_use]
    pub fn public_key(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.public_key
    }

    pub(super) fn scalar(&self) -> &[u8; 32] {
        &self.scalar
    }
}

/// The shared point of `scalar` and another's key, or `None` if libsodium would refuse that key (or the result).
pub(super) fn shared_point(
    scalar: &[u8; 32],
    public_key: &[u8; PUBLIC_KEY_BYTES],
) -> Option<Zeroizing<[u8; 32]>> {
    let compressed = CompressedEdwardsY(*public_key);
    let point = compressed.decompress()?;
    // dalek reads y modulo p: what does not compress to itself was not canonical.
    if point.compress() != compressed || point.is_small_order() || !point.is_torsion_free() {
        return None;
    }
    let number = Zeroizing::new(Scalar::from_bytes_mod_order(*scalar));
    let shared = Zeroizing::new(*number * point);
    if shared.is_identity() {
        return None;
    }
    Some(Zeroizing::new(shared.compress().to_bytes()))
}
