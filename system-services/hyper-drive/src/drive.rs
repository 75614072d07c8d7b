//! A file system in two cores: names, notes and versions in a bee, contents in blobs (hyperdrive 13).
//!
//! A drive's key is that of the bee's core, which is called `db` in its namespace of a corestore; the core of the blobs is derived from it. So
//! the same primary key gives the same drives as in the JavaScript stack. Folders are not stored: they are what names begin with.
//!
//! What comes from another's drive is signed by its writer, but may be anything all the same: notes are checked when they are read, and no name
//! goes onto a disk unless it is plain (the mirror sees to that).

mod batch;
mod download;
mod entry;
mod error;
mod keys;
mod list;
mod path;
mod watch;
mod write;

pub use batch::DriveBatch;
pub use download::DriveDownload;
pub use entry::{EntryError, EntryValue, MAX_ENTRY_BYTES, Metadata, fuzz_entry};
pub use error::DriveError;
pub use keys::blobs_verifier;
pub use list::{Difference, Differences, DirItem, DirItems, Entries};
pub use path::{FilePath, FolderPath, PathError, resolve};
pub use watch::DriveWatcher;
pub use write::{FileWriter, PutOptions};

use std::ops::RangeBounds;
use std::sync::Arc;

use hyper_core::core::CoreOptions;
use hyper_core::corestore::Corestore;
use hyper_core::crypto::Hash;
use hyper_core::encryption::BlockCipher;
use hyper_core::session::{GetOptions, Session};
use tokio::sync::OnceCell;

use crate::bee::{self, Bee, BeeOptions};
use crate::blobs::{BlobReader, Blobs, ReadOptions};
use error::{At, Part};

/// The name of the database's core.
const DB: &str = "db";
/// The sub-database with the files.
const FILES: &str = "files";
/// The most links that are followed one after the other, as the peers do.
const MAX_LINKS: usize = 16;
/// The most bytes that [`Drive::get`] reads into memory.
pub const MAX_GET_BYTES: u64 = 256 << 20;

/// Memory for the tree of names of one drive. Less than a bee may have: a transfer of a drive shall take 16 MiB in all.
const NAMES_CACHE_BYTES: usize = 4 << 20;

/// How a drive is opened.
#[derive(Clone, Default)]
pub struct DriveOptions {
    /// The key with which all blocks of both cores are encrypted.
    pub encryption_key: Option<[u8; 32]>,
    /// How what is not stored here is asked for.
    pub get_options: GetOptions,
}

/// A drive, or a version of it. Clones are cheap, and are the same drive.
#[derive(Clone)]
pub struct Drive {
    shared: Arc<Shared>,
    files: Bee,
}

/// What all versions of a drive share.
struct Shared {
    store: Corestore,
    options: DriveOptions,
    /// The newest version, with all its sub-databases.
    bee: Bee,
    blobs: OnceCell<Blobs>,
}

/// A file or link.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// The block of the database that noted it.
    pub seq: u64,
    /// What is noted.
    pub value: EntryValue,
}

impl Drive {
    /// The drive of this store and namespace, made the first time.
    pub fn open(store: &Corestore) -> Result<Self, DriveError> {
        Self::open_with(store, DriveOptions::default())
    }

    /// As [`Drive::open`].
    pub fn open_with(store: &Corestore, options: DriveOptions) -> Result<Self, DriveError> {
        let db = store.get_by_name(DB)?;
        Ok(Self::new(store, db, options))
    }

    /// The drive with this key.
    pub fn open_by_key(store: &Corestore, key: &Hash) -> Result<Self, DriveError> {
        Self::open_by_key_with(store, key, DriveOptions::default())
    }

    /// As [`Drive::open_by_key`].
    pub fn open_by_key_with(
        store: &Corestore,
        key: &Hash,
        options: DriveOptions,
    ) -> Result<Self, DriveError> {
        let db = store.get_by_key(key)?;
        Ok(Self::new(store, db, options))
    }

    fn new(store: &Corestore, db: Session, options: DriveOptions) -> Self {
        let bee_options = BeeOptions {
            // Written empty into the header: only drives of hyperdrive 10 name the core of the blobs there.
            metadata: Some(bee::Metadata::default()),
            cache_bytes: NAMES_CACHE_BYTES,
            ..BeeOptions::default()
        };
        let bee =
            Bee::with_options(encrypted(db, &options), bee_options).with_get_options(options.get_options);
        let files = bee.sub(FILES);
        let shared = Shared {
            store: store.clone(),
            options,
            bee,
            blobs: OnceCell::new(),
        };
        Self {
            shared: Arc::new(shared),
            files,
        }
    }

    /// Its key: who has it can read the drive.
    pub fn key(&self) -> &Hash {
        self.db().key()
    }

    /// What it is found by.
    pub fn discovery_key(&self) -> Hash {
        self.db().discovery_key()
    }

    /// The core of the database.
    pub fn db(&self) -> &Session {
        self.shared.bee.session()
    }

    /// The version: blocks of the database. That of an empty drive is 1.
    pub fn version(&self) -> u64 {
        self.files.version()
    }

    /// Whether files can be put here. A version of a drive is not written.
    pub fn is_writable(&self) -> bool {
        self.files.session().is_writable()
    }

    /// Asks the connected peers for a newer version, and says whether there is one.
    pub async fn update(&self) -> Result<bool, DriveError> {
        self.shared.bee.update().await.at(self, Part::Database)
    }

    /// The contents of the files. Of another's drive this waits for the first block of the database, which says where they are.
    pub async fn blobs(&self) -> Result<&Blobs, DriveError> {
        self.shared.blobs.get_or_try_init(|| self.open_blobs()).await
    }

    async fn open_blobs(&self) -> Result<Blobs, DriveError> {
        let db = self.db();
        let header = match db.length() {
            // Nobody can have noted anything else.
            0 if db.is_writable() => bee::Header::default(),
            _ => self.shared.bee.header().await.at(self, Part::Database)?,
        };
        let noted = header.metadata.and_then(|metadata| metadata.content_feed);
        let options = match noted {
            Some(key) => {
                let key = key.get(..32).and_then(|key| Hash::try_from(key).ok());
                CoreOptions::from_key(key.ok_or_else(|| self.no_blobs())?)
            }
            None => {
                let verifier = db.verifier().at(self, Part::Database)?;
                let own = verifier
                    .as_ref()
                    .and_then(blobs_verifier)
                    .ok_or_else(|| self.no_blobs())?;
                match db.key_pair() {
                    Some(pair) => CoreOptions::from_verifier(own).key_pair(pair),
                    None => CoreOptions::from_verifier(own),
                }
            }
        };
        let core = self.shared.store.get(options)?;
        Ok(Blobs::new(encrypted(core, &self.shared.options)))
    }

    fn no_blobs(&self) -> DriveError {
        DriveError::NoBlobs(self.name())
    }

    /// The drive as it was in this version. Contents that were cleared since are gone from it too.
    ///
    /// A batch is one change: versions within it are not whole.
    pub fn checkout(&self, version: u64) -> Result<Self, DriveError> {
        Ok(self.at_version(self.files.checkout(version).at(self, Part::Database)?))
    }

    /// The drive as it is now.
    pub fn snapshot(&self) -> Result<Self, DriveError> {
        self.checkout(self.version())
    }

    fn at_version(&self, files: Bee) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            files,
        }
    }

    /// What is noted of a file or link, itself.
    pub async fn entry(&self, path: &str) -> Result<Option<Entry>, DriveError> {
        let path = FilePath::new(path)?;
        let found = self
            .files
            .get(path.as_str())
            .await
            .at(self, Part::Path(path.as_str()))?;
        found.map(|found| self.read_entry_of(found)).transpose()
    }

    fn read_entry_of(&self, found: bee::Entry) -> Result<Entry, DriveError> {
        let path = String::from_utf8_lossy(&found.key).into_owned();
        match EntryValue::decode(found.value.as_deref().unwrap_or_default()) {
            Ok(value) => Ok(Entry {
                path,
                seq: found.seq,
                value,
            }),
            Err(source) => Err(DriveError::Entry {
                drive: self.name(),
                path,
                seq: found.seq,
                source,
            }),
        }
    }

    /// What is noted of the file that a name leads to: links are followed, as the peers do. Nothing, if one leads nowhere.
    pub async fn follow(&self, path: &str) -> Result<Option<Entry>, DriveError> {
        let mut next = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Some(entry) = self.entry(&next).await? else {
                return Ok(None);
            };
            let Some(target) = &entry.value.linkname else {
                return Ok(Some(entry));
            };
            next = resolve(&entry.path, target)?;
        }
        Err(DriveError::TooManyLinks {
            drive: self.name(),
            path: path.to_owned(),
        })
    }

    /// Whether there is a file or link of this name.
    pub async fn exists(&self, path: &str) -> Result<bool, DriveError> {
        Ok(self.entry(path).await?.is_some())
    }

    /// A whole file, `None` if there is none, or a link. One of more than [`MAX_GET_BYTES`] is refused: [`Drive::read`] reads it piece by piece.
    pub async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, DriveError> {
        match self.read(path, ..).await? {
            Some(reader) => reader
                .to_vec(MAX_GET_BYTES)
                .await
                .at(self, Part::Path(path))
                .map(Some),
            None => Ok(None),
        }
    }

    /// Reads a file, or these bytes of it; `None` if there is none, or a link. Only what is needed is fetched, ahead of the reader.
    pub async fn read(
        &self,
        path: &str,
        bytes: impl RangeBounds<u64>,
    ) -> Result<Option<BlobReader>, DriveError> {
        match self.entry(path).await? {
            Some(entry) => self.read_entry(&entry, bytes).await,
            None => Ok(None),
        }
    }

    /// As [`Drive::read`], of a file whose entry is at hand.
    pub async fn read_entry(
        &self,
        entry: &Entry,
        bytes: impl RangeBounds<u64>,
    ) -> Result<Option<BlobReader>, DriveError> {
        let Some(id) = &entry.value.blob else {
            return Ok(None);
        };
        let GetOptions { wait, timeout } = self.shared.options.get_options;
        let options = ReadOptions { wait, timeout };
        Ok(Some(self.blobs().await?.read_with(id, bytes, options)))
    }

    /// Whether a file, or all files of a folder, are stored here whole. A folder without files is not.
    pub async fn has(&self, path: &str) -> Result<bool, DriveError> {
        let folder = FolderPath::new(path)?;
        if !path.ends_with('/')
            && folder != FolderPath::root()
            && let Some(entry) = self.entry(path).await?
        {
            return self.has_entry(&entry).await;
        }
        let mut files = self.list(path)?;
        let mut any = false;
        while let Some(entry) = files.next().await? {
            any = true;
            if entry.value.blob.is_some() && !self.has_entry(&entry).await? {
                return Ok(false);
            }
        }
        Ok(any)
    }

    async fn has_entry(&self, entry: &Entry) -> Result<bool, DriveError> {
        match &entry.value.blob {
            Some(id) => self
                .blobs()
                .await?
                .has(id)
                .await
                .at(self, Part::Path(&entry.path)),
            None => Ok(false),
        }
    }

    /// The drive's key, as errors name it.
    pub(crate) fn name(&self) -> bee::CoreKey {
        bee::CoreKey(*self.key())
    }
}

fn encrypted(core: Session, options: &DriveOptions) -> Session {
    match &options.encryption_key {
        Some(key) => {
            let cipher = BlockCipher::new(key, core.key());
            core.with_encryption(cipher)
        }
        None => core,
    }
}
