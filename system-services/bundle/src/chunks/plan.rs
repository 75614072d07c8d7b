//! The order of steps that makes an image from what is at hand. Pure.

use super::index::ChunkIndex;
use super::seeds::Seeds;
use crate::verity::sha256;

/// Where a copy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Another place of the target: one that is not overwritten yet, or already as it shall be.
    Target,
    /// An image by its number.
    Seed(u32),
}

/// One step. Offsets and lengths in bytes; `offset` is the place in the target, which is also that in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is there already.
    Keep {
        /// Place.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Copy what another place has.
    Copy {
        /// From what.
        source: Source,
        /// From where.
        from: u64,
        /// Place.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Write zeros.
    Zero {
        /// Place.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Read it from the bundle.
    Fetch {
        /// Place.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Compute the dm-verity tree of everything before `offset`.
    Tree {
        /// Place.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

impl Step {
    /// The place in the target.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Keep { offset, .. }
            | Self::Copy { offset, .. }
            | Self::Zero { offset, .. }
            | Self::Fetch { offset, .. }
            | Self::Tree { offset, .. } => *offset,
        }
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Keep { length, .. }
            | Self::Copy { length, .. }
            | Self::Zero { length, .. }
            | Self::Fetch { length, .. }
            | Self::Tree { length, .. } => *length,
        }
    }

    /// One step for both, when `next` continues this one.
    fn joined(self, next: Self) -> Option<Self> {
        let sum = self.length() + next.length();
        match (self, next) {
            (Self::Keep { offset, .. }, Self::Keep { .. }) => Some(Self::Keep { offset, length: sum }),
            (Self::Zero { offset, .. }, Self::Zero { .. }) => Some(Self::Zero { offset, length: sum }),
            (Self::Fetch { offset, .. }, Self::Fetch { .. }) => Some(Self::Fetch { offset, length: sum }),
            (
                Self::Copy {
                    source,
                    from,
                    offset,
                    length,
                },
                Self::Copy {
                    source: next_source,
                    from: next_from,
                    ..
                },
            ) if source == next_source && from + length == next_from => Some(Self::Copy {
                source,
                from,
                offset,
                length: sum,
            }),
            _ => None,
        }
    }
}

/// Bytes by what is done with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Of the image.
    pub image: u64,
    /// Kept.
    pub kept: u64,
    /// Copied.
    pub copied: u64,
    /// Fetched.
    pub fetched: u64,
    /// Made: zeros and the tree.
    pub made: u64,
}

/// Steps in ascending order of the target that together cover the image without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
    totals: Totals,
}

impl Plan {
    /// What is to be done. A chunk is copied from the target only from a place at or behind its own (still as it was
    /// scanned) or from one before its own that this plan has made.
    pub fn new(wanted: &ChunkIndex, seeds: &Seeds) -> Self {
        let zeros = ZeroChunks::of(wanted);
        let mut plan = Self {
            steps: Vec::new(),
            totals: Totals {
                image: wanted.image_size(),
                ..Totals::default()
            },
        };
        let mut made: Vec<Option<u64>> = vec![None; wanted.len()];
        for (number, chunk) in wanted.chunks().enumerate() {
            let (offset, length) = (chunk.offset, u64::from(chunk.length));
            let first = seeds.first_equal(number);
            let copy = |source, from| Step::Copy {
                source,
                from,
                offset,
                length,
            };
            let old = seeds.in_target(number).filter(|from| *from >= offset);
            plan.push(if seeds.is_kept(number) {
                Step::Keep { offset, length }
            } else if zeros.contains(chunk.length, chunk.digest) {
                Step::Zero { offset, length }
            } else if let Some((seed, from)) = seeds.in_seed(number) {
                copy(Source::Seed(seed), from)
            } else if let Some(from) = made[first].or(old) {
                copy(Source::Target, from)
            } else {
                Step::Fetch { offset, length }
            });
            made[first].get_or_insert(offset);
        }
        if let Some(tree) = wanted.tree() {
            plan.push(Step::Tree {
                offset: tree.data_size,
                length: wanted.image_size() - tree.data_size,
            });
        }
        plan
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Their sums.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    fn push(&mut self, step: Step) {
        *match step {
            Step::Keep { .. } => &mut self.totals.kept,
            Step::Copy { .. } => &mut self.totals.copied,
            Step::Fetch { .. } => &mut self.totals.fetched,
            Step::Zero { .. } | Step::Tree { .. } => &mut self.totals.made,
        } += step.length();
        match self.steps.last_mut() {
            Some(last) if let Some(joined) = last.joined(step) => *last = joined,
            _ => self.steps.push(step),
        }
    }
}

/// The digests that chunks of zeros can have: a run of zeros is cut into chunks of the greatest length, and the last
/// chunk of the image may be shorter.
struct ZeroChunks([(u32, [u8; 32]); 2]);

impl ZeroChunks {
    fn of(wanted: &ChunkIndex) -> Self {
        let last = wanted.chunks().last().map_or(1, |chunk| chunk.length);
        Self([wanted.parameters().max(), last].map(|length| (length, sha256(&vec![0; length as usize]))))
    }

    fn contains(&self, length: u32, digest: &[u8; 32]) -> bool {
        self.0
            .iter()
            .any(|(zeros, of_zeros)| *zeros == length && of_zeros == digest)
    }
}
