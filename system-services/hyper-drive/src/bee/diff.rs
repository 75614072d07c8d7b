//! What two versions of a bee have not in common, in the order of the keys.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use hyper_core::session::Download;

use super::block::{Block, BlockFault};
use super::error::BeeError;
use super::range::KeyRange;
use super::view::{Node, Place, View};
use super::{Bee, Entry};

/// A key that does not stand for the same in two versions. That of the same value that was put again is different too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it stands for in the version that was asked, if anything.
    pub left: Option<Entry>,
    /// What it stands for in the other version, if anything.
    pub right: Option<Entry>,
}

/// The differences between two versions of a bee. What both have in common is not read.
pub struct Differences {
    left: Side,
    right: Side,
    prefix: Bytes,
    left_to_give: u64,
    began: bool,
}

impl Bee {
    /// How this version differs from another one of the same bee, older or newer, within a range of keys.
    pub fn diff(&self, other: &Self, range: KeyRange) -> Result<Differences, BeeError> {
        let range = self.full_range(range);
        let (left, right) = (self.view()?, other.view()?);
        let (left_version, right_version) = (left.version, right.version);
        Ok(Differences {
            left: Side::new(left, right_version, range.clone()),
            right: Side::new(right, left_version, range),
            prefix: self.prefix.clone(),
            left_to_give: u64::MAX,
            began: false,
        })
    }
}

impl Differences {
    /// At most this many differences.
    pub fn limit(self, differences: u64) -> Self {
        Self {
            left_to_give: differences,
            ..self
        }
    }

    /// The next difference.
    pub async fn next(&mut self) -> Result<Option<Difference>, BeeError> {
        if self.left_to_give == 0 {
            return Ok(None);
        }
        if !self.began {
            self.left.begin().await?;
            self.right.begin().await?;
            self.began = true;
        }
        let (left, right) = self.next_blocks().await?;
        if left.is_none() && right.is_none() {
            return Ok(None);
        }
        self.left_to_give -= 1;
        let entry = |block: Arc<Block>| Entry::new(&block, &self.prefix);
        Ok(Some(Difference {
            left: left.map(entry),
            right: right.map(entry),
        }))
    }

    async fn next_blocks(&mut self) -> Result<(Option<Arc<Block>>, Option<Arc<Block>>), BeeError> {
        let (left, right) = (&mut self.left, &mut self.right);
        loop {
            let (ours, theirs) = match (left.peek(), right.peek()) {
                (None, None) => return Ok((None, None)),
                (Some(At { is_key: true, .. }), None) => return Ok((left.take_key().await?, None)),
                (None, Some(At { is_key: true, .. })) => return Ok((None, right.take_key().await?)),
                (Some(_), None) => {
                    left.descend().await?;
                    continue;
                }
                (None, Some(_)) => {
                    right.descend().await?;
                    continue;
                }
                (Some(ours), Some(theirs)) => (ours, theirs),
            };
            if ours == theirs {
                left.skip()?;
                right.skip()?;
                continue;
            }
            match (ours.is_key, theirs.is_key) {
                (true, false) => right.descend().await?,
                (false, true) => left.descend().await?,
                (true, true) => {
                    return Ok(match compare(left, right).await? {
                        Ordering::Equal => (left.take_key().await?, right.take_key().await?),
                        Ordering::Less => (left.take_key().await?, None),
                        Ordering::Greater => (None, right.take_key().await?),
                    });
                }
                // The part that reaches further is opened: the other may be within it.
                (false, false) => match compare(left, right).await? {
                    Ordering::Equal => {
                        left.descend().await?;
                        right.descend().await?;
                    }
                    Ordering::Less => right.descend().await?,
                    Ordering::Greater => left.descend().await?,
                },
            }
        }
    }
}

/// Compares how far two parts reach: to a key, or, with none, to the end.
async fn compare(left: &mut Side, right: &mut Side) -> Result<Ordering, BeeError> {
    Ok(match (left.reaches_to().await?, right.reaches_to().await?) {
        (Some(left), Some(right)) => left.key().cmp(right.key()),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    })
}

/// What comes next of a tree: a key, or the part below a child. Equal ones are the same in both trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    is_key: bool,
    seq: u64,
    offset: u64,
}

/// One of the two trees, on the walk through its keys.
struct Side {
    view: View,
    range: KeyRange,
    stack: Vec<Frame>,
    /// The start of the range was not reached yet.
    seeking: bool,
    /// Keys that were walked past: a tree has no more of them than its version has blocks.
    keys: u64,
    last: Option<Arc<Block>>,
    /// Blocks that the other tree cannot have: all of them are read.
    own_from: u64,
    /// A block had to come from a peer.
    is_remote: bool,
}

/// A node that is walked through. Even steps are its children, odd ones its keys.
struct Frame {
    node: Node,
    step: usize,
    _asked: Vec<Download>,
}

impl Frame {
    fn at(&self) -> Option<At> {
        let content = &self.node.content;
        if self.step % 2 == 1 {
            return content.keys.get(self.step / 2).map(|seq| At {
                is_key: true,
                seq: *seq,
                offset: 0,
            });
        }
        content.children.get(self.step / 2).map(|child| At {
            is_key: false,
            seq: child.seq,
            offset: child.offset,
        })
    }

    fn advance(&mut self) {
        self.step += if self.node.is_leaf() { 2 } else { 1 };
    }
}

impl Side {
    fn new(view: View, other_version: u64, range: KeyRange) -> Self {
        Self {
            view,
            seeking: range.start_key().is_some(),
            range,
            stack: Vec::new(),
            keys: 0,
            last: None,
            own_from: other_version,
            is_remote: false,
        }
    }

    async fn begin(&mut self) -> Result<(), BeeError> {
        if let Some(root) = self.view.root().await? {
            self.open(root).await?;
        }
        Ok(())
    }

    /// Enters a node, at its first step or where the range starts.
    async fn open(&mut self, mut node: Node) -> Result<(), BeeError> {
        let mut step = usize::from(node.is_leaf());
        if let Some((key, included)) = self.range.start_key().filter(|_| self.seeking) {
            step = match self.view.search(&mut node, key).await? {
                Place::Key(place) => {
                    self.seeking = false;
                    let behind = if node.is_leaf() { 3 } else { 2 };
                    2 * place + if included { 1 } else { behind }
                }
                Place::Below(place) => {
                    self.seeking = !node.is_leaf();
                    2 * place + usize::from(node.is_leaf())
                }
            };
        }
        let frame = Frame {
            _asked: self.ask_ahead(&node),
            node,
            step,
        };
        self.push(frame);
        Ok(())
    }

    /// Asks peers for what the node names and the other tree cannot have.
    fn ask_ahead(&self, node: &Node) -> Vec<Download> {
        if !self.is_remote {
            return Vec::new();
        }
        let children = node.content.children.iter().map(|child| child.seq);
        let named = node.content.keys.iter().copied().chain(children);
        self.view.ask_for(named.filter(|seq| *seq >= self.own_from))
    }

    fn push(&mut self, frame: Frame) {
        if frame.at().is_some() {
            self.stack.push(frame);
        }
    }

    fn peek(&self) -> Option<At> {
        self.stack.last().and_then(Frame::at)
    }

    fn advance(&mut self) {
        if let Some(mut frame) = self.stack.pop() {
            frame.advance();
            self.push(frame);
        }
    }

    /// Passes over what comes next.
    fn skip(&mut self) -> Result<(), BeeError> {
        if self.peek().is_some_and(|at| at.is_key) {
            self.count_key()?;
        }
        self.advance();
        Ok(())
    }

    fn count_key(&mut self) -> Result<(), BeeError> {
        self.keys += 1;
        match self.stack.last() {
            Some(frame) if self.keys >= self.view.version => {
                Err(self.view.damaged(frame.node.at.seq)(BlockFault::OutOfOrder))
            }
            _ => Ok(()),
        }
    }

    /// Enters the part that comes next.
    async fn descend(&mut self) -> Result<(), BeeError> {
        let Some(frame) = self.stack.last() else {
            return Ok(());
        };
        if frame.step % 2 == 1 {
            return Ok(());
        }
        let at = frame.step / 2;
        let seq = frame.node.content.children[at].seq;
        let block = match self.view.stored(seq)? {
            Some(block) => block,
            None => {
                self.is_remote = true;
                self.view.block(seq).await?
            }
        };
        let child = self.view.child_in(&frame.node, at, block)?;
        self.advance();
        self.open(child).await
    }

    /// How far what comes next reaches: up to this key's block, or, with none, to the end.
    async fn reaches_to(&self) -> Result<Option<Arc<Block>>, BeeError> {
        for frame in self.stack.iter().rev() {
            // The nodes above stand at the key behind the child that was entered.
            let key = frame.step / 2;
            if key < frame.node.content.keys.len() {
                return self.view.key_block(&frame.node, key).await.map(Some);
            }
        }
        Ok(None)
    }

    /// The key that comes next, unless it is beyond the range.
    async fn take_key(&mut self) -> Result<Option<Arc<Block>>, BeeError> {
        let Some(frame) = self.stack.last().filter(|frame| frame.step % 2 == 1) else {
            return Ok(None);
        };
        let block = self.view.key_block(&frame.node, frame.step / 2).await?;
        if self.last.as_ref().is_some_and(|last| last.key() >= block.key()) {
            return Err(self.view.damaged(block.seq)(BlockFault::OutOfOrder));
        }
        self.count_key()?;
        self.seeking = false;
        self.advance();
        if self.range.ends_before(block.key()) {
            self.stack.clear();
            return Ok(None);
        }
        self.last = Some(Arc::clone(&block));
        Ok(Some(block))
    }
}
