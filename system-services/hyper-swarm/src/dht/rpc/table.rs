//! The nodes that are known: Kademlia's buckets, and the order in which they were last heard of.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use super::address::{NodeId, Target, compare, node_id};
use super::random::Random;

/// Nodes in a bucket, and in the answer to who is close to a target.
pub const K: usize = 20;

const BITS: usize = 256;

/// A node that is known. Times are in ticks of the own node ([`TICK`](super::node::TICK)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The hash of its address.
    pub id: NodeId,
    /// Where it is.
    pub address: SocketAddrV4,
    /// When it became known.
    pub added: u64,
    /// When it was last asked, or heard of.
    pub pinged: u64,
    /// When it was last heard of.
    pub seen: u64,
    /// When it last told us how it sees us.
    pub sampled: Option<u64>,
    /// How often others said that it does not answer.
    pub down_hints: u32,
    heard: u64,
}

impl Known {
    /// A node of which something was heard just now.
    pub fn new(address: SocketAddrV4, tick: u64) -> Self {
        Self {
            id: node_id(address),
            address,
            added: tick,
            pinged: tick,
            seen: tick,
            sampled: None,
            down_hints: 0,
            heard: 0,
        }
    }
}

/// What became of a node that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is in.
    Inserted,
    /// It was there before, or is the own node.
    Known,
    /// Its bucket is full. It may replace the given node, should that one not answer any more.
    Full {
        /// Of those in the bucket, the one that was asked the longest ago.
        oldest: Option<NodeId>,
    },
}

/// The routing table of one node: for each length of the prefix that an id has in common with the own id, a bucket of
/// at most [`K`].
#[derive(Debug)]
pub struct RoutingTable {
    id: NodeId,
    buckets: Vec<Vec<Known>>,
    /// Ids by when they were last heard of: the first is the oldest.
    order: BTreeMap<u64, NodeId>,
    heard: u64,
}

impl RoutingTable {
    /// A table around an id.
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            buckets: vec![Vec::new(); BITS],
            order: BTreeMap::new(),
            heard: 0,
        }
    }

    /// The id that the table is around.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// How many nodes are known.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The node of an id.
    pub fn get(&self, id: &NodeId) -> Option<&Known> {
        let bucket = self.bucket(id);
        let at = bucket.binary_search_by(|known| known.id.cmp(id)).ok()?;
        bucket.get(at)
    }

    /// The node of an id, to note what happened to it. Its id and address stay.
    pub fn get_mut(&mut self, id: &NodeId) -> Option<&mut Known> {
        let bucket = prefix(&self.id, id);
        let at = self.buckets[bucket]
            .binary_search_by(|known| known.id.cmp(id))
            .ok()?;
        self.buckets[bucket].get_mut(at)
    }

    /// Adds a node, as the last one heard of. `tick` spares nodes that were asked within this tick from being the oldest.
    pub fn add(&mut self, mut node: Known, tick: u64) -> Added {
        if node.id == self.id {
            return Added::Known;
        }
        let bucket = prefix(&self.id, &node.id);
        let bucket = &mut self.buckets[bucket];
        let Err(at) = bucket.binary_search_by(|known| known.id.cmp(&node.id)) else {
            return Added::Known;
        };
        if bucket.len() >= K {
            let asked_before = bucket.iter().filter(|known| known.pinged != tick);
            let oldest = asked_before.min_by_key(|known| (known.pinged, known.added));
            return Added::Full {
                oldest: oldest.map(|known| known.id),
            };
        }
        self.heard += 1;
        node.heard = self.heard;
        self.order.insert(node.heard, node.id);
        bucket.insert(at, node);
        Added::Inserted
    }

    /// Something was heard of a node at `tick`: it is the latest now.
    pub fn heard_of(&mut self, id: &NodeId, tick: u64) -> Option<&mut Known> {
        self.heard += 1;
        let heard = self.heard;
        let known = self.get_mut(id)?;
        (known.pinged, known.seen) = (tick, tick);
        let before = std::mem::replace(&mut known.heard, heard);
        self.order.remove(&before);
        self.order.insert(heard, *id);
        self.get_mut(id)
    }

    /// Forgets a node.
    pub fn remove(&mut self, id: &NodeId) -> Option<Known> {
        let bucket = prefix(&self.id, id);
        let bucket = &mut self.buckets[bucket];
        let at = bucket.binary_search_by(|known| known.id.cmp(id)).ok()?;
        let known = bucket.remove(at);
        self.order.remove(&known.heard);
        Some(known)
    }

    /// Up to `count` nodes, the closest to the target first.
    pub fn closest(&self, target: &Target, count: usize) -> Vec<&Known> {
        let mut closest: Vec<&Known> = Vec::with_capacity(count.min(self.len()));
        let near = prefix(&self.id, target);
        // Those that differ from the target later than the own id does; then those that differ from it where the own id
        // does; then those that differ earlier and earlier.
        let rings = std::iter::once(near..near + 1)
            .chain(std::iter::once(near + 1..BITS))
            .chain((0..near).rev().map(|bucket| bucket..bucket + 1));
        for ring in rings {
            if closest.len() >= count {
                break;
            }
            let begin = closest.len();
            closest.extend(self.buckets[ring].iter().flatten());
            closest[begin..].sort_unstable_by(|a, b| compare(target, &a.id, &b.id));
        }
        closest.truncate(count);
        closest
    }

    /// The nodes, the one that was heard of last first.
    pub fn latest(&self) -> impl Iterator<Item = &Known> {
        self.order.values().rev().filter_map(|id| self.get(id))
    }

    /// The nodes, the one that was not heard of for the longest time first.
    pub fn oldest(&self) -> impl Iterator<Item = &Known> {
        self.order.values().filter_map(|id| self.get(id))
    }

    /// One of the nodes.
    pub fn random(&self, random: &mut Random) -> Option<&Known> {
        self.oldest().nth(random.below(self.len()))
    }

    /// The same nodes around another id, as far as its buckets hold them.
    pub fn moved_to(&self, id: NodeId) -> Self {
        let mut moved = Self::new(id);
        for known in self.oldest() {
            moved.add(known.clone(), u64::MAX);
        }
        moved
    }

    fn bucket(&self, id: &NodeId) -> &[Known] {
        &self.buckets[prefix(&self.id, id)]
    }
}

/// How many bits two ids have in common from the first one on; those that are the same share the last bucket.
fn prefix(a: &NodeId, b: &NodeId) -> usize {
    let differing = a.iter().zip(b).position(|(a, b)| a != b);
    differing.map_or(BITS - 1, |at| at * 8 + (a[at] ^ b[at]).leading_zeros() as usize)
}

#[cfg(test)]
mod tests;
