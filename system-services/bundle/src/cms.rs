//! The signature of a bundle: CMS `SignedData` (RFC 5652) with the manifest attached.
//!
//! The order of the checks: form ([`CmsError::NotDer`] and the like), digest of the content, signature, purpose of the
//! signer's certificate, chain to the keyring with validity and revocation. The content comes back only when all pass.
//! The caller limits the size of what it hands in (RAUC: 64 KiB).

mod chain;
mod error;
mod leaf;
mod shape;
mod structure;

use std::fmt;
use std::time::Duration;

use cms::cert::x509::der::DateTime;
use cms::cert::x509::der::oid::ObjectIdentifier;
use cms::cert::x509::der::oid::db::{DB, rfc5911::ID_ENVELOPED_DATA};
use cms::cert::x509::name::Name;
use cms::cert::x509::serial_number::SerialNumber;

pub use error::CmsError;
pub use leaf::PurposeError;
#[cfg(feature = "write")]
pub(crate) use leaf::check as check_purpose;

use crate::keyring::Keyring;
use crate::manifest::sha256;

/// Seconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub u64);

impl fmt::Display for UnixTime {
    /// As RFC 3339 has it: `2026-08-31T14:05:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(Duration::from_secs(self.0)) {
            Ok(time) => time.fmt(f),
            // As far as certificates go, too.
            Err(_) => f.write_str("9999-12-31T23:59:59Z"),
        }
    }
}

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
    let parsed = structure::parse(der)?;
    if parsed.message_digest != sha256(&parsed.content) {
        return Err(CmsError::DigestMismatch);
    }
    chain::check_signature(&parsed)?;
    leaf::check(&parsed.leaf).map_err(|problem| CmsError::Purpose {
        subject: readable(&parsed.leaf.tbs_certificate.subject),
        problem,
    })?;
    chain::check(&parsed, keyring, now)?;
    Ok(signed(parsed))
}

/// Reads content and claimed signer **without any check of the signature**: to show or to sign anew, never to install.
pub fn read_unverified(der: &[u8]) -> Result<Signed, CmsError> {
    structure::parse(der).map(signed)
}

/// True for an outer `envelopedData`: a bundle that only certain recipients can open.
pub fn is_enveloped(der: &[u8]) -> bool {
    structure::outer_type(der) == Some(ID_ENVELOPED_DATA)
}

fn signed(parsed: structure::Parsed) -> Signed {
    let tbs = &parsed.leaf.tbs_certificate;
    Signed {
        signer: Signer {
            subject: readable(&tbs.subject),
            issuer: readable(&tbs.issuer),
            serial: serial(&tbs.serial_number),
            not_after: tbs.validity.not_after.to_unix_duration().as_secs(),
            signing_time: parsed.signing_time,
        },
        content: parsed.content,
    }
}

/// A name for people and logs: what could move a cursor is replaced.
pub(crate) fn readable(name: &Name) -> String {
    name.to_string()
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A serial number in hexadecimal, without the zero that only keeps it positive.
fn serial(number: &SerialNumber) -> String {
    let bytes = match number.as_bytes() {
        [0, rest @ ..] if !rest.is_empty() => rest,
        bytes => bytes,
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Name of an algorithm or type, or its number.
pub(crate) fn oid_name(oid: ObjectIdentifier) -> String {
    DB.by_oid(&oid).map_or_else(|| oid.to_string(), str::to_owned)
}
