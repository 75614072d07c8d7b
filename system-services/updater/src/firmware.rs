//! Brings the `firmware` partition (device trees, U-Boot, boot manager) up to date from the running root file system.
//!
//! It has no second copy, so only a system that was marked good does this, one file at a time, in an order that starts
//! after any cut: see the crate `fat-replace` and docs/decisions/0012-firmware-partition-after-mark-good.md.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fat_replace::{Change, FatError, Timestamp, Volume, Wanted, Wish, plan, reconcile};
use os_io::root::Root;
use ring::digest::{Context, SHA256};
use thiserror::Error;

use crate::install::devices::{DeviceError, firmware};

/// Where a root file system has the files (`image_builder::build::FIRMWARE_FOLDER`).
const FOLDER: &str = "/usr/lib/hearth/firmware";
/// Files and folders looked at.
const MAX_FILES: usize = 256;
/// Bytes of a sector that is written as one.
const SECTOR: usize = 512;

/// Why the partition was not brought up to date.
#[derive(Debug, Error)]
pub enum FirmwareError {
    /// A file of the root file system cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More files than make sense.
    #[error("{} has more than {MAX_FILES} files", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// The partition is not there or in use.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The partition cannot be read or written, or there is no room.
    #[error("the boot partition")]
    Fat(#[source] FatError),
}

/// A file that the partition shall have.
struct Shipped {
    /// Path on the partition.
    name: String,
    path: PathBuf,
    len: u32,
    sha256: [u8; 32],
}

/// The partition as a volume of sectors.
struct Partition {
    file: File,
    sectors: u64,
}

impl Volume for Partition {
    fn sector_size(&self) -> usize {
        SECTOR
    }

    fn sector_count(&self) -> u64 {
        self.sectors
    }

    fn read(&self, sector: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, sector * SECTOR as u64)
    }

    fn write(&mut self, sector: u64, buf: &[u8]) -> io::Result<()> {
        self.file.write_all_at(buf, sector * SECTOR as u64)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Compares, and writes what differs. Nothing is opened for writing when nothing differs.
pub fn renew(root: &Root, disk: &Path) -> Result<Vec<Change>, FirmwareError> {
    let shipped = shipped(&root.path(FOLDER))?;
    if shipped.is_empty() {
        return Ok(Vec::new());
    }
    let mut empty: Vec<io::Empty> = shipped.iter().map(|_| io::empty()).collect();
    let wanted = wishes(&shipped, &mut empty);
    let mut volume = open(root, disk, false)?;
    let changes = {
        let fat = fat_replace::Fat::open(&mut volume).map_err(FirmwareError::Fat)?;
        plan(&fat, &wanted).map_err(FirmwareError::Fat)?
    };
    if changes.is_empty() {
        return Ok(changes);
    }
    let mut contents = shipped
        .iter()
        .map(|s| File::open(&s.path).map_err(|source| read_error(&s.path, source)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut wanted = wishes(&shipped, &mut contents);
    let mut volume = open(root, disk, true)?;
    reconcile(&mut volume, &mut wanted, now()).map_err(FirmwareError::Fat)
}

fn open(root: &Root, disk: &Path, write: bool) -> Result<Partition, FirmwareError> {
    use io::{Seek, SeekFrom};
    let (path, file) = firmware(root, disk, write)?;
    let bytes = (&file)
        .seek(SeekFrom::End(0))
        .map_err(|source| read_error(&path, source))?;
    Ok(Partition {
        file,
        sectors: bytes / SECTOR as u64,
    })
}

fn read_error(path: &Path, source: io::Error) -> FirmwareError {
    FirmwareError::Read {
        path: path.to_owned(),
        source,
    }
}

fn wishes<'a, R: Read>(shipped: &'a [Shipped], contents: &'a mut [R]) -> Vec<Wanted<'a>> {
    shipped
        .iter()
        .zip(contents)
        .map(|(s, content)| Wanted {
            path: &s.name,
            wish: Wish::Present {
                len: s.len,
                sha256: s.sha256,
                content,
            },
        })
        .collect()
}

/// Data first, then what reads it, last what starts first: a cut leaves new data with old programs, never the reverse.
fn rank(name: &str) -> u8 {
    let name = name.to_ascii_lowercase();
    if name.starts_with("efi/") {
        4
    } else if name.ends_with("config.txt") || name.ends_with("cmdline.txt") {
        3
    } else if name.contains("u-boot") {
        2
    } else {
        u8::from(!name.ends_with(".dtb") && !name.ends_with(".dtbo"))
    }
}

fn shipped(folder: &Path) -> Result<Vec<Shipped>, FirmwareError> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((path, prefix)) = folders.pop() {
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && prefix.is_empty() => return Ok(found),
            other => other.map_err(|source| read_error(&path, source))?,
        };
        for entry in entries {
            let entry = entry.map_err(|source| read_error(&path, source))?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                folders.push((entry.path(), format!("{name}/")));
            } else {
                found.push(measure(entry.path(), name)?);
            }
            if found.len() + folders.len() > MAX_FILES {
                return Err(FirmwareError::TooMany {
                    path: folder.to_owned(),
                });
            }
        }
    }
    found.sort_by(|a, b| (rank(&a.name), &a.name).cmp(&(rank(&b.name), &b.name)));
    Ok(found)
}

fn measure(path: PathBuf, name: String) -> Result<Shipped, FirmwareError> {
    let hash = || -> io::Result<(u32, [u8; 32])> {
        let mut file = File::open(&path)?;
        let mut context = Context::new(&SHA256);
        let mut piece = vec![0; 64 * 1024];
        let mut len: u32 = 0;
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                break;
            }
            context.update(&piece[..read]);
            len = u32::try_from(read)
                .ok()
                .and_then(|more| len.checked_add(more))
                .ok_or_else(|| io::Error::other("larger than FAT allows"))?;
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(context.finish().as_ref());
        Ok((len, sha256))
    };
    let (len, sha256) = hash().map_err(|source| read_error(&path, source))?;
    Ok(Shipped {
        name,
        path,
        len,
        sha256,
    })
}

fn now() -> Timestamp {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    Timestamp::from_unix(seconds)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use fat_replace::{ChangeKind, Fat};

    use super::*;
    use crate::install::devices::tests::fake_disk;

    const DISK: &str = "/dev/vda";

    fn ship(root: &Root, name: &str, content: &[u8]) {
        let path = root.path(FOLDER).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn on_partition(root: &Root, name: &str) -> Vec<u8> {
        let output = Command::new("mtype")
            .arg("-i")
            .arg(root.path("/dev/vda1"))
            .arg(format!("::{name}"))
            .output()
            .expect("mtools is needed for this test");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    fn kinds(changes: &[Change]) -> Vec<(&str, ChangeKind)> {
        changes.iter().map(|c| (c.path.as_str(), c.kind)).collect()
    }

    #[test]
    fn what_differs_is_replaced_in_the_order_that_starts_after_any_cut_and_the_rest_stays() {
        let (_folder, root) = fake_disk(16 << 20);
        let made = Command::new("mkfs.vfat")
            .args(["-F", "16"])
            .arg(root.path("/dev/vda1"))
            .output()
            .expect("mkfs.vfat is needed for this test");
        assert!(made.status.success(), "{made:?}");
        assert!(
            renew(&root, Path::new(DISK)).unwrap().is_empty(),
            "a system without such files"
        );
        ship(&root, "EFI/BOOT/BOOTAA64.EFI", b"manager 1");
        ship(&root, "u-boot.bin", b"u-boot 1");
        ship(&root, "board.dtb", b"tree 1");
        ship(&root, "config.txt", b"config 1");
        ship(&root, "start4.elf", b"firmware 1");
        let changes = renew(&root, Path::new(DISK)).unwrap();
        assert_eq!(
            kinds(&changes).iter().map(|(path, _)| *path).collect::<Vec<_>>(),
            [
                "board.dtb",
                "start4.elf",
                "u-boot.bin",
                "config.txt",
                "EFI/BOOT/BOOTAA64.EFI"
            ]
        );
        ship(&root, "u-boot.bin", b"u-boot 2, longer");
        let changes = renew(&root, Path::new(DISK)).unwrap();
        assert_eq!(kinds(&changes), [("u-boot.bin", ChangeKind::Replaced)]);
        assert_eq!(on_partition(&root, "u-boot.bin"), b"u-boot 2, longer");
        assert_eq!(on_partition(&root, "EFI/BOOT/BOOTAA64.EFI"), b"manager 1");
        let before = fs::read(root.path("/dev/vda1")).unwrap();
        assert!(renew(&root, Path::new(DISK)).unwrap().is_empty());
        assert!(
            before == fs::read(root.path("/dev/vda1")).unwrap(),
            "nothing to do, nothing written"
        );
    }

    #[test]
    fn a_partition_that_is_no_fat_volume_is_left_alone() {
        let (_folder, root) = fake_disk(1 << 20);
        ship(&root, "config.txt", b"config 1");
        let error = renew(&root, Path::new(DISK)).unwrap_err();
        assert!(matches!(error, FirmwareError::Fat(_)), "{error:?}");
        assert!(fs::read(root.path("/dev/vda1")).unwrap().iter().all(|b| *b == 0));
        let mut volume = open(&root, Path::new(DISK), false).unwrap();
        assert!(Fat::open(&mut volume).is_err());
    }
}
