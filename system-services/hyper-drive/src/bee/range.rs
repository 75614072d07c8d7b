//! Entries in the order of their keys.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::block::{Block, BlockFault};
use super::error::BeeError;
use super::read_ahead::ReadAhead;
use super::view::{Node, Place, View};
use super::{Bee, Entry};

/// Keys between two bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: Bound<Bytes>,
    end: Bound<Bytes>,
}

impl KeyRange {
    /// All keys.
    pub const ALL: Self = Self {
        start: Bound::Unbounded,
        end: Bound::Unbounded,
    };

    /// The keys that begin with these bytes.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        Self::ALL.within(prefix.as_ref())
    }

    /// Only keys greater than this one.
    pub fn gt(self, key: impl AsRef<[u8]>) -> Self {
        let start = Bound::Excluded(Bytes::copy_from_slice(key.as_ref()));
        Self { start, ..self }
    }

    /// Only this key and greater ones.
    pub fn gte(self, key: impl AsRef<[u8]>) -> Self {
        let start = Bound::Included(Bytes::copy_from_slice(key.as_ref()));
        Self { start, ..self }
    }

    /// Only keys less than this one.
    pub fn lt(self, key: impl AsRef<[u8]>) -> Self {
        let end = Bound::Excluded(Bytes::copy_from_slice(key.as_ref()));
        Self { end, ..self }
    }

    /// Only this key and lesser ones.
    pub fn lte(self, key: impl AsRef<[u8]>) -> Self {
        let end = Bound::Included(Bytes::copy_from_slice(key.as_ref()));
        Self { end, ..self }
    }

    /// The range of keys that is meant when these are keys behind a prefix.
    pub(super) fn within(self, prefix: &[u8]) -> Self {
        let full = |key: Bytes| Bytes::from([prefix, &key].concat());
        let start = match self.start {
            Bound::Unbounded => Bound::Included(Bytes::copy_from_slice(prefix)),
            bound => bound.map(full),
        };
        let end = match self.end {
            Bound::Unbounded => after_all_with(prefix),
            bound => bound.map(full),
        };
        Self { start, end }
    }

    /// Where the range starts, and whether it holds that key.
    pub(super) fn start_key(&self) -> Option<(&Bytes, bool)> {
        match &self.start {
            Bound::Included(key) => Some((key, true)),
            Bound::Excluded(key) => Some((key, false)),
            Bound::Unbounded => None,
        }
    }

    /// Whether a key is before the start.
    pub(super) fn begins_after(&self, key: &[u8]) -> bool {
        match &self.start {
            Bound::Included(start) => key < &start[..],
            Bound::Excluded(start) => key <= &start[..],
            Bound::Unbounded => false,
        }
    }

    /// Whether a key is behind the end.
    pub(super) fn ends_before(&self, key: &[u8]) -> bool {
        match &self.end {
            Bound::Included(end) => key > &end[..],
            Bound::Excluded(end) => key >= &end[..],
            Bound::Unbounded => false,
        }
    }
}

/// The least key that is greater than all that begin with a prefix.
fn after_all_with(prefix: &[u8]) -> Bound<Bytes> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end.into());
        }
    }
    Bound::Unbounded
}

/// Entries in the order of their keys, of one version of a bee.
pub struct Entries {
    view: View,
    prefix: Bytes,
    range: KeyRange,
    reverse: bool,
    /// Entries that may still be given.
    left: u64,
    began: bool,
    stack: Vec<Frame>,
    last: Option<Arc<Block>>,
    /// From when on a block had to come from a peer.
    ahead: Option<ReadAhead>,
}

/// A node that is walked through. Even steps are its children, odd ones its keys.
struct Frame {
    node: Node,
    /// The next step, `None` behind the last.
    step: Option<usize>,
}

impl Frame {
    fn new(node: Node, reverse: bool) -> Self {
        let step = if reverse { 2 * node.content.keys.len() } else { 0 };
        Self {
            node,
            step: Some(step),
        }
    }

    fn advance(&mut self, reverse: bool) {
        let last = 2 * self.node.content.keys.len();
        self.step = self.step.and_then(|step| match reverse {
            true => step.checked_sub(1),
            false => Some(step + 1).filter(|step| *step <= last),
        });
    }
}

impl Bee {
    /// The entries of a range of keys, as they are now.
    pub fn range(&self, range: KeyRange) -> Result<Entries, BeeError> {
        Ok(Entries {
            view: self.view()?,
            range: self.full_range(range),
            prefix: self.prefix.clone(),
            reverse: false,
            left: u64::MAX,
            began: false,
            stack: Vec::new(),
            last: None,
            ahead: None,
        })
    }

    pub(super) fn full_range(&self, range: KeyRange) -> KeyRange {
        match self.prefix.is_empty() {
            true => range,
            false => range.within(&self.prefix),
        }
    }
}

impl Entries {
    /// The greatest key first. To be said before the first entry is asked for.
    pub fn reversed(self) -> Self {
        Self {
            reverse: true,
            ..self
        }
    }

    /// At most this many entries.
    pub fn limit(self, entries: u64) -> Self {
        Self {
            left: entries,
            ..self
        }
    }

    /// The version of the bee whose entries these are.
    pub fn version(&self) -> u64 {
        self.view.version
    }

    /// The next entry. A call whose caller went away can be made again.
    pub async fn next(&mut self) -> Result<Option<Entry>, BeeError> {
        if self.left == 0 {
            return Ok(None);
        }
        if !self.began {
            self.stack = self.first().await?;
            self.began = true;
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.entry_taken();
        }
        while let Some(frame) = self.stack.last_mut() {
            let Some(step) = frame.step else {
                self.stack.pop();
                continue;
            };
            let content = &frame.node.content;
            let next = match step % 2 {
                1 => content.keys.get(step / 2).copied(),
                _ => content.children.get(step / 2).map(|child| child.seq),
            };
            let Some(seq) = next else {
                frame.advance(self.reverse);
                continue;
            };
            let block = match self.view.stored(seq)? {
                Some(block) => block,
                None => self.wait_for(seq).await?,
            };
            if let Some(entry) = self.advance(step, block)? {
                return self.give(entry);
            }
        }
        Ok(None)
    }

    /// Waits for a block, and has peers asked for those behind it meanwhile.
    async fn wait_for(&mut self, seq: u64) -> Result<Arc<Block>, BeeError> {
        let stack = &self.stack;
        let ahead = self.ahead.get_or_insert_with(|| {
            let mut ahead = ReadAhead::new(self.view.clone(), self.reverse);
            for frame in stack {
                if let Some(step) = frame.step {
                    ahead.want(&frame.node, step);
                }
            }
            ahead
        });
        let block = self.view.block(seq);
        tokio::pin!(block);
        loop {
            tokio::select! {
                biased;
                block = &mut block => return block,
                () = ahead.step(), if self.view.options.wait => {}
            }
        }
    }

    /// Goes on behind a step: into the child that it is, or to the key's block.
    fn advance(&mut self, step: usize, block: Arc<Block>) -> Result<Option<Arc<Block>>, BeeError> {
        let Some(frame) = self.stack.last_mut() else {
            return Ok(None);
        };
        if step % 2 == 1 {
            frame.advance(self.reverse);
            return Ok(Some(block));
        }
        let child = self.view.child_in(&frame.node, step / 2, block)?;
        frame.advance(self.reverse);
        self.stack.push(Frame::new(child, self.reverse));
        Ok(None)
    }

    fn give(&mut self, block: Arc<Block>) -> Result<Option<Entry>, BeeError> {
        let forward = if self.reverse {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        if let Some(last) = &self.last
            && block.key().cmp(last.key()) != forward
        {
            self.stack.clear();
            return Err(self.view.damaged(block.seq)(BlockFault::OutOfOrder));
        }
        let beyond = match self.reverse {
            true => self.range.begins_after(block.key()),
            false => self.range.ends_before(block.key()),
        };
        if beyond {
            self.stack.clear();
            return Ok(None);
        }
        self.left -= 1;
        let entry = Entry::new(&block, &self.prefix);
        self.last = Some(block);
        Ok(Some(entry))
    }

    /// The way to where the range starts.
    async fn first(&self) -> Result<Vec<Frame>, BeeError> {
        let mut stack = Vec::new();
        let Some(mut node) = self.view.root().await? else {
            return Ok(stack);
        };
        let bound = if self.reverse {
            &self.range.end
        } else {
            &self.range.start
        };
        let (key, included) = match bound {
            Bound::Unbounded => return Ok(vec![Frame::new(node, self.reverse)]),
            Bound::Included(key) => (key, true),
            Bound::Excluded(key) => (key, false),
        };
        loop {
            let place = self.view.search(&mut node, key).await?;
            let child = match place {
                Place::Below(child) if !node.is_leaf() => Some(self.view.child(&node, child).await?),
                _ => None,
            };
            // The child is walked through first, its parent from behind it on.
            let step = match place {
                Place::Key(place) => 2 * place + 1,
                Place::Below(place) => 2 * place,
            };
            let mut frame = Frame {
                node,
                step: Some(step),
            };
            if !(included && matches!(place, Place::Key(_))) {
                frame.advance(self.reverse);
            }
            stack.push(frame);
            match child {
                Some(child) => node = child,
                None => return Ok(stack),
            }
        }
    }
}
