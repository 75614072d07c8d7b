//! What a signer's certificate must say it is for.
//!
//! webpki does not look at the key usage, and OpenSSL before 3.2 not at `codeSigning`; so we do.

use cms::cert::x509::Certificate;
use cms::cert::x509::der::oid::ObjectIdentifier;
use cms::cert::x509::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_CODE_SIGNING};
use cms::cert::x509::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

/// Why a certificate may not sign bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PurposeError {
    /// An extension is there twice, or not readable.
    #[error("an extension of it is damaged")]
    Damaged,
    /// A CA.
    #[error("it is the certificate of an authority; sign with a certificate that the authority issued")]
    Authority,
    /// No key usage.
    #[error("it has no key usage; issue it with keyUsage=critical,digitalSignature")]
    NoKeyUsage,
    /// Another key usage.
    #[error("its key usage lacks digitalSignature; issue it with keyUsage=critical,digitalSignature")]
    NoDigitalSignature,
    /// No extended key usage.
    #[error("it has no extended key usage; issue it with extendedKeyUsage=codeSigning")]
    NoExtendedKeyUsage,
    /// For everything, which is no purpose.
    #[error("its extended key usage is \"any\"; issue it with extendedKeyUsage=codeSigning")]
    AnyPurpose,
    /// For something else, such as a web server.
    #[error("its extended key usage lacks codeSigning; issue it with extendedKeyUsage=codeSigning")]
    NoCodeSigning,
}

/// Checks that `certificate` is for signing code, and for nothing that signs certificates.
pub(crate) fn check(certificate: &Certificate) -> Result<(), PurposeError> {
    let tbs = &certificate.tbs_certificate;
    let constraints = tbs.get::<BasicConstraints>().map_err(|_| PurposeError::Damaged)?;
    let usage = tbs.get::<KeyUsage>().map_err(|_| PurposeError::Damaged)?;
    let extended = tbs.get::<ExtendedKeyUsage>().map_err(|_| PurposeError::Damaged)?;
    if constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return Err(PurposeError::Authority);
    }
    let (_, usage) = usage.ok_or(PurposeError::NoKeyUsage)?;
    if !usage.digital_signature() {
        return Err(PurposeError::NoDigitalSignature);
    }
    let (_, ExtendedKeyUsage(purposes)) = extended.ok_or(PurposeError::NoExtendedKeyUsage)?;
    let has = |purpose: ObjectIdentifier| purposes.contains(&purpose);
    if has(ANY_EXTENDED_KEY_USAGE) {
        return Err(PurposeError::AnyPurpose);
    }
    if !has(ID_KP_CODE_SIGNING) {
        return Err(PurposeError::NoCodeSigning);
    }
    Ok(())
}
