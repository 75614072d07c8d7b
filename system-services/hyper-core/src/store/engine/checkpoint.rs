//! Checkpoints, and what is done again from the last one on when a store is opened.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Engine, Writing, random, sum, view};
use crate::store::StoreError;
use crate::store::change::{Change, Record};
use crate::store::error::failed;
use crate::store::reclaim::Epoch;
use crate::store::replay::replay;
use crate::store::tables::STATE;

impl Engine {
    /// Whether so much was written that opening the store after a power cut would take long, or so much is to be given back that
    /// it should not wait.
    pub(super) fn is_checkpoint_due(&self, writing: &Writing) -> bool {
        let log_bytes = self.options.log_bytes;
        writing.log.position() >= log_bytes || writing.freed_bytes >= log_bytes / 4
    }

    /// Makes the index durable and starts the log over. Everything that is written counts then.
    pub(super) fn checkpoint(&self, writing: &mut Writing) -> Result<(), StoreError> {
        self.must(|| self.try_checkpoint(writing))?;
        writing.reclaim.run(&self.segments);
        Ok(())
    }

    fn try_checkpoint(&self, writing: &mut Writing) -> Result<(), StoreError> {
        let step = "write a checkpoint";
        for file in &writing.touched {
            self.segments.flush(*file).map_err(failed(step))?;
        }
        let generation = random()?;
        let mut txn = self.index.begin_write().map_err(failed(step))?;
        // Without it every page would be read when the index is opened after a power cut.
        txn.set_quick_repair(true);
        let freed = std::mem::take(&mut writing.freed);
        let work = writing
            .reclaim
            .enter(&txn, freed, writing.tail.segment)
            .map_err(failed(step))?;
        let state = (generation, writing.tail.segment, writing.tail.offset);
        txn.open_table(STATE)
            .map_err(failed(step))?
            .insert((), state)
            .map_err(failed(step))?;
        txn.commit().map_err(failed(step))?;
        writing.log.restart(generation);
        let epoch = std::mem::replace(&mut writing.epoch, Arc::new(Epoch));
        writing.reclaim.entered(&epoch, work);
        drop(epoch);
        writing.touched.clear();
        writing.ahead.take();
        writing.freed_bytes = 0;
        let view = view(&self.index, &writing.epoch)?;
        let mut waiting = self.waiting();
        waiting.latest = view;
        waiting.place = writing.log.place();
        waiting.files.clear();
        waiting.written = writing.changes;
        self.show(&mut waiting);
        drop(waiting);
        writing
            .log
            .shrink(self.options.log_bytes.saturating_mul(2))
            .map_err(failed(step))
    }

    /// Does again what the log has. What it has counts from then on, also what was not flushed when the power went.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        let step = "read its log";
        let mut writing = self.writing()?;
        let txn = self.begin()?;
        let (start, flushed) = (
            writing.log.position(),
            writing.log.flushed().map_err(failed(step))?,
        );
        while let Some(entry) = writing.log.next().map_err(failed(step))? {
            let offset = writing.log.position();
            let record = Record::decode(&entry.record).ok_or(StoreError::Record { offset })?;
            let known = writing.log.place().1 < flushed;
            if !known && !record.is_whole(&self.segments).map_err(failed(step))? {
                break;
            }
            let touched = record.restore(&self.segments).map_err(failed(step))?;
            writing.touched.extend(touched);
            if !known {
                writing.ahead.add(&record.direct().collect::<Vec<_>>());
            }
            let mut change = Change::new(Arc::clone(&self.segments), writing.tail);
            replay(&txn, &mut change, record, offset)?;
            let (tail, freed) = change.into_followed();
            writing.tail = tail;
            writing.freed_bytes += sum(&freed);
            writing.freed.extend(freed);
            writing.log.accept(&entry);
        }
        if writing.log.position() == start {
            txn.abort().map_err(failed(step))?;
        } else {
            self.flush(&writing.ahead.take().files)?;
            self.flushed.reached(writing.log.place());
            txn.commit().map_err(failed(step))?;
            let view = view(&self.index, &writing.epoch)?;
            writing.changes += 1;
            let mut waiting = self.waiting();
            (waiting.latest, waiting.written) = (view, writing.changes);
            waiting.place = writing.log.place();
            self.show(&mut waiting);
        }
        writing.reclaim.run(&self.segments);
        writing.lost = writing.log.lost().map_err(failed(step))?;
        if let Some(lost) = writing.lost {
            tracing::warn!("{}", StoreError::LostChanges(lost));
        }
        Ok(())
    }

    /// A store that is closed needs no log when it is opened again.
    fn close(&self, writing: &mut Writing) -> Result<(), StoreError> {
        if writing.lost.is_some() {
            return Ok(());
        }
        if writing.log.position() > 0 {
            self.checkpoint(writing)?;
        }
        writing.log.mark_empty().map_err(failed("mark its log as empty"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let frozen = Arc::clone(&self.frozen);
        if let Ok(mut writing) = self.writing()
            && let Err(error) = self.close(&mut writing)
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the core store could not be closed in order: its log is read when it is opened"
            );
        }
        // The index must not make durable by itself what a writer that panicked left half done.
        frozen.store(true, Ordering::Release);
    }
}
