//! From the disk to a running kernel.

use crate::disk::{Aligned, Disk, DiskError};
use crate::kernel::{Kernel, KernelError, read_header, read_kernel};
use alloc::format;
use alloc::string::String;
use boot_payload::VerifyingKey;
use boot_state::{Attempt, Boot, Bootstate, COPY_OFFSETS, SECTOR_LEN, SectorWrite, Slot, Step};
use core::fmt;
use disk_layout::{Partition, SECTOR, Table};
use thiserror::Error;

/// The key whose signatures are accepted; none when the program was built without.
#[derive(Debug, Clone)]
pub struct Key(Option<VerifyingKey>);

impl Key {
    /// From an uncompressed SEC1 point. What is no point of the curve becomes "no key": nothing is accepted then.
    pub fn from_sec1(bytes: &[u8]) -> Self {
        Self(VerifyingKey::from_sec1_bytes(bytes).ok())
    }

    pub(crate) fn verifying_key(&self) -> Option<&VerifyingKey> {
        self.0.as_ref()
    }
}

/// What the firmware does for us.
pub trait Platform {
    /// Why a kernel did not start.
    type StartError: fmt::Display;

    /// Shows a line to the person at the console.
    fn say(&mut self, line: fmt::Arguments<'_>);

    /// Starts the kernel. On a real machine this returns only when the kernel did not start.
    fn start(&mut self, kernel: Kernel) -> Result<(), Self::StartError>;
}

/// Why nothing was started. What to do was said on the console.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Stuck {
    /// No partition table, in neither place.
    #[error("{0}")]
    Table(disk_layout::ReadError<DiskError>),
    /// A table without the `bootstate` partition: not our disk.
    #[error("the disk has no partition named bootstate")]
    NoBootstate,
    /// Neither slot could be started.
    #[error("neither slot can be started")]
    Slots,
}

/// Starts a slot. `Ok` means that the platform took over, which only a test sees.
pub fn run<D: Disk, P: Platform>(disk: &mut D, platform: &mut P, key: &Key) -> Result<Slot, Stuck> {
    if key.verifying_key().is_none() {
        platform.say(format_args!("{}", KernelError::NoKey));
    }
    let table = read_table(disk, platform)?;
    let bootstate = table
        .by_name("bootstate")
        .filter(|p| holds_both_copies(p))
        .ok_or(Stuck::NoBootstate)?
        .clone();
    let store = load_state(disk, platform, &bootstate);
    let mut boot = Boot::new(store);
    loop {
        let attempt = match boot.choose() {
            Step::Try(attempt) => attempt,
            Step::Hopeless(hopeless) => {
                for slot in Slot::ALL
                    .into_iter()
                    .zip(hopeless.incomplete)
                    .filter_map(|(s, yes)| yes.then_some(s))
                {
                    platform.say(format_args!(
                        "Slot {slot} is incomplete: an update was interrupted."
                    ));
                }
                return Err(Stuck::Slots);
            }
        };
        announce(platform, &attempt);
        match write_state(disk, &bootstate, &attempt.write) {
            Ok(()) => boot.written(&attempt.write),
            Err(problem) => platform.say(format_args!(
                "WARNING: the try could not be counted ({problem}). The card may be worn out or write-protected."
            )),
        }
        // What is on disk, so that early-boot recognises this disk even when the write failed.
        let ours = our_words(&attempt, &table, boot.store().sequence());
        let failure: String = match prepare(disk, platform, &table, attempt.slot, key, &ours) {
            Ok(kernel) => match platform.start(kernel) {
                Ok(()) => return Ok(attempt.slot),
                Err(error) => format!("its kernel did not start: {error}"),
            },
            Err(error) => format!("{error}"),
        };
        platform.say(format_args!("Slot {} cannot be used: {failure}.", attempt.slot));
        boot.mark_unusable_this_boot(attempt.slot);
    }
}

fn read_table(disk: &mut impl Disk, platform: &mut impl Platform) -> Result<Table, Stuck> {
    let found = disk_layout::read(disk.sectors(), |lba, into: &mut [u8]| {
        let mut buffer = Aligned::zeroed(into.len()).map_err(|_| DiskError { lba })?;
        disk.read(lba, buffer.as_mut_slice())?;
        into.copy_from_slice(buffer.as_slice());
        Ok(())
    })
    .map_err(Stuck::Table)?;
    if let Some(damage) = found.primary_damage {
        platform.say(format_args!(
            "The partition table is damaged ({damage}); using its copy at the end of the disk."
        ));
    }
    Ok(found.table)
}

fn holds_both_copies(partition: &Partition) -> bool {
    partition.byte_len() >= COPY_OFFSETS[1] + SECTOR_LEN as u64
}

fn copy_lba(bootstate: &Partition, offset: u64) -> u64 {
    bootstate.first_lba + offset / SECTOR as u64
}

/// A copy that cannot be read is a copy that is damaged.
fn load_state(disk: &mut impl Disk, platform: &mut impl Platform, bootstate: &Partition) -> Bootstate {
    let copies =
        COPY_OFFSETS.map(|offset| read_sector(disk, copy_lba(bootstate, offset)).unwrap_or([0; SECTOR_LEN]));
    let store = Bootstate::load([&copies[0], &copies[1]]);
    if store.is_default() {
        platform.say(format_args!(
            "Both copies of the boot state are lost: both slots count as complete, slot a goes first."
        ));
    }
    store
}

fn read_sector(disk: &mut impl Disk, lba: u64) -> Result<[u8; SECTOR_LEN], DiskError> {
    let mut buffer = Aligned::zeroed(SECTOR_LEN).map_err(|_| DiskError { lba })?;
    disk.read(lba, buffer.as_mut_slice())?;
    let mut bytes = [0; SECTOR_LEN];
    bytes.copy_from_slice(buffer.as_slice());
    Ok(bytes)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
enum WriteProblem {
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Worn cards say yes and keep what they had.
    #[error("the disk took the write and did not keep it")]
    NotKept,
}

fn write_state(disk: &mut impl Disk, bootstate: &Partition, write: &SectorWrite) -> Result<(), WriteProblem> {
    let lba = copy_lba(bootstate, write.offset());
    let mut buffer = Aligned::zeroed(SECTOR_LEN).map_err(|_| DiskError { lba })?;
    buffer.as_mut_slice().copy_from_slice(&write.bytes());
    disk.write(lba, buffer.as_slice())?;
    disk.flush()?;
    if read_sector(disk, lba)? == write.bytes() {
        Ok(())
    } else {
        Err(WriteProblem::NotKept)
    }
}

fn announce(platform: &mut impl Platform, attempt: &Attempt) {
    if attempt.healed {
        platform.say(format_args!("No slot had tries left: both get new ones."));
    }
    if attempt.rolled_back {
        platform.say(format_args!(
            "Slot {} failed too often: going back to slot {}.",
            attempt.slot.other(),
            attempt.slot
        ));
    }
    let plural = if attempt.tries_left == 1 { "try" } else { "tries" };
    platform.say(format_args!(
        "Hearth boot manager: slot {} ({} {plural} left after this one)",
        attempt.slot, attempt.tries_left
    ));
}

/// What only the boot manager knows.
fn our_words(attempt: &Attempt, table: &Table, sequence: u64) -> String {
    format!(
        "hearth.slot={} hearth.disk={} hearth.state-seq={sequence} hearth.healed={}",
        attempt.slot,
        table.disk_guid(),
        u8::from(attempt.healed)
    )
}

fn prepare(
    disk: &mut impl Disk,
    platform: &mut impl Platform,
    table: &Table,
    slot: Slot,
    key: &Key,
    ours: &str,
) -> Result<Kernel, KernelError> {
    let partition = table
        .by_name(&format!("boot-{slot}"))
        .ok_or(KernelError::NoPartition)?;
    let header = read_header(disk, partition, key)?;
    platform.say(format_args!(
        "Image {} for {}",
        header.version(),
        header.compatible()
    ));
    if header.development_keys() {
        platform.say(format_args!(
            "*** DEVELOPMENT KEYS: anyone can make updates for this image. For trials only. ***"
        ));
    }
    read_kernel(disk, partition, &header, ours)
}
