//! The disks of this machine, from sysfs, udev's database and the kernel's list of mounts. Everything is below a root
//! folder, so that tests bring their own machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// Sectors in sysfs have 512 bytes, whatever the disk's are.
const SYSFS_SECTOR: u64 = 512;

/// How a disk is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connection {
    /// A stick, a card reader, a disk in a USB case.
    Usb,
    /// A card in the computer's own slot (eMMC, which is soldered, does not count).
    SdCard,
    /// Anything else.
    Other,
}

/// What a disk is used for at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Use {
    /// A file system on it is mounted.
    Mounted {
        /// The partition, or what lies on top of it.
        device: String,
        /// Where.
        at: String,
    },
    /// The kernel swaps to it.
    Swap {
        /// The partition, or what lies on top of it.
        device: String,
    },
    /// Device mapper or a RAID lies on top of it.
    Held {
        /// The partition.
        device: String,
        /// The kernel's name of what lies on top, such as `dm-0`.
        by: String,
        /// The name for people, such as `cryptdata`.
        title: String,
    },
}

/// A partition, as far as the kernel and udev know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// `sdb1`
    pub name: String,
    /// Size, in bytes.
    pub size_bytes: u64,
    /// Label of the file system, else the partition's name.
    pub label: Option<String>,
    /// `ext4`, `vfat`, …
    pub file_system: Option<String>,
    /// Where it is mounted, also through encryption and the like.
    pub mounted_at: Vec<String>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// `sdb`
    pub name: String,
    /// `/dev/sdb`
    pub path: PathBuf,
    /// What it says of itself.
    pub model: String,
    /// Size, in bytes; 0 is a reader without a card.
    pub size_bytes: u64,
    /// How it is connected.
    pub connection: Connection,
    /// It can be taken out: by the kernel's flag, or by its connection.
    pub removable: bool,
    /// The write-protect switch.
    pub read_only: bool,
    /// Bytes of its sectors.
    pub sector_bytes: u64,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// Who uses it.
    pub uses: Vec<Use>,
    /// Major and minor number.
    #[serde(skip)]
    pub number: (u32, u32),
}

/// All disks, by name.
pub fn scan(root: &Path) -> Result<Vec<Disk>> {
    let machine = Machine::read(root)?;
    let mut disks: Vec<Disk> = names(&root.join("sys/block"))
        .iter()
        .filter_map(|name| machine.disk(name))
        .collect();
    disks.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    Ok(disks)
}

/// The disk of that name; a partition is refused with the disk's name. `name` is the kernel's.
pub fn find<'a>(root: &Path, disks: &'a [Disk], name: &str) -> Result<&'a Disk> {
    if let Some(disk) = disks.iter().find(|disk| disk.name == name) {
        return Ok(disk);
    }
    let node = root.join("sys/class/block").join(name);
    let parent = fs::canonicalize(&node)
        .ok()
        .filter(|node| node.join("partition").exists());
    match parent.as_deref().and_then(Path::parent).and_then(Path::file_name) {
        Some(disk) => {
            let disk = disk.to_string_lossy();
            bail!("{name} is only a partition: flash the whole disk with `--device /dev/{disk}`");
        }
        None => bail!("there is no disk {name}: `cargo xtask flash --list` shows those that are there"),
    }
}

/// Why a disk must not be flashed, and what to do; `None` when nothing speaks against it.
pub fn refusal(disk: &Disk, image_bytes: Option<u64>, even_if_not_removable: bool) -> Option<String> {
    let name = &disk.name;
    if let Some((device, at)) = disk.uses.iter().find_map(system_mount) {
        return Some(format!(
            "{name} holds this computer's own system ({device} is mounted at {at}): choose another disk"
        ));
    }
    if let Some(reason) = disk.uses.first() {
        return Some(match reason {
            Use::Mounted { device, at } => {
                let quoted = super::quoted(at);
                format!(
                    "{name} is in use ({device} is mounted at {at}): run `sudo umount {quoted}`, then this again"
                )
            }
            Use::Swap { device } => {
                format!(
                    "{name} is in use (this computer swaps to {device}): run `sudo swapoff /dev/{device}`, then this again"
                )
            }
            Use::Held { device, by, title } => {
                let close = match by.starts_with("md") {
                    true => format!("mdadm --stop /dev/{by}"),
                    false => format!("dmsetup remove {}", super::quoted(title)),
                };
                format!("{name} is in use ({device} is part of {title}): run `sudo {close}`, then this again")
            }
        });
    }
    if disk.size_bytes == 0 {
        return Some(format!("{name} has no card in it: put one in"));
    }
    if !disk.removable && !even_if_not_removable {
        return Some(format!(
            "{name} is built in, not a card or a USB disk: choose another one, or add `--even-if-not-removable` if you are sure"
        ));
    }
    if disk.read_only {
        return Some(format!(
            "{name} is write-protected: move the small switch on the side of the card, and put it in again"
        ));
    }
    if disk.sector_bytes != disk_layout::SECTOR as u64 {
        return Some(format!(
            "{name} has sectors of {} bytes, the image's have 512: choose another disk",
            disk.sector_bytes
        ));
    }
    let image_bytes = image_bytes.filter(|bytes| *bytes > disk.size_bytes)?;
    Some(format!(
        "{name} is too small ({}, the image has {}): choose a bigger one",
        super::gigabytes(disk.size_bytes),
        super::gigabytes(image_bytes)
    ))
}

/// Mount points without which this computer does not work.
const SYSTEM: [&str; 9] = [
    "/",
    "/boot",
    "/boot/efi",
    "/boot/firmware",
    "/efi",
    "/home",
    "/usr",
    "/var",
    "/nix",
];

fn system_mount(reason: &Use) -> Option<(&str, &str)> {
    match reason {
        Use::Mounted { device, at } if SYSTEM.contains(&at.as_str()) => Some((device, at)),
        _ => None,
    }
}

/// A mount or swap space: device number (where it means something), device path, place.
struct Mount {
    number: Option<(u32, u32)>,
    source: String,
    at: String,
}

struct Machine<'a> {
    root: &'a Path,
    mounts: Vec<Mount>,
    swaps: Vec<String>,
}

/// A disk, a partition, or something on top of one.
struct Layer {
    name: String,
    /// What it lies on, unless it is the disk or one of its partitions.
    on: Option<String>,
    /// `/dev/dm-0`, `/dev/mapper/cryptdata`
    paths: Vec<String>,
    title: String,
    number: Option<(u32, u32)>,
}

impl<'a> Machine<'a> {
    fn read(root: &'a Path) -> Result<Self> {
        // Without these two, "not mounted" would be a guess.
        let needed = |file: &str| {
            let path = root.join(file);
            fs::read(&path)
                .map(|b| String::from_utf8_lossy(&b).into_owned())
                .with_context(|| format!("cannot read {}", path.display()))
        };
        let mounts = mounts(&needed("proc/self/mountinfo")?);
        // A kernel without swap has no such file.
        let swaps = fs::read_to_string(root.join("proc/swaps")).unwrap_or_default();
        let swaps = swaps
            .lines()
            .skip(1)
            .filter_map(|l| l.split_whitespace().next())
            .map(unescaped)
            .collect();
        Ok(Self { root, mounts, swaps })
    }

    fn node(&self, name: &str) -> PathBuf {
        self.root.join("sys/class/block").join(name)
    }

    fn disk(&self, name: &str) -> Option<Disk> {
        let node = fs::canonicalize(self.root.join("sys/block").join(name)).ok()?;
        // The boot areas of an eMMC are no disks for anybody.
        if name.starts_with("mmcblk") && name.contains("boot") {
            return None;
        }
        let mut parts: Vec<String> = names(&node)
            .into_iter()
            .filter(|n| node.join(n).join("partition").exists())
            .collect();
        parts.sort_by_key(|part| (part.len(), part.clone()));
        let connection = connection(&node);
        let text = |file: &str| read_line(&node.join(file)).unwrap_or_default();
        let model = [text("device/vendor"), text("device/model"), text("device/name")];
        let model: Vec<&str> = model
            .iter()
            .map(String::as_str)
            .filter(|s| !s.is_empty() && *s != "ATA" && !s.starts_with("0x"))
            .collect();
        let mut uses = self.uses(name);
        for use_of_part in parts.iter().flat_map(|part| self.uses(part)) {
            if !uses.contains(&use_of_part) {
                uses.push(use_of_part);
            }
        }
        Some(Disk {
            name: name.into(),
            path: Path::new("/dev").join(name.replace('!', "/")),
            model: if model.is_empty() {
                "unknown model".into()
            } else {
                model.join(" ")
            },
            size_bytes: size(&node),
            connection,
            removable: text("removable") == "1" || connection != Connection::Other,
            read_only: text("ro") == "1",
            sector_bytes: text("queue/logical_block_size").parse().unwrap_or(SYSFS_SECTOR),
            partitions: parts
                .iter()
                .map(|part| self.partition(&node.join(part), part))
                .collect(),
            uses,
            number: number(&text("dev"))?,
        })
    }

    fn partition(&self, node: &Path, name: &str) -> Partition {
        let known =
            read_line(&node.join("dev")).map(|dev| self.root.join("run/udev/data").join(format!("b{dev}")));
        let known = known
            .and_then(|path| fs::read_to_string(path).ok())
            .unwrap_or_default();
        let udev = |key: &str| {
            known
                .lines()
                .find_map(|l| l.strip_prefix("E:")?.strip_prefix(key)?.strip_prefix('='))
        };
        let uevent = fs::read_to_string(node.join("uevent")).unwrap_or_default();
        let table_name = uevent.lines().find_map(|l| l.strip_prefix("PARTNAME="));
        let mounted_at = self.uses(name).into_iter().filter_map(|u| match u {
            Use::Mounted { at, .. } => Some(at),
            _ => None,
        });
        Partition {
            name: name.into(),
            size_bytes: size(node),
            label: udev("ID_FS_LABEL")
                .or(table_name)
                .filter(|l| !l.is_empty())
                .map(String::from),
            file_system: udev("ID_FS_TYPE").map(String::from),
            mounted_at: mounted_at.collect(),
        }
    }

    /// Uses of a disk or partition itself, and of what lies on top of it.
    fn uses(&self, name: &str) -> Vec<Use> {
        let layers = self.layers(name);
        let mut uses = Vec::new();
        for layer in &layers {
            let device = || layer.name.clone();
            let mounted = self.mounts.iter().filter(|mount| {
                layer.paths.contains(&mount.source)
                    || (mount.number.is_some() && mount.number == layer.number)
            });
            for mount in mounted {
                let mount = Use::Mounted {
                    device: device(),
                    at: mount.at.clone(),
                };
                if !uses.contains(&mount) {
                    uses.push(mount);
                }
            }
            if self.swaps.iter().any(|swap| layer.paths.contains(swap)) {
                uses.push(Use::Swap { device: device() });
            }
        }
        // After the mounts: those are to be undone first.
        uses.extend(layers.into_iter().rev().filter_map(|layer| {
            Some(Use::Held {
                device: layer.on?,
                by: layer.name,
                title: layer.title,
            })
        }));
        uses
    }

    /// The device and everything that lies on top of it, lowest first.
    fn layers(&self, name: &str) -> Vec<Layer> {
        let mut layers: Vec<Layer> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = vec![(name.to_string(), None)];
        while let Some((name, on)) = next.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let node = self.node(&name);
            next.extend(
                names(&node.join("holders"))
                    .into_iter()
                    .map(|holder| (holder, Some(name.clone()))),
            );
            let mapped = read_line(&node.join("dm/name"));
            let mut paths = vec![format!("/dev/{}", name.replace('!', "/"))];
            paths.extend(mapped.iter().map(|mapped| format!("/dev/mapper/{mapped}")));
            let number = read_line(&node.join("dev")).and_then(|dev| number(&dev));
            layers.push(Layer {
                title: mapped.unwrap_or_else(|| name.clone()),
                name,
                on,
                paths,
                number,
            });
        }
        layers
    }
}

/// `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn mounts(text: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let front: Vec<&str> = front.split(' ').collect();
        // Anonymous devices (btrfs, overlay) have major number 0: there the source speaks.
        let number = number(front.get(2)?).filter(|n| n.0 != 0);
        Some(Mount {
            number,
            source: unescaped(back.split(' ').nth(1)?),
            at: unescaped(front.get(4)?),
        })
    };
    text.lines().filter_map(line).collect()
}

/// Spaces and the like are written as `\040`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, later)) = rest.split_first() {
        let octal = later
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|o| std::str::from_utf8(o).ok());
        match octal.and_then(|o| u8::from_str_radix(o, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &later[3..];
            }
            None => {
                bytes.push(*first);
                rest = later;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The path in sysfs says through which buses a disk is reached.
fn connection(node: &Path) -> Connection {
    let through = |test: fn(&str) -> bool| {
        node.components()
            .any(|c| c.as_os_str().to_str().is_some_and(test))
    };
    if through(|c| {
        c.strip_prefix("usb")
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    }) {
        Connection::Usb
    } else if through(|c| c == "mmc_host") && read_line(&node.join("device/type")).is_some_and(|t| t == "SD")
    {
        Connection::SdCard
    } else {
        Connection::Other
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn read_line(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

fn size(node: &Path) -> u64 {
    read_line(&node.join("size"))
        .and_then(|s| s.parse::<u64>().ok())
        .unwrap_or(0)
        .saturating_mul(SYSFS_SECTOR)
}

fn number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
#[path = "disks_tests.rs"]
mod tests;
