//! From bytes of a web server to an index that may be trusted.

use bundle::cms::{self, CmsError, Signer, UnixTime};
use bundle::keyring::{Keyring, KeyringError};

use crate::index::{Index, IndexError, MAX_FILE, parse};
use crate::name::ChannelName;

/// Whom to trust, as text: an index brings further revocation lists, and the keyring is made anew with them.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    certificates: String,
    crls: Vec<String>,
}

impl Trust {
    /// Certificates of the roots, PEM: those of the image.
    pub fn new(certificates: impl Into<String>) -> Self {
        Self {
            certificates: certificates.into(),
            crls: Vec::new(),
        }
    }

    /// Adds revocation lists, PEM: those of the image, and those that came with the last index. Text that is empty or
    /// all blanks adds none. Of several by one issuer the newest counts.
    #[must_use]
    pub fn with_crls(mut self, pem: impl Into<String>) -> Self {
        let pem = pem.into();
        if !pem.trim().is_empty() {
            self.crls.push(pem);
        }
        self
    }

    /// The keyring.
    pub fn keyring(&self) -> Result<Keyring, KeyringError> {
        let keyring = Keyring::from_pem(&self.certificates)?;
        self.crls
            .iter()
            .try_fold(keyring, |keyring, pem| keyring.with_crls(pem))
    }
}

/// An index that was signed by somebody to trust.
#[derive(Debug)]
pub struct Opened {
    /// The index.
    pub index: Index,
    /// Who signed it.
    pub signer: Signer,
    /// Whom to trust with the revocation lists of this index: for its bundles.
    pub keyring: Keyring,
}

/// Why a file is not taken as the index of a channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Longer than [`MAX_FILE`].
    #[error(
        "the channel's index has {bytes} bytes; at most {MAX_FILE} are allowed. Is this the address of an index?"
    )]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// The roots or the revocation lists of this appliance cannot be used.
    #[error("the keyring for updates cannot be used")]
    Keyring(#[source] KeyringError),
    /// Not signed as it must be.
    #[error("the signature of the channel's index is refused")]
    Signature(#[source] CmsError),
    /// Signed, but no index.
    #[error("the channel's index is signed, but its content is refused")]
    Content(#[source] IndexError),
    /// Revocation lists that cannot be read.
    #[error("the revocation lists in the channel's index cannot be used")]
    Crls(#[source] KeyringError),
    /// Another channel's.
    #[error("this is the index of the channel {found}, not of {expected}; check the address")]
    Channel {
        /// What it says.
        found: ChannelName,
        /// What was asked for.
        expected: ChannelName,
    },
}

/// Checks signature and content of an index file of `channel`.
///
/// The revocation lists in it count at once: an index whose signer they revoke, or that brings lists not made by the
/// signer's issuers, is refused. A list of the appliance that is out of date would refuse every index, also the one that
/// brings its successor: then, and only then, the lists are read before the signature is checked. They carry their
/// issuer's own signature, and nothing is believed before all is checked with them.
///
/// Whether it is still in force, and not an older one again, is for [`decide`](crate::decide()) to say.
pub fn open(der: &[u8], trust: &Trust, now: UnixTime, channel: &ChannelName) -> Result<Opened, OpenError> {
    if der.len() > MAX_FILE {
        return Err(OpenError::TooLong { bytes: der.len() });
    }
    let own = trust.keyring().map_err(OpenError::Keyring)?;
    let (signed, index) = match cms::verify(der, &own, now) {
        Ok(signed) => {
            let index = parse(&signed.content).map_err(OpenError::Content)?;
            (Some(signed), index)
        }
        Err(error @ (CmsError::CrlExpired { .. } | CmsError::CrlMissing { .. })) => {
            let unverified = cms::read_unverified(der).map_err(OpenError::Signature)?;
            match parse(&unverified.content) {
                Ok(index) if index.crls.is_some() => (None, index),
                _ => return Err(OpenError::Signature(error)),
            }
        }
        Err(error) => return Err(OpenError::Signature(error)),
    };
    let (signed, keyring) = match (signed, &index.crls) {
        (Some(signed), None) => (signed, own),
        (_, crls) => {
            let crls = crls.as_deref().unwrap_or_default();
            let keyring = trust.clone().with_crls(crls).keyring().map_err(OpenError::Crls)?;
            (
                cms::verify(der, &keyring, now).map_err(OpenError::Signature)?,
                keyring,
            )
        }
    };
    if index.channel != *channel {
        return Err(OpenError::Channel {
            found: index.channel,
            expected: channel.clone(),
        });
    }
    Ok(Opened {
        index,
        signer: signed.signer,
        keyring,
    })
}
