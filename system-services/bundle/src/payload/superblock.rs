//! The first 96 bytes.

use super::PayloadError;
use super::bytes::Fields;
use super::compression::Compression;
use crate::source::ReadAt;

const SIZE: usize = 96;
const MAGIC: u32 = u32::from_le_bytes(*b"hsqs");

/// Where the tables are and how blocks are packed.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    /// Bytes of an unpacked data block: a power of two, 4 KiB to 1 MiB.
    pub block_size: u32,
    pub compression: Compression,
    pub fragments: u32,
    /// Reference to the root folder's inode: metadata block in the upper 48 bits, offset in it in the lower 16.
    pub root: u64,
    /// Bytes of the file system; padding follows.
    pub used: u64,
    pub inode_table: u64,
    pub directory_table: u64,
    pub fragment_table: u64,
}

impl Superblock {
    pub(super) fn read(data: &impl ReadAt) -> Result<Self, PayloadError> {
        if data.size() < SIZE as u64 {
            return Err(PayloadError::NotSquashfs);
        }
        let mut bytes = [0; SIZE];
        data.read_exact_at(&mut bytes, 0)?;
        Self::parse(&bytes, data.size())
    }

    fn parse(bytes: &[u8; SIZE], size: u64) -> Result<Self, PayloadError> {
        let mut fields = Fields::new(bytes, "the superblock is too short");
        if fields.u32()? != MAGIC {
            return Err(PayloadError::NotSquashfs);
        }
        fields.skip(8)?; // inodes, time
        let block_size = fields.u32()?;
        let fragments = fields.u32()?;
        let compression = fields.u16()?;
        let block_log = fields.u16()?;
        fields.skip(4)?; // flags (every block says itself how it is stored), ids
        let (major, minor) = (fields.u16()?, fields.u16()?);
        if (major, minor) != (4, 0) {
            return Err(PayloadError::Version { major, minor });
        }
        let root = fields.u64()?;
        let used = fields.u64()?;
        fields.skip(16)?; // ids, extended attributes
        let superblock = Self {
            block_size,
            compression: Compression::new(compression)?,
            fragments,
            root,
            used,
            inode_table: fields.u64()?,
            directory_table: fields.u64()?,
            fragment_table: fields.u64()?,
        };
        superblock.check(block_log, size)
    }

    fn check(self, block_log: u16, size: u64) -> Result<Self, PayloadError> {
        let malformed = |what| Err(PayloadError::Malformed { what });
        if !(12..=20).contains(&block_log) || self.block_size != 1 << block_log {
            return malformed("the block size is not possible");
        }
        if self.used > size {
            return malformed("it is longer than the payload");
        }
        if !(SIZE as u64 <= self.inode_table
            && self.inode_table < self.directory_table
            && self.directory_table < self.used)
        {
            return malformed("its tables are not where they can be");
        }
        if self.fragments > 0
            && !(self.directory_table <= self.fragment_table && self.fragment_table < self.used)
        {
            return malformed("its fragment table is not where it can be");
        }
        Ok(self)
    }
}
