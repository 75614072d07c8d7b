//! The FAT partition, by dosfstools and mtools: real tools that fsck agrees with, and neither needs root.

use std::path::Path;
use std::process::Command;

use crate::error::{BuildError, FileContext, Result};
use crate::program::run;
use crate::tree::{Node, Tree};

/// Makes a FAT32 file system of `size_bytes` with the files of a tree.
pub fn build(tree: &Tree, size_bytes: u64, label: &str, time: u32, scratch: &Path) -> Result<Vec<u8>> {
    let folder = scratch.join("fat");
    let image = scratch.join("firmware.img");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).at("create", &folder)?;
    let _ = std::fs::remove_file(&image);
    let mut top: Vec<String> = Vec::new();
    for (path, node) in tree.iter() {
        let target = folder.join(path);
        match node {
            Node::Folder { .. } => std::fs::create_dir_all(&target).at("create", &target)?,
            Node::File { bytes, .. } => std::fs::write(&target, bytes).at("write", &target)?,
            Node::Link { .. } => return Err(BuildError::invalid(path, "FAT has no links")),
        }
        if !path.contains('/') {
            top.push(path.into());
        }
    }
    set_times(&folder, tree, time)?;
    let kib = size_bytes / 1024;
    let mkfs = ["/usr/sbin/mkfs.vfat", "/sbin/mkfs.vfat"]
        .into_iter()
        .find(|p| Path::new(p).exists());
    run(Command::new(mkfs.unwrap_or("mkfs.vfat"))
        .args([
            "-F",
            "32",
            "-s",
            "1",
            "-i",
            "48454152",
            "--invariant",
            "-n",
            label,
            "-C",
        ])
        .arg(&image)
        .arg(kib.to_string()))?;
    run(Command::new("mcopy")
        .args(["-s", "-m", "-Q", "-i"])
        .arg(&image)
        .args(&top)
        .arg("::")
        .current_dir(&folder)
        .env("SOURCE_DATE_EPOCH", time.to_string())
        .env("TZ", "UTC")
        .env("MTOOLS_SKIP_CHECK", "1"))?;
    let bytes = std::fs::read(&image).at("read", &image)?;
    let _ = std::fs::remove_dir_all(&folder);
    let _ = std::fs::remove_file(&image);
    Ok(bytes)
}

/// mcopy -m keeps modification times: they must be the same on every machine.
fn set_times(folder: &Path, tree: &Tree, time: u32) -> Result<()> {
    let stamp = std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(time));
    // Children first, since writing a child touches its folder.
    for (path, _) in tree.iter().collect::<Vec<_>>().into_iter().rev() {
        let target = folder.join(path);
        let file = std::fs::File::open(&target).at("open", &target)?;
        file.set_modified(stamp).at("set the time of", &target)?;
    }
    Ok(())
}
