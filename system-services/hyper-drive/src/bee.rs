//! Bee: a sorted key-value store on a core, block for block that of hyperbee 2.
//!
//! Each change of a key is one block. It holds the key, the value, and those nodes of a B-tree that the change made anew; the last
//! block's first node is the root. So every length of the core is a version of the bee, and what did not change between two
//! versions is shared by them.
//!
//! What comes from peers is signed by the bee's writer, but may lie all the same: each node is checked when it is read, and walks
//! through the tree end at keys that are not in order.

mod batch;
mod block;
mod cache;
mod diff;
mod draft;
mod entry;
mod error;
mod header;
mod history;
mod kept;
mod protobuf;
mod range;
mod read_ahead;
mod unlinked;
mod view;
mod watch;

pub use batch::Batch;
pub use block::{BlockFault, fuzz_block};
pub use diff::{Difference, Differences};
pub use entry::Entry;
pub use error::{BeeError, CoreKey, Step};
pub use header::{Header, Metadata, NotAHeader};
pub use history::{Change, History, HistoryEntry};
pub use protobuf::Malformed;
pub use range::{Entries, KeyRange};
pub use watch::{EntryWatcher, Watcher};

use std::sync::Arc;

use bytes::Bytes;
use hyper_core::session::{GetOptions, Session};
use serde::Serialize;

use cache::Cache;
use view::View;

/// How a bee is kept.
#[derive(Debug, Clone)]
pub struct BeeOptions {
    /// What the first block notes about the bee, when this bee writes it.
    pub metadata: Option<Metadata>,
    /// A value that a key has already is put again, as a block of its own.
    pub duplicates: bool,
    /// Most bytes of blocks and tree nodes that are kept in memory for the next reader: a bee of a few thousand keys fills one of the 32
    /// MiB of the default, one of a million fills them when it is used throughout.
    pub cache_bytes: usize,
}

impl Default for BeeOptions {
    fn default() -> Self {
        Self {
            metadata: None,
            duplicates: true,
            cache_bytes: 32 << 20,
        }
    }
}

impl BeeOptions {
    fn header(&self) -> Header {
        Header {
            metadata: self.metadata.clone(),
        }
    }
}

/// A bee, a version of it, or a sub-database of either. Clones are cheap, and are the same bee.
///
/// All bees on sessions of the same core take turns to write.
#[derive(Clone)]
pub struct Bee {
    session: Session,
    shared: Arc<Shared>,
    prefix: Bytes,
    /// `None`: the newest one.
    version: Option<u64>,
    get_options: GetOptions,
}

/// What all handles of one bee share.
struct Shared {
    options: BeeOptions,
    cache: Arc<Cache>,
}

impl Bee {
    /// The bee on a core. The core's first block is written with the first entry.
    pub fn new(session: Session) -> Self {
        Self::with_options(session, BeeOptions::default())
    }

    /// The bee on a core, kept as the options say.
    pub fn with_options(session: Session, options: BeeOptions) -> Self {
        let shared = Shared {
            cache: Arc::new(Cache::new(options.cache_bytes)),
            options,
        };
        Self {
            session,
            shared: Arc::new(shared),
            prefix: Bytes::new(),
            version: None,
            get_options: GetOptions::default(),
        }
    }

    /// Whether a core is a bee, by its first block, which is waited for.
    pub async fn is_bee(session: &Session) -> Result<bool, BeeError> {
        let bee = Self::new(session.clone());
        match bee.header().await {
            Ok(_) => Ok(true),
            Err(BeeError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The core under the bee.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The version: the blocks of the core that belong to it, the header too. That of an empty bee is 1.
    pub fn version(&self) -> u64 {
        self.version.unwrap_or_else(|| self.session.length()).max(1)
    }

    /// What keys begin with in the core, if this is a sub-database.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The first block of the core, which is waited for.
    pub async fn header(&self) -> Result<Header, BeeError> {
        let view = View {
            session: self.session.clone(),
            ..self.view()?
        };
        Header::decode(&view.bytes(0).await?)
            .map_err(BlockFault::NoHeader)
            .map_err(view.damaged(0))
    }

    /// Asks peers for a newer version, and says whether there is one.
    pub async fn update(&self) -> Result<bool, BeeError> {
        let failed = |source| BeeError::Core {
            core: self.core(),
            step: Step::Update,
            source,
        };
        self.session.update(true).await.map_err(failed)
    }

    /// The bee as it was when its core had this many blocks, the header too. A version that is not there yet is waited for by whoever
    /// reads it.
    ///
    /// A batch is appended at once: versions within it are not whole.
    pub fn checkout(&self, version: u64) -> Result<Self, BeeError> {
        let version = version.max(1);
        let session = match version > self.session.length() {
            true => self.session.clone(),
            false => self.snapshot_of_core()?,
        };
        Ok(Self {
            session,
            version: Some(version),
            ..self.clone()
        })
    }

    /// The bee as it is now.
    pub fn snapshot(&self) -> Result<Self, BeeError> {
        self.checkout(self.version())
    }

    /// The entries whose keys begin with a prefix and a zero byte, under keys without these.
    pub fn sub(&self, prefix: impl AsRef<[u8]>) -> Self {
        self.sub_with_separator(prefix, [0])
    }

    /// The entries whose keys begin with a prefix and a separator, under keys without these.
    pub fn sub_with_separator(&self, prefix: impl AsRef<[u8]>, separator: impl AsRef<[u8]>) -> Self {
        let prefix = [&self.prefix, prefix.as_ref(), separator.as_ref()].concat();
        Self {
            prefix: prefix.into(),
            ..self.clone()
        }
    }

    /// The same bee, but blocks that are not stored here are asked for in this way: not at all, or not for ever.
    pub fn with_get_options(&self, options: GetOptions) -> Self {
        Self {
            get_options: options,
            ..self.clone()
        }
    }

    /// What a key stands for.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>, BeeError> {
        let found = self.view()?.get(&self.full_key(key.as_ref())).await?;
        Ok(found.map(|block| Entry::new(&block, &self.prefix)))
    }

    /// The entry that a block put, or the key that it removed.
    pub async fn get_by_seq(&self, seq: u64) -> Result<Entry, BeeError> {
        Ok(Entry::new(&*self.view()?.block(seq).await?, &self.prefix))
    }

    /// The first entry of a range.
    pub async fn peek(&self, range: KeyRange) -> Result<Option<Entry>, BeeError> {
        self.range(range)?.limit(1).next().await
    }

    /// Puts a key. Says the block that this becomes, or nothing when it has the value already and the bee is one without duplicates.
    pub async fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Option<u64>, BeeError> {
        let mut batch = self.batch();
        let put = batch.put(key, value).await?;
        batch.flush().await.map(|_| put)
    }

    /// Puts a key with a value as JSON.
    pub async fn put_json(
        &self,
        key: impl AsRef<[u8]>,
        value: &impl Serialize,
    ) -> Result<Option<u64>, BeeError> {
        let mut batch = self.batch();
        let put = batch.put_json(key, value).await?;
        batch.flush().await.map(|_| put)
    }

    /// Puts a key if the condition holds for what it stands for, if anything. Says the block that this becomes.
    pub async fn put_if(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        condition: impl FnOnce(Option<&Entry>) -> bool + Send,
    ) -> Result<Option<u64>, BeeError> {
        let mut batch = self.batch();
        let put = batch.put_if(key, value, condition).await?;
        batch.flush().await.map(|_| put)
    }

    /// Removes a key. Says the block that this becomes, or nothing when there is no such key.
    pub async fn del(&self, key: impl AsRef<[u8]>) -> Result<Option<u64>, BeeError> {
        let mut batch = self.batch();
        let del = batch.del(key).await?;
        batch.flush().await.map(|_| del)
    }

    /// Removes a key if the condition holds for what it stands for. It is not asked when there is no such key.
    pub async fn del_if(
        &self,
        key: impl AsRef<[u8]>,
        condition: impl FnOnce(&Entry) -> bool + Send,
    ) -> Result<Option<u64>, BeeError> {
        let mut batch = self.batch();
        let del = batch.del_if(key, condition).await?;
        batch.flush().await.map(|_| del)
    }

    /// Changes that become part of the bee together.
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone())
    }

    fn core(&self) -> CoreKey {
        CoreKey(*self.session.key())
    }

    fn full_key(&self, key: &[u8]) -> Bytes {
        match self.prefix.is_empty() {
            true => Bytes::copy_from_slice(key),
            false => [&self.prefix, key].concat().into(),
        }
    }

    fn snapshot_of_core(&self) -> Result<Session, BeeError> {
        self.session.snapshot().map_err(|source| BeeError::Core {
            core: self.core(),
            step: Step::Snapshot,
            source,
        })
    }

    /// The bee at this moment.
    fn view(&self) -> Result<View, BeeError> {
        let session = match self.version {
            // A checkout has the core that it wants.
            Some(_) => self.session.clone(),
            None => self.snapshot_of_core()?,
        };
        let state = session.state();
        Ok(View {
            session,
            cache: Arc::clone(&self.shared.cache),
            fork: state.fork,
            version: self.version.unwrap_or(state.length).max(1),
            options: self.get_options,
        })
    }
}
