//! The disk of a replay, in memory: what was written to it, and what of that the medium need not have.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use bundle::verity::BLOCK;
use disk_layout::{SECTOR, Table};
use sha2::{Digest, Sha256};

/// What a boot decision can read, as bits.
pub mod part {
    /// Both copies of the partition table.
    pub const TABLE: u8 = 1;
    /// The boot state.
    pub const STATE: u8 = 2;
    /// Boot slots a and b.
    pub const BOOT: [u8; 2] = [4, 8];
    /// Root slots a and b.
    pub const ROOT: [u8; 2] = [16, 32];
    /// All of them at once.
    pub const EVERY: u8 = 63;
    /// All of them.
    pub const ALL: [u8; 6] = [TABLE, STATE, BOOT[0], BOOT[1], ROOT[0], ROOT[1]];
}

const BLOCK_U64: u64 = BLOCK as u64;
type Block = Box<[u8; BLOCK]>;

/// A write that the disk has answered and that no flush has followed.
#[derive(Debug)]
struct Pending {
    offset: u64,
    bytes: Vec<u8>,
    parts: u8,
}

/// How much of a write arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrives {
    /// All of it.
    Whole,
    /// Nothing.
    Nothing,
    /// Only these bytes of it.
    Bytes {
        /// The first that arrives.
        from: usize,
        /// Behind the last.
        to: usize,
    },
}

/// The disk.
pub struct Image {
    bytes: Vec<u8>,
    /// Blocks of each part; the table has two ranges.
    parts: Vec<(u8, Range<u64>)>,
    /// Where the boot state begins, in bytes.
    state_at: usize,
    /// For each part, the exclusive or of its blocks' hashes: equal contents have equal numbers.
    contents: BTreeMap<u8, u128>,
    pending: Vec<Pending>,
    /// What the medium has for sure of the blocks that are pending.
    durable: BTreeMap<u64, Block>,
    /// Which pending writes touch a block.
    touching: BTreeMap<u64, Vec<usize>>,
}

impl Image {
    /// A disk as it is before the first write.
    pub fn new(bytes: Vec<u8>) -> Result<Self> {
        ensure!(bytes.len().is_multiple_of(BLOCK), "the disk has no whole blocks");
        let table = table(&bytes)?;
        let blocks = bytes.len() as u64 / BLOCK_U64;
        let mut parts = vec![(part::TABLE, 0..5), (part::TABLE, blocks - 5..blocks)];
        let names = ["bootstate", "boot-a", "boot-b", "root-a", "root-b"];
        for (part, name) in part::ALL[1..].iter().zip(names) {
            let p = table
                .by_name(name)
                .with_context(|| format!("no partition {name}"))?;
            ensure!(p.byte_offset().is_multiple_of(BLOCK_U64), "{name} is not aligned");
            let first = p.byte_offset() / BLOCK_U64;
            parts.push((*part, first..first + p.byte_len().div_ceil(BLOCK_U64)));
        }
        let mut image = Self {
            bytes,
            state_at: (parts[2].1.start * BLOCK_U64) as usize,
            parts,
            contents: BTreeMap::new(),
            pending: vec![],
            durable: BTreeMap::new(),
            touching: BTreeMap::new(),
        };
        for (part, blocks) in image.parts.clone() {
            let sum = blocks.fold(0, |sum, block| sum ^ image.hash(block));
            *image.contents.entry(part).or_default() ^= sum;
        }
        Ok(image)
    }

    /// All bytes, with every write so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where a partition begins and how long it is, as the table says now.
    pub fn partition(&self, name: &str) -> Result<Range<usize>> {
        let table = table(&self.bytes)?;
        let p = table
            .by_name(name)
            .with_context(|| format!("no partition {name}"))?;
        Ok(p.byte_offset() as usize..(p.byte_offset() + p.byte_len()) as usize)
    }

    /// Where the boot state begins, in bytes. It never moves.
    pub fn state_at(&self) -> usize {
        self.state_at
    }

    /// A number for what stands in these parts: the same for the same bytes.
    pub fn contents(&self, parts: u8) -> Vec<u128> {
        let wanted = part::ALL.into_iter().filter(|p| parts & p != 0);
        wanted.map(|p| self.contents[&p]).collect()
    }

    /// The parts that a range of bytes touches.
    pub fn parts_of(&self, range: Range<u64>) -> u8 {
        let blocks = range.start / BLOCK_U64..range.end.div_ceil(BLOCK_U64);
        let touched = self
            .parts
            .iter()
            .filter(|(_, r)| r.start < blocks.end && blocks.start < r.end);
        touched.fold(0, |all, (part, _)| all | part)
    }

    /// Writes that no flush has followed.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Bytes and parts of a pending write.
    pub fn pending_write(&self, number: usize) -> (u64, usize, u8) {
        let write = &self.pending[number];
        (write.offset, write.bytes.len(), write.parts)
    }

    /// The parts that pending writes touch.
    pub fn pending_parts(&self) -> u8 {
        self.pending.iter().fold(0, |all, write| all | write.parts)
    }

    /// A write; pending unless it is durable.
    pub fn write(&mut self, offset: u64, bytes: Vec<u8>, durable: bool) {
        let end = offset + bytes.len() as u64;
        for block in blocks(offset, bytes.len()) {
            let now = self.block(block);
            if durable {
                // It overtakes what is pending in the same blocks; that may still arrive, or not.
                if let Some(kept) = self.durable.get_mut(&block) {
                    overlay(kept, block, offset, &bytes);
                }
            } else {
                self.durable.entry(block).or_insert(now);
                self.touching.entry(block).or_default().push(self.pending.len());
            }
            let mut next = self.block(block);
            overlay(&mut next, block, offset, &bytes);
            self.set(block, &next);
        }
        if !durable {
            let parts = self.parts_of(offset..end);
            self.pending.push(Pending { offset, bytes, parts });
        }
    }

    /// The medium has everything.
    pub fn flush(&mut self) {
        self.pending.clear();
        self.durable.clear();
        self.touching.clear();
    }

    /// Every block that was ever different from zero in a range, for a sparse copy.
    pub fn copy_to(&self, file: &std::fs::File, range: &Range<usize>) -> Result<()> {
        use std::os::unix::fs::FileExt;
        file.set_len(range.len() as u64)?;
        for (number, piece) in self.bytes[range.clone()].chunks(16 * BLOCK).enumerate() {
            if !is_zero(piece) {
                file.write_all_at(piece, (number * 16 * BLOCK) as u64)?;
            }
        }
        Ok(())
    }

    /// Changes the disk, in these parts (`None`: everywhere), to what it is when the power goes now and pending write `n`
    /// arrives as `arrives(n)` says. Returns what undoes it.
    pub fn cut(&mut self, parts: Option<u8>, arrives: &dyn Fn(usize) -> Arrives) -> Undo {
        let mut changed = BTreeSet::new();
        for (number, write) in self.pending.iter().enumerate() {
            if arrives(number) != Arrives::Whole && parts.is_none_or(|p| p & write.parts != 0) {
                changed.extend(blocks(write.offset, write.bytes.len()));
            }
        }
        let mut undo = vec![];
        for block in changed {
            let mut content = self.durable[&block].clone();
            for number in &self.touching[&block] {
                let Pending { offset, bytes, .. } = &self.pending[*number];
                match arrives(*number) {
                    Arrives::Whole => overlay(&mut content, block, *offset, bytes),
                    Arrives::Nothing => {}
                    Arrives::Bytes { from, to } => {
                        overlay(&mut content, block, offset + from as u64, &bytes[from..to]);
                    }
                }
            }
            undo.push((block, self.block(block)));
            self.set(block, &content);
        }
        Undo(undo)
    }

    /// Takes a cut back.
    pub fn undo(&mut self, undo: Undo) {
        for (block, content) in undo.0 {
            self.set(block, &content);
        }
    }

    fn block(&self, block: u64) -> Block {
        let at = (block * BLOCK_U64) as usize;
        let mut out = Box::new([0; BLOCK]);
        out.copy_from_slice(&self.bytes[at..at + BLOCK]);
        out
    }

    fn set(&mut self, block: u64, content: &[u8; BLOCK]) {
        let part = self
            .parts
            .iter()
            .find(|(_, r)| r.contains(&block))
            .map(|(part, _)| *part);
        let before = part.map(|_| self.hash(block));
        let at = (block * BLOCK_U64) as usize;
        self.bytes[at..at + BLOCK].copy_from_slice(content);
        if let (Some(part), Some(before)) = (part, before) {
            let after = self.hash(block);
            *self.contents.entry(part).or_default() ^= before ^ after;
        }
    }

    fn hash(&self, block: u64) -> u128 {
        let at = (block * BLOCK_U64) as usize;
        let mut hash = Sha256::new();
        hash.update(block.to_le_bytes());
        hash.update(&self.bytes[at..at + BLOCK]);
        let mut first = [0; 16];
        first.copy_from_slice(&hash.finalize()[..16]);
        u128::from_le_bytes(first)
    }
}

/// What takes a cut back.
#[must_use]
pub struct Undo(Vec<(u64, Block)>);

/// The partition table, as the boot manager reads it.
fn table(bytes: &[u8]) -> Result<Table> {
    let found = disk_layout::read_slice(bytes).map_err(|e| anyhow::anyhow!("{e}"))?;
    debug_assert!(bytes.len().is_multiple_of(SECTOR));
    Ok(found.table)
}

fn blocks(offset: u64, len: usize) -> Range<u64> {
    offset / BLOCK_U64..(offset + len as u64).div_ceil(BLOCK_U64)
}

/// Puts the bytes of a write that fall into this block there.
fn overlay(content: &mut [u8; BLOCK], block: u64, offset: u64, bytes: &[u8]) {
    let start = block * BLOCK_U64;
    let (from, to) = (
        offset.max(start),
        (offset + bytes.len() as u64).min(start + BLOCK_U64),
    );
    if from < to {
        content[(from - start) as usize..(to - start) as usize]
            .copy_from_slice(&bytes[(from - offset) as usize..(to - offset) as usize]);
    }
}

/// Fast also without optimisation: whole words.
fn is_zero(bytes: &[u8]) -> bool {
    static ZERO: [u8; 16 * BLOCK] = [0; 16 * BLOCK];
    bytes == &ZERO[..bytes.len()]
}
