//! Why a signature is refused, in sentences an operator can act on.

use std::fmt;
use std::time::Duration;

use cms::cert::x509::der::DateTime;

use super::leaf::PurposeError;

/// Why a signature is refused. Times are Unix time in seconds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CmsError {
    /// Shorter than it says.
    #[error("the signature is cut off; copy or download the bundle again")]
    Truncated,
    /// Bytes behind the signature.
    #[error("{count} bytes follow the signature; the bundle is damaged or was tampered with")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// Not DER, or not a CMS structure.
    #[error("the signature is damaged: {what} is not as CMS in DER must be")]
    NotDer {
        /// The part.
        what: &'static str,
    },
    /// More parts than any signature needs.
    #[error("the signature has too many parts; the bundle is damaged or was tampered with")]
    TooComplex,
    /// `envelopedData`.
    #[error(
        "the bundle is encrypted for certain recipients, which this appliance cannot open; use a bundle for everyone"
    )]
    Enveloped,
    /// Another content type than `signedData`.
    #[error("the signature has the type {found}, not signedData")]
    NotSignedData {
        /// Name or number of the type.
        found: String,
    },
    /// Another version than 1.
    #[error("the {what} of the signature has an unsupported version")]
    Version {
        /// The structure.
        what: &'static str,
    },
    /// The manifest is not inside the signature.
    #[error(
        "the signature does not hold the manifest, as in bundles of the format \"plain\"; make the bundle again with format=verity"
    )]
    Detached,
    /// The content is no `id-data`.
    #[error("the signed content has the type {found}, not id-data")]
    ContentType {
        /// Name or number of the type.
        found: String,
    },
    /// Not exactly one signer.
    #[error("the bundle has {count} signers; exactly one is allowed")]
    Signers {
        /// How many.
        count: usize,
    },
    /// The signer is named by its key identifier.
    #[error("the signer is named by a key identifier; sign with issuer and serial number (without -keyid)")]
    SignerByKeyIdentifier,
    /// No embedded certificate is the signer's.
    #[error("the certificate of the signer (serial {serial}) is not in the signature; sign without -nocerts")]
    SignerCertificateMissing {
        /// Serial number that was looked for.
        serial: String,
    },
    /// Two embedded certificates could be the signer's.
    #[error("two certificates with the serial {serial} of one issuer are in the signature")]
    SignerAmbiguous {
        /// Their serial number.
        serial: String,
    },
    /// A part that could be altered without breaking the signature, and that we do not use.
    #[error("the signature carries {what}, which is not supported; sign without")]
    Unexpected {
        /// The part.
        what: &'static str,
    },
    /// An algorithm that is too weak, or that not every device has.
    #[error(
        "the {what} uses {algorithm}; only SHA-256 with P-256, or with RSA of 2048 to 8192 bits (PKCS #1 v1.5), is supported"
    )]
    UnsupportedAlgorithm {
        /// What it is used for.
        what: &'static str,
        /// Its name or number.
        algorithm: String,
    },
    /// The signature is over the content itself.
    #[error("the signature has no signed attributes; sign without -noattr")]
    NoSignedAttributes,
    /// A signed attribute is absent, there twice, or of a wrong form.
    #[error("the signed attribute {name} {problem}")]
    Attribute {
        /// The attribute.
        name: &'static str,
        /// What is wrong, as the rest of the sentence.
        problem: &'static str,
    },
    /// The content is not what was signed.
    #[error(
        "the manifest was changed after it was signed; do not install this bundle, get it again from its source"
    )]
    DigestMismatch,
    /// The signature does not fit the signer's key.
    #[error("the signature is wrong: it was not made with the key of {subject:?}, or the bundle was changed")]
    BadSignature {
        /// Subject of the signer.
        subject: String,
    },
    /// The signer's certificate is not for this.
    #[error("the certificate of the signer {subject:?} may not sign bundles: {problem}")]
    Purpose {
        /// Subject of the signer.
        subject: String,
        /// Why not.
        problem: PurposeError,
    },
    /// An issuer in the chain may not be one.
    #[error("the chain of the signer {subject:?} holds an issuer that may not issue it: {problem}")]
    Issuer {
        /// Subject of the signer.
        subject: String,
        /// Why not.
        problem: &'static str,
    },
    /// Expired.
    #[error(
        "the certificate {subject:?} is expired since {}; get a newer bundle, and check the clock (now {})",
        date(*not_after), date(*now)
    )]
    Expired {
        /// Subject of the certificate.
        subject: String,
        /// Its last second.
        not_after: u64,
        /// The time of the check.
        now: u64,
    },
    /// Not valid yet.
    #[error(
        "the certificate {subject:?} is valid from {} on, and the clock says {}; check the clock",
        date(*not_before), date(*now)
    )]
    NotYetValid {
        /// Subject of the certificate.
        subject: String,
        /// Its first second.
        not_before: u64,
        /// The time of the check.
        now: u64,
    },
    /// Revoked.
    #[error(
        "the certificate {subject:?} (serial {serial}) was revoked by its issuer; do not install this bundle"
    )]
    Revoked {
        /// Subject of the certificate.
        subject: String,
        /// Its serial number.
        serial: String,
    },
    /// A revocation list is out of date.
    #[error(
        "a revocation list is expired since {}; install a newer one, and check the clock (now {})",
        date(*next_update), date(*now)
    )]
    CrlExpired {
        /// When a newer one was due.
        next_update: u64,
        /// The time of the check.
        now: u64,
    },
    /// The policy asks for a list that is not there.
    #[error("no revocation list of {issuer:?} is in the keyring, and one is required; install it")]
    CrlMissing {
        /// The issuer without a list.
        issuer: String,
    },
    /// A list that its issuer did not sign.
    #[error(
        "the revocation list of an issuer of {subject:?} is not signed by that issuer; install the right one"
    )]
    CrlInvalid {
        /// Subject of the signer.
        subject: String,
        /// Why.
        #[source]
        source: webpki::Error,
    },
    /// No way to a root.
    #[error(
        "no certificate of the keyring leads to the signer {subject:?}: nobody knows {issuer:?}; is this the right \
         keyring, or is an intermediate certificate missing in the bundle?"
    )]
    UnknownIssuer {
        /// Subject of the signer.
        subject: String,
        /// Where the search ended.
        issuer: String,
    },
    /// A certificate names an issuer whose key did not sign it.
    #[error(
        "a certificate of the signer {subject:?} names an issuer of the keyring but is not signed with its key; is \
         this the right keyring, or was the bundle changed?"
    )]
    NotIssuedByNamed {
        /// Subject of the signer.
        subject: String,
    },
    /// Anything else that webpki refuses.
    #[error("the certificates of the signer {subject:?} are not acceptable")]
    Chain {
        /// Subject of the signer.
        subject: String,
        /// Why.
        #[source]
        source: webpki::Error,
    },
}

/// Unix time for people.
fn date(seconds: u64) -> impl fmt::Display {
    match DateTime::from_unix_duration(Duration::from_secs(seconds)) {
        Ok(date) => date.to_string().replace('T', " ").replace('Z', " UTC"),
        Err(_) => format!("second {seconds}"),
    }
}
