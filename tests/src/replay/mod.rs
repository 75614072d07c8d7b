//! Every power cut of a recorded run: after each write, with what was not flushed lost, torn or overtaken.
//!
//! The disk is rebuilt write by write from its log. At every write the power goes, in many ways; each disk that can be left
//! behind is given to the boot manager's own code, several boots long.

mod data;
mod decide;
mod image;

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use boot_state::{COPY_OFFSETS, SECTOR_LEN, Slot, decode};

pub use data::DataCheck;
pub use decide::{Counts, Decider, Walk};
pub use image::{Arrives, Image, Undo, part};

use crate::random::Random;
use crate::write_log::{Event, Log};

/// Random subsets of the pending pieces at each cut.
const SUBSETS: u64 = 4;
/// A longer write is no single thing for a disk: it arrives in pieces of this many bytes, each of which can be the last, or lost.
pub const PIECE: usize = 4096;

/// The update that the log records.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Version before.
    pub old: String,
    /// Version after.
    pub new: String,
    /// The slot that it is installed into.
    pub target: Slot,
    /// Bytes of the log when the installation was asked for: up to here only the old version may start.
    pub asked_at: u64,
    /// Bytes of the log when the box had said that the new version is good: from here on only that may start.
    pub good_at: u64,
}

/// What was tried.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Writes in the log.
    pub writes: u64,
    /// Flushes in the log.
    pub flushes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Pieces of writes: after each of them the power goes.
    pub cuts: u64,
    /// Most pieces between two flushes.
    pub longest_window: usize,
    /// Writes to the boot state.
    pub state_writes: u64,
    /// Writes to the partition `firmware` and to what lies between the partitions.
    pub other_writes: u64,
    /// Disks on which pieces were lost, torn or overtaken.
    pub variants: u64,
    /// Of these: disks that differ from a decided one only where no boot reads.
    pub same: u64,
    /// File systems checked.
    pub file_systems: u64,
}

/// Looks at the whole disk at a cut, beyond what boots.
pub trait Sampler {
    /// Is this cut (by its number) one to look at? `rare`: the boot state or `firmware` was just written.
    fn wants(&self, cut: u64, rare: bool) -> bool;
    /// Looks; `position` is the log's length so far.
    fn look(&mut self, image: &Image, position: u64) -> Result<()>;
}

/// Looks at no file system.
impl Sampler for () {
    fn wants(&self, _: u64, _: bool) -> bool {
        false
    }

    fn look(&mut self, _: &Image, _: u64) -> Result<()> {
        Ok(())
    }
}

/// A replay under way.
pub struct Replay<'a> {
    image: Image,
    decider: Decider,
    facts: &'a Facts,
    random: Random,
    tally: Tally,
    /// Flushes do nothing, as on a disk that lies.
    no_flushes: bool,
    /// A write that makes the new slot bootable was issued.
    activated: bool,
    position: u64,
}

impl<'a> Replay<'a> {
    /// From the disk before the first write.
    pub fn new(image: Image, decider: Decider, facts: &'a Facts, seed: u64) -> Self {
        Self {
            image,
            decider,
            facts,
            random: Random::new(seed),
            tally: Tally::default(),
            no_flushes: false,
            activated: false,
            position: 0,
        }
    }

    /// The same on a disk that says yes to a flush and does nothing: what is replayed then must be found wanting.
    pub fn without_flushes(self) -> Self {
        Self {
            no_flushes: true,
            ..self
        }
    }

    /// Replays a log to its end.
    pub fn run<R: Read>(mut self, log: &mut Log<R>, sampler: &mut dyn Sampler) -> Result<(Tally, Counts)> {
        while let Some(event) = log.next_event()? {
            self.position = log.position();
            match event {
                Event::Flush => {
                    self.tally.flushes += 1;
                    if !self.no_flushes {
                        self.image.flush();
                    }
                }
                Event::Write {
                    offset,
                    bytes,
                    durable,
                } => {
                    self.tally.writes += 1;
                    for (number, piece) in bytes.chunks(PIECE).enumerate() {
                        let offset = offset + (number * PIECE) as u64;
                        self.write(offset, piece.to_vec(), durable, sampler)
                            .with_context(|| {
                                format!("write {} (piece {number}, at {offset})", self.tally.writes)
                            })?;
                    }
                }
                // What it said before, zeros or anything: QEMU was told to do nothing about it, and does not record it.
                Event::Discard { .. } => bail!("the log has a discard"),
            }
        }
        Ok((self.tally, self.decider.counts()))
    }

    fn write(&mut self, offset: u64, bytes: Vec<u8>, durable: bool, sampler: &mut dyn Sampler) -> Result<()> {
        let len = bytes.len();
        let parts = self.image.parts_of(offset..offset + len as u64);
        self.tally.cuts += 1;
        self.tally.bytes += len as u64;
        let data = self.image.partition("data").map(|d| d.start as u64);
        let other = parts == 0 && data.is_ok_and(|start| offset < start);
        self.tally.other_writes += u64::from(other);
        if parts & part::STATE != 0 {
            self.tally.state_writes += 1;
            self.activated |= self.activates(offset, &bytes);
        }
        self.image.write(offset, bytes, durable);
        self.tally.longest_window = self.tally.longest_window.max(self.image.pending());

        let whole = self.judge().context("with all writes so far")?;
        // Without flushes everything stays pending: what matters then is what the boot state overtakes.
        if !self.no_flushes || parts & part::STATE != 0 {
            self.variants(&whole)?;
        }
        if sampler.wants(self.tally.cuts, other || parts & part::STATE != 0) {
            self.sample(sampler)?;
        }
        Ok(())
    }

    /// Does this write make the new slot bootable?
    fn activates(&self, offset: u64, bytes: &[u8]) -> bool {
        let start = self.image.state_at() as u64;
        COPY_OFFSETS.iter().any(|copy| {
            let sector = (start + copy)
                .checked_sub(offset)
                .and_then(|at| bytes.get(at as usize..)?.first_chunk::<SECTOR_LEN>());
            let state = sector.and_then(|s| decode(s).ok());
            state.is_some_and(|(state, _)| {
                state.primary() == self.facts.target && state.slot(self.facts.target).bootable()
            })
        })
    }

    /// The boots from the disk as it is, and whether they may be so.
    fn judge(&mut self) -> Result<Walk> {
        let walk = self.decider.walk(&self.image)?;
        let Facts { old, new, .. } = self.facts;
        let first = &walk.boots[0].1;
        let said = || format!("the boots from here would be {:?}", walk.boots);
        let (may_old, may_new) = (self.position < self.facts.good_at, self.activated);
        ensure!(
            first == old && may_old || first == new && may_new,
            "{first} starts: {}",
            said()
        );
        if !self.activated {
            // Once it is whole, healing may give it tries, after all those of the old one.
            let first = &walk.boots[..usize::from(boot_state::MAX_TRIES)];
            ensure!(first.iter().all(|(_, version)| version == old), "{}", said());
        }
        // Cut again and again, the new one is given up for the old after its tries.
        let tries = walk
            .boots
            .iter()
            .take_while(|(_, version)| version == new)
            .count();
        ensure!(
            tries <= usize::from(boot_state::MAX_TRIES),
            "no way back: {}",
            said()
        );
        ensure!(
            tries == 0 || walk.boots[tries].1 == *old,
            "no way back: {}",
            said()
        );
        Ok(walk)
    }

    /// All the ways in which the power can go at this piece.
    fn variants(&mut self, whole: &Walk) -> Result<()> {
        let pending = self.image.pending();
        let Some(last) = pending.checked_sub(1) else {
            return Ok(());
        };
        let tears = self.tears(last);
        if self.image.pending_parts() & whole.reads == 0 {
            // All these disks differ only where none of these boots reads: they are decided by this one.
            let same = pending as u64 + 2 + SUBSETS + tears.len() as u64;
            self.tally.variants += same;
            self.tally.same += same;
            return Ok(());
        }
        for lost in 0..pending {
            let reaches = self.image.pending_write(lost).2 & whole.reads != 0;
            self.variant(reaches, &|n| lost_if(n == lost))
                .with_context(|| format!("with pending piece {lost} of {pending} lost"))?;
        }
        self.variant(true, &|_| Arrives::Nothing)
            .context("with nothing since the last flush")?;
        self.variant(true, &|n| lost_if(n != last))
            .context("with only the last piece")?;
        for _ in 0..SUBSETS {
            let lost = self.random.bits(pending);
            self.variant(true, &|n| lost_if(lost[n]))
                .with_context(|| format!("with these pending pieces lost: {lost:?}"))?;
        }
        let reaches = self.image.pending_write(last).2 & whole.reads != 0;
        for (from, to) in tears {
            let tear = |n| {
                if n == last {
                    Arrives::Bytes { from, to }
                } else {
                    Arrives::Whole
                }
            };
            self.variant(reaches, &tear)
                .with_context(|| format!("with only bytes {from} to {to} of the last piece"))?;
        }
        Ok(())
    }

    /// How a piece arrives in part, from either end: at every sector; a sector of the boot state also at every byte.
    fn tears(&self, piece: usize) -> Vec<(usize, usize)> {
        let (_, len, parts) = self.image.pending_write(piece);
        let sectors = (SECTOR_LEN..len).step_by(SECTOR_LEN);
        let bytes = if parts & part::STATE != 0 {
            1..SECTOR_LEN
        } else {
            0..0
        };
        bytes.chain(sectors).flat_map(|at| [(0, at), (at, len)]).collect()
    }

    /// One way. `reaches` is false when it changes nothing that the boots from the whole disk read.
    fn variant(&mut self, reaches: bool, arrives: &dyn Fn(usize) -> Arrives) -> Result<()> {
        self.tally.variants += 1;
        if !reaches {
            self.tally.same += 1;
            return Ok(());
        }
        // First where every boot reads; then also where these boots do, until they read nothing that is not cut.
        let mut parts = part::TABLE | part::STATE;
        loop {
            let undo = self.image.cut(Some(parts), arrives);
            let said = self.judge();
            self.image.undo(undo);
            match said {
                Ok(walk) if walk.reads & !parts != 0 => parts |= walk.reads,
                Err(_) if parts != part::EVERY => parts = part::EVERY,
                other => return other.map(drop),
            }
        }
    }

    /// The whole disk, as it is and with some of the pending writes lost.
    fn sample(&mut self, sampler: &mut dyn Sampler) -> Result<()> {
        sampler.look(&self.image, self.position)?;
        self.tally.file_systems += 1;
        if self.image.pending() > 0 {
            let lost = self.random.bits(self.image.pending());
            let undo = self.image.cut(None, &|n| lost_if(lost[n]));
            let said = sampler.look(&self.image, self.position);
            self.image.undo(undo);
            said.with_context(|| format!("with these pending pieces lost: {lost:?}"))?;
            self.tally.file_systems += 1;
        }
        Ok(())
    }
}

fn lost_if(lost: bool) -> Arrives {
    if lost { Arrives::Nothing } else { Arrives::Whole }
}
