//! Writing: in an order in which a card that was flashed halfway is never taken for a whole one.
//!
//! 1. The image is read through once and checked: a damaged one costs nothing.
//! 2. The first and the last MiB of the disk are emptied. Old tables are there, and our boot manager believes a
//!    backup table in the last sector when it finds no other.
//! 3. All but the first and the last MiB of the image is written, flushed and read back past every cache.
//! 4. The last MiB follows, then the first, which holds the table; both are read back.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use disk_layout::SECTOR;
use image_builder::progress::Progress;
use rustix::fs::{Advice, OFlags};
use sha2::{Digest, Sha256};

use super::aligned::Aligned;
use super::bmap::BlockMap;
use super::source::{CHUNK, Image};

/// Partitions whose empty blocks may keep what was on the card: what is in a slot is read by its length and its hash.
/// Everywhere else zeros mean something (a free cluster of a FAT, an unused inode or journal block of ext4), so the
/// block map alone does not decide.
const SLOTS: [&str; 4] = ["boot-a", "boot-b", "root-a", "root-b"];

/// Opens a disk for nobody else, past the page cache.
pub fn open(path: &Path) -> std::io::Result<File> {
    let with = |flags: OFlags| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
    };
    // On a disk, O_EXCL without O_CREAT fails while it is mounted or claimed, and keeps it from being mounted.
    match with(OFlags::EXCL | OFlags::DIRECT) {
        // Some file systems (a file instead of a disk) lack O_DIRECT; `read_back` drops the cache then.
        Err(e) if e.kind() == ErrorKind::InvalidInput => with(OFlags::EXCL),
        result => result,
    }
}

/// Reads the image once, so that a damaged one is refused while the card is still what it was.
pub fn check(image: &Image, progress: &dyn Progress, stop: &dyn Fn() -> bool) -> Result<()> {
    let bar = progress.bytes("Checking the image", image.bytes);
    image.read(|at, chunk| {
        ensure!(!stop(), "stopped by Ctrl-C");
        if at == 0 {
            ensure!(
                chunk.get(510..512) == Some(&[0x55, 0xaa]),
                "this is not the image of a disk (no partition table): take an .img or .img.zst of `cargo xtask image`"
            );
        }
        bar.add(chunk.len() as u64);
        Ok(())
    })?;
    bar.finish();
    Ok(())
}

/// Writes an image to a disk of `disk_bytes` and reads it back. After an error the disk does not start.
pub fn write(
    image: &Image,
    disk: &File,
    disk_bytes: u64,
    progress: &dyn Progress,
    stop: &dyn Fn() -> bool,
) -> Result<()> {
    erase(disk, image.bytes, disk_bytes)?;
    let mut writer = Writer {
        disk,
        written: Vec::new(),
    };
    let mut skip = Vec::new();
    let mut held = Vec::new();
    let bar = progress.bytes("Writing", image.bytes);
    image.read(|at, chunk| {
        ensure!(!stop(), "stopped by Ctrl-C");
        if at == 0 {
            skip = skippable(&chunk, image.bytes, image.map.as_ref());
        }
        let end = at + chunk.len() as u64;
        if at == 0 || end == image.bytes {
            held.push((at, chunk));
        } else {
            writer.put(at, &chunk, &skip)?;
        }
        bar.set(end);
        Ok(())
    })?;
    bar.finish();
    progress.step("Waiting for the card");
    writer.finish(progress, stop)?;
    for (at, chunk) in held.into_iter().rev() {
        writer.put(at, &chunk, &[])?;
        writer.finish(progress, stop)?;
    }
    Ok(())
}

/// Empties the first MiB, and of the last MiB what the image does not cover.
fn erase(disk: &File, image_bytes: u64, disk_bytes: u64) -> Result<()> {
    let zeros = Aligned::new(CHUNK);
    let tail = disk_bytes.saturating_sub(CHUNK as u64).max(image_bytes)..disk_bytes;
    for range in [0..disk_bytes.min(CHUNK as u64), tail] {
        if !range.is_empty() {
            put(disk, range.start, &zeros[..(range.end - range.start) as usize])?;
        }
    }
    flush(disk)
}

/// Writes and remembers what it wrote.
struct Writer<'a> {
    disk: &'a File,
    /// Not yet read back: where, and the SHA-256.
    written: Vec<(Range<u64>, [u8; 32])>,
}

impl Writer<'_> {
    /// Writes a chunk without what may be skipped.
    fn put(&mut self, at: u64, chunk: &[u8], skip: &[Range<u64>]) -> Result<()> {
        for piece in without(at..at + chunk.len() as u64, skip) {
            let bytes = &chunk[(piece.start - at) as usize..(piece.end - at) as usize];
            put(self.disk, piece.start, bytes)?;
            self.written.push((piece, Sha256::digest(bytes).into()));
        }
        Ok(())
    }

    /// Waits until all is on the disk, then reads it back.
    fn finish(&mut self, progress: &dyn Progress, stop: &dyn Fn() -> bool) -> Result<()> {
        flush(self.disk)?;
        let _ = rustix::fs::fadvise(self.disk, 0, None, Advice::DontNeed);
        let total = self
            .written
            .iter()
            .map(|(range, _)| range.end - range.start)
            .sum();
        let bar = (total > CHUNK as u64).then(|| progress.bytes("Reading back", total));
        let mut buffer = Aligned::new(CHUNK);
        for (range, expected) in std::mem::take(&mut self.written) {
            ensure!(!stop(), "stopped by Ctrl-C");
            let bytes = &mut buffer[..(range.end - range.start) as usize];
            self.disk
                .read_exact_at(bytes, range.start)
                .map_err(|e| lost("read", e, range.start))?;
            let actual: [u8; 32] = Sha256::digest(bytes).into();
            ensure!(
                actual == expected,
                "bytes {} to {} come back other than they were written: the card or its reader is worn out (or the card \
                 is smaller than it says); take another one",
                range.start,
                range.end - 1
            );
            if let Some(bar) = &bar {
                bar.add(range.end - range.start);
            }
        }
        if let Some(bar) = bar {
            bar.finish();
        }
        Ok(())
    }
}

fn put(disk: &File, at: u64, bytes: &[u8]) -> Result<()> {
    disk.write_all_at(bytes, at).map_err(|e| lost("write", e, at))
}

fn flush(disk: &File) -> Result<()> {
    disk.sync_all()
        .context("the card did not take all that was written to it; take another one")
}

fn lost(action: &str, error: Error, at: u64) -> anyhow::Error {
    let hint = match error.kind() {
        ErrorKind::StorageFull => "the card is smaller than it says",
        _ => "was it pulled out? Else the card or its reader is worn out; take another one",
    };
    anyhow::Error::new(error).context(format!("cannot {action} at {} MiB ({hint})", at >> 20))
}

/// What need not be written: in a slot, and empty in the block map. `head` is the beginning of the image; without a
/// table that we understand, or without a map, nothing is left out.
fn skippable(head: &[u8], image_bytes: u64, map: Option<&BlockMap>) -> Vec<Range<u64>> {
    let Some(map) = map else { return Vec::new() };
    let table = disk_layout::read(image_bytes / SECTOR as u64, |lba, into: &mut [u8]| {
        let from = usize::try_from(lba).ok().and_then(|lba| lba.checked_mul(SECTOR));
        let bytes = from.and_then(|from| head.get(from..)?.get(..into.len()));
        into.copy_from_slice(bytes.ok_or("beyond the first MiB")?);
        Ok::<(), &str>(())
    });
    let Ok(found) = table else { return Vec::new() };
    let mapped: Vec<Range<u64>> = map.mapped.iter().map(|m| m.bytes.clone()).collect();
    let mut skip: Vec<Range<u64>> = SLOTS
        .iter()
        .filter_map(|name| found.table.by_name(name))
        .map(|slot| slot.byte_offset()..slot.byte_offset() + slot.byte_len())
        .flat_map(|slot| without(slot, &mapped))
        .collect();
    skip.sort_by_key(|range| range.start);
    skip
}

/// `range` without the `holes`, which ascend and do not overlap.
fn without(range: Range<u64>, holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut at = range.start;
    let mut pieces = Vec::new();
    for hole in &holes[holes.partition_point(|hole| hole.end <= range.start)..] {
        if hole.start >= range.end {
            break;
        }
        pieces.push(at..hole.start);
        at = hole.end;
    }
    pieces.push(at..range.end);
    pieces.retain(|piece| piece.start < piece.end);
    pieces
}

/// Refuses what cannot be flashed for the kind of file it is.
pub fn require_disk(disk: &File, number: (u32, u32), name: &str) -> Result<()> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let metadata = disk.metadata()?;
    let actual = (
        rustix::fs::major(metadata.rdev()),
        rustix::fs::minor(metadata.rdev()),
    );
    if !metadata.file_type().is_block_device() || actual != number {
        bail!("{name} is not the disk it was a moment ago: look at the list again");
    }
    Ok(())
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
