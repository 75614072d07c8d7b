//! The root folder and the inodes of its files.

use std::collections::BTreeMap;

use super::blocks::{BlockList, Packed};
use super::bytes::Fields;
use super::metadata::Metadata;
use super::superblock::Superblock;
use super::{PayloadError, PayloadLimits};
use crate::manifest::FileName;
use crate::source::ReadAt;

/// Bytes that a name costs in a folder at most.
const MAX_NAME_RECORD: usize = 8 + 256 + 12;
/// Bytes that every inode begins with.
const INODE_HEADER: usize = 16;

/// What a name in the root folder stands for.
pub(super) enum Node {
    File(Entry),
    /// What it is instead.
    Other(&'static str),
}

/// A regular file.
pub(super) struct Entry {
    /// Bytes.
    pub size: u64,
    pub blocks: BlockList,
    /// The end of the file, when it shares a block with others' ends: that block and the offset in it.
    pub tail: Option<(Packed, u32)>,
}

/// Names of the root folder and what they stand for.
pub(super) fn root_folder<R: ReadAt>(
    data: &R,
    superblock: &Superblock,
    limits: &PayloadLimits,
) -> Result<BTreeMap<FileName, Node>, PayloadError> {
    let listing = root_listing(data, superblock, limits)?;
    let mut left = limits.blocks;
    let mut names = BTreeMap::new();
    for record in records(&listing, limits)? {
        let node = match record.kind {
            2 | 9 => Node::File(file(data, superblock, record.inode, &mut left, limits)?),
            1 | 8 => Node::Other("folder"),
            3 | 10 => Node::Other("symbolic link"),
            _ => Node::Other("device, pipe or socket"),
        };
        // A name that no manifest can hold cannot be asked for either.
        let name = std::str::from_utf8(record.name)
            .ok()
            .and_then(|name| FileName::new(name).ok());
        if let Some(name) = name
            && names.insert(name, node).is_some()
        {
            return Err(PayloadError::Malformed {
                what: "a name is in its root folder twice",
            });
        }
    }
    Ok(names)
}

/// An inode by its reference.
fn inode<'a, R: ReadAt>(
    data: &'a R,
    superblock: &'a Superblock,
    reference: u64,
) -> Result<(u16, Metadata<'a, R>), PayloadError> {
    let start = superblock
        .inode_table
        .checked_add(reference >> 16)
        .filter(|start| *start < superblock.directory_table)
        .ok_or(PayloadError::Malformed {
            what: "an inode is not in the inode table",
        })?;
    let mut metadata = Metadata::new(data, superblock, start, (reference & 0xffff) as u16)?;
    let header: [u8; INODE_HEADER] = metadata.array()?;
    Ok((u16::from_le_bytes([header[0], header[1]]), metadata))
}

/// The bytes of the root folder's listing.
fn root_listing<R: ReadAt>(
    data: &R,
    superblock: &Superblock,
    limits: &PayloadLimits,
) -> Result<Vec<u8>, PayloadError> {
    let (kind, mut metadata) = inode(data, superblock, superblock.root)?;
    let (size, block, offset) = match kind {
        1 => {
            let bytes: [u8; 16] = metadata.array()?;
            let mut fields = Fields::new(&bytes, "a folder is too short");
            let block = fields.u32()?;
            fields.skip(4)?; // links
            (u32::from(fields.u16()?), block, fields.u16()?)
        }
        8 => {
            let bytes: [u8; 24] = metadata.array()?;
            let mut fields = Fields::new(&bytes, "a folder is too short");
            fields.skip(4)?; // links
            let (size, block) = (fields.u32()?, fields.u32()?);
            fields.skip(6)?; // parent, entries of the index
            (size, block, fields.u16()?)
        }
        _ => {
            return Err(PayloadError::Malformed {
                what: "its root is no folder",
            });
        }
    };
    // The size counts three bytes for `.` and `..`, which are not stored.
    let size = (size as usize).saturating_sub(3);
    if size > limits.names.saturating_mul(MAX_NAME_RECORD) {
        return Err(PayloadError::TooMany {
            what: "names",
            limit: limits.names,
        });
    }
    let mut listing = vec![0; size];
    if size > 0 {
        let start = superblock.directory_table + u64::from(block);
        Metadata::new(data, superblock, start, offset)?.fill(&mut listing)?;
    }
    Ok(listing)
}

/// A name of a folder.
struct Record<'a> {
    name: &'a [u8],
    kind: u16,
    inode: u64,
}

fn records<'a>(mut rest: &'a [u8], limits: &PayloadLimits) -> Result<Vec<Record<'a>>, PayloadError> {
    const CUT: PayloadError = PayloadError::Malformed {
        what: "its root folder is cut off",
    };
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (header, body) = rest.split_first_chunk::<12>().ok_or(CUT)?;
        let mut fields = Fields::new(header, "a folder is cut off");
        let (count, block) = (fields.u32()?, u64::from(fields.u32()?));
        if count >= 256 {
            return Err(PayloadError::Malformed {
                what: "a folder's header counts more than 256 names",
            });
        }
        rest = body;
        for _ in 0..=count {
            let (header, body) = rest.split_first_chunk::<8>().ok_or(CUT)?;
            let mut fields = Fields::new(header, "a folder is cut off");
            let offset = fields.u16()?;
            fields.skip(2)?; // number of the inode
            let kind = fields.u16()?;
            let length = usize::from(fields.u16()?) + 1;
            let name = body.get(..length).filter(|name| name.len() <= 256).ok_or(CUT)?;
            rest = &body[length..];
            if records.len() == limits.names {
                return Err(PayloadError::TooMany {
                    what: "names",
                    limit: limits.names,
                });
            }
            records.push(Record {
                name,
                kind,
                inode: block << 16 | u64::from(offset),
            });
        }
    }
    Ok(records)
}

/// A regular file's inode with its block list. `left` is what is left of the limit for blocks.
fn file<R: ReadAt>(
    data: &R,
    superblock: &Superblock,
    reference: u64,
    left: &mut usize,
    limits: &PayloadLimits,
) -> Result<Entry, PayloadError> {
    let (kind, mut metadata) = inode(data, superblock, reference)?;
    let (start, size, fragment, offset) = match kind {
        2 => {
            let bytes: [u8; 16] = metadata.array()?;
            let mut fields = Fields::new(&bytes, "a file is too short");
            let (start, fragment, offset) = (u64::from(fields.u32()?), fields.u32()?, fields.u32()?);
            (start, u64::from(fields.u32()?), fragment, offset)
        }
        9 => {
            let bytes: [u8; 40] = metadata.array()?;
            let mut fields = Fields::new(&bytes, "a file is too short");
            let (start, size) = (fields.u64()?, fields.u64()?);
            fields.skip(12)?; // bytes of holes, links
            (start, size, fields.u32()?, fields.u32()?)
        }
        _ => {
            return Err(PayloadError::Malformed {
                what: "a file's inode is of another kind",
            });
        }
    };
    let block_size = u64::from(superblock.block_size);
    let has_tail = fragment != u32::MAX && !size.is_multiple_of(block_size);
    let count = if has_tail {
        size / block_size
    } else {
        size.div_ceil(block_size)
    };
    let too_many = PayloadError::TooMany {
        what: "blocks",
        limit: limits.blocks,
    };
    let Some(count) = usize::try_from(count).ok().filter(|count| count <= left) else {
        return Err(too_many);
    };
    *left -= count;
    let blocks = BlockList::read(&mut metadata, superblock, start, size, count)?;
    let tail = match has_tail {
        true => {
            let block = self::fragment(data, superblock, fragment)?;
            let end = u64::from(offset) + size % block_size;
            if end > block_size || (block.plain && end > u64::from(block.length)) {
                return Err(PayloadError::Malformed {
                    what: "a file's end is not in its fragment",
                });
            }
            Some((block, offset))
        }
        false => None,
    };
    Ok(Entry { size, blocks, tail })
}

/// An entry of the fragment table: where a block of file ends is stored.
fn fragment<R: ReadAt>(data: &R, superblock: &Superblock, index: u32) -> Result<Packed, PayloadError> {
    const ENTRY: u32 = 16;
    const PER_BLOCK: u32 = 8192 / ENTRY;
    const OUTSIDE: PayloadError = PayloadError::Malformed {
        what: "a fragment is not in the fragment table",
    };
    if index >= superblock.fragments {
        return Err(OUTSIDE);
    }
    let pointer = superblock.fragment_table + u64::from(index / PER_BLOCK) * 8;
    if pointer + 8 > superblock.used {
        return Err(OUTSIDE);
    }
    let mut table = [0; 8];
    data.read_exact_at(&mut table, pointer)?;
    let offset = (index % PER_BLOCK * ENTRY) as u16;
    let entry: [u8; 12] = Metadata::new(data, superblock, u64::from_le_bytes(table), offset)?.array()?;
    let mut fields = Fields::new(&entry, "a fragment is too short");
    let start = fields.u64()?;
    Packed::new(start, fields.u32()?, superblock.block_size, superblock)
}
