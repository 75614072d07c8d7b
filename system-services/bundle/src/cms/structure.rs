//! From bytes to the parts of the one signature form that we take: strict DER, version 1, attached `id-data`, one
//! signer named by issuer and serial, signed attributes, SHA-256.

use cms::cert::x509::Certificate;
use cms::cert::x509::attr::{Attribute, Attributes};
use cms::cert::x509::der::asn1::{ObjectIdentifier, OctetString, OctetStringRef};
use cms::cert::x509::der::oid::db::rfc5911::{
    ID_CONTENT_TYPE, ID_DATA, ID_ENVELOPED_DATA, ID_MESSAGE_DIGEST, ID_SIGNED_DATA, ID_SIGNING_TIME,
};
use cms::cert::x509::der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ID_SHA_256, RSA_ENCRYPTION, SHA_256_WITH_RSA_ENCRYPTION,
};
use cms::cert::x509::der::{Any, Decode, DecodeOwned, Encode};
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use cms::cert::x509::time::Time;
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{CertificateSet, SignedData, SignerIdentifier, SignerInfo};
use rustls_pki_types::CertificateDer;

use super::{CmsError, oid_name, serial, shape};

/// What is in a signature; nothing of it is trusted yet.
pub(super) struct Parsed {
    pub content: Vec<u8>,
    /// The signer's certificate, twice: to look at, and as bytes.
    pub leaf: Certificate,
    pub leaf_der: CertificateDer<'static>,
    /// Every other embedded certificate.
    pub others: Vec<CertificateDer<'static>>,
    /// What the signature is over: the attributes as a DER SET.
    pub signed_attributes: Vec<u8>,
    pub message_digest: Vec<u8>,
    pub signing_time: Option<u64>,
    pub key: KeyKind,
    pub signature: Vec<u8>,
}

/// Which of the two supported signature algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    P256,
    Rsa,
}

/// Reads a signature.
pub(super) fn parse(der: &[u8]) -> Result<Parsed, CmsError> {
    let signed = signed_data(der)?;
    let content = content(&signed)?;
    let signer = only_signer(&signed)?;
    // Version 3 says no more than what was just refused: another content type, or a signer named otherwise.
    if signed.version != CmsVersion::V1 {
        return Err(CmsError::Version { what: "signedData" });
    }
    let key = algorithms(&signed, signer)?;
    let attributes = signer.signed_attrs.as_ref().ok_or(CmsError::NoSignedAttributes)?;
    let attributes = SignedAttributes::read(attributes)?;
    let SignerIdentifier::IssuerAndSerialNumber(name) = &signer.sid else {
        return Err(CmsError::SignerByKeyIdentifier);
    };
    let set = signed.certificates.as_ref().ok_or_else(|| missing(name))?;
    let (leaf, others) = certificates(set, name)?;
    Ok(Parsed {
        content,
        leaf_der: der_of(&leaf)?,
        leaf,
        others,
        signed_attributes: attributes.der,
        message_digest: attributes.message_digest,
        signing_time: attributes.signing_time,
        key,
        signature: signer.signature.as_bytes().to_vec(),
    })
}

/// The type of the outermost structure, when it can be read.
pub(super) fn outer_type(der: &[u8]) -> Option<ObjectIdentifier> {
    shape::check(der).ok()?;
    ContentInfo::from_der(der).ok().map(|info| info.content_type)
}

fn signed_data(der: &[u8]) -> Result<SignedData, CmsError> {
    shape::check(der)?;
    let info = ContentInfo::from_der(der).map_err(|_| CmsError::NotDer {
        what: "the outer structure",
    })?;
    match info.content_type {
        ID_SIGNED_DATA => {}
        ID_ENVELOPED_DATA => return Err(CmsError::Enveloped),
        other => {
            return Err(CmsError::NotSignedData {
                found: oid_name(other),
            });
        }
    }
    let not_der = |_| CmsError::NotDer { what: "signedData" };
    let signed: SignedData = info.content.decode_as().map_err(not_der)?;
    // What is looked at must be what stands there: the decoder takes defaults that are spelt out, and more.
    let (seen, written) = (
        signed.to_der().map_err(not_der)?,
        info.content.to_der().map_err(not_der)?,
    );
    if !shape::same_but_for_order(&seen, &written) {
        return Err(CmsError::NotDer {
            what: "the form of a value",
        });
    }
    // Neither is covered by the signature, and neither is used.
    if signed.crls.is_some() {
        return Err(CmsError::Unexpected {
            what: "a revocation list (they belong in the keyring)",
        });
    }
    Ok(signed)
}

fn content(signed: &SignedData) -> Result<Vec<u8>, CmsError> {
    let info = &signed.encap_content_info;
    if info.econtent_type != ID_DATA {
        return Err(CmsError::ContentType {
            found: oid_name(info.econtent_type),
        });
    }
    let content = info.econtent.as_ref().ok_or(CmsError::Detached)?;
    let bytes: &OctetStringRef = &content.decode_as().map_err(|_| CmsError::NotDer {
        what: "the signed content",
    })?;
    Ok(bytes.as_bytes().to_vec())
}

fn only_signer(signed: &SignedData) -> Result<&SignerInfo, CmsError> {
    let signers = signed.signer_infos.0.as_slice();
    let [signer] = signers else {
        return Err(CmsError::Signers { count: signers.len() });
    };
    if matches!(signer.sid, SignerIdentifier::SubjectKeyIdentifier(_)) {
        return Err(CmsError::SignerByKeyIdentifier);
    }
    if signer.version != CmsVersion::V1 {
        return Err(CmsError::Version { what: "signerInfo" });
    }
    if signer.unsigned_attrs.is_some() {
        return Err(CmsError::Unexpected {
            what: "an unsigned attribute",
        });
    }
    Ok(signer)
}

fn algorithms(signed: &SignedData, signer: &SignerInfo) -> Result<KeyKind, CmsError> {
    let unsupported = |what, algorithm: &AlgorithmIdentifierOwned| CmsError::UnsupportedAlgorithm {
        what,
        algorithm: oid_name(algorithm.oid),
    };
    let digest = &signer.digest_alg;
    if digest.oid != ID_SHA_256 || !absent_or_null(digest) {
        return Err(unsupported("digest of the manifest", digest));
    }
    if let Some(other) = signed
        .digest_algorithms
        .iter()
        .find(|other| other.oid != ID_SHA_256)
    {
        return Err(unsupported("list of digests", other));
    }
    if !signed.digest_algorithms.iter().eq([digest]) {
        return Err(CmsError::NotDer {
            what: "the list of digests",
        });
    }
    let algorithm = &signer.signature_algorithm;
    let key = match algorithm.oid {
        ECDSA_WITH_SHA_256 if algorithm.parameters.is_none() => KeyKind::P256,
        RSA_ENCRYPTION | SHA_256_WITH_RSA_ENCRYPTION if absent_or_null(algorithm) => KeyKind::Rsa,
        _ => return Err(unsupported("signature", algorithm)),
    };
    Ok(key)
}

fn absent_or_null(algorithm: &AlgorithmIdentifierOwned) -> bool {
    algorithm.parameters.as_ref().is_none_or(Any::is_null)
}

struct SignedAttributes {
    der: Vec<u8>,
    message_digest: Vec<u8>,
    signing_time: Option<u64>,
}

impl SignedAttributes {
    /// RFC 5652, 11: contentType and messageDigest must be there, each attribute once, with one value.
    fn read(attributes: &Attributes) -> Result<Self, CmsError> {
        let not_der = || CmsError::NotDer {
            what: "the signed attributes",
        };
        let content_type: ObjectIdentifier = required(attributes, ID_CONTENT_TYPE, "contentType")?;
        if content_type != ID_DATA {
            return Err(CmsError::Attribute {
                name: "contentType",
                problem: "is not id-data",
            });
        }
        let digest: OctetString = required(attributes, ID_MESSAGE_DIGEST, "messageDigest")?;
        let time: Option<Time> = optional(attributes, ID_SIGNING_TIME, "signingTime")?;
        Ok(Self {
            // A SET OF in DER, not the [0] that stands in the file (RFC 5652, 5.4).
            der: attributes
                .to_der()
                .map_err(|_| not_der())
                .and_then(|der| shape::sorted(&der))?,
            message_digest: digest.as_bytes().to_vec(),
            signing_time: time.map(|time| time.to_unix_duration().as_secs()),
        })
    }
}

fn required<T: DecodeOwned>(
    attributes: &Attributes,
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<T, CmsError> {
    optional(attributes, oid, name)?.ok_or(CmsError::Attribute {
        name,
        problem: "is missing",
    })
}

fn optional<T: DecodeOwned>(
    attributes: &Attributes,
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<Option<T>, CmsError> {
    let mut found = attributes
        .iter()
        .filter(|attribute: &&Attribute| attribute.oid == oid);
    let Some(attribute) = found.next() else {
        return Ok(None);
    };
    let [value] = attribute.values.as_slice() else {
        return Err(CmsError::Attribute {
            name,
            problem: "has not exactly one value",
        });
    };
    if found.next().is_some() {
        return Err(CmsError::Attribute {
            name,
            problem: "is there twice",
        });
    }
    let decoded = value.to_der().and_then(|der| T::from_der(&der));
    decoded.map(Some).map_err(|_| CmsError::Attribute {
        name,
        problem: "has a value of a wrong type",
    })
}

fn missing(name: &IssuerAndSerialNumber) -> CmsError {
    CmsError::SignerCertificateMissing {
        serial: serial(&name.serial_number),
    }
}

/// The certificate that `name` means, and all others.
fn certificates(
    set: &CertificateSet,
    name: &IssuerAndSerialNumber,
) -> Result<(Certificate, Vec<CertificateDer<'static>>), CmsError> {
    let mut leaf = None;
    let mut others = Vec::new();
    for choice in set.0.iter() {
        let CertificateChoices::Certificate(certificate) = choice else {
            return Err(CmsError::Unexpected {
                what: "a certificate that is not X.509",
            });
        };
        let tbs = &certificate.tbs_certificate;
        if tbs.issuer != name.issuer || tbs.serial_number != name.serial_number {
            others.push(der_of(certificate)?);
        } else if leaf.replace(certificate.clone()).is_some() {
            return Err(CmsError::SignerAmbiguous {
                serial: serial(&name.serial_number),
            });
        }
    }
    Ok((leaf.ok_or_else(|| missing(name))?, others))
}

fn der_of(certificate: &Certificate) -> Result<CertificateDer<'static>, CmsError> {
    certificate
        .to_der()
        .map(CertificateDer::from)
        .map_err(|_| CmsError::NotDer {
            what: "a certificate",
        })
}
