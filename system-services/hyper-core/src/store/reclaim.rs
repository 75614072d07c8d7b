//! Giving back the room of blocks that are no more.
//!
//! The index knows which bytes of the block files nobody needs, so that neighbours join and whole pages of the file system can be given back, and a
//! block file goes when nothing of it is needed. That happens after the checkpoint that says so, and once the snapshots that still
//! see the bytes are gone; what is left to do is in the index too, so that nothing is forgotten at a power cut.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::chunk::{Extent, Place};
use super::segments::Segments;

/// File and offset, then the end of the bytes that nobody needs. No two touch.
const FREE: TableDefinition<(u32, u64), u64> = TableDefinition::new("free");
/// The same of what is still to be given back; [`WHOLE_FILE`] as the end is the file itself.
const PENDING: TableDefinition<(u32, u64), u64> = TableDefinition::new("pending");

/// The end of a block file in which nothing more is written: beyond all that it can have.
pub(super) const SEALED: u64 = 1 << 52;

const WHOLE_FILE: u64 = u64::MAX;

/// What a file system gives back.
const PAGE_BYTES: u64 = 4096;

/// Snapshots of one time between two checkpoints hold it.
#[derive(Debug, Default)]
pub(super) struct Epoch;

#[derive(Debug, Default)]
pub(super) struct Reclaim {
    /// Who may still see what was freed, and what that is; oldest first.
    waiting: VecDeque<(Weak<Epoch>, Vec<Extent>)>,
    /// What was given back since the last checkpoint.
    done: Vec<Place>,
}

pub(super) fn create_tables(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(FREE)?;
    txn.open_table(PENDING)?;
    Ok(())
}

impl Reclaim {
    /// Reads what was left to do when the store was closed or cut off: no snapshot is left that sees it.
    pub(super) fn load(read: &redb::ReadTransaction) -> Result<Self, redb::Error> {
        let mut left = Vec::new();
        for entry in read.open_table(PENDING)?.iter()? {
            let (at, end) = entry?;
            let ((segment, offset), end) = (at.value(), end.value());
            left.push(Extent {
                at: Place { segment, offset },
                bytes: end.saturating_sub(offset),
            });
        }
        let waiting = if left.is_empty() {
            VecDeque::new()
        } else {
            VecDeque::from([(Weak::new(), left)])
        };
        Ok(Self {
            waiting,
            done: Vec::new(),
        })
    }

    /// Enters what was freed into a checkpoint, and says what of it can be given back when that is done. `active` is the block file
    /// that is written.
    pub(super) fn enter(
        &mut self,
        txn: &WriteTransaction,
        freed: Vec<Extent>,
        active: u32,
    ) -> Result<Vec<Extent>, redb::Error> {
        let mut free = txn.open_table(FREE)?;
        let mut pending = txn.open_table(PENDING)?;
        for at in std::mem::take(&mut self.done) {
            pending.remove((at.segment, at.offset))?;
        }
        let mut work = Vec::new();
        for extent in joined(freed) {
            let segment = extent.at.segment;
            let (mut start, mut end) = (extent.at.offset, extent.end());
            let before = free
                .range((segment, 0)..=(segment, start))?
                .next_back()
                .transpose()?;
            if let Some((at, before_end)) = before.map(|(at, end)| (at.value().1, end.value()))
                && before_end >= start
            {
                (start, end) = (at, end.max(before_end));
            }
            // Each of them joins the range once, and is gone then.
            while let Some((at, other)) = first_in(&free, segment, start, end)? {
                free.remove((segment, at))?;
                end = end.max(other);
            }
            if start == 0 && end >= SEALED && segment < active {
                work.push(Extent {
                    at: Place { segment, offset: 0 },
                    bytes: WHOLE_FILE,
                });
                continue;
            }
            free.insert((segment, start), end)?;
            let first = start.next_multiple_of(PAGE_BYTES).max(page_of(extent.at.offset));
            let last = page_of(end).min(extent.end().next_multiple_of(PAGE_BYTES));
            if first < last {
                work.push(Extent {
                    at: Place {
                        segment,
                        offset: first,
                    },
                    bytes: last - first,
                });
            }
        }
        for extent in &work {
            let (at, end) = ((extent.at.segment, extent.at.offset), extent.end());
            let known = pending.get(at)?.map_or(0, |end| end.value());
            pending.insert(at, end.max(known))?;
        }
        Ok(work)
    }

    /// The checkpoint is done. `epoch` is that of the snapshots that may see what it freed.
    pub(super) fn entered(&mut self, epoch: &Arc<Epoch>, work: Vec<Extent>) {
        if !work.is_empty() {
            self.waiting.push_back((Arc::downgrade(epoch), work));
        }
    }

    /// Gives back what nobody sees any more. What fails is tried again when the store is opened next.
    pub(super) fn run(&mut self, segments: &Segments) {
        while self
            .waiting
            .front()
            .is_some_and(|(epoch, _)| epoch.strong_count() == 0)
        {
            for extent in self.waiting.pop_front().map(|(_, work)| work).unwrap_or_default() {
                let done = match extent.end() {
                    WHOLE_FILE => segments.remove(extent.at.segment),
                    _ => segments.punch(&extent),
                };
                match done {
                    Ok(()) => self.done.push(extent.at),
                    Err(error) => tracing::warn!(
                        %error,
                        file = extent.at.segment,
                        offset = extent.at.offset,
                        "room of cleared blocks cannot be given back yet"
                    ),
                }
            }
        }
    }
}

fn page_of(offset: u64) -> u64 {
    offset / PAGE_BYTES * PAGE_BYTES
}

/// The first range that starts within these bytes or where they end.
fn first_in(
    free: &impl ReadableTable<(u32, u64), u64>,
    segment: u32,
    start: u64,
    end: u64,
) -> Result<Option<(u64, u64)>, redb::Error> {
    let first = free
        .range((segment, start)..=(segment, end))?
        .next()
        .transpose()?;
    Ok(first.map(|(at, end)| (at.value().1, end.value())))
}

/// The same bytes in order, neighbours joined.
fn joined(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_unstable_by_key(|extent| extent.at);
    let mut out: Vec<Extent> = Vec::new();
    for extent in extents {
        match out.last_mut() {
            Some(last) if last.at.segment == extent.at.segment && last.end() >= extent.at.offset => {
                last.bytes = last.bytes.max(extent.end() - last.at.offset);
            }
            _ => out.push(extent),
        }
    }
    out
}
