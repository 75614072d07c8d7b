//! Making the signature of a bundle (build machines only).
//!
//! The form is the one that RAUC and OpenSSL make and take: `SignedData` version 1 with attached `id-data`; signed
//! attributes contentType, signingTime, messageDigest; the signer named by issuer and serial; SHA-256 with P-256 or
//! RSA (PKCS #1 v1.5); the signer's certificate and its intermediates embedded, the root not.

use std::time::Duration;

use cms::cert::x509::Certificate;
use cms::cert::x509::attr::{Attribute, Attributes};
use cms::cert::x509::der::asn1::{
    GeneralizedTime, Null, ObjectIdentifier, OctetString, OctetStringRef, SetOfVec, UtcTime,
};
use cms::cert::x509::der::oid::db::rfc5911::{
    ID_CONTENT_TYPE, ID_DATA, ID_MESSAGE_DIGEST, ID_SIGNED_DATA, ID_SIGNING_TIME,
};
use cms::cert::x509::der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ID_EC_PUBLIC_KEY, ID_SHA_256, RSA_ENCRYPTION, SECP_256_R_1,
};
use cms::cert::x509::der::{self, Any, AnyRef, DateTime, Decode, Encode, Reader, SliceReader};
use cms::cert::x509::spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};
use cms::cert::x509::time::Time;
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

use crate::cms::{PurposeError, UnixTime, check_purpose, oid_name, readable};
use crate::manifest::sha256;
use crate::pem::{self, PemError};

/// A private key with its certificate and the intermediates above it.
pub struct SigningIdentity {
    key: Key,
    leaf: Certificate,
    intermediates: Vec<Certificate>,
}

enum Key {
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key file is no PEM.
    #[error("the key file is no usable PEM file")]
    KeyFile(#[source] PemError),
    /// The certificate file is no PEM.
    #[error("the certificate file is no usable PEM file")]
    CertificateFile(#[source] PemError),
    /// No key, or several.
    #[error("the key file holds {count} private keys; exactly one is needed (\"BEGIN PRIVATE KEY\")")]
    KeyCount {
        /// How many.
        count: usize,
    },
    /// Encrypted with a password.
    #[error(
        "the private key is encrypted with a password; decrypt it for signing with `openssl pkey -in KEY -out PLAIN`"
    )]
    EncryptedKey,
    /// Not in PKCS #8.
    #[error(
        "the private key has the old form {label:?}; convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY -out PKCS8`"
    )]
    OldKeyForm {
        /// Its PEM label.
        label: String,
    },
    /// A key of another algorithm.
    #[error("the private key is of the kind {kind}; P-256 or RSA of 2048 to 4096 bits (best 3072) is needed")]
    WrongKeyKind {
        /// Name or number of the algorithm or curve.
        kind: String,
    },
    /// A key that ring refuses.
    #[error("the private key is not usable: {reason}; P-256 or RSA of 2048 to 4096 bits is needed")]
    UnusableKey {
        /// What ring says.
        reason: String,
    },
    /// No certificate.
    #[error(
        "the certificate file holds no certificate; give the signer's certificate, then its intermediates"
    )]
    NoCertificate,
    /// Something else in the certificate file.
    #[error("the certificate file holds a block {label:?}; only certificates belong there")]
    NotACertificate {
        /// Its PEM label.
        label: String,
    },
    /// A certificate that cannot be read.
    #[error("certificate {position} of the certificate file is damaged")]
    Certificate {
        /// Its place, from 1.
        position: usize,
        /// Why.
        #[source]
        source: der::Error,
    },
    /// Key and certificate are of different pairs.
    #[error(
        "the private key does not belong to the certificate {subject:?}, the first of the certificate file"
    )]
    KeyMismatch {
        /// Subject of the certificate.
        subject: String,
    },
    /// No appliance would take the signature.
    #[error("the certificate {subject:?} may not sign bundles: {problem}")]
    Purpose {
        /// Subject of the certificate.
        subject: String,
        /// Why not.
        problem: PurposeError,
    },
    /// A time that DER cannot say.
    #[error("the signing time lies beyond the year 9999; check the clock")]
    SigningTime,
    /// The library failed.
    #[error("the signature could not be made")]
    Failed,
    /// The structure could not be encoded.
    #[error("the signature could not be encoded")]
    Encode(#[from] der::Error),
}

impl SigningIdentity {
    /// Reads a PKCS #8 key and the signer's certificate, followed by its intermediates, all PEM. Self-signed
    /// certificates after the first are left out: a root in a bundle proves nothing.
    pub fn from_pem(key: &str, certificate_and_chain: &str) -> Result<Self, SignError> {
        let key = Key::from_pem(key)?;
        let mut certificates = certificates(certificate_and_chain)?.into_iter();
        let leaf = certificates.next().ok_or(SignError::NoCertificate)?;
        let subject = || readable(&leaf.tbs_certificate.subject);
        if leaf
            .tbs_certificate
            .subject_public_key_info
            .subject_public_key
            .raw_bytes()
            != key.public()
        {
            return Err(SignError::KeyMismatch { subject: subject() });
        }
        check_purpose(&leaf).map_err(|problem| SignError::Purpose {
            subject: subject(),
            problem,
        })?;
        let mut intermediates: Vec<Certificate> = Vec::new();
        for certificate in certificates {
            let tbs = &certificate.tbs_certificate;
            if tbs.subject != tbs.issuer && certificate != leaf && !intermediates.contains(&certificate) {
                intermediates.push(certificate);
            }
        }
        Ok(Self {
            key,
            leaf,
            intermediates,
        })
    }

    /// Subject of the signer's certificate, for people.
    pub fn subject(&self) -> String {
        readable(&self.leaf.tbs_certificate.subject)
    }
}

fn certificates(text: &str) -> Result<Vec<Certificate>, SignError> {
    let blocks = pem::blocks(text).map_err(SignError::CertificateFile)?;
    blocks
        .into_iter()
        .enumerate()
        .map(|(index, block)| {
            if block.label != "CERTIFICATE" {
                return Err(SignError::NotACertificate { label: block.label });
            }
            Certificate::from_der(&block.der).map_err(|source| SignError::Certificate {
                position: index + 1,
                source,
            })
        })
        .collect()
}

impl Key {
    fn from_pem(text: &str) -> Result<Self, SignError> {
        let mut keys = pem::blocks(text).map_err(|error| match error {
            PemError::Encrypted { .. } => SignError::EncryptedKey,
            other => SignError::KeyFile(other),
        })?;
        // `openssl ecparam -genkey` writes the curve in front of the key.
        keys.retain(|block| block.label.ends_with("PRIVATE KEY"));
        let [key] = keys.as_slice() else {
            return Err(SignError::KeyCount { count: keys.len() });
        };
        match key.label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8(&key.der),
            "ENCRYPTED PRIVATE KEY" => Err(SignError::EncryptedKey),
            label => Err(SignError::OldKeyForm {
                label: label.to_owned(),
            }),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, SignError> {
        let unusable = |error: ring::error::KeyRejected| SignError::UnusableKey {
            reason: error.to_string(),
        };
        let algorithm = pkcs8_algorithm(der).map_err(|_| SignError::UnusableKey {
            reason: "it is no PKCS #8 structure".to_owned(),
        })?;
        match algorithm.oid {
            ID_EC_PUBLIC_KEY => match algorithm.parameters_oid() {
                Ok(SECP_256_R_1) => {
                    let scheme = &ECDSA_P256_SHA256_ASN1_SIGNING;
                    EcdsaKeyPair::from_pkcs8(scheme, der, &SystemRandom::new())
                        .map(Self::P256)
                        .map_err(unusable)
                }
                Ok(curve) => Err(SignError::WrongKeyKind {
                    kind: oid_name(curve),
                }),
                Err(_) => Err(SignError::WrongKeyKind {
                    kind: "an unnamed curve".to_owned(),
                }),
            },
            RSA_ENCRYPTION => RsaKeyPair::from_pkcs8(der).map(Self::Rsa).map_err(unusable),
            other => Err(SignError::WrongKeyKind {
                kind: oid_name(other),
            }),
        }
    }

    /// As in the bit string of a `SubjectPublicKeyInfo`.
    fn public(&self) -> &[u8] {
        match self {
            Self::P256(key) => key.public_key().as_ref(),
            Self::Rsa(key) => key.public_key().as_ref(),
        }
    }

    fn algorithm(&self) -> AlgorithmIdentifierOwned {
        match self {
            Self::P256(_) => AlgorithmIdentifierOwned {
                oid: ECDSA_WITH_SHA_256,
                parameters: None,
            },
            Self::Rsa(_) => AlgorithmIdentifierOwned {
                oid: RSA_ENCRYPTION,
                parameters: Some(Null.into()),
            },
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match self {
            Self::P256(key) => key
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignError::Failed),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| SignError::Failed)?;
                Ok(signature)
            }
        }
    }
}

/// RFC 5208: a sequence of version, algorithm, and more that ring reads.
fn pkcs8_algorithm(der: &[u8]) -> der::Result<AlgorithmIdentifierRef<'_>> {
    let sequence = AnyRef::from_der(der)?;
    let mut reader = SliceReader::new(sequence.value())?;
    reader.decode::<u8>()?;
    reader.decode()
}

/// Signs `content`; the result is DER and holds it. Not reproducible with P-256, which needs randomness.
pub fn sign(
    content: &[u8],
    identity: &SigningIdentity,
    signing_time: UnixTime,
) -> Result<Vec<u8>, SignError> {
    let sha256_identifier = AlgorithmIdentifierOwned {
        oid: ID_SHA_256,
        parameters: None,
    };
    let attributes = signed_attributes(content, signing_time)?;
    let signature = identity.key.sign(&attributes.to_der()?)?;
    let leaf = &identity.leaf.tbs_certificate;
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: leaf.issuer.clone(),
            serial_number: leaf.serial_number.clone(),
        }),
        digest_alg: sha256_identifier.clone(),
        signed_attrs: Some(attributes),
        signature_algorithm: identity.key.algorithm(),
        signature: OctetString::new(signature)?,
        unsigned_attrs: None,
    };
    let embedded = std::iter::once(&identity.leaf).chain(&identity.intermediates);
    let certificates: Vec<_> = embedded.cloned().map(CertificateChoices::Certificate).collect();
    let signed = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::try_from(vec![sha256_identifier])?,
        encap_content_info: EncapsulatedContentInfo {
            econtent_type: ID_DATA,
            econtent: Some(Any::encode_from(&OctetStringRef::new(content)?)?),
        },
        certificates: Some(CertificateSet(SetOfVec::try_from(certificates)?)),
        crls: None,
        signer_infos: SignerInfos(SetOfVec::try_from(vec![signer])?),
    };
    let info = ContentInfo {
        content_type: ID_SIGNED_DATA,
        content: Any::encode_from(&signed)?,
    };
    Ok(info.to_der()?)
}

fn signed_attributes(content: &[u8], signing_time: UnixTime) -> Result<Attributes, SignError> {
    let attributes = vec![
        attribute(ID_CONTENT_TYPE, Any::encode_from(&ID_DATA)?)?,
        attribute(ID_SIGNING_TIME, Any::encode_from(&time(signing_time)?)?)?,
        attribute(
            ID_MESSAGE_DIGEST,
            Any::encode_from(&OctetStringRef::new(&sha256(content))?)?,
        )?,
    ];
    Ok(SetOfVec::try_from(attributes)?)
}

fn attribute(oid: ObjectIdentifier, value: Any) -> Result<Attribute, SignError> {
    Ok(Attribute {
        oid,
        values: SetOfVec::try_from(vec![value])?,
    })
}

/// RFC 5652, 11.3: UTCTime up to 2049, GeneralizedTime from 2050 on.
fn time(time: UnixTime) -> Result<Time, SignError> {
    let date =
        DateTime::from_unix_duration(Duration::from_secs(time.0)).map_err(|_| SignError::SigningTime)?;
    match UtcTime::from_date_time(date) {
        Ok(time) => Ok(Time::UtcTime(time)),
        Err(_) => Ok(Time::GeneralTime(GeneralizedTime::from_date_time(date))),
    }
}
