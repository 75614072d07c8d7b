//! Whom we trust: root certificates and revocation lists.

use std::cmp::Reverse;

use cms::cert::x509::crl::CertificateList;
use cms::cert::x509::der::{self, Decode};
use cms::cert::x509::ext::pkix::{BasicConstraints, KeyUsage};
use cms::cert::x509::{Certificate, Version};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::{CertRevocationList, OwnedCertRevocationList, anchor_from_trusted_cert};

use crate::cms::readable;
pub use crate::pem::PemError;

/// Whether a revocation list must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Revocation {
    /// Every issuer of a chain needs a list that is in force.
    Required,
    /// An issuer without a list is taken as one that revoked nothing; a list that is there is enforced.
    #[default]
    IfPresent,
}

/// Trust anchors, revocation lists and the policy for them.
///
/// Several roots may stand side by side, so that a new one is trusted before the old one goes.
/// Two issuers of the same name but with different keys cannot both have revocation lists: the newest list of a name
/// counts, and the other issuer's signers are refused.
#[derive(Debug, Default)]
pub struct Keyring {
    roots: Vec<Root>,
    // Newest first: of one issuer's lists webpki takes the first.
    crls: Vec<Crl>,
    revocation: Revocation,
}

#[derive(Debug)]
pub(crate) struct Root {
    der: CertificateDer<'static>,
    pub anchor: TrustAnchor<'static>,
    pub subject: String,
    pub not_before: u64,
    pub not_after: u64,
    pub path_length: Option<u8>,
}

#[derive(Debug)]
pub(crate) struct Crl {
    der: Vec<u8>,
    this_update: u64,
    pub list: CertRevocationList<'static>,
}

/// Why a keyring cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// Not readable as PEM.
    #[error("the keyring is no usable PEM file")]
    Pem(#[from] PemError),
    /// No certificate in it.
    #[error("the keyring holds no certificate; give a PEM file with the root certificate")]
    Empty,
    /// No list in it.
    #[error("the file holds no revocation list; give a PEM file with \"BEGIN X509 CRL\"")]
    NoCrl,
    /// Something else than a certificate, such as a private key.
    #[error("the keyring holds a block {label:?} where only {expected:?} belongs; take it out")]
    WrongKind {
        /// What is there.
        label: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A certificate that cannot be read.
    #[error("certificate {position} of the keyring cannot be read; is it damaged, or no X.509 version 3?")]
    Certificate {
        /// Its place in the file, from 1.
        position: usize,
        /// Why.
        #[source]
        source: Unreadable,
    },
    /// A revocation list that cannot be read.
    #[error(
        "revocation list {position} cannot be read; it must be a complete X.509 CRL version 2 with nextUpdate"
    )]
    Crl {
        /// Its place in the file, from 1.
        position: usize,
        /// Why.
        #[source]
        source: Unreadable,
    },
    /// A signer's certificate was given in place of the root's.
    #[error(
        "the certificate {subject:?} in the keyring may not sign certificates (no CA, or no keyCertSign); \
         a keyring holds the root certificate, not the signer's"
    )]
    NotAnAuthority {
        /// Its subject.
        subject: String,
    },
}

/// Why the bytes of a certificate or list are refused.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not DER.
    #[error("it is not DER")]
    Der(#[source] der::Error),
    /// Not of a kind that webpki takes.
    #[error("it is not acceptable")]
    Webpki(#[source] webpki::Error),
    /// Version 1 has no extensions, so nothing says that it is an authority.
    #[error("it is not of version 3")]
    Version,
}

impl Keyring {
    /// Reads root certificates in PEM form, one or several. Each must be an authority (`cA`, and `keyCertSign` when it
    /// has a key usage).
    pub fn from_pem(certificates: &str) -> Result<Self, KeyringError> {
        let mut roots: Vec<Root> = Vec::new();
        for (index, der) in blocks(certificates, "CERTIFICATE")?.into_iter().enumerate() {
            let root = Root::read(&der, index + 1)?;
            if !roots.iter().any(|other| other.der == root.der) {
                roots.push(root);
            }
        }
        if roots.is_empty() {
            return Err(KeyringError::Empty);
        }
        Ok(Self {
            roots,
            crls: Vec::new(),
            revocation: Revocation::default(),
        })
    }

    /// Adds revocation lists in PEM form; of several by one issuer the newest counts. They are not checked here: who
    /// signed them is known when a chain is.
    pub fn with_crls(mut self, pem: &str) -> Result<Self, KeyringError> {
        let blocks = blocks(pem, "X509 CRL")?;
        if blocks.is_empty() {
            return Err(KeyringError::NoCrl);
        }
        for (index, der) in blocks.iter().enumerate() {
            let crl = Crl::read(der).map_err(|source| KeyringError::Crl {
                position: index + 1,
                source,
            })?;
            self.crls.push(crl);
        }
        self.sort_crls();
        Ok(self)
    }

    /// Sets the policy; [`Revocation::IfPresent`] without.
    #[must_use]
    pub fn with_revocation(mut self, revocation: Revocation) -> Self {
        self.revocation = revocation;
        self
    }

    /// Trusts what either keyring trusts, with the lists of both; the stricter policy wins.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for root in other.roots {
            if !self.roots.iter().any(|own| own.der == root.der) {
                self.roots.push(root);
            }
        }
        self.crls.extend(other.crls);
        self.sort_crls();
        if other.revocation == Revocation::Required {
            self.revocation = Revocation::Required;
        }
        self
    }

    /// Subjects of the roots, for people.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(|root| root.subject.as_str())
    }

    /// The policy.
    pub fn revocation(&self) -> Revocation {
        self.revocation
    }

    pub(crate) fn roots(&self) -> &[Root] {
        &self.roots
    }

    pub(crate) fn crls(&self) -> &[Crl] {
        &self.crls
    }

    fn sort_crls(&mut self) {
        self.crls
            .sort_by(|a, b| (Reverse(a.this_update), &a.der).cmp(&(Reverse(b.this_update), &b.der)));
        self.crls.dedup_by(|a, b| a.der == b.der);
    }
}

fn blocks(text: &str, expected: &'static str) -> Result<Vec<Vec<u8>>, KeyringError> {
    crate::pem::blocks(text)?
        .into_iter()
        .map(|block| {
            if block.label == expected {
                Ok(block.der.to_vec())
            } else {
                Err(KeyringError::WrongKind {
                    label: block.label,
                    expected,
                })
            }
        })
        .collect()
}

impl Root {
    fn read(der: &[u8], position: usize) -> Result<Self, KeyringError> {
        let unreadable = |source| KeyringError::Certificate { position, source };
        let certificate = Certificate::from_der(der).map_err(|error| unreadable(Unreadable::Der(error)))?;
        let tbs = &certificate.tbs_certificate;
        if tbs.version != Version::V3 {
            return Err(unreadable(Unreadable::Version));
        }
        let constraints = tbs
            .get::<BasicConstraints>()
            .map_err(|error| unreadable(Unreadable::Der(error)))?
            .map(|(_, value)| value);
        let usage = tbs
            .get::<KeyUsage>()
            .map_err(|error| unreadable(Unreadable::Der(error)))?;
        let subject = readable(&tbs.subject);
        let authority = constraints.as_ref().is_some_and(|constraints| constraints.ca);
        if !authority || usage.is_some_and(|(_, usage)| !usage.key_cert_sign()) {
            return Err(KeyringError::NotAnAuthority { subject });
        }
        let der = CertificateDer::from(der.to_vec());
        let anchor = anchor_from_trusted_cert(&der)
            .map_err(|error| unreadable(Unreadable::Webpki(error)))?
            .to_owned();
        Ok(Self {
            anchor,
            subject,
            not_before: tbs.validity.not_before.to_unix_duration().as_secs(),
            not_after: tbs.validity.not_after.to_unix_duration().as_secs(),
            path_length: constraints.and_then(|constraints| constraints.path_len_constraint),
            der,
        })
    }
}

impl Crl {
    fn read(der: &[u8]) -> Result<Self, Unreadable> {
        let list = OwnedCertRevocationList::from_der(der).map_err(Unreadable::Webpki)?;
        let parsed = CertificateList::from_der(der).map_err(Unreadable::Der)?;
        Ok(Self {
            der: der.to_vec(),
            this_update: parsed.tbs_cert_list.this_update.to_unix_duration().as_secs(),
            list: CertRevocationList::Owned(list),
        })
    }
}
