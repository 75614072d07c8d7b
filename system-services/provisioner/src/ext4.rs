//! What ext4's superblock says about sizes (kernel documentation, `filesystems/ext4/super.rst`).
//!
//! Read from the block device while mounted: the kernel keeps it in the same page cache, so it is current.

use thiserror::Error;

/// Where the superblock begins on the device.
pub const SUPERBLOCK_AT: u64 = 1024;
/// How many bytes of it [`Geometry::parse`] wants.
pub const SUPERBLOCK_BYTES: usize = 1024;

const INCOMPAT_64BIT: u32 = 0x80;

/// Not a superblock that we understand.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the data file system's superblock is not usable: {0}")]
pub struct NotExt4(&'static str);

/// Sizes of an ext4 file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Blocks of the file system.
    pub blocks: u64,
    /// Blocks that the kernel may leave unused at the end: a last group too small for its own tables is not made.
    pub slack_blocks: u64,
}

impl Geometry {
    /// Reads the sizes out of the [`SUPERBLOCK_BYTES`] bytes at [`SUPERBLOCK_AT`].
    pub fn parse(raw: &[u8]) -> Result<Self, NotExt4> {
        if raw.len() < SUPERBLOCK_BYTES {
            return Err(NotExt4("too short"));
        }
        let u16_at = |at: usize| u64::from(u16::from_le_bytes([raw[at], raw[at + 1]]));
        let u32_at = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        if u16_at(56) != 0xEF53 {
            return Err(NotExt4("no magic number"));
        }
        let log_block = u32_at(24);
        if log_block > 6 {
            return Err(NotExt4("block size out of range"));
        }
        let block_bytes = 1024u64 << log_block;
        let wide = u32_at(96) & INCOMPAT_64BIT != 0;
        let high = if wide { u64::from(u32_at(336)) << 32 } else { 0 };
        let blocks = high | u64::from(u32_at(4));
        let per_group = u64::from(u32_at(32));
        if blocks == 0 || per_group == 0 || per_group > block_bytes * 8 {
            return Err(NotExt4("no blocks"));
        }
        let inode_bytes = match u16_at(88) {
            size @ 128..=4096 => size,
            _ => return Err(NotExt4("inode size out of range")),
        };
        let inode_table = (u64::from(u32_at(40)) * inode_bytes).div_ceil(block_bytes);
        let descriptor_bytes = if wide { u16_at(254).max(64) } else { 32 };
        // Sums of a damaged superblock may be beyond any disk: they stay at the end of the numbers.
        let descriptors = blocks
            .div_ceil(per_group)
            .saturating_mul(descriptor_bytes)
            .div_ceil(block_bytes);
        // Superblock, both bitmaps and one cluster beside the tables: ext4_resize_fs in fs/ext4/resize.c.
        let slack_blocks = descriptors.saturating_add(inode_table + u16_at(206) + 8);
        Ok(Self {
            block_bytes,
            blocks,
            slack_blocks,
        })
    }

    /// Bytes of the file system.
    pub fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_bytes)
    }

    /// Does the file system fill a partition of that many bytes, as far as ext4 can?
    pub fn fills(&self, partition_bytes: u64) -> bool {
        self.blocks.saturating_add(self.slack_blocks) >= partition_bytes / self.block_bytes
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A superblock as mkfs.ext4 writes it, with 4096-byte blocks.
    pub(crate) fn superblock(blocks: u64) -> Vec<u8> {
        let mut raw = vec![0; SUPERBLOCK_BYTES];
        let mut put = |at: usize, bytes: &[u8]| raw[at..at + bytes.len()].copy_from_slice(bytes);
        put(4, &(blocks as u32).to_le_bytes());
        put(24, &2u32.to_le_bytes());
        put(32, &32768u32.to_le_bytes());
        put(40, &8192u32.to_le_bytes());
        put(56, &0xEF53u16.to_le_bytes());
        put(88, &256u16.to_le_bytes());
        put(96, &INCOMPAT_64BIT.to_le_bytes());
        put(254, &64u16.to_le_bytes());
        put(336, &((blocks >> 32) as u32).to_le_bytes());
        raw
    }

    #[test]
    fn sizes_beyond_32_bits_are_read() {
        let blocks = (1 << 33) + 5;
        let geometry = Geometry::parse(&superblock(blocks)).unwrap();
        assert_eq!((geometry.blocks, geometry.block_bytes), (blocks, 4096));
    }

    #[test]
    fn a_last_group_too_small_for_its_tables_counts_as_filled_but_a_whole_group_does_not() {
        let geometry = Geometry::parse(&superblock(32768 * 4)).unwrap();
        assert!(geometry.fills(geometry.bytes() + 400 * 4096));
        assert!(!geometry.fills(geometry.bytes() + 32768 * 4096));
    }

    #[test]
    fn more_groups_than_numbers_do_not_overflow() {
        let mut raw = superblock(u64::MAX);
        raw[32..36].copy_from_slice(&1u32.to_le_bytes());
        raw[254..256].copy_from_slice(&u16::MAX.to_le_bytes());
        let geometry = Geometry::parse(&raw).unwrap();
        assert!(geometry.slack_blocks > 1 << 50 && geometry.fills(u64::MAX));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..1100), at in 0usize..1000, put in any::<[u8; 4]>()) {
            let _ = Geometry::parse(&bytes);
            let mut raw = superblock(1000);
            raw[at..at + 4].copy_from_slice(&put);
            if let Ok(geometry) = Geometry::parse(&raw) {
                let _ = (geometry.bytes(), geometry.fills(u64::MAX));
            }
        }
    }
}
