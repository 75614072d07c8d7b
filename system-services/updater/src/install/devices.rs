//! The partitions of both slots on the disk that booted.
//!
//! [`Target`] is the only thing here that can be written, and it is made from an [`Inactive`] only.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use boot_state::{Inactive, Running, Slot};
use os_io::root::Root;
use rustix::fs::OFlags;
use thiserror::Error;

/// The images of a slot: class in the manifest, and the name of its partitions without the letter.
pub const CLASSES: [(&str, &str); 2] = [("rootfs", "root"), ("boot", "boot")];

/// Why a partition cannot be used.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// sysfs does not show it.
    #[error("the disk {} has no partition named {name}", disk.display())]
    Missing {
        /// The disk.
        disk: PathBuf,
        /// The label.
        name: String,
    },
    /// It cannot be opened; with `EBUSY` the kernel uses it.
    #[error("open {}", path.display())]
    Open {
        /// The node.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The partitions of one slot, by class, in the order of [`CLASSES`].
#[derive(Debug, Clone, PartialEq, Eq)]
struct Nodes([PathBuf; 2]);

impl Nodes {
    fn find(root: &Root, disk: &Path, slot: Slot) -> Result<Self, DeviceError> {
        let find = |(_, prefix): (&str, &str)| partition(root, disk, &format!("{prefix}-{slot}"));
        Ok(Self([find(CLASSES[0])?, find(CLASSES[1])?]))
    }

    fn of(&self, class: &str) -> Option<&Path> {
        let index = CLASSES.iter().position(|(name, _)| *name == class)?;
        self.0.get(index).map(PathBuf::as_path)
    }
}

/// The slot that does not run.
#[derive(Debug, Clone)]
pub struct Target {
    slot: Inactive,
    nodes: Nodes,
}

impl Target {
    /// Its partitions on `disk` (a whole-disk node such as `/dev/mmcblk0`).
    pub fn find(root: &Root, disk: &Path, slot: Inactive) -> Result<Self, DeviceError> {
        Ok(Self {
            slot,
            nodes: Nodes::find(root, disk, slot.slot())?,
        })
    }

    /// Which slot.
    pub fn slot(&self) -> Inactive {
        self.slot
    }

    /// The partition of a class, if there is such a class.
    pub fn path(&self, class: &str) -> Option<&Path> {
        self.nodes.of(class)
    }

    /// Opens it for reading.
    pub fn open_for_reading(&self, class: &str) -> Option<Result<File, DeviceError>> {
        self.path(class).map(read_only)
    }

    /// Opens it for reading and writing, for nobody else: the kernel refuses when it uses the partition itself, so that
    /// even a wrong idea of which slot runs could not write over the running root.
    pub fn open(&self, class: &str) -> Option<Result<File, DeviceError>> {
        let path = self.path(class)?;
        Some(
            File::options()
                .read(true)
                .write(true)
                .custom_flags(OFlags::EXCL.bits().cast_signed())
                .open(path)
                .map_err(|source| DeviceError::Open {
                    path: path.to_owned(),
                    source,
                }),
        )
    }
}

/// The slot that runs: only to be read from.
#[derive(Debug, Clone)]
pub struct Active {
    nodes: Nodes,
}

impl Active {
    /// Its partitions on `disk`.
    pub fn find(root: &Root, disk: &Path, slot: Running) -> Result<Self, DeviceError> {
        Ok(Self {
            nodes: Nodes::find(root, disk, slot.slot())?,
        })
    }

    /// Opens one for reading.
    pub fn open(&self, class: &str) -> Option<Result<File, DeviceError>> {
        self.nodes.of(class).map(read_only)
    }
}

/// The FAT partition that starts everything, which both slots share. Opened for writing it is for nobody else.
pub fn firmware(root: &Root, disk: &Path, write: bool) -> Result<(PathBuf, File), DeviceError> {
    let path = partition(root, disk, "firmware")?;
    let flags = if write { OFlags::EXCL } else { OFlags::empty() };
    let file = File::options()
        .read(true)
        .write(write)
        .custom_flags(flags.bits().cast_signed())
        .open(&path)
        .map_err(|source| DeviceError::Open {
            path: path.clone(),
            source,
        })?;
    Ok((path, file))
}

fn read_only(path: &Path) -> Result<File, DeviceError> {
    File::open(path).map_err(|source| DeviceError::Open {
        path: path.to_owned(),
        source,
    })
}

/// The node of the partition with a GPT name on one disk, as the kernel shows it in sysfs (`PARTNAME` in `uevent`).
fn partition(root: &Root, disk: &Path, name: &str) -> Result<PathBuf, DeviceError> {
    let missing = || DeviceError::Missing {
        disk: disk.to_owned(),
        name: name.into(),
    };
    let disk_name = disk.file_name().ok_or_else(missing)?;
    let folder = root.path(Path::new("/sys/block").join(disk_name));
    let wanted = format!("PARTNAME={name}");
    fs::read_dir(folder)
        .map_err(|_| missing())?
        .flatten()
        .find(|entry| {
            fs::read_to_string(entry.path().join("uevent"))
                .is_ok_and(|text| text.lines().any(|line| line == wanted))
        })
        .map(|entry| root.path(Path::new("/dev").join(entry.file_name())))
        .ok_or_else(missing)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A folder with sysfs entries and files for the slots' partitions of `/dev/vda`.
    pub fn fake_disk(bytes: u64) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        fs::create_dir_all(root.path("/dev")).unwrap();
        for (number, name) in [
            (1, "firmware"),
            (3, "boot-a"),
            (4, "boot-b"),
            (5, "root-a"),
            (6, "root-b"),
        ] {
            let sysfs = root.path(format!("/sys/block/vda/vda{number}"));
            fs::create_dir_all(&sysfs).unwrap();
            fs::write(
                sysfs.join("uevent"),
                format!("DEVTYPE=partition\nPARTN={number}\nPARTNAME={name}\n"),
            )
            .unwrap();
            File::create(root.path(format!("/dev/vda{number}")))
                .unwrap()
                .set_len(bytes)
                .unwrap();
        }
        fs::create_dir_all(root.path("/sys/block/vda/queue")).unwrap();
        (folder, root)
    }

    #[test]
    fn only_the_slot_that_does_not_run_can_be_opened_for_writing() {
        let (_folder, root) = fake_disk(4096);
        let running = Running::from_boot(Slot::B);
        let target = Target::find(&root, Path::new("/dev/vda"), running.inactive()).unwrap();
        assert_eq!(target.path("rootfs").unwrap(), root.path("/dev/vda5"));
        assert_eq!(target.path("boot").unwrap(), root.path("/dev/vda3"));
        assert!(target.path("firmware").is_none());
        let active = Active::find(&root, Path::new("/dev/vda"), running).unwrap();
        let file = active.open("rootfs").unwrap().unwrap();
        assert!(
            std::io::Write::write(&mut &file, b"x").is_err(),
            "opened for reading"
        );
    }

    #[test]
    fn a_disk_without_the_partition_is_named() {
        let (_folder, root) = fake_disk(4096);
        fs::remove_dir_all(root.path("/sys/block/vda/vda5")).unwrap();
        let running = Running::from_boot(Slot::B);
        let error = Target::find(&root, Path::new("/dev/vda"), running.inactive()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the disk /dev/vda has no partition named root-a"
        );
    }
}
