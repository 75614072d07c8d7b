//! A cheap, cloneable, asynchronous handle to a core.
//!
//! What is stored is read at once. What changes the core runs where it may wait for the disk, and is on it when the call returns.
//! A block that is not stored is waited for: until it is appended, or comes from a peer.

mod download;
mod error;
mod extension;
mod state;

pub use crate::replicator::{MAX_EXTENSION_BYTES, MAX_EXTENSION_NAME_BYTES};
pub use download::{Download, DownloadRange};
pub use error::SessionError;
pub use extension::{Extension, ExtensionError};
pub use state::{CoreState, GetOptions};

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::{OwnedMutexGuard, watch};

use crate::core::{Conflict, Core, CoreError, End, Info};
use crate::crypto::{Hash, KeyPair};
use crate::encryption::{BlockCipher, PADDING_BYTES};
use crate::live::{Answer, Intact, Live, Presence, lock};
use crate::manifest::Verifier;
use crate::merkle::Seek;
use crate::messages::RequestSeek;
use crate::store::StoreError;

/// A handle to a core. Clones are handles to the same core.
#[derive(Clone)]
pub struct Session {
    live: Arc<Live>,
    _presence: Arc<Presence>,
    /// Where the core stood, if this is a snapshot, and how much of that is left.
    fixed: Option<(CoreState, Intact)>,
    cipher: Option<Arc<BlockCipher>>,
}

impl Session {
    /// A handle to a core that nobody else has a session of.
    pub fn new(core: Core) -> Result<Self, StoreError> {
        Ok(Self::of(Live::new(core)?))
    }

    /// A handle to a core that is open.
    pub(crate) fn of(live: Arc<Live>) -> Self {
        Self {
            _presence: Arc::new(Presence::new(Arc::clone(&live))),
            live,
            fixed: None,
            cipher: None,
        }
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The same core, whose blocks are encrypted when they are appended and decrypted when they are read. Handles without the cipher
    /// give the blocks as they are stored.
    pub fn with_encryption(mut self, cipher: BlockCipher) -> Self {
        self.cipher = Some(Arc::new(cipher));
        self
    }

    /// Bytes of each block that are not the block's own.
    fn padding(&self) -> u64 {
        self.cipher.as_ref().map_or(0, |_| PADDING_BYTES as u64)
    }

    /// The core's key.
    pub fn key(&self) -> &Hash {
        self.live.core().key()
    }

    /// What the core is found by.
    pub fn discovery_key(&self) -> Hash {
        self.live.core().discovery_key()
    }

    /// Whether blocks can be appended here.
    pub fn is_writable(&self) -> bool {
        self.fixed.is_none() && self.live.core().is_writable()
    }

    /// Who signs the core; `None` as long as no peer gave its manifest.
    pub fn verifier(&self) -> Result<Option<Verifier>, SessionError> {
        Ok(self.live.core().verifier()?.cloned())
    }

    /// Who writes the core here, if anybody: other cores may be derived from it.
    pub fn key_pair(&self) -> Option<KeyPair> {
        self.live.core().key_pair().cloned()
    }

    /// Where the core stands, or stood when the snapshot was taken.
    pub fn state(&self) -> CoreState {
        self.fixed
            .as_ref()
            .map_or_else(|| self.live.state(), |(state, _)| *state)
    }

    /// Blocks.
    pub fn length(&self) -> u64 {
        self.state().length
    }

    /// Bytes of all blocks, stored or not; of encrypted ones those that they have when they are read.
    pub fn byte_length(&self) -> u64 {
        let state = self.state();
        state
            .byte_length
            .saturating_sub(state.length.saturating_mul(self.padding()))
    }

    /// How often the core was truncated.
    pub fn fork(&self) -> u64 {
        self.state().fork
    }

    /// What the core is and how much of it is there now, of a snapshot too.
    pub fn info(&self) -> Result<Info, SessionError> {
        Ok(self.live.core().info()?)
    }

    /// Appends blocks, all or none, in one commit. Says the length that then is.
    pub async fn append(&self, blocks: &[impl AsRef<[u8]>]) -> Result<u64, SessionError> {
        self.append_owned(blocks.iter().map(|block| block.as_ref().to_vec()).collect())
            .await
    }

    /// As [`Session::append`], without a copy of the blocks.
    pub async fn append_owned(&self, blocks: Vec<Vec<u8>>) -> Result<u64, SessionError> {
        self.must_be_live()?;
        let count = blocks.len() as u64;
        let cipher = self.cipher.clone();
        let append = move |core: &Core| match cipher {
            Some(cipher) => core.append_encrypted(&blocks, &cipher),
            None => core.append(&blocks),
        };
        self.live.append(count, append).await
    }

    /// As [`Session::append`], if the core still ends there, else [`CoreError::Moved`]: for blocks that say something of those before them.
    pub async fn append_at(&self, end: End, blocks: &[impl AsRef<[u8]>]) -> Result<u64, SessionError> {
        self.must_be_live()?;
        let blocks: Vec<_> = blocks.iter().map(|block| block.as_ref().to_vec()).collect();
        let (count, cipher) = (blocks.len() as u64, self.cipher.clone());
        let append = move |core: &Core| core.append_at(end, &blocks, cipher.as_deref());
        self.live.append(count, append).await
    }

    /// Waits for its turn to write the core, among all who ask for one in this process; the turn ends when the guard is dropped. Who
    /// appends without one is not kept from it.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        self.live.turn().await
    }

    /// A block; waits until it is there.
    pub async fn get(&self, block: u64) -> Result<Vec<u8>, SessionError> {
        let found = self.get_with(block, GetOptions::default()).await?;
        found.ok_or(SessionError::Interrupted)
    }

    /// A block; `None` if it is not stored and is not to be waited for.
    pub async fn get_with(&self, block: u64, options: GetOptions) -> Result<Option<Vec<u8>>, SessionError> {
        if let Some(found) = self.get_local(block)? {
            return Ok(Some(found));
        }
        if !options.wait {
            return Ok(None);
        }
        let Some(after) = options.timeout else {
            return self.wait_for(block).await.map(Some);
        };
        match tokio::time::timeout(after, self.wait_for(block)).await {
            Ok(found) => found.map(Some),
            Err(_) => Err(SessionError::TimedOut { block, after }),
        }
    }

    /// A block, `None` if it is not stored.
    pub fn get_local(&self, block: u64) -> Result<Option<Vec<u8>>, SessionError> {
        self.must_be_within(block)?;
        let stored = self.live.core().get(block)?;
        stored.map(|stored| self.decrypted(block, stored)).transpose()
    }

    fn decrypted(&self, block: u64, stored: Vec<u8>) -> Result<Vec<u8>, SessionError> {
        let Some(cipher) = &self.cipher else {
            return Ok(stored);
        };
        let compat = self.live.core().verifier()?.is_some_and(Verifier::is_compat);
        Ok(cipher.decrypt(compat, block, stored)?)
    }

    /// Whether a block is stored.
    pub fn has(&self, block: u64) -> Result<bool, SessionError> {
        self.must_be_within(block)?;
        Ok(self.live.core().has(block)?)
    }

    async fn wait_for(&self, block: u64) -> Result<Vec<u8>, SessionError> {
        loop {
            let mut waiting = self.live.wait_for_block(block)?;
            // Between the first look and the wish it may have come.
            if let Some(found) = self.get_local(block)? {
                return Ok(found);
            }
            if let Answer::Block(Some(stored)) = waiting.answer().await? {
                return self.decrypted(block, stored);
            }
            if let Some(found) = self.get_local(block)? {
                return Ok(found);
            }
        }
    }

    /// Finds the block that holds a byte. Tree nodes that are missing come from peers; a byte beyond the end is looked for again after an
    /// [`Session::update`].
    pub async fn seek(&self, bytes: u64) -> Result<Seek, SessionError> {
        let padding = self.padding();
        loop {
            match self.live.core().seek(bytes, padding)? {
                Seek::Within(blocks) => {
                    let mut waiting = self.live.wait_for_seek(blocks, RequestSeek { bytes, padding })?;
                    waiting.answer().await?;
                }
                Seek::Beyond if self.fixed.is_none() && self.update(true).await? => {}
                found => return Ok(found),
            }
        }
    }

    /// Asks the connected peers whether the core is longer by now, and says whether it grew. Without `wait` nobody is asked. While
    /// somebody holds a [`FindingPeers`], it waits for the first peer.
    pub async fn update(&self, wait: bool) -> Result<bool, SessionError> {
        if !wait || self.fixed.is_some() || self.live.core().is_writable() {
            return Ok(false);
        }
        let mut waiting = self.live.wait_for_update()?;
        match waiting.answer().await? {
            Answer::Update(grew) => Ok(grew),
            _ => Err(SessionError::Interrupted),
        }
    }

    /// Peers with which the core is replicated now.
    pub fn peers(&self) -> usize {
        self.live.peers()
    }

    /// The public keys of these peers; a key stands as often as there are connections with it.
    pub fn peer_keys(&self) -> Vec<Hash> {
        self.live.peer_keys()
    }

    /// Says that peers are being looked for, as long as the answer lives.
    pub fn finding_peers(&self) -> FindingPeers {
        self.live.finding(true);
        FindingPeers(Arc::clone(&self.live))
    }

    /// Drops the blocks from `length` on. `fork` is the new fork's number, by default the next one.
    pub async fn truncate(&self, length: u64, fork: Option<u64>) -> Result<(), SessionError> {
        self.must_be_live()?;
        if !self.is_writable() {
            return Err(CoreError::NotWritable.into());
        }
        self.live.truncate(length, fork).await
    }

    /// Removes the bytes of blocks to free their room; peers may give them again.
    pub async fn clear(&self, blocks: Range<u64>) -> Result<(), SessionError> {
        self.live.clear(blocks).await
    }

    /// Fetches blocks as long as the handle lives.
    pub fn download(&self, range: DownloadRange) -> Download {
        Download::new(&self.live, range)
    }

    /// The core as it is now: its length stays, whatever is appended.
    ///
    /// # Errors
    /// None as yet: a snapshot of a snapshot is the same one.
    pub fn snapshot(&self) -> Result<Self, SessionError> {
        Ok(Self {
            live: Arc::clone(&self.live),
            _presence: Arc::clone(&self._presence),
            fixed: Some(self.fixed.clone().unwrap_or_else(|| self.live.fix())),
            cipher: self.cipher.clone(),
        })
    }

    /// Why the core is frozen, if it is: [`Session::changes`] tells when that happens. What waits ends with [`SessionError::Frozen`] then.
    pub fn conflict(&self) -> Option<Conflict> {
        self.live.conflict()
    }

    /// Tells of every change of where the core stands, of a snapshot's core too, and when it is frozen.
    pub fn changes(&self) -> watch::Receiver<CoreState> {
        self.live.changes()
    }

    /// What a program keeps with the core under a name of its own; it is not replicated.
    pub fn user_data(&self, key: &str) -> Result<Option<Vec<u8>>, SessionError> {
        Ok(self.live.core().user_data(key)?)
    }

    /// Keeps user data, or removes them.
    pub async fn set_user_data(&self, key: &str, value: Option<&[u8]>) -> Result<(), SessionError> {
        let (key, value) = (key.to_owned(), value.map(<[u8]>::to_vec));
        self.live.set_user_data(key, value).await
    }

    fn must_be_live(&self) -> Result<(), SessionError> {
        match self.fixed {
            None => Ok(()),
            Some(_) => Err(SessionError::IsSnapshot),
        }
    }

    fn must_be_within(&self, block: u64) -> Result<(), SessionError> {
        let Some((state, intact)) = &self.fixed else {
            return Ok(());
        };
        let length = state.length;
        if block >= length {
            Err(SessionError::BeyondSnapshot { block, length })
        } else if block >= *lock(intact) {
            Err(SessionError::Truncated { block })
        } else {
            Ok(())
        }
    }
}

/// Peers are being looked for, as long as this lives: [`Session::update`] waits for the first one.
pub struct FindingPeers(Arc<Live>);

impl Drop for FindingPeers {
    fn drop(&mut self) {
        self.0.finding(false);
    }
}
