//! Many cores in one database file.
//!
//! Every change is one transaction: it is on the disk when the call returns, or it never happened. The database keeps the state of
//! its page allocator with every commit, so that it opens in constant time after a power cut too, without reading what is
//! stored; a commit is then two flushes of the disk, whatever the number of blocks in it (`docs/decisions/0015-core-storage.md`).
//!
//! One writer at a time (the others wait), any number of readers, each of which sees one state.

mod audit;
mod directory;
mod error;
mod head;
mod pieces;
mod snapshot;
mod tables;
mod write;

pub use error::{DamagedPart, StoreError};
pub use head::Head;
pub use snapshot::Snapshot;
pub(crate) use write::Writer;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use redb::backends::InMemoryBackend;
use redb::{
    AccessGuard, Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
    WriteTransaction,
};

use self::error::failed;
use self::tables::{
    BITFIELDS, BLOCKS, DISCOVERY_KEYS, HEADS, KEY_PAIRS, KEYS, MANIFESTS, META, NAMES, NODES, USER_DATA,
};
use crate::crypto::{self, Hash, KeyPair};
use crate::manifest::{Manifest, Verifier};

/// The format of the tables.
pub const FORMAT: u64 = 1;

/// Memory for pages of the database, shared by all cores.
const CACHE_BYTES: usize = 8 << 20;

/// A store of cores. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store(Arc<Database>);

/// What a store knows of a core beside its blocks.
pub(crate) struct CoreRecord {
    pub(crate) number: u64,
    pub(crate) key: Hash,
    pub(crate) verifier: Option<Verifier>,
    pub(crate) key_pair: Option<KeyPair>,
}

/// How a change ended: only one that changed something is worth flushing the disk.
pub(crate) enum Changed<T> {
    Yes(T),
    No(T),
}

impl Store {
    /// Opens the store in this file, or makes a new one. The folder must be there. A new file gets its name only when it is whole: a
    /// database whose creation was cut off cannot be opened again.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let at = |source: redb::Error| match source {
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse { path: path.into() },
            source => StoreError::Open {
                path: path.into(),
                source: Box::new(source),
            },
        };
        if path.try_exists().map_err(redb::Error::Io).map_err(at)? {
            let database = builder().open(path).map_err(redb::Error::from).map_err(at)?;
            return Self::prepare(database);
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".new");
        remove_leftover(Path::new(&unfinished)).map_err(at)?;
        let file = create_private(Path::new(&unfinished))
            .map_err(redb::Error::Io)
            .map_err(at)?;
        let database = builder()
            .create_file(file)
            .map_err(redb::Error::from)
            .map_err(at)?;
        let store = Self::prepare(database)?;
        put_in_place(Path::new(&unfinished), path)
            .map_err(redb::Error::Io)
            .map_err(at)?;
        Ok(store)
    }

    /// A store in memory, gone when it is dropped.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::with_backend(InMemoryBackend::new())
    }

    /// A store in anything that can be read, written and flushed.
    pub fn with_backend(backend: impl StorageBackend) -> Result<Self, StoreError> {
        let database = builder()
            .create_with_backend(backend)
            .map_err(failed("open its database"))?;
        Self::prepare(database)
    }

    fn prepare(database: Database) -> Result<Self, StoreError> {
        let store = Self(Arc::new(database));
        let step = "read its format";
        let read = store.begin_read()?;
        let format = match read.open_table(META) {
            Ok(table) => table
                .get("format")
                .map_err(failed(step))?
                .map(|format| format.value()),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(failed(step)(error)),
        };
        match format {
            Some(FORMAT) => {}
            Some(other) => return Err(StoreError::Format(other)),
            None if read.list_tables().map_err(failed(step))?.next().is_some() => {
                return Err(StoreError::Foreign);
            }
            None => store.transaction(|txn| {
                create_tables(txn)
                    .map(Changed::Yes)
                    .map_err(failed("create its tables"))
            })?,
        }
        Ok(store)
    }

    fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        self.0.begin_read().map_err(failed("begin to read"))
    }

    /// Runs a change. An error leaves everything as it was.
    fn transaction<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<Changed<T>, E>,
    ) -> Result<T, E> {
        let mut txn = self.0.begin_write().map_err(failed("begin to write"))?;
        // Without it every page would be read when the store is opened after a power cut.
        txn.set_quick_repair(true);
        match change(&txn)? {
            Changed::Yes(out) => {
                txn.commit().map_err(failed("commit"))?;
                Ok(out)
            }
            Changed::No(out) => {
                txn.abort().map_err(failed("end a step without a change"))?;
                Ok(out)
            }
        }
    }

    /// Changes a core.
    pub(crate) fn write<T, E: From<StoreError>>(
        &self,
        core: u64,
        change: impl FnOnce(&mut Writer<'_>) -> Result<Changed<T>, E>,
    ) -> Result<T, E> {
        self.transaction(|txn| change(&mut Writer::new(txn, core)?))
    }

    /// The core's state as it is now.
    pub(crate) fn snapshot(&self, core: u64) -> Result<Snapshot, StoreError> {
        Snapshot::new(&self.begin_read()?, core)
    }

    pub(crate) fn user_data(&self, core: u64, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let step = "read user data";
        let table = self.begin_read()?.open_table(USER_DATA).map_err(failed(step))?;
        let value = table.get((core, key)).map_err(failed(step))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    pub(crate) fn verifier(&self, core: u64, key: &Hash) -> Result<Option<Verifier>, StoreError> {
        let step = "read a core's manifest";
        let table = self.begin_read()?.open_table(MANIFESTS).map_err(failed(step))?;
        decode_verifier(core, key, table.get(core).map_err(failed(step))?)
    }

    /// How many cores the store holds.
    pub fn cores(&self) -> Result<u64, StoreError> {
        let step = "count its cores";
        let table = self.begin_read()?.open_table(META).map_err(failed(step))?;
        Ok(table
            .get("cores")
            .map_err(failed(step))?
            .map_or(0, |next| next.value()))
    }

    /// The number of the core with this discovery key.
    pub(crate) fn number_of_discovery_key(&self, key: &Hash) -> Result<Option<u64>, StoreError> {
        let step = "find a core";
        let table = self
            .begin_read()?
            .open_table(DISCOVERY_KEYS)
            .map_err(failed(step))?;
        Ok(table.get(key).map_err(failed(step))?.map(|number| number.value()))
    }

    /// The number of the core with this name.
    pub(crate) fn number_of_name(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let step = "find a core";
        let table = self.begin_read()?.open_table(NAMES).map_err(failed(step))?;
        Ok(table
            .get(name)
            .map_err(failed(step))?
            .map(|number| number.value()))
    }

    /// What is known of a core.
    pub(crate) fn record(&self, number: u64) -> Result<CoreRecord, StoreError> {
        let damaged = |part| StoreError::Damaged { core: number, part };
        let step = "read a core's keys";
        let read = self.begin_read()?;
        let key = read
            .open_table(KEYS)
            .map_err(failed(step))?
            .get(number)
            .map_err(failed(step))?
            .ok_or(damaged(DamagedPart::Key))?
            .value();
        let manifests = read.open_table(MANIFESTS).map_err(failed(step))?;
        let verifier = decode_verifier(number, &key, manifests.get(number).map_err(failed(step))?)?;
        let pairs = read.open_table(KEY_PAIRS).map_err(failed(step))?;
        let stored = pairs.get(number).map_err(failed(step))?;
        let key_pair = stored.map(|bytes| {
            <&[u8; 64]>::try_from(bytes.value())
                .ok()
                .and_then(KeyPair::from_secret_key)
                .ok_or(damaged(DamagedPart::KeyPair))
        });
        Ok(CoreRecord {
            number,
            key,
            verifier,
            key_pair: key_pair.transpose()?,
        })
    }

    /// Enters a core, or adds to one that is there what is not known of it yet. Says its number.
    pub(crate) fn enter(
        &self,
        key: &Hash,
        name: Option<&str>,
        manifest: Option<&Manifest>,
        pair: Option<&KeyPair>,
    ) -> Result<u64, StoreError> {
        self.transaction(|txn| {
            let number = number_for(txn, key)?;
            if let Some(name) = name {
                put_name(txn, name, number)?;
            }
            let mut writer = Writer::new(txn, number)?;
            if let Some(manifest) = manifest {
                writer.put_manifest(manifest)?;
            }
            if let Some(pair) = pair {
                writer.put_key_pair(pair)?;
            }
            Ok(Changed::Yes(number))
        })
    }
}

fn remove_leftover(path: &Path) -> Result<(), redb::Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(redb::Error::Io(error)),
        _ => Ok(()),
    }
}

/// A file that only its owner reads: key pairs lie in it.
fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn put_in_place(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::rename(from, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn create_tables(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(NAMES)?;
    txn.open_table(DISCOVERY_KEYS)?;
    txn.open_table(KEYS)?;
    txn.open_table(MANIFESTS)?;
    txn.open_table(KEY_PAIRS)?;
    txn.open_table(HEADS)?;
    txn.open_table(NODES)?;
    txn.open_table(BLOCKS)?;
    txn.open_table(BITFIELDS)?;
    txn.open_table(USER_DATA)?;
    txn.open_table(META)?.insert("format", FORMAT)?;
    Ok(())
}

/// The number of the core with this key; a new one has an empty head.
fn number_for(txn: &WriteTransaction, key: &Hash) -> Result<u64, StoreError> {
    let step = "enter a core";
    let mut keys = txn.open_table(KEYS).map_err(failed(step))?;
    let mut found = txn.open_table(DISCOVERY_KEYS).map_err(failed(step))?;
    let discovery_key = crypto::discovery_key(key);
    if let Some(number) = found.get(discovery_key).map_err(failed(step))? {
        let number = number.value();
        let same = keys.get(number).map_err(failed(step))?.map(|key| key.value()) == Some(*key);
        return same
            .then_some(number)
            .ok_or(StoreError::WrongDiscoveryKey(number));
    }
    let mut insert = || -> Result<u64, redb::Error> {
        let mut meta = txn.open_table(META)?;
        let number = meta.get("cores")?.map_or(0, |next| next.value());
        meta.insert("cores", number + 1)?;
        found.insert(discovery_key, number)?;
        keys.insert(number, key)?;
        let head = Head {
            tree_hash: crypto::tree_hash([]),
            ..Head::default()
        };
        txn.open_table(HEADS)?.insert(number, &head.encode()[..])?;
        Ok(number)
    };
    insert().map_err(failed(step))
}

fn put_name(txn: &WriteTransaction, name: &str, number: u64) -> Result<(), StoreError> {
    let step = "enter a core's name";
    let mut names = txn.open_table(NAMES).map_err(failed(step))?;
    let before = names
        .get(name)
        .map_err(failed(step))?
        .map(|before| before.value());
    match before {
        Some(other) if other != number => Err(StoreError::NameTaken(name.into())),
        Some(_) => Ok(()),
        None => {
            names.insert(name, number).map_err(failed(step))?;
            Ok(())
        }
    }
}

fn decode_verifier(
    core: u64,
    key: &Hash,
    stored: Option<AccessGuard<'_, &'static [u8]>>,
) -> Result<Option<Verifier>, StoreError> {
    let read = |bytes: &[u8]| Verifier::new(*key, Manifest::decode(bytes).ok()?).ok();
    let verifier = stored.map(|bytes| {
        read(bytes.value()).ok_or(StoreError::Damaged {
            core,
            part: DamagedPart::Manifest,
        })
    });
    verifier.transpose()
}
