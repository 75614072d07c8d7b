//! The key that signs the payloads of the corpus: anyone can make it, and nothing else trusts it.

use boot_payload::SigningKey;

/// The signing key.
pub fn signing() -> SigningKey {
    let scalar = p256::FieldBytes::from([0x42; 32]);
    SigningKey::from_bytes(&scalar).expect("a scalar below the order of the curve")
}
