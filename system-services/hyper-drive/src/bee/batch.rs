//! Changes that become part of a bee together.

use std::sync::Arc;

use bytes::Bytes;
use hyper_core::core::{CoreError, End};
use hyper_core::session::SessionError;
use serde::Serialize;
use tokio::sync::OwnedMutexGuard;

use super::block::Block;
use super::draft::{Draft, Found, PutOptions};
use super::error::{BeeError, Step};
use super::{Bee, Entry};

/// Changes that are appended at once, in one commit, or not at all.
///
/// From the first change on, other changes of the bee wait until the batch is flushed or dropped. What it touches is kept in memory until then.
pub struct Batch {
    bee: Bee,
    open: Option<(OwnedMutexGuard<()>, Draft)>,
    /// A change was begun and not ended: by an error, or because its caller went away.
    failed: bool,
}

impl Batch {
    pub(super) fn new(bee: Bee) -> Self {
        Self {
            bee,
            open: None,
            failed: false,
        }
    }

    /// What a key stands for, with the changes so far.
    pub async fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Entry>, BeeError> {
        let Some((_, draft)) = &mut self.open else {
            return self.bee.get(key).await;
        };
        let found = draft.get(&self.bee.full_key(key.as_ref())).await?;
        Ok(found.map(|found| Entry::of_draft(&found, &self.bee.prefix)))
    }

    /// Puts a key. Says the block that this becomes, or nothing when it has the value already and the bee is one without duplicates.
    pub async fn put(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Option<u64>, BeeError> {
        let value = Bytes::copy_from_slice(value.as_ref());
        self.change(key.as_ref(), Some(value), None).await
    }

    /// Puts a key with a value as JSON.
    pub async fn put_json(
        &mut self,
        key: impl AsRef<[u8]>,
        value: &impl Serialize,
    ) -> Result<Option<u64>, BeeError> {
        let key = key.as_ref();
        let json = serde_json::to_vec(value).map_err(|source| BeeError::NoJson {
            key: String::from_utf8_lossy(key).into_owned(),
            source,
        })?;
        self.change(key, Some(json.into()), None).await
    }

    /// Puts a key that stands for nothing but itself.
    pub async fn put_without_value(&mut self, key: impl AsRef<[u8]>) -> Result<Option<u64>, BeeError> {
        self.change(key.as_ref(), None, None).await
    }

    /// Puts a key if the condition holds for what it stands for, if anything. Says the block that this becomes.
    pub async fn put_if(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        condition: impl FnOnce(Option<&Entry>) -> bool + Send,
    ) -> Result<Option<u64>, BeeError> {
        let value = Bytes::copy_from_slice(value.as_ref());
        self.change_if(key.as_ref(), Some(value), condition).await
    }

    /// Puts a key that stands for nothing but itself, if the condition holds for what it stands for, if anything.
    pub async fn put_without_value_if(
        &mut self,
        key: impl AsRef<[u8]>,
        condition: impl FnOnce(Option<&Entry>) -> bool + Send,
    ) -> Result<Option<u64>, BeeError> {
        self.change_if(key.as_ref(), None, condition).await
    }

    /// Removes a key. Says the block that this becomes, or nothing when there is no such key.
    pub async fn del(&mut self, key: impl AsRef<[u8]>) -> Result<Option<u64>, BeeError> {
        self.remove(key.as_ref(), None).await
    }

    /// Removes a key if the condition holds for what it stands for. It is not asked when there is no such key.
    pub async fn del_if(
        &mut self,
        key: impl AsRef<[u8]>,
        condition: impl FnOnce(&Entry) -> bool + Send,
    ) -> Result<Option<u64>, BeeError> {
        let prefix = self.bee.prefix.clone();
        let mut condition = Some(condition);
        let mut condition = |found: Option<&Found>| {
            let entry = found.map(|found| Entry::of_draft(found, &prefix));
            let asked = entry.zip(condition.take());
            asked.is_some_and(|(entry, condition)| condition(&entry))
        };
        self.remove(key.as_ref(), Some(&mut condition)).await
    }

    /// Changes so far.
    pub fn len(&self) -> usize {
        self.open.as_ref().map_or(0, |(_, draft)| draft.len())
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the changes, and says the version that then is.
    pub async fn flush(self) -> Result<u64, BeeError> {
        if self.failed {
            return Err(BeeError::BatchFailed);
        }
        match self.open {
            Some((guard, draft)) if draft.len() > 0 => self.bee.commit(guard, draft).await,
            _ => Ok(self.bee.version()),
        }
    }

    async fn change_if(
        &mut self,
        key: &[u8],
        value: Option<Bytes>,
        condition: impl FnOnce(Option<&Entry>) -> bool + Send,
    ) -> Result<Option<u64>, BeeError> {
        let prefix = self.bee.prefix.clone();
        let mut condition = Some(condition);
        let mut condition = |found: Option<&Found>| {
            let entry = found.map(|found| Entry::of_draft(found, &prefix));
            condition
                .take()
                .is_some_and(|condition| condition(entry.as_ref()))
        };
        self.change(key, value, Some(&mut condition)).await
    }

    async fn change(
        &mut self,
        key: &[u8],
        value: Option<Bytes>,
        condition: Option<super::draft::Condition<'_>>,
    ) -> Result<Option<u64>, BeeError> {
        let key = self.bee.full_key(key);
        let options = PutOptions {
            condition,
            duplicates: self.bee.shared.options.duplicates,
        };
        let draft = self.begin().await?;
        let done = draft.put(key, value, options).await?;
        self.failed = false;
        Ok(done)
    }

    async fn remove(
        &mut self,
        key: &[u8],
        condition: Option<super::draft::Condition<'_>>,
    ) -> Result<Option<u64>, BeeError> {
        let key = self.bee.full_key(key);
        let done = self.begin().await?.del(key, condition).await?;
        self.failed = false;
        Ok(done)
    }

    /// The draft for the next change, which is marked as failed until it is done.
    async fn begin(&mut self) -> Result<&mut Draft, BeeError> {
        if self.failed {
            return Err(BeeError::BatchFailed);
        }
        if self.open.is_none() {
            self.open = Some(self.bee.begin_write().await?);
        }
        match &mut self.open {
            Some((_, draft)) => {
                self.failed = true;
                Ok(draft)
            }
            None => Err(BeeError::BatchFailed),
        }
    }
}

impl Bee {
    /// Waits for its turn to write. The header is written first if the core is empty, as hyperbee does.
    async fn begin_write(&self) -> Result<(OwnedMutexGuard<()>, Draft), BeeError> {
        if self.version.is_some() || !self.session.is_writable() {
            return Err(BeeError::ReadOnly(self.core()));
        }
        let guard = self.session.turn().await;
        let guard = match self.session.length() {
            0 => {
                let header = self.shared.options.header().encode();
                let end = End {
                    length: 0,
                    fork: self.session.fork(),
                };
                self.append(guard, end, vec![header.into()]).await?.0
            }
            _ => guard,
        };
        let view = self.view()?;
        Ok((guard, Draft::new(view)))
    }

    async fn commit(&self, guard: OwnedMutexGuard<()>, draft: Draft) -> Result<u64, BeeError> {
        let (start, fork) = (draft.start(), draft.fork());
        let end = End { length: start, fork };
        let (blocks, nodes) = draft.into_blocks();
        let (guard, length) = self.append(guard, end, blocks.clone()).await?;
        self.shared.cache.replace_nodes(fork, nodes);
        for (seq, block) in (start..).zip(blocks) {
            if let Ok(block) = Block::decode(seq, block) {
                self.shared.cache.keep_block(fork, &Arc::new(block));
            }
        }
        drop(guard);
        Ok(length)
    }

    /// Appends blocks while nobody else may write, also when the caller goes away meanwhile. Says the core's length then.
    async fn append(
        &self,
        guard: OwnedMutexGuard<()>,
        end: End,
        blocks: Vec<Bytes>,
    ) -> Result<(OwnedMutexGuard<()>, u64), BeeError> {
        let session = self.session.clone();
        let work = tokio::spawn(async move { (session.append_at(end, &blocks).await, guard) });
        let failed = |source| match source {
            SessionError::Core(CoreError::Moved { .. }) => BeeError::Interleaved {
                core: self.core(),
                length: end.length,
            },
            source => BeeError::Core {
                core: self.core(),
                step: Step::Append(end.length),
                source,
            },
        };
        let (length, guard) = work.await.map_err(|_| failed(SessionError::Interrupted))?;
        Ok((guard, length.map_err(failed)?))
    }
}
