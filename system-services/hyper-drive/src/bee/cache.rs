//! What was read lately. Neither a block nor its key ever changes within one fork of its core, so nothing here goes stale.
//!
//! Keys are kept for themselves too: a walk through the tree compares many of them and looks at nothing else of their blocks, and a
//! key takes a tenth of the memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::block::Block;

/// Bytes that an entry costs beside its own: its places in tables and on the heap.
const OVERHEAD_BYTES: usize = 96;
/// The longest key that is kept for itself.
const MAX_KEY_BYTES: usize = 256;

/// Blocks and keys of one bee.
pub(super) struct Cache {
    blocks: Recent<Arc<Block>>,
    keys: Recent<Arc<[u8]>>,
}

impl Cache {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            blocks: Recent::new(bytes / 2),
            keys: Recent::new(bytes / 2),
        }
    }

    /// A block of this fork.
    pub(super) fn block(&self, fork: u64, seq: u64) -> Option<Arc<Block>> {
        self.blocks.get(fork, seq)
    }

    /// The key of a block of this fork.
    pub(super) fn key(&self, fork: u64, seq: u64) -> Option<Arc<[u8]>> {
        let key = self.keys.get(fork, seq);
        key.or_else(|| {
            let key = self.block(fork, seq)?.key().into();
            self.insert_key(fork, seq, &key);
            Some(key)
        })
    }

    /// Keeps a block of this fork.
    pub(super) fn insert_block(&self, fork: u64, block: &Arc<Block>) {
        self.blocks
            .insert(fork, block.seq, Arc::clone(block), block.bytes());
    }

    /// Keeps the key of a block of this fork.
    pub(super) fn insert_key(&self, fork: u64, seq: u64, key: &Arc<[u8]>) {
        if key.len() <= MAX_KEY_BYTES {
            self.keys.insert(fork, seq, Arc::clone(key), key.len());
        }
    }
}

/// Things of one fork, bounded in bytes. What was not asked for since the younger half filled up is dropped.
struct Recent<T> {
    half_bytes: usize,
    halves: Mutex<Halves<T>>,
}

struct Halves<T> {
    fork: u64,
    young: HashMap<u64, (T, usize)>,
    young_bytes: usize,
    old: HashMap<u64, (T, usize)>,
}

impl<T: Clone> Recent<T> {
    fn new(bytes: usize) -> Self {
        Self {
            half_bytes: bytes / 2,
            halves: Mutex::new(Halves::new(0)),
        }
    }

    /// Nothing that is done under the lock can panic halfway.
    fn lock(&self) -> MutexGuard<'_, Halves<T>> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, fork: u64, seq: u64) -> Option<T> {
        let mut halves = self.lock();
        if halves.fork != fork {
            return None;
        }
        if let Some((thing, _)) = halves.young.get(&seq) {
            return Some(thing.clone());
        }
        let (thing, bytes) = halves.old.remove(&seq)?;
        self.put(&mut halves, seq, thing.clone(), bytes);
        Some(thing)
    }

    /// What is known of older forks is dropped; of forks before the newest, nothing is kept.
    fn insert(&self, fork: u64, seq: u64, thing: T, bytes: usize) {
        let mut halves = self.lock();
        if halves.fork < fork {
            *halves = Halves::new(fork);
        }
        if halves.fork == fork {
            self.put(&mut halves, seq, thing, bytes + OVERHEAD_BYTES);
        }
    }

    fn put(&self, halves: &mut Halves<T>, seq: u64, thing: T, bytes: usize) {
        if bytes > self.half_bytes {
            return;
        }
        if halves.young_bytes + bytes > self.half_bytes {
            halves.old = std::mem::take(&mut halves.young);
            halves.young_bytes = 0;
        }
        if halves.young.insert(seq, (thing, bytes)).is_none() {
            halves.young_bytes += bytes;
        }
    }
}

impl<T> Halves<T> {
    fn new(fork: u64) -> Self {
        Self {
            fork,
            young: HashMap::new(),
            young_bytes: 0,
            old: HashMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_bounded_and_what_is_asked_for_stays() {
        let recent = Recent::new(20_000);
        for seq in 1..1000 {
            recent.insert(0, seq, seq, 100);
            assert_eq!(recent.get(0, 1), Some(1));
        }
        let halves = recent.lock();
        let things = halves.young.len() + halves.old.len();
        assert!(things > 40 && things * (100 + OVERHEAD_BYTES) <= 20_000);
    }

    #[test]
    fn a_thing_that_is_too_great_is_not_kept() {
        let recent = Recent::new(20_000);
        recent.insert(0, 1, (), 10_000);
        assert_eq!(recent.get(0, 1), None);
    }

    #[test]
    fn a_new_fork_forgets_the_old_one_and_is_not_mixed_with_it() {
        let recent = Recent::new(20_000);
        recent.insert(0, 1, 1, 100);
        assert_eq!(recent.get(1, 1), None);
        recent.insert(1, 2, 2, 100);
        assert_eq!((recent.get(0, 1), recent.get(1, 1)), (None, None));
        recent.insert(0, 3, 3, 100);
        assert_eq!((recent.get(1, 3), recent.get(0, 3)), (None, None));
        assert_eq!(recent.get(1, 2), Some(2));
    }
}
