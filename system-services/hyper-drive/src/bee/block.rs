//! A block of a bee: one change of one key, and the tree nodes that the change wrote.
//!
//! A node is named by its block's number and its place among the block's nodes. It holds keys (as the numbers of the blocks that
//! put them) and children (as names of nodes). Whatever it names was written before it or with it.

use std::ops::Range;

use bytes::Bytes;

use super::header::Header;
use super::protobuf::{Malformed, Reader, number_bytes, put_bytes, put_field, put_number};

/// Fewest keys of a node that is not the root.
pub(super) const MIN_KEYS: usize = 4;
/// Most keys of a node: hyperbee splits one that would have one more.
pub(super) const MAX_KEYS: usize = 2 * MIN_KEYS;
/// Most nodes from the root to a leaf. A tree of 2^53 keys has 24.
pub(super) const MAX_DEPTH: usize = 32;

/// What is wrong with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// It is not of the form of a bee's blocks.
    #[error("it is malformed {0}")]
    Malformed(#[from] Malformed),
    /// It has no key or no tree nodes.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// Another block names a node that it has not.
    #[error("it has no tree node {0}, which another one names")]
    NoNode(u64),
    /// A node has more keys than any.
    #[error("its tree node {0} has more than {MAX_KEYS} keys")]
    TooManyKeys(u64),
    /// A node below another has no keys.
    #[error("its tree node {0} has no keys, but is not the root")]
    NoKeys(u64),
    /// A node has children, but not one more than it has keys.
    #[error("its tree node {node} has {keys} keys and {children} children")]
    WrongChildren {
        /// The node.
        node: u64,
        /// Its keys.
        keys: usize,
        /// Its children.
        children: usize,
    },
    /// A node names a block that was not yet there, or the header.
    #[error("its tree node {node} points to block {to}, which is not one of an entry before it")]
    WrongPointer {
        /// The node.
        node: u64,
        /// Where it points.
        to: u64,
    },
    /// Nodes lead on and on.
    #[error("its tree nodes are more than {MAX_DEPTH} levels below the root")]
    TooDeep,
    /// Keys of the tree are not in their order.
    #[error("its tree nodes have keys that are not in order")]
    OutOfOrder,
    /// It is the first block, but not that of a bee.
    #[error("the first block is not that of a bee: {0}")]
    NoHeader(super::header::NotAHeader),
}

/// The name of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pointer {
    /// The block.
    pub seq: u64,
    /// The place among the block's nodes.
    pub offset: u64,
}

/// What a node holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// The blocks of the keys, in the order of the keys.
    pub keys: Vec<u64>,
    /// What is before, between and behind the keys; nothing in a leaf.
    pub children: Vec<Pointer>,
}

/// A block, read in place: where in its bytes its parts are.
#[derive(Debug)]
pub(super) struct Block {
    /// Its number in the core.
    pub seq: u64,
    bytes: Bytes,
    index: Range<usize>,
    key: Range<usize>,
    value: Option<Range<usize>>,
}

impl Block {
    /// Reads a block. Its nodes are looked at when they are asked for.
    pub(super) fn decode(seq: u64, bytes: Bytes) -> Result<Self, BlockFault> {
        let (mut index, mut key, mut value) = (None, None, None);
        let mut reader = Reader::new(&bytes);
        while let Some((number, range)) = reader.field()? {
            match number {
                1 => index = Some(range),
                2 => key = Some(range),
                3 => value = Some(range),
                _ => {}
            }
        }
        Ok(Self {
            seq,
            index: index.ok_or(BlockFault::Missing("tree nodes"))?,
            key: key.ok_or(BlockFault::Missing("key"))?,
            value,
            bytes,
        })
    }

    /// The key that it changed.
    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[self.key.clone()]
    }

    /// The key, sharing the block's bytes.
    pub(super) fn shared_key(&self) -> Bytes {
        self.bytes.slice(self.key.clone())
    }

    /// The value, if it put one, sharing the block's bytes.
    pub(super) fn shared_value(&self) -> Option<Bytes> {
        self.value.clone().map(|value| self.bytes.slice(value))
    }

    /// Bytes of the block.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it removed its key: it has no value, and no node of it has its key.
    pub(super) fn is_deletion(&self) -> Result<bool, BlockFault> {
        if self.value.is_some() {
            return Ok(false);
        }
        let mut nodes = self.nodes();
        while let Some(node) = nodes.next_node()? {
            if nodes.keys(&node)?.contains(&self.seq) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The first key's block of each node.
    pub(super) fn first_keys(&self) -> Result<Vec<u64>, BlockFault> {
        let (mut first, mut nodes) = (Vec::new(), self.nodes());
        while let Some(node) = nodes.next_node()? {
            first.extend(nodes.keys(&node)?.first());
        }
        Ok(first)
    }

    /// A node, checked by itself: what it names was there before it.
    pub(super) fn content(&self, offset: u64) -> Result<Content, BlockFault> {
        let mut nodes = self.nodes();
        for _ in 0..offset {
            nodes.next_node()?.ok_or(BlockFault::NoNode(offset))?;
        }
        let node = nodes.next_node()?.ok_or(BlockFault::NoNode(offset))?;
        let content = Content {
            keys: nodes.keys(&node)?,
            children: nodes.children(&node)?,
        };
        let (keys, children) = (content.keys.len(), content.children.len());
        if children > 0 && (keys == 0 || children != keys + 1) {
            return Err(BlockFault::WrongChildren {
                node: offset,
                keys,
                children,
            });
        }
        let named = content
            .keys
            .iter()
            .chain(content.children.iter().map(|child| &child.seq));
        match named.copied().find(|to| *to == 0 || *to > self.seq) {
            Some(to) => Err(BlockFault::WrongPointer { node: offset, to }),
            None => Ok(content),
        }
    }

    fn nodes(&self) -> Nodes<'_> {
        Nodes {
            block: &self.bytes,
            reader: Reader::within(&self.bytes, self.index.clone()),
            next: 0,
        }
    }
}

/// The nodes of a block, one after the other.
struct Nodes<'a> {
    block: &'a [u8],
    reader: Reader<'a>,
    next: u64,
}

impl Nodes<'_> {
    fn next_node(&mut self) -> Result<Option<Range<usize>>, Malformed> {
        while let Some((number, range)) = self.reader.field()? {
            if number == 1 {
                self.next += 1;
                return Ok(Some(range));
            }
        }
        Ok(None)
    }

    /// The numbers of a field of a node.
    fn numbers(&self, node: &Range<usize>, field: u64, most: usize) -> Result<Vec<u64>, BlockFault> {
        let mut out = Vec::new();
        let mut fields = Reader::within(self.block, node.clone());
        while let Some((number, range)) = fields.field()? {
            if number != field {
                continue;
            }
            out.reserve(range.len().min(most));
            let mut numbers = Reader::within(self.block, range);
            while let Some(number) = numbers.number()? {
                if out.len() == most {
                    return Err(BlockFault::TooManyKeys(self.next - 1));
                }
                out.push(number);
            }
        }
        Ok(out)
    }

    fn keys(&self, node: &Range<usize>) -> Result<Vec<u64>, BlockFault> {
        self.numbers(node, 1, MAX_KEYS)
    }

    fn children(&self, node: &Range<usize>) -> Result<Vec<Pointer>, BlockFault> {
        let numbers = self.numbers(node, 2, 2 * (MAX_KEYS + 1))?;
        let (pairs, rest) = numbers.as_chunks();
        if !rest.is_empty() {
            return Err(BlockFault::Missing("place for the last child of a tree node"));
        }
        Ok(pairs
            .iter()
            .map(|[seq, offset]| Pointer {
                seq: *seq,
                offset: *offset,
            })
            .collect())
    }
}

/// Writes a block: its nodes, then key and value.
pub(super) fn encode(key: &[u8], value: Option<&[u8]>, nodes: &[Content]) -> Vec<u8> {
    let sizes: Vec<_> = nodes.iter().map(sizes).collect();
    let index = sizes.iter().map(|(_, _, node)| field_bytes(*node)).sum();
    let value_bytes = value.map_or(0, |value| field_bytes(value.len()));
    let mut out = Vec::with_capacity(field_bytes(index) + field_bytes(key.len()) + value_bytes);
    put_field(&mut out, 1, index);
    for (content, (keys, children, node)) in nodes.iter().zip(sizes) {
        put_field(&mut out, 1, node);
        if keys > 0 {
            put_field(&mut out, 1, keys);
            content.keys.iter().for_each(|key| put_number(&mut out, *key));
        }
        if children > 0 {
            put_field(&mut out, 2, children);
            for child in &content.children {
                put_number(&mut out, child.seq);
                put_number(&mut out, child.offset);
            }
        }
    }
    put_bytes(&mut out, 2, key);
    if let Some(value) = value {
        put_bytes(&mut out, 3, value);
    }
    out
}

/// Bytes of a node's keys, of its children, and of both as fields.
fn sizes(content: &Content) -> (usize, usize, usize) {
    let keys = content.keys.iter().map(|key| number_bytes(*key)).sum();
    let child = |child: &Pointer| number_bytes(child.seq) + number_bytes(child.offset);
    let children = content.children.iter().map(child).sum();
    let field = |bytes| if bytes > 0 { field_bytes(bytes) } else { 0 };
    (keys, children, field(keys) + field(children))
}

fn field_bytes(bytes: usize) -> usize {
    1 + number_bytes(bytes as u64) + bytes
}

/// For the fuzzer: any bytes as a block behind its number in two bytes, or as a header. What can be read is read back when it is written again, and refers to nothing after
/// itself.
///
/// # Panics
/// When a property does not hold.
pub fn fuzz_block(bytes: &[u8]) -> bool {
    let Some((seq, block)) = bytes.split_first_chunk() else {
        return false;
    };
    let seq = u64::from(u16::from_le_bytes(*seq));
    if let Ok(header) = Header::decode(&Bytes::copy_from_slice(block)) {
        assert_eq!(Header::decode(&header.encode().into()), Ok(header));
    }
    let Ok(block) = Block::decode(seq, Bytes::copy_from_slice(block)) else {
        return false;
    };
    let _ = (block.is_deletion(), block.first_keys());
    let mut nodes = Vec::new();
    while let Ok(content) = block.content(nodes.len() as u64) {
        assert!(content.keys.len() <= MAX_KEYS && content.children.len() <= MAX_KEYS + 1);
        assert!(content.keys.iter().all(|key| (1..=seq).contains(key)));
        nodes.push(content);
    }
    let again = encode(block.key(), block.shared_value().as_deref(), &nodes);
    let read = Block::decode(seq, again.into());
    let read = read.unwrap_or_else(|fault| panic!("what was written cannot be read: {fault}"));
    assert_eq!(
        (read.key(), read.shared_value()),
        (block.key(), block.shared_value())
    );
    for (content, offset) in nodes.iter().zip(0..) {
        assert_eq!(read.content(offset).as_ref(), Ok(content));
    }
    true
}
