//! Disks and firmware for the machines that QEMU runs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use board_support::Board;
use image_builder::cache::Cache;
use image_builder::packages::{self, OnDrift};
use image_builder::profile::Profile;
use image_builder::progress::Console;

use crate::host;

/// Size of a disk for `xtask run`: more than the image, so that growing `data` has something to do.
pub const DISK_BYTES: u64 = 4 << 30;

/// The boot firmware of a board's machine, fetched once.
pub fn firmware(board: &Board) -> Result<PathBuf> {
    let qemu = board
        .qemu
        .as_ref()
        .with_context(|| format!("QEMU does not run {}", board.name))?;
    let (Some(package), Some(inside)) = (&qemu.firmware_package, &qemu.firmware_path) else {
        bail!("{} is started from its card", board.name);
    };
    let cache = Cache::open()?;
    let checkout = host::checkout();
    let profile = Profile::read(&checkout, "dev")?;
    let lock = packages::ensure(
        &checkout,
        &cache,
        board,
        &profile,
        &[package],
        OnDrift::Report,
        &Console,
    )?;
    let locked = lock
        .named(package)
        .with_context(|| format!("the lock has no {package}"))?;
    let path = cache
        .folder("firmware")?
        .join(format!("{}-{}", board.name, &locked.sha256[..16]));
    // Unpacked anew each time: it is small, and an unpacked file has no hash to be trusted by.
    let bytes = packages::file_of(&cache, locked, inside)?;
    image_builder::cache::write_whole(&path, &bytes)?;
    Ok(path)
}

/// Copies an image without its holes and makes the copy `bytes` long.
pub fn copy_disk(image: &Path, disk: &Path, bytes: u64) -> Result<()> {
    let mut from = File::open(image).with_context(|| format!("cannot open {}", image.display()))?;
    let mut to = File::create(disk).with_context(|| format!("cannot create {}", disk.display()))?;
    let length = from.metadata()?.len();
    copy_range(&mut from, &mut to, 0, length)?;
    to.set_len(bytes.max(length))?;
    Ok(())
}

/// Renews the system on a disk and keeps its `data`: everything between the partition table and `data` is copied.
pub fn renew_system(image: &Path, disk: &Path, board: &Board) -> Result<()> {
    let table = image_builder::disk::table(board, disk_layout_guid())?;
    let data = table.by_name("data").context("no data partition")?;
    let mut from = File::open(image)?;
    let mut to = File::options().write(true).open(disk)?;
    let start = table.partitions()[0].byte_offset();
    copy_range(&mut from, &mut to, start, data.byte_offset() - start)?;
    to.sync_all()?;
    Ok(())
}

fn disk_layout_guid() -> disk_layout::Guid {
    image_builder::disk::guid(&[0; 32])
}

fn copy_range(from: &mut File, to: &mut File, start: u64, length: u64) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = start;
    from.seek(SeekFrom::Start(start))?;
    let fresh = to.metadata()?.len() <= start;
    while at < start + length {
        let n = (start + length - at).min(buffer.len() as u64) as usize;
        from.read_exact(&mut buffer[..n])?;
        if !fresh || buffer[..n].iter().any(|b| *b != 0) {
            to.seek(SeekFrom::Start(at))?;
            to.write_all(&buffer[..n])?;
        }
        at += n as u64;
    }
    Ok(())
}
