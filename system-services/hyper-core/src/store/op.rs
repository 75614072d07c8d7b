//! What a change did, step by step, as the log keeps it and does it again after a power cut.

use std::ops::Range;

use super::chunk::{Extent, Place, StoredBlock};
use crate::crypto::Hash;
use crate::flat_tree::Position;
use crate::merkle::Node;
use crate::messages::codec::{Reader, put_bytes, put_uint};

/// A step. Those of a core are of the one that the last [`Op::Core`] names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op<'a> {
    /// Core that the next steps change.
    Core(u64),
    /// A core is entered under this number.
    Entered { number: u64, key: Hash },
    /// A core gets a name.
    Named { name: &'a str, number: u64 },
    /// A secret of the store is kept.
    Secret { name: &'a str, value: &'a [u8] },
    /// A tree node is stored.
    Node(Node),
    /// A block is stored; its bytes are elsewhere in the record, or in a block file.
    Block { block: u64, stored: StoredBlock },
    /// Blocks are forgotten.
    Dropped(Range<u64>),
    /// The tree nodes over blocks from this one on are forgotten.
    Truncated(u64),
    /// Blocks are marked as stored or not.
    Marked { blocks: Range<u64>, stored: bool },
    /// The head is another one.
    Head(&'a [u8]),
    /// The manifest is known.
    Manifest(&'a [u8]),
    /// The key pair is known.
    KeyPair(&'a [u8]),
    /// User data are kept, or removed.
    UserData { key: &'a str, value: Option<&'a [u8]> },
}

impl<'a> Op<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut uints = |tag: u8, numbers: &[u64]| {
            out.push(tag);
            numbers.iter().for_each(|number| put_uint(out, *number));
        };
        match self {
            Self::Core(number) => uints(0, &[*number]),
            Self::Entered { number, key } => {
                uints(1, &[*number]);
                out.extend_from_slice(key);
            }
            Self::Named { name, number } => {
                uints(2, &[*number]);
                put_bytes(out, name.as_bytes());
            }
            Self::Secret { name, value } => {
                uints(3, &[]);
                put_bytes(out, name.as_bytes());
                put_bytes(out, value);
            }
            Self::Node(node) => {
                uints(4, &[node.position.index(), node.size]);
                out.extend_from_slice(&node.hash);
            }
            Self::Block { block, stored } => {
                uints(5, &[*block]);
                put_extent(out, &stored.extent);
                out.extend_from_slice(&stored.checksum.to_le_bytes());
            }
            Self::Dropped(blocks) => uints(6, &[blocks.start, blocks.end]),
            Self::Truncated(length) => uints(7, &[*length]),
            Self::Marked { blocks, stored } => {
                uints(8, &[blocks.start, blocks.end, u64::from(*stored)]);
            }
            Self::Head(bytes) => tagged(out, 9, bytes),
            Self::Manifest(bytes) => tagged(out, 10, bytes),
            Self::KeyPair(bytes) => tagged(out, 11, bytes),
            Self::UserData { key, value } => {
                uints(12, &[u64::from(value.is_some())]);
                put_bytes(out, key.as_bytes());
                put_bytes(out, value.unwrap_or_default());
            }
        }
    }

    /// Reads the next step, `None` if it is not one.
    pub(super) fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let [tag] = reader.array("step").ok()?;
        Some(match tag {
            0 => Self::Core(reader.uint("core").ok()?),
            1 => Self::Entered {
                number: reader.uint("core").ok()?,
                key: reader.array("key").ok()?,
            },
            2 => Self::Named {
                number: reader.uint("core").ok()?,
                name: reader.text("name").ok()?,
            },
            3 => Self::Secret {
                name: reader.text("name").ok()?,
                value: reader.bytes("secret").ok()?,
            },
            4 => Self::Node(Node {
                position: Position::new(reader.uint("node").ok()?)?,
                size: reader.uint("size").ok()?,
                hash: reader.array("hash").ok()?,
            }),
            5 => Self::Block {
                block: reader.uint("block").ok()?,
                stored: StoredBlock {
                    extent: read_extent(reader)?,
                    checksum: u32::from_le_bytes(reader.array("checksum").ok()?),
                },
            },
            6 => Self::Dropped(read_range(reader)?),
            7 => Self::Truncated(reader.uint("length").ok()?),
            8 => Self::Marked {
                blocks: read_range(reader)?,
                stored: reader.uint("stored").ok()? == 1,
            },
            9 => Self::Head(reader.bytes("head").ok()?),
            10 => Self::Manifest(reader.bytes("manifest").ok()?),
            11 => Self::KeyPair(reader.bytes("key pair").ok()?),
            12 => {
                let present = reader.uint("present").ok()? == 1;
                let (key, value) = (reader.text("key").ok()?, reader.bytes("value").ok()?);
                Self::UserData {
                    key,
                    value: present.then_some(value),
                }
            }
            _ => return None,
        })
    }
}

fn tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_bytes(out, bytes);
}

fn read_range(reader: &mut Reader<'_>) -> Option<Range<u64>> {
    Some(reader.uint("start").ok()?..reader.uint("end").ok()?)
}

/// A file, an offset and a length.
pub(super) fn put_extent(out: &mut Vec<u8>, extent: &Extent) {
    put_uint(out, u64::from(extent.at.segment));
    put_uint(out, extent.at.offset);
    put_uint(out, extent.bytes);
}

pub(super) fn read_extent(reader: &mut Reader<'_>) -> Option<Extent> {
    Some(Extent {
        at: Place {
            segment: u32::try_from(reader.uint("file").ok()?).ok()?,
            offset: reader.uint("offset").ok()?,
        },
        bytes: reader.uint("length").ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ops() -> impl Strategy<Value = Op<'static>> {
        let n = || 0..1u64 << 53;
        let extent = (any::<u32>(), n(), n()).prop_map(|(segment, offset, bytes)| Extent {
            at: Place { segment, offset },
            bytes,
        });
        prop_oneof![
            n().prop_map(Op::Core),
            (n(), any::<Hash>()).prop_map(|(number, key)| Op::Entered { number, key }),
            n().prop_map(|number| Op::Named {
                name: "näme", number
            }),
            Just(Op::Secret {
                name: "",
                value: b"secret"
            }),
            (0..1u64 << 52, n(), any::<Hash>()).prop_map(|(index, size, hash)| Op::Node(Node {
                position: Position::new(index).unwrap(),
                size,
                hash
            })),
            (n(), extent, any::<u32>()).prop_map(|(block, extent, checksum)| Op::Block {
                block,
                stored: StoredBlock { extent, checksum }
            }),
            (n(), n()).prop_map(|(start, end)| Op::Dropped(start..end)),
            n().prop_map(Op::Truncated),
            (n(), n(), any::<bool>()).prop_map(|(start, end, stored)| Op::Marked {
                blocks: start..end,
                stored
            }),
            Just(Op::Head(b"head")),
            Just(Op::Manifest(b"")),
            Just(Op::KeyPair(b"pair")),
            prop::option::of(Just(&b"value"[..])).prop_map(|value| Op::UserData { key: "k", value }),
        ]
    }

    proptest! {
        #[test]
        fn steps_are_read_as_they_were_written(steps in prop::collection::vec(ops(), 0..20)) {
            let mut bytes = Vec::new();
            steps.iter().for_each(|step| step.encode(&mut bytes));
            let mut reader = Reader::new("steps", &bytes);
            for step in steps {
                prop_assert_eq!(Op::decode(&mut reader), Some(step));
            }
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_steps_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = Reader::new("steps", &bytes);
            while Op::decode(&mut reader).is_some() {}
        }
    }
}
