//! A core: an append-only log that is signed, kept in a [`Store`].
//!
//! A core is written by who has its key pair ([`Core::append`]), or filled with what others prove of it ([`Core::apply`]).
//! Every change is on the disk when its call returns. Handles of the same core share nothing but the store: each call sees what
//! is there then.

mod conflict;
mod error;
mod replicate;
mod write;

pub use conflict::Conflict;
pub use error::CoreError;
pub use replicate::{Applied, Incoming, NotApplied};
pub use write::End;

use std::ops::Range;
use std::sync::OnceLock;

use crate::crypto::{self, Hash, KeyPair};
use crate::manifest::{Manifest, Verifier};
use crate::merkle::{self, Seek};
use crate::store::{Changed, CoreRecord, Snapshot, Store, StoreError};

/// Which core is wanted.
#[derive(Clone)]
pub struct CoreOptions {
    key: Hash,
    verifier: Option<Verifier>,
    key_pair: Option<KeyPair>,
    name: Option<String>,
}

impl CoreOptions {
    fn new(key: Hash, verifier: Option<Verifier>, key_pair: Option<KeyPair>) -> Self {
        Self {
            key,
            verifier,
            key_pair,
            name: None,
        }
    }

    /// The core that this key pair alone writes, as hypercore 11 makes it. The key pair is kept in the store.
    pub fn from_key_pair(pair: KeyPair) -> Self {
        let verifier = Verifier::of_manifest(Manifest::single(pair.public_key()));
        Self::new(*verifier.key(), Some(verifier), Some(pair))
    }

    /// The core whose key is the key pair's, as hypercore 10 made it. The key pair is kept in the store.
    pub fn compat(pair: KeyPair) -> Self {
        let verifier = Verifier::compat(pair.public_key());
        Self::new(*verifier.key(), Some(verifier), Some(pair))
    }

    /// The core of a manifest, a compat core's too.
    pub fn from_verifier(verifier: Verifier) -> Self {
        Self::new(*verifier.key(), Some(verifier), None)
    }

    /// A core of which only the key is known: its manifest comes from a peer.
    pub fn from_key(key: Hash) -> Self {
        Self::new(key, None, None)
    }

    /// The core's key.
    pub fn core_key(&self) -> &Hash {
        &self.key
    }

    /// Keeps this key pair in the store with the core.
    pub fn key_pair(mut self, pair: KeyPair) -> Self {
        self.key_pair = Some(pair);
        self
    }

    /// Names the core within the store.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// What a core is and how much of it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its key.
    pub key: Hash,
    /// What it is found by.
    pub discovery_key: Hash,
    /// How often it was truncated.
    pub fork: u64,
    /// Blocks.
    pub length: u64,
    /// Bytes of all blocks, stored or not.
    pub byte_length: u64,
    /// Blocks from the start without a gap that are stored.
    pub contiguous_length: u64,
    /// Hash of the tree.
    pub tree_hash: Hash,
    /// Whether a key pair is at hand.
    pub writable: bool,
}

/// A core of a store.
pub struct Core {
    store: Store,
    number: u64,
    key: Hash,
    verifier: OnceLock<Verifier>,
    key_pair: OnceLock<KeyPair>,
}

impl Store {
    /// Opens a core, or makes it: whichever is missing of name, manifest and key pair is added to what is stored.
    pub fn core(&self, options: CoreOptions) -> Result<Core, StoreError> {
        let CoreOptions {
            key,
            verifier,
            key_pair,
            name,
        } = options;
        if let Some(number) = self.number_of_discovery_key(&crypto::discovery_key(&key))? {
            let record = self.record(number)?;
            let named = match &name {
                Some(name) => self.number_of_name(name)? == Some(number),
                None => true,
            };
            let known = named
                && record.key == key
                && record.verifier.is_some() >= verifier.is_some()
                && record.key_pair.is_some() >= key_pair.is_some();
            if known {
                return Ok(Core::new(self, record));
            }
        }
        let manifest = verifier.as_ref().map(Verifier::manifest);
        let number = self.enter(&key, name.as_deref(), manifest, key_pair.as_ref())?;
        Ok(Core::new(self, self.record(number)?))
    }

    /// Opens the core with this key, if the store has it.
    pub fn core_by_key(&self, key: &Hash) -> Result<Option<Core>, StoreError> {
        self.core_by_discovery_key(&crypto::discovery_key(key))
    }

    /// Opens the core with this discovery key, if the store has it.
    pub fn core_by_discovery_key(&self, key: &Hash) -> Result<Option<Core>, StoreError> {
        let number = self.number_of_discovery_key(key)?;
        number.map(|number| self.core_by_number(number)).transpose()
    }

    /// Opens the core with this name, if the store has it.
    pub fn core_by_name(&self, name: &str) -> Result<Option<Core>, StoreError> {
        let number = self.number_of_name(name)?;
        number.map(|number| self.core_by_number(number)).transpose()
    }

    /// Opens a core by its number, counted from 0 up to [`Store::cores`].
    pub fn core_by_number(&self, number: u64) -> Result<Core, StoreError> {
        Ok(Core::new(self, self.record(number)?))
    }
}

impl Core {
    fn new(store: &Store, record: CoreRecord) -> Self {
        Self {
            store: store.clone(),
            number: record.number,
            key: record.key,
            verifier: record.verifier.map(OnceLock::from).unwrap_or_default(),
            key_pair: record.key_pair.map(OnceLock::from).unwrap_or_default(),
        }
    }

    /// The core with a key pair that is not kept in the store: one that is derived anew each time.
    pub fn with_key_pair(mut self, pair: KeyPair) -> Self {
        self.key_pair = OnceLock::from(pair);
        self
    }

    /// Takes over the key pair of another handle to the same core, if this one has none.
    pub(crate) fn learn_key_pair(&self, other: Self) {
        if let Some(pair) = other.key_pair.into_inner() {
            // One that has a key pair keeps it.
            let _ = self.key_pair.set(pair);
        }
    }

    /// The store that it is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its key.
    pub fn key(&self) -> &Hash {
        &self.key
    }

    /// What it is found by.
    pub fn discovery_key(&self) -> Hash {
        crypto::discovery_key(&self.key)
    }

    /// Whether a key pair is at hand.
    pub fn is_writable(&self) -> bool {
        self.key_pair.get().is_some()
    }

    /// Its number in the store.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Who signs it; `None` as long as no peer gave its manifest.
    pub fn verifier(&self) -> Result<Option<&Verifier>, StoreError> {
        if self.verifier.get().is_none()
            && let Some(verifier) = self.store.verifier(self.number, &self.key)?
        {
            return Ok(Some(self.verifier.get_or_init(|| verifier)));
        }
        Ok(self.verifier.get())
    }

    /// The core as it is now, for reading more than one thing of it.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.store.snapshot(self.number)
    }

    /// Who writes it here, if anybody.
    pub fn key_pair(&self) -> Option<&KeyPair> {
        self.key_pair.get()
    }

    /// What it is and how much of it is there.
    pub fn info(&self) -> Result<Info, StoreError> {
        let snapshot = self.snapshot()?;
        let (head, tree) = (snapshot.head(), snapshot.tree());
        Ok(Info {
            key: self.key,
            discovery_key: self.discovery_key(),
            fork: head.fork,
            length: head.length,
            byte_length: tree.byte_length(),
            contiguous_length: head.contiguous_length,
            tree_hash: head.tree_hash,
            writable: self.key_pair.get().is_some(),
        })
    }

    /// Blocks.
    pub fn length(&self) -> Result<u64, StoreError> {
        Ok(self.snapshot()?.tree().length())
    }

    /// Bytes of all blocks, stored or not.
    pub fn byte_length(&self) -> Result<u64, StoreError> {
        Ok(self.snapshot()?.tree().byte_length())
    }

    /// A block, `None` if it is not stored. What is damaged is not given out.
    pub fn get(&self, block: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.stored(self.number).get(block)
    }

    /// Whether a block is stored.
    pub fn has(&self, block: u64) -> Result<bool, StoreError> {
        self.store.stored(self.number).has(block)
    }

    /// The bytes of a block within all bytes of the core.
    pub fn byte_range(&self, block: u64) -> Result<Range<u64>, CoreError> {
        let snapshot = self.snapshot()?;
        Ok(merkle::block_range(snapshot.tree(), block, &snapshot)?)
    }

    /// Finds the block that holds a byte, not counting the first `padding` bytes of each block.
    pub fn seek(&self, bytes: u64, padding: u64) -> Result<Seek, CoreError> {
        let snapshot = self.snapshot()?;
        Ok(merkle::seek(snapshot.tree(), bytes, padding, &snapshot)?)
    }

    /// What a program keeps with the core under a name of its own; it is not replicated.
    pub fn user_data(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.user_data(self.number, key)
    }

    /// Keeps user data, or removes them.
    pub fn set_user_data(&self, key: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        self.store.write(self.number, |writer| {
            writer.put_user_data(key, value).map(Changed::Yes)
        })
    }
}
