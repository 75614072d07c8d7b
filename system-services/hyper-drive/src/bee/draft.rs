//! Changes that are not yet appended: the part of the tree that they touch, in memory.
//!
//! What blocks are made of it is hyperbee's, byte for byte: which nodes a change writes, in which order, and which of them are
//! left out of a batch's blocks because a later change of the batch wrote them again.

mod del;
mod put;

pub(super) use put::PutOptions;

use std::cmp::Ordering;

use bytes::Bytes;

use super::block::{self, Content, Pointer};
use super::cache::Written;
use super::error::BeeError;
use super::kept;
use super::view::{Node, Place, View, nearest_to_middle};

/// Place of a node in [`Draft::nodes`].
type NodeId = usize;
/// Place of a link in [`Draft::links`].
type LinkId = usize;

/// The part of a tree that was touched, and the blocks to be.
pub(super) struct Draft {
    view: View,
    nodes: Vec<DraftNode>,
    links: Vec<Link>,
    root: Option<NodeId>,
    pending: Vec<Pending>,
}

struct DraftNode {
    /// Where it is read from, unless it is new.
    before: Option<Pointer>,
    keys: Vec<Key>,
    children: Vec<LinkId>,
    /// The next block writes it.
    changed: bool,
}

impl DraftNode {
    /// A node that is new.
    fn new(keys: Vec<Key>, children: Vec<LinkId>) -> Self {
        Self {
            before: None,
            keys,
            children,
            changed: true,
        }
    }
}

#[derive(Clone)]
struct Key {
    seq: u64,
    /// `None` until it was looked at.
    bytes: Option<Bytes>,
}

/// What a node says of a child. It has an identity of its own: it stays the same while the child moves from one parent to
/// another, and a block lists what it wrote by it.
struct Link {
    /// The block that holds the child; 0 when it was merged into another node.
    seq: u64,
    offset: u64,
    /// The child, once it was looked at.
    node: Option<NodeId>,
}

/// A block to be.
struct Pending {
    key: Bytes,
    value: Option<Bytes>,
    /// The nodes that it wrote.
    written: Vec<LinkId>,
}

/// What a key stands for.
pub(super) struct Found {
    pub seq: u64,
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// Decides about a change by what the key stood for.
pub(super) type Condition<'a> = &'a mut (dyn FnMut(Option<&Found>) -> bool + Send);

impl Draft {
    /// Begins on top of a version of a bee, to which nobody else appends.
    pub(super) fn new(view: View) -> Self {
        Self {
            view,
            nodes: Vec::new(),
            links: Vec::new(),
            root: None,
            pending: Vec::new(),
        }
    }

    /// The block that the next change becomes.
    fn next_seq(&self) -> u64 {
        self.view.version + self.pending.len() as u64
    }

    /// The first block to be.
    pub(super) fn start(&self) -> u64 {
        self.view.version
    }

    /// The fork of the core to which the blocks belong.
    pub(super) fn fork(&self) -> u64 {
        self.view.fork
    }

    /// How many blocks there will be.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The root, `None` before the first entry.
    async fn load_root(&mut self) -> Result<Option<NodeId>, BeeError> {
        if self.root.is_none()
            && let Some(node) = self.view.root().await?
        {
            self.root = Some(self.adopt(node));
        }
        Ok(self.root)
    }

    fn adopt(&mut self, node: Node) -> NodeId {
        let keys = node.content.keys.iter().enumerate().map(|(place, seq)| Key {
            seq: *seq,
            bytes: node.known_key(place).cloned(),
        });
        let children = node.content.children.iter().map(|Pointer { seq, offset }| {
            self.links.push(Link {
                seq: *seq,
                offset: *offset,
                node: None,
            });
            self.links.len() - 1
        });
        let draft = DraftNode {
            before: Some(node.at),
            children: children.collect(),
            keys: keys.collect(),
            changed: false,
        };
        self.new_node(draft)
    }

    fn new_node(&mut self, node: DraftNode) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn new_link(&mut self, node: NodeId) -> LinkId {
        self.links.push(Link {
            seq: 0,
            offset: 0,
            node: Some(node),
        });
        self.links.len() - 1
    }

    /// A child of a node that is below `depth` others.
    async fn child(&mut self, node: NodeId, child: usize, depth: usize) -> Result<NodeId, BeeError> {
        let link = self.nodes[node].children[child];
        let Link { seq, offset, node } = self.links[link];
        if let Some(node) = node {
            return Ok(node);
        }
        let loaded = self.view.node(Pointer { seq, offset }, depth + 1).await?;
        let id = self.adopt(loaded);
        self.links[link].node = Some(id);
        Ok(id)
    }

    async fn key(&mut self, node: NodeId, place: usize) -> Result<&[u8], BeeError> {
        let key = &mut self.nodes[node].keys[place];
        let bytes = match key.bytes.take() {
            Some(bytes) => bytes,
            None => self.view.key(key.seq).await?,
        };
        Ok(key.bytes.insert(bytes))
    }

    async fn search(&mut self, node: NodeId, key: &[u8]) -> Result<Place, BeeError> {
        let (mut start, mut end) = (0, self.nodes[node].keys.len());
        while start < end {
            let keys = &self.nodes[node].keys;
            let at_hand = nearest_to_middle(start..end, |place| keys[place].bytes.is_some());
            let place = at_hand.unwrap_or((start + end) / 2);
            match key.cmp(self.key(node, place).await?) {
                Ordering::Equal => return Ok(Place::Key(place)),
                Ordering::Less => end = place,
                Ordering::Greater => start = place + 1,
            }
        }
        Ok(Place::Below(start))
    }

    /// What a key of a node stands for.
    async fn found(&self, node: NodeId, place: usize) -> Result<Found, BeeError> {
        let seq = self.nodes[node].keys[place].seq;
        let pending = seq
            .checked_sub(self.view.version)
            .and_then(|i| usize::try_from(i).ok());
        if let Some(pending) = pending.and_then(|i| self.pending.get(i)) {
            return Ok(Found {
                seq,
                key: pending.key.clone(),
                value: pending.value.clone(),
            });
        }
        let block = self.view.block(seq).await?;
        Ok(Found {
            seq,
            key: block.shared_key(),
            value: block.shared_value(),
        })
    }

    /// What a key stands for, with the changes so far.
    pub(super) async fn get(&mut self, key: &[u8]) -> Result<Option<Found>, BeeError> {
        let Some(mut node) = self.load_root().await? else {
            return Ok(None);
        };
        for depth in 0.. {
            node = match self.search(node, key).await? {
                Place::Key(place) => return self.found(node, place).await.map(Some),
                Place::Below(_) if self.nodes[node].children.is_empty() => return Ok(None),
                Place::Below(child) => self.child(node, child, depth).await?,
            };
        }
        Ok(None)
    }

    /// Makes a change a block to be: all changed nodes, each before what is below it.
    fn push(&mut self, root: NodeId, key: Bytes, value: Option<Bytes>) -> u64 {
        let seq = self.next_seq();
        let link = self.new_link(root);
        self.links[link].seq = seq;
        self.root = Some(root);
        let mut written = Vec::new();
        self.write(link, seq, &mut written);
        self.pending.push(Pending { key, value, written });
        seq
    }

    /// Goes no deeper than [`block::MAX_DEPTH`] and what a batch adds to it.
    fn write(&mut self, link: LinkId, seq: u64, written: &mut Vec<LinkId>) {
        let Some(node) = self.links[link].node else {
            return;
        };
        self.links[link].seq = seq;
        self.links[link].offset = written.len() as u64;
        written.push(link);
        self.nodes[node].changed = false;
        for child in 0..self.nodes[node].children.len() {
            let link = self.nodes[node].children[child];
            if self.links[link]
                .node
                .is_some_and(|child| self.nodes[child].changed)
            {
                self.write(link, seq, written);
            }
        }
    }

    /// The blocks, in their order, and their nodes. The draft has done its work then.
    pub(super) fn into_blocks(mut self) -> (Vec<Bytes>, Vec<Written>) {
        let pending = std::mem::take(&mut self.pending);
        let last = pending.len().saturating_sub(1);
        let mut nodes = Vec::new();
        let encode = |(i, pending): (usize, Pending)| {
            let seq = self.view.version + i as u64;
            let mut written = pending.written;
            if i < last {
                self.drop_rewritten(&mut written, seq);
            }
            let contents: Vec<_> = written.iter().map(|link| self.content(*link)).collect();
            for ((link, content), offset) in written.iter().zip(&contents).zip(0..) {
                nodes.extend(self.written(*link, Pointer { seq, offset }, &pending.key, content));
            }
            block::encode(&pending.key, pending.value.as_deref(), &contents).into()
        };
        let blocks = pending.into_iter().enumerate().map(encode).collect();
        (blocks, nodes)
    }

    /// A node that a block holds at this place, as it is kept in memory.
    fn written(&self, link: LinkId, at: Pointer, block_key: &[u8], content: &Content) -> Option<Written> {
        let node = &self.nodes[self.links[link].node?];
        let is_inner = |link: &LinkId| {
            let child = self.links[*link].node;
            child.is_some_and(|child| !self.nodes[child].children.is_empty())
        };
        Some(Written {
            at,
            before: node.before,
            low: !node.children.iter().any(is_inner),
            bytes: kept::encode(block_key, content, |place| node.keys[place].bytes.as_ref()),
        })
    }

    /// Leaves out what later blocks of the batch wrote again; the gaps are filled from the end, as hyperbee does.
    fn drop_rewritten(&mut self, written: &mut Vec<LinkId>, seq: u64) {
        // The root is always written again, by the next block.
        let mut root = true;
        let mut place = 0;
        while place < written.len() {
            let link = &mut self.links[written[place]];
            if !std::mem::take(&mut root) && link.seq == seq {
                link.offset = place as u64;
                place += 1;
            } else {
                written.swap_remove(place);
            }
        }
    }

    fn content(&self, link: LinkId) -> Content {
        let Some(node) = self.links[link].node else {
            return Content::default();
        };
        let DraftNode { keys, children, .. } = &self.nodes[node];
        Content {
            keys: keys.iter().map(|key| key.seq).collect(),
            children: children
                .iter()
                .map(|link| Pointer {
                    seq: self.links[*link].seq,
                    offset: self.links[*link].offset,
                })
                .collect(),
        }
    }
}
