//! Which core is meant: a key, or a name of this storage.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use hyper_core::corestore::Corestore;
use hyper_core::crypto::Hash;
use hyper_core::encryption::BlockCipher;
use hyper_core::key::{self, HEX_CHARACTERS, KeyTextError, Z32_CHARACTERS};
use hyper_core::session::Session;

use crate::refusal::Refusal;
use crate::secret;

/// A core as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By its key.
    Key(Hash),
    /// By its name in this storage.
    Name(String),
    /// Something as long as a key that is none.
    Mistyped(String, KeyTextError),
}

impl FromStr for Selector {
    type Err = Infallible;

    /// What is as long as a key is a key, and so is a link: a key with a typing error must not become the name of a new core.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let length = text.chars().count();
        let like_key = [Z32_CHARACTERS, HEX_CHARACTERS].contains(&length) || text.starts_with("pear://");
        Ok(match key::parse(text) {
            Ok(key) => Self::Key(key),
            Err(error) if like_key => Self::Mistyped(text.to_owned(), error),
            Err(_) => Self::Name(text.to_owned()),
        })
    }
}

/// Which core, and how it is read.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// The core: its name in this storage, or its key (z-base-32 or hexadecimal).
    #[arg(value_name = "CORE")]
    pub core: Selector,
    /// File with the key that the core's blocks are encrypted with (`-`: standard input).
    #[arg(long, value_name = "FILE")]
    pub encryption_key: Option<PathBuf>,
}

impl Which {
    /// A core that is taken as it is stored.
    pub fn plain(core: Selector) -> Self {
        Self {
            core,
            encryption_key: None,
        }
    }

    /// Opens a core that is there. One that is only known by its key is entered.
    pub fn open(&self, store: &Corestore) -> Result<Session> {
        let session = match &self.core {
            Selector::Key(key) => store.get_by_key(key)?,
            Selector::Name(name) => {
                let key = store.key_of(name)?.ok_or_else(|| unknown(name))?;
                store.get_by_key(&key)?
            }
            Selector::Mistyped(text, error) => return Err(mistyped(text, *error).into()),
        };
        self.decrypted(session)
    }

    /// Opens a core of which something is in the storage.
    pub fn open_stored(&self, store: &Corestore) -> Result<Session> {
        if let Selector::Key(key) = &self.core
            && !store.has(key)?
        {
            let key = key::to_z32(key);
            return Err(Refusal::NotFound(format!(
                "nothing of the core {key} is in this storage: `hearth-p2p core download {key}` fetches it"
            ))
            .into());
        }
        self.open(store)
    }

    /// Opens a core, or makes it where it is named.
    pub fn open_or_create(&self, store: &Corestore) -> Result<Session> {
        match &self.core {
            Selector::Name(name) => self.decrypted(store.get_by_name(name)?),
            _ => self.open(store),
        }
    }

    /// The core, seen through its encryption.
    pub fn decrypted(&self, session: Session) -> Result<Session> {
        let Some(file) = &self.encryption_key else {
            return Ok(session);
        };
        let cipher = BlockCipher::new(&*secret::read(file)?, session.key());
        Ok(session.with_encryption(cipher))
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::NotFound(format!(
        "no core is called {name:?} in this storage: `hearth-p2p core list` shows those that are, `hearth-p2p core create {name}` makes it"
    ))
}

/// A key with a typing error.
pub fn mistyped(text: &str, error: KeyTextError) -> Refusal {
    Refusal::Usage(format!("{text} is no key: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(text: &str) -> Selector {
        let Ok(selector) = text.parse();
        selector
    }

    #[test]
    fn a_key_is_taken_in_all_its_forms() {
        let key = [7; 32];
        for text in [
            key::to_hex(&key),
            key::to_z32(&key),
            format!("pear://{}/x", key::to_z32(&key)),
        ] {
            assert_eq!(selector(&text), Selector::Key(key));
        }
    }

    #[test]
    fn a_mistyped_key_is_no_name() {
        let text = key::to_z32(&[7; 32]).replacen('y', "l", 1);
        assert!(matches!(selector(&text), Selector::Mistyped(..)));
        assert!(matches!(selector("pear://short"), Selector::Mistyped(..)));
        assert_eq!(selector("notes"), Selector::Name("notes".into()));
    }
}
