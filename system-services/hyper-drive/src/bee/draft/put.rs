//! Putting a key: replaced where it is, or inserted into a leaf, which is split when it is full.

use bytes::Bytes;

use super::{Condition, Draft, DraftNode, Key, NodeId, Place};
use crate::bee::block::MAX_KEYS;
use crate::bee::error::BeeError;

/// When a key is put.
pub(in crate::bee) struct PutOptions<'a> {
    /// Asked with what the key stands for, if anything.
    pub condition: Option<Condition<'a>>,
    /// Puts a value also where the key has it already.
    pub duplicates: bool,
}

impl Draft {
    /// Puts a key, unless it is not wanted. Says the block that it becomes.
    pub(in crate::bee) async fn put(
        &mut self,
        key: Bytes,
        value: Option<Bytes>,
        mut options: PutOptions<'_>,
    ) -> Result<Option<u64>, BeeError> {
        let target = Key {
            seq: self.next_seq(),
            bytes: Some(key.clone()),
        };
        let root = match self.load_root().await? {
            Some(root) => root,
            None => self.new_node(DraftNode::new(Vec::new(), Vec::new())),
        };
        let (mut node, mut above) = (root, Vec::new());
        loop {
            let is_leaf = self.nodes[node].children.is_empty();
            // Also when nothing is put in the end: the next block of a batch then writes these nodes, as hyperbee's does.
            self.nodes[node].changed |= !is_leaf;
            let child = match self.search(node, &key).await? {
                Place::Key(place) => {
                    if !self
                        .is_wanted(Some((node, place)), value.as_ref(), &mut options)
                        .await?
                    {
                        return Ok(None);
                    }
                    self.nodes[node].keys[place] = target;
                    self.nodes[node].changed = true;
                    return Ok(Some(self.push(root, key, value)));
                }
                Place::Below(place) if is_leaf => {
                    if !self.is_wanted(None, value.as_ref(), &mut options).await? {
                        return Ok(None);
                    }
                    self.nodes[node].keys.insert(place, target);
                    self.nodes[node].changed = true;
                    break;
                }
                Place::Below(child) => child,
            };
            let next = self.child(node, child, above.len()).await?;
            above.push((node, child));
            node = next;
        }
        let root = self.split_upwards(root, node, above);
        Ok(Some(self.push(root, key, value)))
    }

    async fn is_wanted(
        &self,
        old: Option<(NodeId, usize)>,
        value: Option<&Bytes>,
        options: &mut PutOptions<'_>,
    ) -> Result<bool, BeeError> {
        if options.condition.is_none() && options.duplicates {
            return Ok(true);
        }
        let old = match old {
            Some((node, place)) => Some(self.found(node, place).await?),
            None => None,
        };
        if let Some(condition) = &mut options.condition
            && !condition(old.as_ref())
        {
            return Ok(false);
        }
        Ok(options.duplicates || old.is_none_or(|old| old.value.as_ref() != value))
    }

    /// Splits nodes that are too full, from a leaf upwards. Says the root that then is.
    fn split_upwards(&mut self, root: NodeId, mut node: NodeId, mut above: Vec<(NodeId, usize)>) -> NodeId {
        while self.nodes[node].keys.len() > MAX_KEYS {
            let (median, right) = self.split(node);
            let right = self.new_link(right);
            let Some((parent, child)) = above.pop() else {
                let left = self.new_link(node);
                return self.new_node(DraftNode::new(vec![median], vec![left, right]));
            };
            self.nodes[parent].keys.insert(child, median);
            self.nodes[parent].children.insert(child + 1, right);
            node = parent;
        }
        root
    }

    /// Makes the upper half of a node a new one, and takes out the key between.
    fn split(&mut self, node: NodeId) -> (Key, NodeId) {
        let left = &mut self.nodes[node];
        left.changed = true;
        let half = left.keys.len() / 2;
        let keys = left.keys.split_off(half + 1);
        let median = left.keys.remove(half);
        let children = match left.children.len() {
            0 => Vec::new(),
            _ => left.children.split_off(half + 1),
        };
        (median, self.new_node(DraftNode::new(keys, children)))
    }
}
