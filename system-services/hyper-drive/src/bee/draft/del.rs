//! Removing a key: its place in an inner node is taken by a neighbour from a leaf, and nodes that have too few keys then take some
//! from their siblings, or are merged with them.

use bytes::Bytes;

use super::{Condition, Draft, DraftNode, NodeId, Place};
use crate::bee::block::MIN_KEYS;
use crate::bee::error::BeeError;

/// A node, and which child of the one above it it is.
type Step = (NodeId, usize);

impl Draft {
    /// Removes a key, unless it is not there or not wanted. Says the block that this becomes.
    pub(in crate::bee) async fn del(
        &mut self,
        key: Bytes,
        condition: Option<Condition<'_>>,
    ) -> Result<Option<u64>, BeeError> {
        let Some(root) = self.load_root().await? else {
            return Ok(None);
        };
        let mut way = vec![(root, 0)];
        let mut node = root;
        let place = loop {
            match self.search(node, &key).await? {
                Place::Key(place) => break place,
                Place::Below(_) if self.nodes[node].children.is_empty() => return Ok(None),
                Place::Below(child) => {
                    node = self.child(node, child, way.len() - 1).await?;
                    way.push((node, child));
                }
            }
        };
        if let Some(condition) = condition
            && !condition(Some(&self.found(node, place).await?))
        {
            return Ok(None);
        }
        if self.nodes[node].children.is_empty() {
            self.nodes[node].keys.remove(place);
        } else {
            self.replace_by_neighbour(node, place, &mut way).await?;
        }
        for (node, _) in &way {
            self.nodes[*node].changed = true;
        }
        let root = self.rebalance(root, way).await?;
        Ok(Some(self.push(root, key, None)))
    }

    /// Puts the nearest key of a leaf in the place of an inner node's key: the next greater one if its leaf has more keys, else the
    /// next smaller one. The way is led on to that leaf.
    async fn replace_by_neighbour(
        &mut self,
        node: NodeId,
        place: usize,
        way: &mut Vec<Step>,
    ) -> Result<(), BeeError> {
        let below = way.len() - 1;
        let smaller = self.outermost(node, place, below, Side::Right).await?;
        let greater = self.outermost(node, place + 1, below, Side::Left).await?;
        let keys = |way: &[Step]| way.last().map_or(0, |(leaf, _)| self.nodes[*leaf].keys.len());
        let from_greater = keys(&smaller) < keys(&greater);
        let chosen = if from_greater { greater } else { smaller };
        if let Some((leaf, _)) = chosen.last() {
            // A leaf below others has a key: who read it looked.
            let keys = &mut self.nodes[*leaf].keys;
            let at = if from_greater { 0 } else { keys.len() - 1 };
            let neighbour = keys.remove(at);
            self.nodes[node].keys[place] = neighbour;
        }
        way.extend(chosen);
        Ok(())
    }

    /// The way down from a child, always by the outermost one.
    async fn outermost(
        &mut self,
        node: NodeId,
        mut child: usize,
        mut depth: usize,
        side: Side,
    ) -> Result<Vec<Step>, BeeError> {
        let (mut node, mut way) = (node, Vec::new());
        loop {
            node = self.child(node, child, depth).await?;
            way.push((node, child));
            let children = self.nodes[node].children.len();
            if children == 0 {
                return Ok(way);
            }
            depth += 1;
            child = match side {
                Side::Left => 0,
                Side::Right => children - 1,
            };
        }
    }

    /// Gives keys to nodes on the way that have too few, from below upwards. Says the root that then is.
    async fn rebalance(&mut self, root: NodeId, mut way: Vec<Step>) -> Result<NodeId, BeeError> {
        while let Some((node, child)) = way.pop() {
            let Some((parent, _)) = way.last().copied() else {
                break;
            };
            if self.nodes[node].keys.len() >= MIN_KEYS {
                return Ok(root);
            }
            let depth = way.len() - 1;
            let left = match child {
                0 => None,
                _ => Some(self.child(parent, child - 1, depth).await?),
            };
            let right = match child + 1 < self.nodes[parent].children.len() {
                false => None,
                true => Some(self.child(parent, child + 1, depth).await?),
            };
            let has_spare = |sibling: &NodeId| self.nodes[*sibling].keys.len() > MIN_KEYS;
            if let Some(left) = left.filter(has_spare) {
                self.borrow_from_left(parent, child, left, node);
                return Ok(root);
            }
            if let Some(right) = right.filter(has_spare) {
                self.borrow_from_right(parent, child, node, right);
                return Ok(root);
            }
            match (left, right) {
                (Some(left), _) => self.merge(parent, child - 1, left, node),
                (None, Some(right)) => self.merge(parent, child, node, right),
                (None, None) => {}
            }
        }
        let DraftNode { keys, children, .. } = &self.nodes[root];
        if keys.is_empty() && !children.is_empty() {
            return self.child(root, 0, 0).await;
        }
        Ok(root)
    }

    fn borrow_from_left(&mut self, parent: NodeId, child: usize, left: NodeId, node: NodeId) {
        let Some(key) = self.nodes[left].keys.pop() else {
            return;
        };
        self.nodes[left].changed = true;
        let moved = self.nodes[left].children.pop();
        let between = std::mem::replace(&mut self.nodes[parent].keys[child - 1], key);
        let node = &mut self.nodes[node];
        node.keys.insert(0, between);
        if let Some(moved) = moved {
            node.children.insert(0, moved);
        }
    }

    fn borrow_from_right(&mut self, parent: NodeId, child: usize, node: NodeId, right: NodeId) {
        let sibling = &mut self.nodes[right];
        sibling.changed = true;
        let key = sibling.keys.remove(0);
        let moved = (!sibling.children.is_empty()).then(|| sibling.children.remove(0));
        let between = std::mem::replace(&mut self.nodes[parent].keys[child], key);
        let node = &mut self.nodes[node];
        node.keys.push(between);
        node.children.extend(moved);
    }

    /// Makes child `child` of a node and the one behind it one.
    fn merge(&mut self, parent: NodeId, child: usize, left: NodeId, right: NodeId) {
        let between = self.nodes[parent].keys.remove(child);
        let link = self.nodes[parent].children.remove(child + 1);
        // No block of the batch lists it any more.
        self.links[link].seq = 0;
        // It keeps what it has: a block of this batch that wrote it as a root may still list it so.
        let DraftNode { keys, children, .. } = &self.nodes[right];
        let (keys, children) = (keys.clone(), children.clone());
        let left = &mut self.nodes[left];
        left.changed = true;
        left.keys.push(between);
        left.keys.extend(keys);
        left.children.extend(children);
    }
}

/// Which of two neighbours.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}
