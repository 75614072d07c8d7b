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
    pub block: Arc<Block>,
    pub content: Content,
    /// Nodes above it.
    pub depth: usize,
}

/// The first of some places that gives something, from the middle outwards: what is at hand spares looking for what is not.
pub(super) fn nearest_to_middle<T>(
    places: Range<usize>,
    mut at: impl FnMut(usize) -> Option<T>,
) -> Option<(usize, T)> {
    let middle = (places.start + places.end) / 2;
    let above = (middle..places.end).map(Some).chain(std::iter::repeat(None));
    let below = (places.start..middle)
        .rev()
        .map(Some)
        .chain(std::iter::repeat(None));
    let outwards = above.zip(below).take(places.len());
    outwards
        .flat_map(|(above, below)| [above, below])
        .flatten()
        .find_map(|place| Some((place, at(place)?)))
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
    pub(super) fn is_leaf(&self) -> bool {
        self.content.children.is_empty()
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
        Ok(read.inspect(|block| self.cache.insert_block(self.fork, block)))
    }

    /// A block.
    pub(super) async fn block(&self, seq: u64) -> Result<Arc<Block>, BeeError> {
        if let Some(block) = self.stored(seq)? {
            return Ok(block);
        }
        let block = self.decode(seq, self.bytes(seq).await?)?;
        self.cache.insert_block(self.fork, &block);
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

    /// The key of a block that is in memory.
    pub(super) fn cached_key(&self, seq: u64) -> Option<Arc<[u8]>> {
        self.cache.key(self.fork, seq)
    }

    /// The key of a block, which alone is kept in memory.
    pub(super) async fn key(&self, seq: u64) -> Result<Arc<[u8]>, BeeError> {
        if let Some(key) = self.cached_key(seq) {
            return Ok(key);
        }
        let block = match self.read(seq)? {
            Some(block) => block,
            None => self.decode(seq, self.bytes(seq).await?)?,
        };
        Ok(self.remember_key(&block))
    }

    fn remember_key(&self, block: &Block) -> Arc<[u8]> {
        let key = block.key().into();
        self.cache.insert_key(self.fork, block.seq, &key);
        key
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

    /// A node below `depth` others.
    pub(super) async fn node(&self, pointer: Pointer, depth: usize) -> Result<Node, BeeError> {
        let block = self.block(pointer.seq).await?;
        self.node_of(block, pointer.offset, depth)
    }

    fn node_of(&self, block: Arc<Block>, offset: u64, depth: usize) -> Result<Node, BeeError> {
        if depth >= MAX_DEPTH {
            return Err(self.damaged(block.seq)(BlockFault::TooDeep));
        }
        let content = block.content(offset).map_err(self.damaged(block.seq))?;
        if depth > 0 && content.keys.is_empty() {
            return Err(self.damaged(block.seq)(BlockFault::NoKeys(offset)));
        }
        Ok(Node {
            block,
            content,
            depth,
        })
    }

    /// A node's child.
    pub(super) async fn child(&self, node: &Node, child: usize) -> Result<Node, BeeError> {
        let block = self.block(node.content.children[child].seq).await?;
        self.child_in(node, child, block)
    }

    /// A node's child, of whose block this is.
    pub(super) fn child_in(&self, node: &Node, child: usize, block: Arc<Block>) -> Result<Node, BeeError> {
        self.node_of(block, node.content.children[child].offset, node.depth + 1)
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
    pub(super) async fn search(&self, node: &Node, key: &[u8]) -> Result<Place, BeeError> {
        self.find(node, key).await.map(|(place, _)| place)
    }

    /// Looks for a key in a node, and gives its block if it had to be read. When a key has to come from a peer, all of the node are
    /// asked for at once.
    async fn find(&self, node: &Node, key: &[u8]) -> Result<(Place, Option<Arc<Block>>), BeeError> {
        let keys = &node.content.keys;
        let (mut start, mut end) = (0, keys.len());
        let mut asked = None;
        while start < end {
            let cached = nearest_to_middle(start..end, |place| self.cached_key(keys[place]));
            let (place, found, block) = match cached {
                Some((place, key)) => (place, key, None),
                None => {
                    let middle = (start + end) / 2;
                    let block = match self.read(keys[middle])? {
                        Some(block) => block,
                        None => {
                            asked.get_or_insert_with(|| self.ask_for(keys.iter().copied()));
                            self.decode(keys[middle], self.bytes(keys[middle]).await?)?
                        }
                    };
                    (middle, self.remember_key(&block), Some(block))
                }
            };
            match key.cmp(&found) {
                Ordering::Equal => return Ok((Place::Key(place), block)),
                Ordering::Less => end = place,
                Ordering::Greater => start = place + 1,
            }
        }
        Ok((Place::Below(start), None))
    }

    /// The block that holds a key's value.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Arc<Block>>, BeeError> {
        let Some(mut node) = self.root().await? else {
            return Ok(None);
        };
        loop {
            // The last change of a key wrote the nodes on its way: there is no newer one below. Spares a remote bee round trips.
            if node.block.key() == key {
                let deleted = node.block.is_deletion().map_err(self.damaged(node.block.seq))?;
                return Ok((!deleted).then_some(node.block));
            }
            node = match self.find(&node, key).await? {
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
            if node.block.seq == seq {
                return Ok(true);
            }
            if node.block.key() == key {
                return Ok(false);
            }
            node = match self.search(&node, key).await? {
                Place::Key(place) => return Ok(node.content.keys[place] == seq),
                Place::Below(_) if node.is_leaf() => return Ok(false),
                Place::Below(child) => self.child(&node, child).await?,
            };
        }
    }
}
