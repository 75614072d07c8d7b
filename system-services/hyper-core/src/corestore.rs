//! Many cores from one secret: names stand for cores, and a core that is open is open once.
//!
//! The same primary key gives the same cores as in the JavaScript stack (corestore 7). A core costs nothing until it is opened, and
//! nothing again when its last [`Session`] is dropped.

mod error;
mod keys;
mod registry;

pub use error::CorestoreError;
pub use keys::PrimaryKey;

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;

use self::registry::Registry;
use crate::core::CoreOptions;
use crate::crypto::{self, Hash, KeyPair};
use crate::key;
use crate::link::Link;
use crate::live::Live;
use crate::replicate::{LinkError, Replication};
use crate::session::Session;
use crate::store::Store;

/// The folder of the cores within a corestore's folder.
pub const STORE_FOLDER: &str = "cores";

/// Discovery keys that are read from the store at a time.
const LIST_PAGE: usize = 1024;

/// A store of cores with a primary key, seen from one of its namespaces. Clones are the same store and namespace.
#[derive(Clone)]
pub struct Corestore {
    shared: Arc<Shared>,
    namespace: Hash,
}

/// What all namespaces of a store share.
struct Shared {
    store: Store,
    primary_key: PrimaryKey,
    open: Arc<Registry>,
    replication: Replication,
}

impl Corestore {
    /// Opens the corestore in this folder, or makes a new one with a primary key of its own. The folder is made for its owner alone.
    pub fn open(folder: &Path) -> Result<Self, CorestoreError> {
        Self::of_store(open_store(folder)?)
    }

    /// Opens the corestore with this primary key, or makes it. One that is there must have the same primary key.
    pub fn open_with(folder: &Path, primary_key: &PrimaryKey) -> Result<Self, CorestoreError> {
        Self::of_store_with(open_store(folder)?, primary_key)
    }

    /// A corestore in memory, gone when it is dropped, with a primary key of its own.
    pub fn in_memory() -> Result<Self, CorestoreError> {
        Self::of_store(Store::in_memory()?)
    }

    /// The corestore of a store. The store's primary key is made if it has none.
    pub fn of_store(store: Store) -> Result<Self, CorestoreError> {
        let fresh = PrimaryKey::random().map_err(CorestoreError::Random)?;
        let primary_key = PrimaryKey::new(store.primary_key_or_set(fresh.as_bytes())?);
        Ok(Self::new(store, primary_key))
    }

    /// The corestore of a store with this primary key: the store has none yet, or this one.
    pub fn of_store_with(store: Store, primary_key: &PrimaryKey) -> Result<Self, CorestoreError> {
        let stored = PrimaryKey::new(store.primary_key_or_set(primary_key.as_bytes())?);
        if !stored.is(primary_key) {
            return Err(CorestoreError::OtherPrimaryKey);
        }
        Ok(Self::new(store, stored))
    }

    fn new(store: Store, primary_key: PrimaryKey) -> Self {
        let open = Arc::new(Registry::default());
        let replication = replication(store.clone(), Arc::clone(&open));
        let shared = Shared {
            store,
            primary_key,
            open,
            replication,
        };
        Self {
            shared: Arc::new(shared),
            namespace: keys::ROOT,
        }
    }

    /// The same store, in which names stand for other cores. A namespace within a namespace is yet another.
    pub fn namespace(&self, name: &str) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            namespace: keys::namespace(&self.namespace, name),
        }
    }

    /// The key pair of a name in this namespace.
    pub fn key_pair(&self, name: &str) -> KeyPair {
        self.shared.primary_key.key_pair(&self.namespace, name)
    }

    /// The store's primary key: whoever has it can write all cores that are named here.
    pub fn primary_key(&self) -> &PrimaryKey {
        &self.shared.primary_key
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// The core that this name stands for, made the first time. It is writable.
    pub fn get_by_name(&self, name: &str) -> Result<Session, CorestoreError> {
        self.get_named(name, CoreOptions::from_key_pair)
    }

    /// As [`Corestore::get_by_name`]; a core that is made gets the form of hypercore 10, whose key is its public key. (The JavaScript
    /// corestore makes no such cores any more, but opens those that were made.)
    pub fn get_by_name_compat(&self, name: &str) -> Result<Session, CorestoreError> {
        self.get_named(name, CoreOptions::compat)
    }

    /// The core of these options under a name, unless the name stands for another core already.
    pub fn get_as(&self, name: &str, options: CoreOptions) -> Result<Session, CorestoreError> {
        self.get(options.name(alias(&self.namespace, name)))
    }

    /// The key of the core that a name stands for, if the name was used.
    pub fn key_of(&self, name: &str) -> Result<Option<Hash>, CorestoreError> {
        let number = self.shared.store.number_of_name(&alias(&self.namespace, name))?;
        Ok(number
            .map(|number| self.shared.store.key_of(number))
            .transpose()?)
    }

    /// A name stands for the core that was made with it, whichever options are given later.
    fn get_named(&self, name: &str, options: fn(KeyPair) -> CoreOptions) -> Result<Session, CorestoreError> {
        match self.key_of(name)? {
            Some(key) => self.get(CoreOptions::from_key(key)),
            None => self.get_as(name, options(self.key_pair(name))),
        }
    }

    /// The core with this key, entered into the store if it is not there. It is writable if its key pair is stored.
    pub fn get_by_key(&self, key: &Hash) -> Result<Session, CorestoreError> {
        self.get(CoreOptions::from_key(*key))
    }

    /// The core that this key pair alone writes.
    pub fn get_by_key_pair(&self, pair: KeyPair) -> Result<Session, CorestoreError> {
        self.get(CoreOptions::from_key_pair(pair))
    }

    /// The core of these options: with a manifest of one's own, with several signers, or a compat one. What of the options the store does not
    /// know yet is kept.
    pub fn get(&self, options: CoreOptions) -> Result<Session, CorestoreError> {
        let discovery_key = crypto::discovery_key(options.core_key());
        let core = self.shared.store.core(options)?;
        Ok(self.session(self.shared.open.open(&discovery_key, core)?))
    }

    /// The core with this discovery key, if the store has it.
    pub fn get_by_discovery_key(&self, discovery_key: &Hash) -> Result<Option<Session>, CorestoreError> {
        if let Some(live) = self.shared.open.get(discovery_key) {
            return Ok(Some(self.session(live)));
        }
        let Some(core) = self.shared.store.core_by_discovery_key(discovery_key)? else {
            return Ok(None);
        };
        Ok(Some(self.session(self.shared.open.open(discovery_key, core)?)))
    }

    fn session(&self, live: Arc<Live>) -> Session {
        self.shared.replication.add_live(&live);
        Session::of(live)
    }

    /// Replicates over a connection until it ends: the cores that are open, and those that the peer asks for. Must run within a
    /// runtime. The task says why it ended if the peer is to blame.
    pub fn replicate(&self, link: Link) -> JoinHandle<Result<(), LinkError>> {
        self.shared.replication.attach(link)
    }

    /// Whether the store has the core with this key.
    pub fn has(&self, key: &Hash) -> Result<bool, CorestoreError> {
        let discovery_key = crypto::discovery_key(key);
        Ok(self
            .shared
            .store
            .number_of_discovery_key(&discovery_key)?
            .is_some())
    }

    /// The discovery keys of all cores of the store, of every namespace.
    pub fn list(&self) -> Result<Vec<Hash>, CorestoreError> {
        let mut all = Vec::new();
        loop {
            let page = self.shared.store.discovery_keys(all.last(), LIST_PAGE)?;
            let last = page.len() < LIST_PAGE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// The names of this namespace that were used, and the keys of their cores.
    pub fn names(&self) -> Result<Vec<(String, Hash)>, CorestoreError> {
        let named = self.shared.store.names_with_prefix(&alias(&self.namespace, ""))?;
        let with_key = named.into_iter().map(|(name, number)| {
            let key = self.shared.store.key_of(number)?;
            Ok((name, key))
        });
        with_key.collect()
    }

    /// How many cores are open.
    pub fn open_cores(&self) -> usize {
        self.shared.open.count()
    }
}

/// Cores that peers ask for are opened for them.
fn replication(store: Store, open: Arc<Registry>) -> Replication {
    Replication::with_store(move |discovery_key| {
        if let Some(live) = open.get(discovery_key) {
            return Ok(Some(live));
        }
        let core = store.core_by_discovery_key(discovery_key)?;
        core.map(|core| open.open(discovery_key, core)).transpose()
    })
}

/// How the store names a core: the namespace keeps equal names apart.
fn alias(namespace: &Hash, name: &str) -> String {
    format!("{}/{name}", key::to_hex(namespace))
}

fn open_store(folder: &Path) -> Result<Store, CorestoreError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| CorestoreError::Folder {
        path: folder.into(),
        source,
    })?;
    Ok(Store::open(&folder.join(STORE_FOLDER))?)
}
