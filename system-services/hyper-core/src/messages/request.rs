//! `Request`: what one end wants proved by the other.

use super::MalformedMessage;
use super::codec::{Reader, flags, put_uint};

/// A wish for one proof. Its parts are answered together, by one `Data` or one `NoData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Chosen by the sender, from 1; a second request of the same id replaces the first. 0 is a fork check, answered
    /// like the others.
    pub id: u64,
    /// The fork that is meant; a peer on another fork answers `NoData`.
    pub fork: u64,
    /// A block with its proof; `index` counts blocks.
    pub block: Option<RequestNode>,
    /// The hash of a tree node with its proof; `index` counts tree nodes (flat-tree).
    pub hash: Option<RequestNode>,
    /// The block in which a byte offset lies.
    pub seek: Option<RequestSeek>,
    /// A longer signed tree.
    pub upgrade: Option<RequestUpgrade>,
    /// The core's manifest.
    pub manifest: bool,
    /// How urgent it is.
    pub priority: Priority,
}

/// A leaf or an inner node of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestNode {
    /// Which block, or which node of the flat tree.
    pub index: u64,
    /// How many levels up the proof goes: to the first node that the sender has. More levels than the tree has are an
    /// invalid request.
    pub nodes: u64,
}

/// A byte offset to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestSeek {
    /// The offset from the start of the core, in bytes.
    pub bytes: u64,
    /// Bytes in front of each block that do not count: the header of an encrypted block.
    pub padding: u64,
}

/// The blocks that are to be added to the sender's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestUpgrade {
    /// The sender's length in blocks.
    pub start: u64,
    /// How many blocks further.
    pub length: u64,
}

/// How urgent a request is; a newer peer may know further numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub u64);

impl Priority {
    /// As they come.
    pub const NORMAL: Self = Self(0);
    /// Before those.
    pub const HIGH: Self = Self(1);
    /// Before all others.
    pub const VERY_HIGH: Self = Self(2);
}

impl Request {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let urgent = self.priority != Priority::NORMAL;
        let parts = [
            self.block.is_some(),
            self.hash.is_some(),
            self.seek.is_some(),
            self.upgrade.is_some(),
            self.manifest,
            urgent,
        ];
        put_uint(out, flags(parts));
        put_uint(out, self.id);
        put_uint(out, self.fork);
        let pairs = [
            self.block.map(|b| [b.index, b.nodes]),
            self.hash.map(|h| [h.index, h.nodes]),
            self.seek.map(|s| [s.bytes, s.padding]),
            self.upgrade.map(|u| [u.start, u.length]),
        ];
        pairs
            .into_iter()
            .flatten()
            .flatten()
            .for_each(|number| put_uint(out, number));
        if urgent {
            put_uint(out, self.priority.0);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        let flags = reader.uint("flags")?;
        let id = reader.uint("id")?;
        let fork = reader.uint("fork")?;
        let mut pair = |bit, first, second| {
            let given = flags & bit != 0;
            given
                .then(|| Ok((reader.uint(first)?, reader.uint(second)?)))
                .transpose()
        };
        let node = |(index, nodes)| RequestNode { index, nodes };
        let block = pair(1, "block.index", "block.nodes")?.map(node);
        let hash = pair(2, "hash.index", "hash.nodes")?.map(node);
        let seek = pair(4, "seek.bytes", "seek.padding")?;
        let upgrade = pair(8, "upgrade.start", "upgrade.length")?;
        Ok(Self {
            id,
            fork,
            block,
            hash,
            seek: seek.map(|(bytes, padding)| RequestSeek { bytes, padding }),
            upgrade: upgrade.map(|(start, length)| RequestUpgrade { start, length }),
            manifest: flags & 16 != 0,
            priority: Priority(if flags & 32 != 0 {
                reader.uint("priority")?
            } else {
                0
            }),
        })
    }
}
