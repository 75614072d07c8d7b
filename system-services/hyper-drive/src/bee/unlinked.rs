//! Freeing the room of blocks that the newest version no longer needs.

use std::ops::Range;
use std::sync::Arc;

use hyper_core::session::GetOptions;

use super::Bee;
use super::block::Block;
use super::error::{BeeError, Step};
use super::view::View;

impl Bee {
    /// Clears those stored blocks that the bee's version does not need, and says how many. Older versions cannot be read whole then.
    ///
    /// `blocks` says which changes are looked at: the blocks themselves, and those that stood for the same keys when the core had
    /// `blocks.start` blocks. The newest block is never cleared.
    pub async fn clear_unlinked(&self, blocks: Range<u64>) -> Result<u64, BeeError> {
        let newest = self.view()?;
        let local = |version| View {
            version,
            options: GetOptions {
                wait: false,
                timeout: None,
            },
            ..newest.clone()
        };
        let (stored, before) = (local(newest.version), local(blocks.start.max(1)));
        let mut cleared = 0;
        for seq in blocks.start.max(1)..blocks.end.min(newest.version - 1) {
            let Ok(block) = stored.block(seq).await else {
                continue;
            };
            let replaced = before.get(block.key()).await.ok().flatten();
            for block in [Some(block), replaced].into_iter().flatten() {
                if !newest.needs(&block, &stored).await? {
                    self.clear(block.seq).await?;
                    cleared += 1;
                }
            }
        }
        Ok(cleared)
    }

    async fn clear(&self, seq: u64) -> Result<(), BeeError> {
        let cleared = self.session.clear(seq..seq + 1).await;
        cleared.map_err(|source| BeeError::Core {
            core: self.core(),
            step: Step::Clear(seq),
            source,
        })
    }
}

impl View {
    /// Whether a way from the root leads through a block: that to its own key, or that to a key of one of its nodes.
    async fn needs(&self, block: &Arc<Block>, stored: &Self) -> Result<bool, BeeError> {
        if self.leads_through(block.key(), block.seq).await? {
            return Ok(true);
        }
        for seq in block.first_keys().map_err(self.damaged(block.seq))? {
            // A key that is not stored is not needed either: the blocks that are needed all are.
            let Ok(key) = stored.block(seq).await else {
                continue;
            };
            if self.leads_through(key.key(), block.seq).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
