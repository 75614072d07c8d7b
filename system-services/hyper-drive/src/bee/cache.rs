//! What was read lately. Neither a block nor a tree node ever changes within one fork of its core, so nothing here goes stale.
//!
//! Nodes are kept for themselves, with their keys (`kept.rs`): a walk through the tree needs nothing else of their blocks, and a node takes a
//! fifth of the memory. Every walk comes by the nodes that are high in the tree, and few come again by one of its many
//! leaves: so the leaves and the nodes just above them get the room that the others leave.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::block::{Block, Pointer};
use super::kept;
use super::view::Node;

/// Bytes that an entry costs beside its own: its places in tables and on the heap.
const OVERHEAD_BYTES: usize = 96;

/// Blocks and tree nodes of one bee.
pub(super) struct Cache {
    bytes: usize,
    /// Nodes above the leaf that was met last: as many as above all others.
    leaf_depth: AtomicUsize,
    recent: Mutex<Recent>,
}

/// Things of one fork.
#[derive(Default)]
struct Recent {
    fork: u64,
    blocks: Halves<u64, Arc<Block>>,
    high: Halves<Pointer, Arc<[u8]>>,
    low: Halves<Pointer, Arc<[u8]>>,
}

/// A node that a change wrote, and the one in whose place it is.
pub(super) struct Written {
    pub at: Pointer,
    pub before: Option<Pointer>,
    /// It is a leaf or has leaves below it.
    pub low: bool,
    pub bytes: Arc<[u8]>,
}

impl Cache {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            bytes,
            leaf_depth: AtomicUsize::new(0),
            recent: Mutex::default(),
        }
    }

    /// Nothing that is done under the lock can panic halfway.
    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of this fork, if it is the newest one.
    fn known(&self, fork: u64) -> Option<MutexGuard<'_, Recent>> {
        Some(self.lock()).filter(|recent| recent.fork == fork)
    }

    /// What is known of this fork. What is known of older forks is dropped; of forks before the newest, nothing is kept.
    fn learn(&self, fork: u64) -> Option<MutexGuard<'_, Recent>> {
        let mut recent = self.lock();
        if recent.fork < fork {
            *recent = Recent {
                fork,
                ..Recent::default()
            };
        }
        Some(recent).filter(|recent| recent.fork == fork)
    }

    /// A block of this fork.
    pub(super) fn block(&self, fork: u64, seq: u64) -> Option<Arc<Block>> {
        let mut recent = self.known(fork)?;
        let most = self.block_bytes(&recent);
        recent.blocks.get(seq, most)
    }

    /// Keeps a block of this fork.
    pub(super) fn keep_block(&self, fork: u64, block: &Arc<Block>) {
        if let Some(mut recent) = self.learn(fork) {
            let bytes = block.bytes() + OVERHEAD_BYTES;
            let most = self.block_bytes(&recent);
            recent.blocks.put(block.seq, Arc::clone(block), bytes, most);
        }
    }

    /// A node of this fork, below `depth` others.
    pub(super) fn node(&self, fork: u64, at: Pointer, depth: usize) -> Option<Node> {
        let bytes = {
            let mut recent = self.known(fork)?;
            let low_bytes = self.low_bytes(&recent);
            let high = recent.high.get(at, self.high_bytes());
            high.or_else(|| recent.low.get(at, low_bytes))?
        };
        kept::decode(bytes, at, depth)
    }

    /// Keeps a node of this fork, and those of its keys that are known.
    pub(super) fn keep_node(&self, fork: u64, node: &Node) {
        if node.is_leaf() {
            self.leaf_depth.store(node.depth, Ordering::Relaxed);
        }
        let low = node.is_leaf() || node.depth + 1 >= self.leaf_depth.load(Ordering::Relaxed);
        let bytes = kept::encode(&node.block_key, &node.content, |place| node.known_key(place));
        if let Some(mut recent) = self.learn(fork) {
            self.put(&mut recent, node.at, bytes, low);
        }
    }

    /// Keeps the nodes that a change of this fork wrote instead of those in whose place they are: older versions are seldom read.
    pub(super) fn replace_nodes(&self, fork: u64, nodes: Vec<Written>) {
        let Some(mut recent) = self.learn(fork) else {
            return;
        };
        for node in nodes {
            if let Some(before) = node.before
                && !recent.high.remove(before)
            {
                recent.low.remove(before);
            }
            self.put(&mut recent, node.at, node.bytes, node.low);
        }
    }

    fn put(&self, recent: &mut Recent, at: Pointer, node: Arc<[u8]>, low: bool) {
        let bytes = node.len() + OVERHEAD_BYTES;
        if low {
            let most = self.low_bytes(recent);
            recent.high.remove(at);
            recent.low.put(at, node, bytes, most);
        } else {
            recent.low.remove(at);
            recent.high.put(at, node, bytes, self.high_bytes());
            recent.low.shrink(self.low_bytes(recent));
        }
        recent.blocks.shrink(self.block_bytes(recent));
    }

    fn high_bytes(&self) -> usize {
        self.bytes / 4 * 3
    }

    fn low_bytes(&self, recent: &Recent) -> usize {
        (self.bytes / 8 * 7).saturating_sub(recent.high.bytes())
    }

    fn block_bytes(&self, recent: &Recent) -> usize {
        self.bytes
            .saturating_sub(recent.high.bytes() + recent.low.bytes())
    }
}

/// Hashes the few numbers of a name in a few steps, from a start that nobody who writes bees can know: names that fall together are
/// chance.
#[derive(Clone)]
struct Secret(u64);

impl Default for Secret {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0) | 1)
    }
}

impl BuildHasher for Secret {
    type Hasher = Mixed;

    fn build_hasher(&self) -> Mixed {
        Mixed {
            factor: self.0,
            state: 0,
        }
    }
}

struct Mixed {
    factor: u64,
    state: u64,
}

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.state ^ number).wrapping_add(u128::from(self.factor));
        let product = product.wrapping_mul(u128::from(self.factor));
        self.state = (product >> 64) as u64 ^ product as u64;
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

/// Things that are bounded in bytes. What was not asked for since the younger half filled up is dropped.
struct Halves<K, T> {
    young: HashMap<K, (T, usize), Secret>,
    young_bytes: usize,
    old: HashMap<K, (T, usize), Secret>,
    old_bytes: usize,
}

impl<K, T> Default for Halves<K, T> {
    fn default() -> Self {
        Self {
            young: HashMap::default(),
            young_bytes: 0,
            old: HashMap::default(),
            old_bytes: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, T: Clone> Halves<K, T> {
    fn bytes(&self) -> usize {
        self.young_bytes + self.old_bytes
    }

    fn get(&mut self, key: K, most: usize) -> Option<T> {
        if let Some((thing, _)) = self.young.get(&key) {
            return Some(thing.clone());
        }
        let (thing, bytes) = self.old.remove(&key)?;
        self.old_bytes -= bytes;
        self.put(key, thing.clone(), bytes, most);
        Some(thing)
    }

    /// Says whether it was there.
    fn remove(&mut self, key: K) -> bool {
        if let Some((_, bytes)) = self.young.remove(&key) {
            self.young_bytes -= bytes;
            return true;
        }
        match self.old.remove(&key) {
            Some((_, bytes)) => self.old_bytes -= bytes,
            None => return false,
        }
        true
    }

    /// Puts a thing of so many bytes, so that there are at most `most` in all.
    fn put(&mut self, key: K, thing: T, bytes: usize, most: usize) {
        self.remove(key);
        if bytes > most / 2 {
            return;
        }
        if self.young_bytes + bytes > most / 2 {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        self.young.insert(key, (thing, bytes));
        self.young_bytes += bytes;
    }

    /// Drops what is beyond `most` bytes, and more.
    fn shrink(&mut self, most: usize) {
        if self.bytes() > most {
            self.old = HashMap::default();
            self.old_bytes = 0;
        }
        if self.bytes() > most {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bee::block::Content;

    #[test]
    fn the_bytes_are_bounded_and_what_is_asked_for_stays() {
        let mut halves = Halves::default();
        for seq in 1..1000 {
            halves.put(seq, seq, 196, 20_000);
            assert_eq!(halves.get(1, 20_000), Some(1));
        }
        let things = halves.young.len() + halves.old.len();
        assert!(things > 40 && halves.bytes() <= 20_000);
        assert_eq!(halves.bytes(), things * 196);
    }

    #[test]
    fn a_thing_that_is_too_great_is_not_kept() {
        let mut halves = Halves::default();
        halves.put(1, (), 10_001, 20_000);
        assert_eq!(halves.get(1, 20_000), None);
    }

    fn node(seq: u64, depth: usize, leaf: bool) -> Node {
        let at = Pointer { seq, offset: 0 };
        let children = if leaf { vec![] } else { vec![at, at] };
        let content = Content {
            keys: vec![seq],
            children,
        };
        Node::new(at, seq.to_string().into(), content, depth)
    }

    fn is_known(cache: &Cache, fork: u64, seq: u64) -> bool {
        cache.node(fork, Pointer { seq, offset: 0 }, 0).is_some()
    }

    #[test]
    fn a_new_fork_forgets_the_old_one_and_is_not_mixed_with_it() {
        let cache = Cache::new(20_000);
        cache.keep_node(0, &node(1, 0, true));
        assert!(is_known(&cache, 0, 1) && !is_known(&cache, 1, 1));
        cache.keep_node(1, &node(2, 0, true));
        assert!(!is_known(&cache, 0, 1) && !is_known(&cache, 1, 1));
        cache.keep_node(0, &node(3, 0, true));
        assert!(!is_known(&cache, 1, 3) && !is_known(&cache, 0, 3));
        assert!(is_known(&cache, 1, 2));
    }

    #[test]
    fn many_leaves_do_not_displace_what_is_high_in_the_tree_but_fill_the_room_that_it_leaves() {
        let cache = Cache::new(100_000);
        cache.keep_node(0, &node(1, 2, true));
        (2..20).for_each(|seq| cache.keep_node(0, &node(seq, 0, false)));
        (1000..5000).for_each(|seq| cache.keep_node(0, &node(seq, 2, true)));
        assert!((2..20).all(|seq| is_known(&cache, 0, seq)));
        let leaves = (1000..5000).filter(|seq| is_known(&cache, 0, *seq)).count();
        assert!(leaves > 250, "{leaves} leaves");
    }

    #[test]
    fn a_node_that_was_written_again_makes_room() {
        let cache = Cache::new(100_000);
        let at = |seq| Pointer { seq, offset: 0 };
        cache.keep_node(0, &node(1, 0, true));
        let bytes = kept::encode(b"key", &node(2, 0, true).content, |_| None);
        let written = Written {
            at: at(2),
            before: Some(at(1)),
            low: true,
            bytes,
        };
        cache.replace_nodes(0, vec![written]);
        assert!(!is_known(&cache, 0, 1) && is_known(&cache, 0, 2));
    }
}
