//! What is known of each board, as checked types over TOML.
//!
//! One file per board in `boards/`; a board is a build target, `raspberry-pi` covers every 64-bit Pi.
//! The raw structs mirror the file, [`Board`] is what the image builder may rely on.

pub mod qemu;

use serde::Deserialize;
use thiserror::Error;

pub use qemu::Qemu;

/// Why a board was refused.
#[derive(Debug, Error)]
pub enum BoardError {
    /// No such board.
    #[error("there is no board {name:?}{}; the boards are {}", .suggestion.as_deref().map(|s| format!(" (did you mean {s}?)")).unwrap_or_default(), .known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest name, when one is near.
        suggestion: Option<String>,
        /// Every board.
        known: Vec<&'static str>,
    },
    /// The file is not what it should be.
    #[error("boards/{board}.toml: {problem}")]
    Invalid {
        /// The board.
        board: String,
        /// What is wrong, with the key.
        problem: String,
    },
}

/// CPU architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit Arm.
    Arm64,
    /// 64-bit x86.
    Amd64,
}

impl Architecture {
    /// Debian's name.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::Amd64 => "amd64",
        }
    }

    /// Rust target of the services.
    pub fn linux_target(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64-unknown-linux-gnu",
            Self::Amd64 => "x86_64-unknown-linux-gnu",
        }
    }

    /// Rust target of the boot manager.
    pub fn uefi_target(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64-unknown-uefi",
            Self::Amd64 => "x86_64-unknown-uefi",
        }
    }

    /// Removable-media path of the boot manager (UEFI 2.10, 3.5.1.1).
    pub fn efi_boot_path(self) -> &'static str {
        match self {
            Self::Arm64 => "EFI/BOOT/BOOTAA64.EFI",
            Self::Amd64 => "EFI/BOOT/BOOTX64.EFI",
        }
    }

    /// `e_machine` of its ELF files.
    pub fn elf_machine(self) -> u16 {
        match self {
            Self::Arm64 => 183,
            Self::Amd64 => 62,
        }
    }
}

/// A build target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Name, also of the file.
    pub name: String,
    /// For people.
    pub title: String,
    /// What a payload and an update must match.
    pub compatible: String,
    /// CPU architecture.
    pub architecture: Architecture,
    /// The kernel.
    pub kernel: Kernel,
    /// Which of its modules are shipped, and where.
    pub modules: Modules,
    /// Files below `/usr/lib/firmware`.
    #[serde(default)]
    pub firmware: Firmware,
    /// Sizes of the partitions.
    pub disk: DiskSizes,
    /// What stands on the FAT partition besides the boot manager.
    #[serde(default)]
    pub firmware_partition: FirmwarePartition,
    /// How QEMU runs it, when it does.
    pub qemu: Option<Qemu>,
}

/// The kernel and its command line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Debian's metapackage.
    pub package: String,
    /// Suite it is taken from.
    pub suite: String,
    /// Arguments of this board; the image builder adds the verity facts.
    pub command_line: Vec<String>,
}

/// Kernel modules, by name or by path pattern below `kernel/`; dependencies follow by themselves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// Loaded by early-boot, in this order.
    pub initramfs: Vec<String>,
    /// In the root file system, loaded by udev as devices ask for them.
    pub root: Vec<String>,
}

/// Device firmware in the root file system.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// Packages unpacked for their firmware only.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Path patterns that are kept of them.
    #[serde(default)]
    pub keep: Vec<String>,
}

/// Sizes of the partitions, in MiB.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSizes {
    /// FAT partition.
    pub firmware_mib: u32,
    /// Each of the two boot slots.
    pub boot_slot_mib: u32,
    /// Each of the two root slots.
    pub root_slot_mib: u32,
    /// The whole image; `data` takes what is left. QEMU wants a power of two for SD cards.
    pub image_mib: u32,
    /// A hybrid MBR names the FAT partition for boot ROMs that read no GPT.
    pub hybrid_mbr: bool,
}

/// What stands on the FAT partition besides the boot manager.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwarePartition {
    /// Packages unpacked for this partition only.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Files, in order.
    #[serde(default)]
    pub files: Vec<FirmwareFile>,
}

/// A file of the FAT partition.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
pub enum FirmwareFile {
    /// From a package (kernel packages included); `*` stands for one path component.
    Package {
        /// Path inside the packages.
        from: String,
        /// Path on the FAT partition.
        to: String,
    },
    /// U-Boot's environment: what it does without asking.
    UbootEnvironment {
        /// `name=value` lines.
        uboot_environment: String,
        /// Size in bytes that this U-Boot was built for (`CONFIG_ENV_SIZE`).
        size_bytes: usize,
        /// Path on the FAT partition.
        to: String,
    },
    /// Text of our own.
    Text {
        /// What it says.
        text: String,
        /// Path on the FAT partition.
        to: String,
    },
}

/// Smallest `data` as shipped, in MiB: ext4 with a journal that still fits when it has grown.
pub const MIN_DATA_MIB: u32 = 64;

const FILES: [(&str, &str); 3] = [
    ("raspberry-pi", include_str!("../boards/raspberry-pi.toml")),
    ("qemu-arm64", include_str!("../boards/qemu-arm64.toml")),
    ("pc-x86_64", include_str!("../boards/pc-x86_64.toml")),
];

impl Board {
    /// The names of all boards.
    pub fn names() -> Vec<&'static str> {
        FILES.iter().map(|(name, _)| *name).collect()
    }

    /// The board of that name.
    pub fn find(name: &str) -> Result<Self, BoardError> {
        match FILES.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::parse(name, text),
            None => Err(BoardError::Unknown {
                name: name.into(),
                suggestion: nearest(name, &Self::names()).map(Into::into),
                known: Self::names(),
            }),
        }
    }

    /// Checks the text of a board file.
    pub fn parse(name: &str, text: &str) -> Result<Self, BoardError> {
        let invalid = |problem: String| BoardError::Invalid {
            board: name.into(),
            problem,
        };
        let board: Self =
            toml::from_str(text).map_err(|e| invalid(e.to_string().trim_end().replace('\n', " ")))?;
        if board.name != name {
            return Err(invalid(format!(
                "name: {:?} differs from the file's name",
                board.name
            )));
        }
        let c = &board.compatible;
        if !(1..=32).contains(&c.len()) || !c.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(invalid(
                "compatible: 1 to 32 ASCII characters without blanks".into(),
            ));
        }
        let d = &board.disk;
        let slots = 2 * (u64::from(d.boot_slot_mib) + u64::from(d.root_slot_mib));
        let sum = 1 + u64::from(d.firmware_mib) + 1 + slots + u64::from(MIN_DATA_MIB) + 1;
        if d.firmware_mib < 34 {
            return Err(invalid("disk.firmware_mib: FAT32 needs at least 34".into()));
        }
        if u64::from(d.image_mib) < sum {
            return Err(invalid(format!("disk.image_mib: the partitions need {sum}")));
        }
        for file in &board.firmware_partition.files {
            let (FirmwareFile::Package { to, .. }
            | FirmwareFile::Text { to, .. }
            | FirmwareFile::UbootEnvironment { to, .. }) = file;
            if to.starts_with('/') || to.split('/').any(|part| part.is_empty() || part == "..") {
                return Err(invalid(format!(
                    "firmware_partition.files: {to:?} is not a relative path"
                )));
            }
        }
        Ok(board)
    }
}

/// The name nearest to what was typed, when it is near enough to be meant.
pub fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| {
            let contained = typed.len() >= 2 && (name.contains(typed) || typed.contains(name));
            (if contained { 1 } else { edit_distance(typed, name) }, *name)
        })
        .min()
        .filter(|(distance, name)| *distance <= name.len() / 2)
        .map(|(_, name)| name)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_file_is_valid() {
        for name in Board::names() {
            Board::find(name).unwrap();
        }
    }

    #[test]
    fn an_unknown_board_is_answered_with_the_nearest() {
        let said = Board::find("rasberry-pi").unwrap_err().to_string();
        assert!(said.contains("did you mean raspberry-pi?"), "{said}");
        let said = Board::find("qemu").unwrap_err().to_string();
        assert!(said.contains("did you mean qemu-arm64?"), "{said}");
        let said = Board::find("zzzzzzzzzzzzzzzzz").unwrap_err().to_string();
        assert!(!said.contains("did you mean"), "{said}");
    }

    #[test]
    fn sizes_beyond_any_number_and_a_blank_in_compatible_are_refused_by_name() {
        let text = FILES[1]
            .1
            .replace("boot_slot_mib = 48", "boot_slot_mib = 4294967295");
        let said = Board::parse("qemu-arm64", &text).unwrap_err().to_string();
        assert!(said.contains("disk.image_mib"), "{said}");
        let text = FILES[1].1.replace("hearth-qemu-arm64", "hearth qemu");
        let said = Board::parse("qemu-arm64", &text).unwrap_err().to_string();
        assert!(said.contains("compatible"), "{said}");
    }

    #[test]
    fn unknown_keys_are_named() {
        let text = FILES[1].1.replace("title =", "titel =");
        let said = Board::parse("qemu-arm64", &text).unwrap_err().to_string();
        assert!(said.contains("titel"), "{said}");
    }
}
