//! A bee as it was at one moment: reading its tree.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hyper_core::session::{Download, GetOptions, Session, SessionError};

use super::block::{Block, BlockFault, Content, MAX_DEPTH, Pointer};
use super::cache::Cache;
use super::error::{BeeError, CoreKey, Step};

/// One version of a bee, as blocks of a core that do not change.
#[derive(Clone)]
pub(super) struct View {
    pub session: Session,
    pub cache: Arc<Cache>,
    pub fork: u64,
    /// Blocks that belong to it, the header too; at least 1.
    pub version: u64,
    pub options: GetOptions,
}

/// A tree node, and where it is from.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub at: Pointer,
    /// The key of its block.
    pub block_key: Bytes,
    pub content: Content,
    /// Those of its keys that were looked at; those behind the last such key may be left out.
    known: Vec<Option<Bytes>>,
    /// Nodes above it.
    pub depth: usize,
    /// It is not kept in memory yet.
    is_new: bool,
}

/// The first of some places that is at hand, from the middle outwards: it spares looking for what is not.
pub(super) fn nearest_to_middle(places: Range<usize>, at_hand: impl Fn(usize) -> bool) -> Option<usize> {
    let middle = (places.start + places.end) / 2;
    let distance = |place: &usize| place.abs_diff(middle);
    places.filter(|place| at_hand(*place)).min_by_key(distance)
}

/// Where a key is in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is this one of the node's keys.
    Key(usize),
    /// It would be below this child, or in a leaf before this key.
    Below(usize),
}

impl Node {
    pub(super) fn new(at: Pointer, block_key: Bytes, content: Content, depth: usize) -> Self {
        Self {
            at,
            block_key,
            content,
            known: Vec::new(),
            depth,
            is_new: true,
        }
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.content.children.is_empty()
    }

    /// One of its keys, if it was looked at.
    pub(super) fn known_key(&self, place: usize) -> Option<&Bytes> {
        self.known.get(place)?.as_ref()
    }

    /// One of its keys was looked at.
    pub(super) fn learn(&mut self, place: usize, key: Bytes) {
        if self.known.is_empty() {
            self.known = vec![None; self.content.keys.len()];
        }
        if let Some(known) = self.known.get_mut(place) {
            *known = Some(key);
        }
    }
}

impl View {
    pub(super) fn core(&self) -> CoreKey {
        CoreKey(*self.session.key())
    }

    pub(super) fn damaged(&self, seq: u64) -> impl FnOnce(BlockFault) -> BeeError {
        let core = self.core();
        move |fault| BeeError::Damaged { core, seq, fault }
    }

    pub(super) fn failed(&self, step: Step) -> impl FnOnce(SessionError) -> BeeError {
        let core = self.core();
        move |source| BeeError::Core { core, step, source }
    }

    /// A block, as its bytes.
    pub(super) async fn bytes(&self, seq: u64) -> Result<Bytes, BeeError> {
        let found = self.session.get_with(seq, self.options).await;
        match found.map_err(self.failed(Step::Get(seq)))? {
            Some(bytes) => Ok(bytes.into()),
            None => Err(BeeError::NotStored {
                core: self.core(),
                seq,
            }),
        }
    }

    /// A block that is in memory or in the store.
    pub(super) fn stored(&self, seq: u64) -> Result<Option<Arc<Block>>, BeeError> {
        if let Some(block) = self.cache.block(self.fork, seq) {
            return Ok(Some(block));
        }
        let read = self.read(seq)?;
        Ok(read.inspect(|block| self.cache.keep_block(self.fork, block)))
    }

    /// A block.
    pub(super) async fn block(&self, seq: u64) -> Result<Arc<Block>, BeeError> {
        if let Some(block) = self.stored(seq)? {
            return Ok(block);
        }
        let block = self.decode(seq, self.bytes(seq).await?)?;
        self.cache.keep_block(self.fork, &block);
        Ok(block)
    }

    /// A block out of the store; it is not kept in memory.
    fn read(&self, seq: u64) -> Result<Option<Arc<Block>>, BeeError> {
        let found = self.session.get_local(seq).map_err(self.failed(Step::Get(seq)))?;
        found.map(|bytes| self.decode(seq, bytes.into())).transpose()
    }

    fn decode(&self, seq: u64, bytes: Bytes) -> Result<Arc<Block>, BeeError> {
        let block = Block::decode(seq, bytes).map_err(self.damaged(seq))?;
        Ok(Arc::new(block))
    }

    /// The key of a block, which is not kept in memory.
    pub(super) async fn key(&self, seq: u64) -> Result<Bytes, BeeError> {
        let block = match self.cache.block(self.fork, seq) {
            Some(block) => block,
            None => match self.read(seq)? {
                Some(block) => block,
                None => self.decode(seq, self.bytes(seq).await?)?,
            },
        };
        // Not a part of the block: a batch keeps many keys.
        Ok(Bytes::copy_from_slice(block.key()))
    }

    /// The root, `None` before the first entry.
    pub(super) async fn root(&self) -> Result<Option<Node>, BeeError> {
        if self.version < 2 {
            return Ok(None);
        }
        let pointer = Pointer {
            seq: self.version - 1,
            offset: 0,
        };
        self.node(pointer, 0).await.map(Some)
    }

    /// A node below `depth` others, and those of its keys that are at hand.
    pub(super) async fn node(&self, at: Pointer, depth: usize) -> Result<Node, BeeError> {
        if let Some(node) = self.cache.node(self.fork, at, depth) {
            return self.checked(node);
        }
        let mut node = self.node_of(self.block(at.seq).await?, at, depth)?;
        for place in 0..node.content.keys.len() {
            if let Some(block) = self.cache.block(self.fork, node.content.keys[place]) {
                node.learn(place, block.shared_key());
            }
        }
        Ok(node)
    }

    fn node_of(&self, block: Arc<Block>, at: Pointer, depth: usize) -> Result<Node, BeeError> {
        let content = block.content(at.offset).map_err(self.damaged(block.seq))?;
        self.checked(Node::new(at, block.shared_key(), content, depth))
    }

    /// A node that may be where it is.
    fn checked(&self, node: Node) -> Result<Node, BeeError> {
        let damaged = self.damaged(node.at.seq);
        if node.depth >= MAX_DEPTH {
            return Err(damaged(BlockFault::TooDeep));
        }
        if node.depth > 0 && node.content.keys.is_empty() {
            return Err(damaged(BlockFault::NoKeys(node.at.offset)));
        }
        Ok(node)
    }

    /// A node's child.
    pub(super) async fn child(&self, node: &Node, child: usize) -> Result<Node, BeeError> {
        self.node(node.content.children[child], node.depth + 1).await
    }

    /// A node's child, of whose block this is.
    pub(super) fn child_in(&self, node: &Node, child: usize, block: Arc<Block>) -> Result<Node, BeeError> {
        self.node_of(block, node.content.children[child], node.depth + 1)
    }

    /// The block of a node's key.
    pub(super) async fn key_block(&self, node: &Node, key: usize) -> Result<Arc<Block>, BeeError> {
        self.block(node.content.keys[key]).await
    }

    /// Asks for those blocks that are not stored, without waiting; dropped, they are no longer asked for.
    pub(super) fn ask_for(&self, blocks: impl Iterator<Item = u64>) -> Vec<Download> {
        if !self.options.wait {
            return Vec::new();
        }
        let absent = blocks.filter(|seq| matches!(self.session.has(*seq), Ok(false)));
        absent
            .map(|seq| self.session.download((seq..seq + 1).into()))
            .collect()
    }

    /// Looks for a key in a node.
    pub(super) async fn search(&self, node: &mut Node, key: &[u8]) -> Result<Place, BeeError> {
        self.find(node, key).await.map(|(place, _)| place)
    }

    /// Looks for a key in a node, and gives its block if it had to be read. The node is kept in memory, with the keys that were looked
    /// at. When a key has to come from a peer, all of the node are asked for at once.
    async fn find(&self, node: &mut Node, key: &[u8]) -> Result<(Place, Option<Arc<Block>>), BeeError> {
        let (mut start, mut end) = (0, node.content.keys.len());
        let (mut asked, mut read) = (None, None);
        let place = loop {
            if start >= end {
                break Place::Below(start);
            }
            let place = match nearest_to_middle(start..end, |place| node.known_key(place).is_some()) {
                Some(place) => place,
                None => {
                    let middle = (start + end) / 2;
                    let block = self.key_block_for(node, middle, &mut asked).await?;
                    node.learn(middle, block.shared_key());
                    read = Some((middle, block));
                    middle
                }
            };
            match key.cmp(node.known_key(place).map_or(&[], |key| key)) {
                Ordering::Equal => break Place::Key(place),
                Ordering::Less => end = place,
                Ordering::Greater => start = place + 1,
            }
        };
        if read.is_some() || node.is_new {
            self.cache.keep_node(self.fork, node);
            node.is_new = false;
        }
        let block = read.filter(|(read, _)| place == Place::Key(*read));
        Ok((place, block.map(|(_, block)| block)))
    }

    /// The block of a node's key, which is not kept in memory.
    async fn key_block_for(
        &self,
        node: &Node,
        place: usize,
        asked: &mut Option<Vec<Download>>,
    ) -> Result<Arc<Block>, BeeError> {
        let seq = node.content.keys[place];
        if let Some(block) = self.read(seq)? {
            return Ok(block);
        }
        asked.get_or_insert_with(|| self.ask_for(node.content.keys.iter().copied()));
        self.decode(seq, self.bytes(seq).await?)
    }

    /// The block that holds a key's value.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Arc<Block>>, BeeError> {
        let Some(mut node) = self.root().await? else {
            return Ok(None);
        };
        loop {
            // The last change of a key wrote the nodes on its way: there is no newer one below. Spares a remote bee round trips.
            if node.block_key == key {
                let block = self.block(node.at.seq).await?;
                let deleted = block.is_deletion().map_err(self.damaged(block.seq))?;
                return Ok((!deleted).then_some(block));
            }
            node = match self.find(&mut node, key).await? {
                (Place::Key(_), Some(block)) => return Ok(Some(block)),
                (Place::Key(place), None) => return self.key_block(&node, place).await.map(Some),
                (Place::Below(_), _) if node.is_leaf() => return Ok(None),
                (Place::Below(child), _) => self.child(&node, child).await?,
            };
        }
    }

    /// Whether the way to a key leads through a block.
    pub(super) async fn leads_through(&self, key: &[u8], seq: u64) -> Result<bool, BeeError> {
        let Some(mut node) = self.root().await? else {
            return Ok(false);
        };
        loop {
            if node.at.seq == seq {
                return Ok(true);
            }
            if node.block_key == key {
                return Ok(false);
            }
            node = match self.search(&mut node, key).await? {
                Place::Key(place) => return Ok(node.content.keys[place] == seq),
                Place::Below(_) if node.is_leaf() => return Ok(false),
                Place::Below(child) => self.child(&node, child).await?,
            };
        }
    }
}
