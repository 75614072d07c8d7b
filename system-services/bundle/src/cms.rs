//! The signature of a bundle: CMS `SignedData` (RFC 5652) with the manifest attached.

mod error;

pub use error::CmsError;

use crate::keyring::Keyring;

/// Seconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub u64);

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Subject of the certificate (RFC 4514), without control characters.
    pub subject: String,
    /// Its issuer, likewise.
    pub issuer: String,
    /// Its serial number in hexadecimal, two digits a byte.
    pub serial: String,
    /// Last second it is valid, Unix time.
    pub not_after: u64,
    /// When the signer says to have signed, Unix time; never used for a decision.
    pub signing_time: Option<u64>,
}

/// Content with its signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What was signed.
    pub content: Vec<u8>,
    /// Who signed it: exactly one.
    pub signer: Signer,
}

/// Checks signature, chain, purpose, validity and revocation; what comes back may be trusted as much as `keyring`.
pub fn verify(der: &[u8], keyring: &Keyring, now: UnixTime) -> Result<Signed, CmsError> {
    let _ = (der, keyring, now);
    Err(CmsError::Detached)
}

/// Reads content and claimed signer **without any check of the signature**: to show or to sign anew, never to install.
pub fn read_unverified(der: &[u8]) -> Result<Signed, CmsError> {
    let _ = der;
    Err(CmsError::Detached)
}

/// True for an outer `envelopedData`: a bundle that only certain recipients can open.
pub fn is_enveloped(der: &[u8]) -> bool {
    let _ = der;
    false
}
