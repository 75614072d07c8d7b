//! Being told when a bee changes.

use hyper_core::session::{CoreState, SessionError};
use tokio::sync::watch;

use super::error::{BeeError, Step};
use super::range::KeyRange;
use super::{Bee, Entry};

/// Tells of changes within a range of keys.
pub struct Watcher {
    bee: Bee,
    range: KeyRange,
    current: Bee,
    changes: watch::Receiver<CoreState>,
}

/// Keeps up with what one key stands for.
pub struct EntryWatcher {
    bee: Bee,
    key: Vec<u8>,
    entry: Option<Entry>,
    fork: u64,
    changes: watch::Receiver<CoreState>,
}

impl Bee {
    /// Tells of changes within a range of keys, from now on. A fixed version never changes.
    pub fn watch(&self, range: KeyRange) -> Result<Watcher, BeeError> {
        Ok(Watcher {
            changes: self.session.changes(),
            current: self.snapshot()?,
            range,
            bee: self.clone(),
        })
    }

    /// What a key stands for, now and after each change of it.
    pub async fn get_and_watch(&self, key: impl AsRef<[u8]>) -> Result<EntryWatcher, BeeError> {
        let changes = self.session.changes();
        let (key, fork) = (key.as_ref().to_vec(), changes.borrow().fork);
        Ok(EntryWatcher {
            changes,
            entry: self.get(&key).await?,
            fork,
            key,
            bee: self.clone(),
        })
    }

    async fn changed(&self, changes: &mut watch::Receiver<CoreState>) -> Result<(), BeeError> {
        let changed = changes.changed().await;
        changed.map_err(|_| BeeError::Core {
            core: self.core(),
            step: Step::Update,
            source: SessionError::Interrupted,
        })
    }
}

impl Watcher {
    /// Waits until something changed in the range, and gives the bee as it is now and as it was when it was given last. Changes that
    /// come faster than this is called are told as one. After a truncation the change is told whatever it touched.
    pub async fn next(&mut self) -> Result<(Bee, Bee), BeeError> {
        loop {
            self.changes.borrow_and_update();
            let now = self.bee.snapshot()?;
            let before = &self.current;
            let other_fork = now.session.fork() != before.session.fork();
            let changed = other_fork
                || (now.version() != before.version()
                    && now.diff(before, self.range.clone())?.next().await?.is_some());
            if changed {
                let before = std::mem::replace(&mut self.current, now.clone());
                return Ok((now, before));
            }
            self.current = now;
            self.bee.changed(&mut self.changes).await?;
        }
    }
}

impl EntryWatcher {
    /// What the key stands for, as far as this was told.
    pub fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// Waits until the key is put anew or removed, or until the bee is truncated, and says what the key stands for then.
    pub async fn next(&mut self) -> Result<Option<&Entry>, BeeError> {
        loop {
            let fork = self.changes.borrow_and_update().fork;
            let entry = self.bee.get(&self.key).await?;
            let seq = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.seq);
            if fork != self.fork || seq(&entry) != seq(&self.entry) {
                self.fork = fork;
                self.entry = entry;
                return Ok(self.entry());
            }
            self.bee.changed(&mut self.changes).await?;
        }
    }
}
