//! From the signer's certificate to a root of the keyring: webpki, and what webpki leaves to its caller.

use std::time::Duration;

use cms::cert::x509::Certificate;
use cms::cert::x509::der::Decode;
use cms::cert::x509::ext::pkix::KeyUsage as X509KeyUsage;
use rustls_pki_types::{SignatureVerificationAlgorithm, UnixTime as PkiTime};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::structure::{KeyKind, Parsed};
use super::{CmsError, UnixTime, oid_name, readable, serial};
use crate::keyring::{Keyring, Revocation};

/// Signature algorithms, for certificates, lists and content alike.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
];

/// DER value of the object identifier `id-kp-codeSigning` (1.3.6.1.5.5.7.3.3).
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];

/// Checks that the signed attributes were signed with the key in the signer's certificate.
pub(super) fn check_signature(parsed: &Parsed) -> Result<(), CmsError> {
    let subject = || readable(&parsed.leaf.tbs_certificate.subject);
    let leaf = end_entity(parsed)?;
    let algorithm = match parsed.key {
        KeyKind::P256 => webpki::ring::ECDSA_P256_SHA256,
        KeyKind::Rsa => webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    };
    leaf.verify_signature(algorithm, &parsed.signed_attributes, &parsed.signature)
        .map_err(|error| match error {
            Error::InvalidSignatureForPublicKey => CmsError::BadSignature { subject: subject() },
            Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => CmsError::UnsupportedAlgorithm {
                what: "key of the signer",
                algorithm: oid_name(parsed.leaf.tbs_certificate.subject_public_key_info.algorithm.oid),
            },
            source => CmsError::Chain {
                subject: subject(),
                source,
            },
        })
}

/// Checks the way from the signer to a root: signatures, validity, purposes, lengths, revocation.
pub(super) fn check(parsed: &Parsed, keyring: &Keyring, now: UnixTime) -> Result<(), CmsError> {
    let leaf = end_entity(parsed)?;
    let anchors: Vec<_> = keyring.roots().iter().map(|root| root.anchor.clone()).collect();
    let lists: Vec<&CertRevocationList<'_>> = keyring.crls().iter().map(|crl| &crl.list).collect();
    let path = leaf.verify_for_usage(
        ALGORITHMS,
        &anchors,
        &parsed.others,
        PkiTime::since_unix_epoch(Duration::from_secs(now.0)),
        // Intermediates seldom have the extension; the leaf was checked in `leaf`.
        KeyUsage::required_if_present(CODE_SIGNING),
        revocation(&lists, keyring.revocation()),
        Some(&|path| check_issuers(path, keyring, now)),
    );
    let explain = Explain { parsed, keyring, now };
    match path {
        Err(error) => Err(explain.error(error)),
        // webpki has no options for "required" without any list.
        Ok(_) if lists.is_empty() && keyring.revocation() == Revocation::Required => {
            Err(explain.crl_missing())
        }
        Ok(_) => Ok(()),
    }
}

fn end_entity(parsed: &Parsed) -> Result<EndEntityCert<'_>, CmsError> {
    EndEntityCert::try_from(&parsed.leaf_der).map_err(|source| CmsError::Chain {
        subject: readable(&parsed.leaf.tbs_certificate.subject),
        source,
    })
}

fn revocation<'a>(
    lists: &'a [&'a CertRevocationList<'a>],
    policy: Revocation,
) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    let unknown = match policy {
        Revocation::Required => UnknownStatusPolicy::Deny,
        Revocation::IfPresent => UnknownStatusPolicy::Allow,
    };
    Some(
        options
            .with_status_policy(unknown)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build(),
    )
}

/// What webpki does not look at: the root's validity and path length, and the key usage of intermediates.
fn check_issuers(path: &VerifiedPath<'_>, keyring: &Keyring, now: UnixTime) -> Result<(), Error> {
    let mut length = 0;
    for intermediate in path.intermediate_certificates() {
        length += 1;
        let certificate = Certificate::from_der(&intermediate.der()).map_err(|_| Error::BadDer)?;
        let usage = certificate
            .tbs_certificate
            .get::<X509KeyUsage>()
            .map_err(|_| Error::ExtensionValueInvalid)?;
        if usage.is_some_and(|(_, usage)| !usage.key_cert_sign()) {
            return Err(Error::EndEntityUsedAsCa);
        }
    }
    // One root may be in the keyring in several editions, with the same name and key.
    let editions = keyring
        .roots()
        .iter()
        .filter(|root| root.anchor == *path.anchor());
    let mut result = Err(Error::UnknownIssuer);
    for root in editions {
        result = if now.0 < root.not_before {
            Err(Error::CertNotValidYet {
                time: pki_time(now.0),
                not_before: pki_time(root.not_before),
            })
        } else if now.0 > root.not_after {
            Err(Error::CertExpired {
                time: pki_time(now.0),
                not_after: pki_time(root.not_after),
            })
        } else if root.path_length.is_some_and(|most| length > usize::from(most)) {
            Err(Error::PathLenConstraintViolated)
        } else {
            return Ok(());
        };
    }
    result
}

fn pki_time(seconds: u64) -> PkiTime {
    PkiTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// Finds out what webpki's errors do not say: which certificate, which list.
struct Explain<'a> {
    parsed: &'a Parsed,
    keyring: &'a Keyring,
    now: UnixTime,
}

impl Explain<'_> {
    fn error(&self, error: Error) -> CmsError {
        let subject = self.subject();
        let now = self.now.0;
        match error {
            Error::CertExpired { not_after, .. } => CmsError::Expired {
                subject: self.subject_where(|_, until| until == not_after.as_secs()),
                not_after: not_after.as_secs(),
                now,
            },
            Error::CertNotValidYet { not_before, .. } => CmsError::NotYetValid {
                subject: self.subject_where(|from, _| from == not_before.as_secs()),
                not_before: not_before.as_secs(),
                now,
            },
            Error::CertRevoked => self.revoked(),
            Error::UnknownRevocationStatus => self.crl_missing(),
            Error::CrlExpired { next_update, .. } => CmsError::CrlExpired {
                next_update: next_update.as_secs(),
                now,
            },
            Error::InvalidCrlSignatureForPublicKey | Error::IssuerNotCrlSigner => CmsError::CrlInvalid {
                subject,
                source: error,
            },
            Error::UnknownIssuer => CmsError::UnknownIssuer {
                subject,
                issuer: self.last_issuer(),
            },
            Error::InvalidSignatureForPublicKey => CmsError::NotIssuedByNamed { subject },
            Error::RequiredEkuNotFoundContext(_) => CmsError::Issuer {
                subject,
                problem: "its extended key usage lacks codeSigning",
            },
            Error::EndEntityUsedAsCa => CmsError::Issuer {
                subject,
                problem: "it is no authority (basicConstraints CA:TRUE, keyUsage keyCertSign)",
            },
            Error::PathLenConstraintViolated => CmsError::Issuer {
                subject,
                problem: "more authorities follow than its path length allows",
            },
            Error::UnsupportedSignatureAlgorithmContext(context) => CmsError::UnsupportedAlgorithm {
                what: "signature of a certificate",
                algorithm: algorithm_name(&context.signature_algorithm_id),
            },
            Error::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
                CmsError::UnsupportedAlgorithm {
                    what: "key of an issuer",
                    algorithm: algorithm_name(&context.public_key_algorithm_id),
                }
            }
            Error::UnsupportedCrlSignatureAlgorithmContext(context) => CmsError::UnsupportedAlgorithm {
                what: "signature of a revocation list",
                algorithm: algorithm_name(&context.signature_algorithm_id),
            },
            source => CmsError::Chain { subject, source },
        }
    }

    fn subject(&self) -> String {
        readable(&self.parsed.leaf.tbs_certificate.subject)
    }

    fn others(&self) -> impl Iterator<Item = Certificate> {
        self.parsed
            .others
            .iter()
            .filter_map(|der| Certificate::from_der(der).ok())
    }

    /// Subject of the first certificate, from the leaf up, with a validity that `matches`.
    fn subject_where(&self, matches: impl Fn(u64, u64) -> bool) -> String {
        let embedded = std::iter::once(self.parsed.leaf.clone()).chain(self.others());
        let in_bundle = embedded
            .map(|certificate| certificate.tbs_certificate)
            .find(|tbs| {
                matches(
                    tbs.validity.not_before.to_unix_duration().as_secs(),
                    tbs.validity.not_after.to_unix_duration().as_secs(),
                )
            });
        let in_keyring = || {
            self.keyring
                .roots()
                .iter()
                .find(|root| matches(root.not_before, root.not_after))
        };
        match in_bundle {
            Some(tbs) => readable(&tbs.subject),
            None => in_keyring().map_or_else(|| self.subject(), |root| root.subject.clone()),
        }
    }

    fn revoked(&self) -> CmsError {
        let embedded = std::iter::once(&self.parsed.leaf_der).chain(&self.parsed.others);
        for der in embedded {
            let Ok(certificate) = EndEntityCert::try_from(der) else {
                continue;
            };
            let revoked = self.keyring.crls().iter().any(|crl| {
                crl.list.issuer() == certificate.issuer()
                    && matches!(crl.list.find_serial(certificate.serial()), Ok(Some(_)))
            });
            if revoked && let Ok(readable_form) = Certificate::from_der(der) {
                return CmsError::Revoked {
                    subject: readable(&readable_form.tbs_certificate.subject),
                    serial: serial(&readable_form.tbs_certificate.serial_number),
                };
            }
        }
        CmsError::Revoked {
            subject: self.subject(),
            serial: "unknown".to_owned(),
        }
    }

    fn crl_missing(&self) -> CmsError {
        let embedded = std::iter::once(&self.parsed.leaf_der).chain(&self.parsed.others);
        let without = embedded.into_iter().find(|der| {
            EndEntityCert::try_from(*der).is_ok_and(|certificate| {
                !self
                    .keyring
                    .crls()
                    .iter()
                    .any(|crl| crl.list.issuer() == certificate.issuer())
            })
        });
        let issuer = without
            .and_then(|der| Certificate::from_der(der).ok())
            .map_or_else(
                || self.subject(),
                |certificate| readable(&certificate.tbs_certificate.issuer),
            );
        CmsError::CrlMissing { issuer }
    }

    /// The name where the embedded certificates end.
    fn last_issuer(&self) -> String {
        let others: Vec<Certificate> = self.others().collect();
        let mut issuer = &self.parsed.leaf.tbs_certificate.issuer;
        for _ in 0..others.len() {
            let next = others
                .iter()
                .find(|other| other.tbs_certificate.subject == *issuer);
            match next {
                Some(next) => issuer = &next.tbs_certificate.issuer,
                None => break,
            }
        }
        readable(issuer)
    }
}

/// Name of an `AlgorithmIdentifier`, given as the content of its sequence.
fn algorithm_name(content: &[u8]) -> String {
    use cms::cert::x509::der::{Reader, SliceReader, asn1::ObjectIdentifier};
    let oid = SliceReader::new(content).and_then(|mut reader| reader.decode::<ObjectIdentifier>());
    oid.map_or_else(|_| "an unknown algorithm".to_owned(), oid_name)
}
