//! Blocks that were read lately. A block never changes within one fork of its core, so nothing here ever goes stale.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::block::Block;

/// Bytes that a block costs beside its own: its places in tables.
const OVERHEAD_BYTES: usize = 160;

/// Blocks of one fork, bounded in bytes. What was not asked for since the younger half filled up is dropped.
pub(super) struct Cache {
    half_bytes: usize,
    blocks: Mutex<Halves>,
}

#[derive(Default)]
struct Halves {
    fork: u64,
    young: HashMap<u64, Arc<Block>>,
    young_bytes: usize,
    old: HashMap<u64, Arc<Block>>,
}

impl Cache {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            half_bytes: bytes / 2,
            blocks: Mutex::default(),
        }
    }

    /// Nothing that is done under the lock can panic halfway.
    fn lock(&self) -> MutexGuard<'_, Halves> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block of this fork.
    pub(super) fn get(&self, fork: u64, seq: u64) -> Option<Arc<Block>> {
        let mut halves = self.lock();
        if halves.fork != fork {
            return None;
        }
        if let Some(block) = halves.young.get(&seq) {
            return Some(Arc::clone(block));
        }
        let block = halves.old.remove(&seq)?;
        self.put(&mut halves, Arc::clone(&block));
        Some(block)
    }

    /// Keeps a block of this fork. What is known of older forks is dropped; of forks before the newest, nothing is kept.
    pub(super) fn insert(&self, fork: u64, block: Arc<Block>) {
        let mut halves = self.lock();
        if halves.fork < fork {
            *halves = Halves {
                fork,
                ..Halves::default()
            };
        }
        if halves.fork == fork {
            self.put(&mut halves, block);
        }
    }

    fn put(&self, halves: &mut Halves, block: Arc<Block>) {
        let bytes = block.bytes() + OVERHEAD_BYTES;
        if bytes > self.half_bytes {
            return;
        }
        if halves.young_bytes + bytes > self.half_bytes {
            halves.old = std::mem::take(&mut halves.young);
            halves.young_bytes = 0;
        }
        if halves.young.insert(block.seq, block).is_none() {
            halves.young_bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::block;
    use super::*;

    fn entry(seq: u64) -> Arc<Block> {
        let bytes = block::encode(b"key", Some(&[0; 100]), &[]);
        Arc::new(Block::decode(seq, bytes.into()).unwrap())
    }

    #[test]
    fn the_bytes_are_bounded_and_what_is_asked_for_stays() {
        let cache = Cache::new(20_000);
        for seq in 1..1000 {
            cache.insert(0, entry(seq));
            assert!(cache.get(0, 1).is_some());
        }
        let halves = cache.lock();
        let blocks = halves.young.len() + halves.old.len();
        assert!(blocks > 30 && blocks * (entry(1).bytes() + OVERHEAD_BYTES) <= 20_000);
    }

    #[test]
    fn a_new_fork_forgets_the_old_one_and_is_not_mixed_with_it() {
        let cache = Cache::new(20_000);
        cache.insert(0, entry(1));
        assert!(cache.get(1, 1).is_none());
        cache.insert(1, entry(2));
        assert!(cache.get(0, 1).is_none() && cache.get(1, 1).is_none());
        cache.insert(0, entry(3));
        assert!(cache.get(1, 3).is_none() && cache.get(0, 3).is_none());
        assert!(cache.get(1, 2).is_some());
    }
}
