//! Which disk booted, and where its partitions are.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use disk_layout::{Found, Guid, Partition, ReadError, SECTOR};
use os_io::block;
use os_io::root::Root;
use rustix::fs::OFlags;
use thiserror::Error;

/// How long disks may take to appear: USB hubs and slow cards need many seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a disk with the right sequence number is waited for when there is one with the right GUID already.
const PATIENCE_FOR_SEQUENCE: Duration = Duration::from_secs(5);
/// How long the kernel may take for the nodes of partitions once the disk is there.
const PATIENCE_FOR_NODES: Duration = Duration::from_secs(5);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(20);

/// What the boot manager said about the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// GUID of the disk.
    pub guid: Guid,
    /// Sequence number that was written to its `bootstate`.
    pub state_seq: u64,
}

/// A disk with a partition table.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Kernel's name, such as `mmcblk0`.
    pub name: String,
    /// Its table.
    pub found: Found,
    /// Sequence number in its `bootstate`, if it has a valid one.
    pub state_seq: Option<u64>,
}

/// What was seen when the wanted disk was not found, by name of the disk.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen(BTreeMap<String, String>);

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no disk at all: is the driver in the initramfs?");
        }
        for (index, (name, what)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{name}: {what}")?;
        }
        Ok(())
    }
}

/// Why the disk or a partition was not found.
#[derive(Debug, Error)]
pub enum DiskError {
    /// No disk with that GUID.
    #[error("the disk that booted ({guid}) did not appear within {} s\nseen: {seen}", PATIENCE.as_secs())]
    NotFound {
        /// The GUID.
        guid: Guid,
        /// The other disks.
        seen: Seen,
    },
    /// The table has no such partition, or two.
    #[error("the partition table of /dev/{disk} does not have exactly one partition named {partition}")]
    NoPartition {
        /// The disk.
        disk: String,
        /// The label.
        partition: String,
    },
    /// The table has it, the kernel made no device for it.
    #[error("the kernel made no device for partition {number} ({partition}) of /dev/{disk}{hint}")]
    NoNode {
        /// The disk.
        disk: String,
        /// The label.
        partition: String,
        /// Number in the table.
        number: u32,
        /// What may be the reason.
        hint: &'static str,
    },
}

/// Looks at every disk until the wanted one is there. `while_waiting` is called between two looks.
pub fn find(root: &Root, wanted: &Wanted, while_waiting: &mut dyn FnMut()) -> Result<Disk, DiskError> {
    let started = Instant::now();
    let mut scan = Scan::default();
    loop {
        scan.look(root, wanted);
        let waited = started.elapsed();
        if let Some(index) = choose(&scan.matching, wanted.state_seq, waited) {
            return Ok(scan.matching.swap_remove(index));
        }
        if waited > PATIENCE {
            return Err(DiskError::NotFound {
                guid: wanted.guid,
                seen: scan.seen,
            });
        }
        while_waiting();
        std::thread::sleep(POLL);
    }
}

/// Of the disks with the right GUID the one whose sequence number is right; after some waiting, any of them with the
/// highest number: a boot manager on a write-protected card could not write its number.
pub fn choose(matching: &[Disk], state_seq: u64, waited: Duration) -> Option<usize> {
    let exact = matching.iter().position(|disk| disk.state_seq == Some(state_seq));
    if exact.is_some() || waited < PATIENCE_FOR_SEQUENCE {
        return exact;
    }
    (0..matching.len()).max_by_key(|index| matching[*index].state_seq)
}

/// What is known of the disks so far: each is read once.
#[derive(Default)]
struct Scan {
    matching: Vec<Disk>,
    seen: Seen,
}

impl Scan {
    fn look(&mut self, root: &Root, wanted: &Wanted) {
        let Ok(entries) = fs::read_dir(root.path("/sys/block")) else {
            return;
        };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let virtual_disk = ["dm-", "loop", "ram", "zram", "nbd", "md"]
                .iter()
                .any(|p| name.starts_with(p));
            // A card reader without a card has no sectors.
            let sectors = read_number(&entry.path().join("size")).unwrap_or(0);
            if virtual_disk
                || sectors == 0
                || self.seen.0.contains_key(&name)
                || self.matching.iter().any(|disk| disk.name == name)
            {
                continue;
            }
            match read_disk(root, &name, sectors) {
                Ok(disk) if disk.found.table.disk_guid() == wanted.guid => self.matching.push(disk),
                Ok(disk) => {
                    self.seen
                        .0
                        .insert(name, format!("disk {}", disk.found.table.disk_guid()));
                }
                // Perhaps not ready yet: the next look tries again.
                Err(ReadError::Io(_)) => {}
                Err(error) => {
                    self.seen.0.insert(name, error.to_string());
                }
            }
        }
    }
}

fn read_number(file: &std::path::Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn read_disk(root: &Root, name: &str, sectors: u64) -> Result<Disk, ReadError<io::Error>> {
    let file = File::open(root.path(format!("/dev/{name}"))).map_err(ReadError::Io)?;
    let found = disk_layout::read(sectors, |lba, buffer: &mut [u8]| {
        file.read_exact_at(buffer, lba * SECTOR as u64)
    })?;
    let state_seq = found
        .table
        .by_name(crate::bootstate::PARTITION)
        .and_then(|p| crate::bootstate::sequence(&file, p));
    Ok(Disk {
        name: name.to_owned(),
        found,
        state_seq,
    })
}

impl Disk {
    /// `/dev/NAME`.
    pub fn device(&self) -> PathBuf {
        PathBuf::from(format!("/dev/{}", self.name))
    }

    /// A partition by its label.
    pub fn partition(&self, label: &str) -> Result<&Partition, DiskError> {
        self.found
            .table
            .by_name(label)
            .ok_or_else(|| DiskError::NoPartition {
                disk: self.name.clone(),
                partition: label.to_owned(),
            })
    }

    /// The node of a partition, such as `/dev/vda5`, once the kernel has it.
    pub fn node(&self, root: &Root, number: u32) -> Option<PathBuf> {
        let folder = root.path(format!("/sys/block/{}", self.name));
        fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
            let is_it = read_number(&entry.path().join("partition")) == Some(u64::from(number));
            let node = PathBuf::from("/dev").join(entry.file_name());
            (is_it && root.path(&node).exists()).then_some(node)
        })
    }

    /// The node of a partition by its label; waits some seconds for it.
    pub fn device_of(
        &self,
        root: &Root,
        label: &str,
        kernel_uses_backup_table: bool,
        while_waiting: &mut dyn FnMut(),
    ) -> Result<PathBuf, DiskError> {
        let number = self.partition(label)?.number;
        let started = Instant::now();
        loop {
            if let Some(node) = self.node(root, number) {
                return Ok(node);
            }
            if started.elapsed() > PATIENCE_FOR_NODES {
                let hint = match (&self.found.primary_damage, kernel_uses_backup_table) {
                    (Some(_), true) => ": the primary partition table is torn",
                    (Some(_), false) => {
                        ": the primary partition table is torn, and `gpt` is not on the command line"
                    }
                    (None, _) => "",
                };
                let (disk, partition) = (self.name.clone(), label.to_owned());
                return Err(DiskError::NoNode {
                    disk,
                    partition,
                    number,
                    hint,
                });
            }
            while_waiting();
            std::thread::sleep(POLL);
        }
    }

    /// Writes a torn primary table anew from the backup, and makes the kernel look again if it had not found the
    /// partitions. Says whether there was something to mend.
    pub fn mend_table(&self, root: &Root) -> io::Result<bool> {
        if self.found.primary_damage.is_none() {
            return Ok(false);
        }
        let flags = OFlags::SYNC.bits().cast_signed();
        let file = File::options()
            .write(true)
            .custom_flags(flags)
            .open(root.path(self.device()))?;
        for write in disk_layout::repair_primary(&self.found.table) {
            file.write_all_at(&write.bytes, write.byte_offset())?;
        }
        let first = self
            .found
            .table
            .partitions()
            .first()
            .map_or(1, |partition| partition.number);
        if self.node(root, first).is_none() {
            // Nothing of it is mounted yet. If it fails, the missing node is reported by name.
            let _ = block::reread_partitions(&file);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use disk_layout::{Mbr, Table, types};
    use tempfile::TempDir;

    use super::*;

    const GUID: Guid = Guid::from_u128(0x0f4c2d1e_aaaa_bbbb_cccc_0123456789ab);
    const SECTORS: u64 = 4096;

    fn table() -> Table {
        let partition = |number: u32, name: &str| Partition {
            number,
            name: name.into(),
            type_guid: types::LINUX_DATA,
            unique_guid: Guid::from_u128(u128::from(number)),
            first_lba: u64::from(number) * 256,
            last_lba: u64::from(number) * 256 + 127,
            attributes: 0,
        };
        Table::new(
            GUID,
            SECTORS,
            vec![partition(1, "root-a"), partition(3, "root-b")],
        )
        .unwrap()
    }

    fn add_disk(folder: &TempDir, name: &str, torn: bool) {
        let primary = table().primary(Mbr::Protective).unwrap();
        let backup = table().backup();
        let mut bytes = vec![0; SECTORS as usize * SECTOR];
        bytes[..primary.len()].copy_from_slice(&primary);
        let at = bytes.len() - backup.len();
        bytes[at..].copy_from_slice(&backup);
        if torn {
            bytes[600] ^= 1;
        }
        let root = Root::at(folder.path());
        let sys = root.path(format!("/sys/block/{name}"));
        fs::create_dir_all(sys.join(format!("{name}p3"))).unwrap();
        fs::create_dir_all(root.path("/dev")).unwrap();
        fs::write(sys.join("size"), format!("{SECTORS}\n")).unwrap();
        fs::write(sys.join(format!("{name}p3/partition")), "3\n").unwrap();
        fs::write(root.path(format!("/dev/{name}")), bytes).unwrap();
        fs::write(root.path(format!("/dev/{name}p3")), "").unwrap();
    }

    fn disk(name: &str, state_seq: Option<u64>) -> Disk {
        Disk {
            name: name.into(),
            found: Found {
                table: table(),
                primary_damage: None,
            },
            state_seq,
        }
    }

    #[test]
    fn of_two_alike_cards_the_one_that_the_boot_manager_wrote_to_is_chosen() {
        let alike = [disk("mmcblk0", Some(7)), disk("sda", Some(9))];
        assert_eq!(choose(&alike, 9, Duration::ZERO), Some(1));
        assert_eq!(choose(&alike, 7, Duration::ZERO), Some(0));
    }

    #[test]
    fn without_the_right_number_it_waits_then_takes_the_newest() {
        let alike = [disk("mmcblk0", None), disk("sda", Some(9)), disk("sdb", Some(8))];
        assert_eq!(choose(&alike, 10, Duration::ZERO), None);
        assert_eq!(choose(&alike, 10, PATIENCE_FOR_SEQUENCE), Some(1));
        assert_eq!(choose(&[], 10, PATIENCE), None);
    }

    #[test]
    fn a_torn_primary_table_is_read_from_the_backup_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        add_disk(&folder, "mmcblk0", true);
        let root = Root::at(folder.path());
        let mut scan = Scan::default();
        let wanted = Wanted {
            guid: GUID,
            state_seq: 1,
        };
        scan.look(&root, &wanted);
        assert!(scan.matching[0].found.primary_damage.is_some());
        assert!(scan.matching[0].mend_table(&root).unwrap());
        let again = read_disk(&root, "mmcblk0", SECTORS).unwrap();
        assert_eq!(again.found.primary_damage, None);
        assert_eq!(again.found.table, table());
        assert!(!again.mend_table(&root).unwrap());
    }

    #[test]
    fn partitions_are_found_by_label_whatever_the_number_in_their_name() {
        let folder = tempfile::tempdir().unwrap();
        add_disk(&folder, "mmcblk0", false);
        let root = Root::at(folder.path());
        let disk = read_disk(&root, "mmcblk0", SECTORS).unwrap();
        let node = disk.device_of(&root, "root-b", true, &mut || {}).unwrap();
        assert_eq!(node, PathBuf::from("/dev/mmcblk0p3"));
        assert!(matches!(
            disk.partition("data"),
            Err(DiskError::NoPartition { .. })
        ));
    }

    #[test]
    fn other_disks_are_named_when_the_wanted_one_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        add_disk(&folder, "sda", false);
        let root = Root::at(folder.path());
        fs::create_dir_all(root.path("/sys/block/sdb")).unwrap();
        fs::write(root.path("/sys/block/sdb/size"), "64").unwrap();
        fs::write(root.path("/dev/sdb"), [0; 64 * SECTOR]).unwrap();
        let mut scan = Scan::default();
        scan.look(
            &root,
            &Wanted {
                guid: Guid::ZERO,
                state_seq: 1,
            },
        );
        assert!(scan.matching.is_empty());
        let text = DiskError::NotFound {
            guid: Guid::ZERO,
            seen: scan.seen,
        }
        .to_string();
        assert!(
            text.contains("sda: disk 0f4c2d1e") && text.contains("sdb: no partition table"),
            "{text}"
        );
        assert!(Seen::default().to_string().contains("driver"));
    }
}
