//! The verified root: dm-verity over the slot's root partition, squashfs on it, and a diagnosis when it does not verify.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use os_io::device_mapper::{BLOCK_BYTES, DeviceMapper, OnCorruption, Verity, corruption_in_log};
use os_io::mount::{self, MountFlags};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Name of the device: `/dev/dm-0` is its node.
pub const VERITY_NAME: &str = "hearth-root";
/// The program that the root is there for.
pub const INIT: &str = "/usr/lib/systemd/systemd";

/// What the root should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Label of the partition, `root-a`.
    pub label: String,
    /// Its node.
    pub device: PathBuf,
    /// Data blocks of [`BLOCK_BYTES`].
    pub blocks: u64,
    /// Root hash, hexadecimal.
    pub root_hash: String,
    /// Salt, hexadecimal.
    pub salt: String,
}

/// Why there is no root.
#[derive(Debug, Error)]
pub enum RootError {
    /// A block that was read does not match, or could not be read.
    #[error("{}", .0)]
    Damaged(Box<Damage>),
    /// dm-verity did not start: no module, no such partition, a partition that is too small.
    #[error("{partition} cannot be opened as verified root (expected root hash {root_hash})")]
    Open {
        /// Label and node.
        partition: String,
        /// Root hash of the command line.
        root_hash: String,
        /// Why.
        #[source]
        source: os_io::Error,
    },
    /// Verified, but no squashfs: a build that went wrong.
    #[error("{partition} is verified but has no usable squashfs: {problem}")]
    NoSquashfs {
        /// Label and node.
        partition: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Verified, but it cannot be mounted or has no init.
    #[error("{partition} is verified but cannot be used")]
    Use {
        /// Label and node.
        partition: String,
        /// Why.
        #[source]
        source: os_io::Error,
    },
}

/// What is known of a root that does not verify.
#[derive(Debug)]
pub struct Damage {
    expected: Expected,
    /// SHA-256 of what the partition has as top of its tree.
    found_hash: Option<String>,
    status: Option<String>,
    kernel_message: Option<String>,
    source: io::Error,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            expected,
            found_hash,
            status,
            kernel_message,
            source,
        } = self;
        writeln!(f, "{} does not verify: {source}", expected.place())?;
        writeln!(f, "expected root hash: {}", expected.root_hash)?;
        match found_hash {
            Some(found) if *found == expected.root_hash => {
                writeln!(
                    f,
                    "found root hash:    the same: the damage is below the top of the hash tree"
                )?;
            }
            Some(found) => writeln!(f, "found root hash:    {found}")?,
            None => writeln!(f, "found root hash:    the top of the hash tree cannot be read")?,
        }
        let status = match status.as_deref().map(|text| text.as_bytes().first()) {
            Some(Some(b'C')) => "C (corrupted)",
            Some(Some(b'V')) => "V (no block was wrong: the medium could not be read)",
            _ => "not known",
        };
        write!(f, "verity status:      {status}")?;
        if let Some(message) = kernel_message {
            write!(f, "\nkernel:             {message}")?;
        }
        Ok(())
    }
}

impl Expected {
    fn place(&self) -> String {
        format!("{} on {}", self.label, self.device.display())
    }

    fn verity(&self, on_corruption: OnCorruption) -> Verity {
        Verity {
            device: self.device.clone(),
            data_blocks: self.blocks,
            root_hash: self.root_hash.clone(),
            salt: self.salt.clone(),
            on_corruption,
        }
    }

    /// Opens dm-verity, proves that the top of the tree and the first block match, and mounts the squashfs at `target`.
    pub fn mount(&self, target: &Path) -> Result<(), RootError> {
        let partition = self.place();
        let open_failed = |source| RootError::Open {
            partition: self.place(),
            root_hash: self.root_hash.clone(),
            source,
        };
        let mapper = DeviceMapper::open().map_err(open_failed)?;
        let node = mapper
            .create_verity(VERITY_NAME, &self.verity(OnCorruption::Fail))
            .map_err(open_failed)?;

        // The first read goes through every level of the tree: a wrong root hash is found here.
        let mut block = vec![0; BLOCK_BYTES as usize];
        File::open(&node)
            .and_then(|file| file.read_exact_at(&mut block, 0))
            .map_err(|source| self.damage(&mapper, source))?;
        check_squashfs(&block, self.blocks).map_err(|problem| RootError::NoSquashfs {
            partition: self.place(),
            problem,
        })?;
        mount::mount(
            &node,
            target,
            "squashfs",
            MountFlags::RDONLY | MountFlags::NODEV,
            "",
        )
        .map_err(|error| {
            if mapper
                .status(VERITY_NAME)
                .is_ok_and(|status| status.starts_with('C'))
            {
                return self.damage(&mapper, error.source);
            }
            RootError::Use {
                partition: self.place(),
                source: error,
            }
        })?;
        let init = target.join(INIT.trim_start_matches('/'));
        // Its first bytes, not all of it: what is wrong further in restarts the box when it is read.
        File::open(&init)
            .and_then(|mut file| file.read_exact(&mut [0; 4]))
            .map_err(|source| {
                if mapper
                    .status(VERITY_NAME)
                    .is_ok_and(|status| status.starts_with('C'))
                {
                    return self.damage(&mapper, source);
                }
                RootError::Use {
                    partition,
                    source: os_io::Error {
                        action: format!("read {INIT}"),
                        source,
                    },
                }
            })
    }

    /// From now on a block that does not match restarts the box: a person cannot be told by a service that lost its
    /// program, and the try counter sees only boots. Blocks are read whole before a slot is marked good.
    pub fn restart_on_corruption(&self) -> Result<(), os_io::Error> {
        DeviceMapper::open()?.replace_verity(VERITY_NAME, &self.verity(OnCorruption::Restart))
    }

    fn damage(&self, mapper: &DeviceMapper, source: io::Error) -> RootError {
        let log = kernel_log();
        RootError::Damaged(Box::new(Damage {
            expected: self.clone(),
            found_hash: self.top_hash().ok(),
            status: mapper.status(VERITY_NAME).ok(),
            kernel_message: corruption_in_log(&log).map(str::to_owned),
            source,
        }))
    }

    /// Hash of the tree's top block as it is on the partition: SHA-256 of salt and block (format version 1).
    fn top_hash(&self) -> io::Result<String> {
        let mut block = vec![0; BLOCK_BYTES as usize];
        File::open(&self.device)?.read_exact_at(&mut block, self.blocks * BLOCK_BYTES)?;
        Ok(salted_hash(&self.salt, &block))
    }
}

fn salted_hash(salt: &str, block: &[u8]) -> String {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
            .unwrap_or(0)
    };
    let salt: Vec<u8> = salt
        .as_bytes()
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |v, b| v << 4 | digit(*b)))
        .collect();
    let hash = Sha256::new().chain_update(salt).chain_update(block).finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The superblock of a squashfs 4.0 (`fs/squashfs/squashfs_fs.h`) that fits into the verified blocks.
fn check_squashfs(block: &[u8], blocks: u64) -> Result<(), String> {
    let field = |at: usize, len: usize| {
        block.get(at..at + len).map(|bytes| {
            bytes
                .iter()
                .rev()
                .fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
        })
    };
    if field(0, 4) != Some(u64::from(u32::from_le_bytes(*b"hsqs"))) {
        return Err("no squashfs superblock".into());
    }
    if (field(28, 2), field(30, 2)) != (Some(4), Some(0)) {
        return Err("not version 4.0".into());
    }
    match field(40, 8) {
        Some(bytes) if bytes <= blocks.saturating_mul(BLOCK_BYTES) => Ok(()),
        bytes => Err(format!(
            "it has {} bytes, of which {blocks} blocks are verified",
            bytes.unwrap_or(0)
        )),
    }
}

/// What the kernel said so far. Empty if it cannot be read.
fn kernel_log() -> String {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let Ok(mut file) = File::options().read(true).custom_flags(flags).open("/dev/kmsg") else {
        return String::new();
    };
    let mut log = String::new();
    let mut record = [0; 8192];
    loop {
        match file.read(&mut record) {
            Ok(0) => return log,
            Ok(length) => log.push_str(&String::from_utf8_lossy(&record[..length])),
            // The ring turned meanwhile: the next read goes on with the oldest record there is.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(_) => return log,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock() -> Vec<u8> {
        let mut block = vec![0; BLOCK_BYTES as usize];
        block[..4].copy_from_slice(b"hsqs");
        block[28] = 4;
        block[40..48].copy_from_slice(&5000_u64.to_le_bytes());
        block
    }

    #[test]
    fn a_squashfs_must_fit_into_the_verified_blocks() {
        assert_eq!(check_squashfs(&superblock(), 2), Ok(()));
        assert!(check_squashfs(&superblock(), 1).is_err());
        assert!(check_squashfs(&superblock()[..20], 2).is_err());
        let mut other = superblock();
        other[0] = 0;
        assert!(check_squashfs(&other, 2).is_err());
    }

    #[test]
    fn the_top_of_the_tree_is_hashed_as_veritysetup_does() {
        // veritysetup format --no-superblock of one hash level: its root hash is that of the salted top block.
        let salted = Sha256::digest([&[0x00, 0xff][..], &[7; 4096][..]].concat());
        let text: String = salted.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(salted_hash("00ff", &[7; 4096]), text);
    }

    #[test]
    fn damage_names_partition_and_both_hashes() {
        let expected = Expected {
            label: "root-a".into(),
            device: "/dev/vda5".into(),
            blocks: 10,
            root_hash: "aa".repeat(32),
            salt: String::new(),
        };
        let damage = Damage {
            expected,
            found_hash: Some("bb".repeat(32)),
            status: Some("C".into()),
            kernel_message: Some("254:5: metadata block 10 is corrupted".into()),
            source: io::Error::from_raw_os_error(5),
        };
        let text = damage.to_string();
        for part in [
            "root-a on /dev/vda5",
            &"aa".repeat(32),
            &"bb".repeat(32),
            "C (corrupted)",
            "metadata block 10",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
