//! dm-verity through the kernel's device-mapper ioctls (Linux `include/uapi/linux/dm-ioctl.h`,
//! `Documentation/admin-guide/device-mapper/verity.rst`).

use std::fs::File;
use std::io;
use std::path::PathBuf;

use rustix::ioctl::{self, Updater, opcode};

use crate::{Error, failed};

/// Bytes of a data block and of a hash block.
pub const BLOCK_BYTES: u64 = 4096;
const SECTORS_PER_BLOCK: u64 = BLOCK_BYTES / 512;

/// What the kernel does when a block does not match its hash. In no case does a reader get the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCorruption {
    /// The reader gets an I/O error and the status says `C`: for early-boot, which can tell a person about it.
    Fail,
    /// The kernel names the block on the console and restarts: for the running system, where an I/O error would leave
    /// half a service behind that no try counter sees.
    Restart,
}

/// A verity device: squashfs and hash tree on one partition, without a superblock; the tree follows the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// The partition.
    pub device: PathBuf,
    /// Number of data blocks of [`BLOCK_BYTES`].
    pub data_blocks: u64,
    /// SHA-256 of the top of the tree, 64 hexadecimal digits.
    pub root_hash: String,
    /// Salt, hexadecimal; empty for none.
    pub salt: String,
    /// What happens when a block is wrong.
    pub on_corruption: OnCorruption,
}

impl Verity {
    /// The target's parameters.
    pub fn parameters(&self) -> String {
        let Self {
            device,
            data_blocks,
            root_hash,
            salt,
            on_corruption,
        } = self;
        let device = device.display();
        let salt = if salt.is_empty() { "-" } else { salt };
        let options = match on_corruption {
            OnCorruption::Fail => "",
            OnCorruption::Restart => " 1 restart_on_corruption",
        };
        format!(
            "1 {device} {device} 4096 4096 {data_blocks} {data_blocks} sha256 {root_hash} {salt}{options}"
        )
    }
}

const NAME_BYTES: usize = 128;
const UUID_BYTES: usize = 129;
/// Room for one target and its parameters or status.
const ROOM_BYTES: usize = 2048;
const SPEC_BYTES: usize = 40;

const READ_ONLY: u32 = 1 << 0;
const SUSPEND: u32 = 1 << 1;

/// `struct dm_ioctl` with room behind it.
#[repr(C, align(8))]
struct Request {
    version: [u32; 3],
    data_bytes: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_number: u32,
    padding: u32,
    device: u64,
    name: [u8; NAME_BYTES],
    uuid: [u8; UUID_BYTES],
    unused: [u8; 7],
    room: [u8; ROOM_BYTES],
}

/// `struct dm_ioctl` alone: its size is part of the opcodes.
const HEADER_BYTES: usize = size_of::<Request>() - ROOM_BYTES;

const fn command(number: u8) -> ioctl::Opcode {
    opcode::from_components(ioctl::Direction::ReadWrite, 0xfd, number, HEADER_BYTES)
}
const CREATE: ioctl::Opcode = command(3);
const REMOVE: ioctl::Opcode = command(4);
const RESUME: ioctl::Opcode = command(6);
const TABLE_LOAD: ioctl::Opcode = command(9);
const TABLE_STATUS: ioctl::Opcode = command(12);

impl Request {
    fn new(name: &str) -> io::Result<Self> {
        let mut request = Self {
            version: [4, 0, 0],
            data_bytes: size_of::<Self>() as u32,
            data_start: HEADER_BYTES as u32,
            target_count: 0,
            open_count: 0,
            flags: READ_ONLY,
            event_number: 0,
            padding: 0,
            device: 0,
            name: [0; NAME_BYTES],
            uuid: [0; UUID_BYTES],
            unused: [0; 7],
            room: [0; ROOM_BYTES],
        };
        if name.is_empty() || name.len() >= NAME_BYTES || name.contains(['\0', '/']) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(request)
    }

    /// Puts one `struct dm_target_spec` and its parameters into the room.
    fn with_target(mut self, sectors: u64, kind: &str, parameters: &str) -> io::Result<Self> {
        let end = SPEC_BYTES + parameters.len() + 1;
        if end > ROOM_BYTES || kind.len() >= 16 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.target_count = 1;
        self.room[8..16].copy_from_slice(&sectors.to_ne_bytes());
        self.room[20..24].copy_from_slice(&(end.next_multiple_of(8) as u32).to_ne_bytes());
        self.room[24..24 + kind.len()].copy_from_slice(kind.as_bytes());
        self.room[SPEC_BYTES..end - 1].copy_from_slice(parameters.as_bytes());
        Ok(self)
    }
}

/// The door to device-mapper.
#[derive(Debug)]
pub struct DeviceMapper {
    control: File,
}

impl DeviceMapper {
    /// Opens the control device; it is there once `dm-mod` is loaded.
    pub fn open() -> Result<Self, Error> {
        let path = "/dev/mapper/control";
        let control = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed(format!("open {path}")))?;
        Ok(Self { control })
    }

    /// Makes a read-only verity device and returns its node, `/dev/dm-N`.
    pub fn create_verity(&self, name: &str, verity: &Verity) -> Result<PathBuf, Error> {
        let make = || -> io::Result<PathBuf> {
            let mut request = Request::new(name)?;
            self.call::<CREATE>(&mut request)?;
            let minor = rustix::fs::minor(request.device);
            let load = || -> io::Result<()> {
                self.load(name, verity)?;
                self.call::<RESUME>(&mut Request::new(name)?)
            };
            if let Err(error) = load() {
                // A name without a table would be in the way of a second attempt.
                if let Ok(mut request) = Request::new(name) {
                    let _ = self.call::<REMOVE>(&mut request);
                }
                return Err(error);
            }
            Ok(PathBuf::from(format!("/dev/dm-{minor}")))
        };
        make().map_err(failed(format!(
            "open dm-verity {name} on {}",
            verity.device.display()
        )))
    }

    /// Exchanges the table of a device that is in use; readers wait meanwhile.
    pub fn replace_verity(&self, name: &str, verity: &Verity) -> Result<(), Error> {
        let exchange = || -> io::Result<()> {
            self.load(name, verity)?;
            let mut suspend = Request::new(name)?;
            suspend.flags |= SUSPEND;
            self.call::<RESUME>(&mut suspend)?;
            self.call::<RESUME>(&mut Request::new(name)?)
        };
        exchange().map_err(failed(format!("exchange the table of dm-verity {name}")))
    }

    /// Status of the only target: for verity `V`, or `C` once a block was wrong.
    pub fn status(&self, name: &str) -> Result<String, Error> {
        let ask = || -> io::Result<String> {
            let mut request = Request::new(name)?;
            self.call::<TABLE_STATUS>(&mut request)?;
            let start = (request.data_start as usize).saturating_sub(HEADER_BYTES) + SPEC_BYTES;
            let text = request.room.get(start..).unwrap_or_default();
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            Ok(String::from_utf8_lossy(text).into_owned())
        };
        ask().map_err(failed(format!("ask for the status of {name}")))
    }

    fn load(&self, name: &str, verity: &Verity) -> io::Result<()> {
        let sectors = verity
            .data_blocks
            .checked_mul(SECTORS_PER_BLOCK)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut request = Request::new(name)?.with_target(sectors, "verity", &verity.parameters())?;
        self.call::<TABLE_LOAD>(&mut request)
    }

    fn call<const OPCODE: ioctl::Opcode>(&self, request: &mut Request) -> io::Result<()> {
        // SAFETY: every device-mapper opcode takes a pointer to `struct dm_ioctl`, reads and writes at most the
        // `data_bytes` that it states, which is the size of `Request`.
        Ok(unsafe { ioctl::ioctl(&self.control, Updater::<OPCODE, Request>::new(request)) }?)
    }
}

/// The kernel's message about the first block of `device_numbers` (`254:0`) that did not match, from the kernel log.
///
/// `drivers/md/dm-verity-target.c`: `device-mapper: verity: 254:5: data block 12 is corrupted`.
pub fn corruption_in_log(log: &str) -> Option<&str> {
    log.lines()
        .find(|line| line.contains("verity") && line.contains("is corrupted"))
        .and_then(|line| line.split_once("verity: ").map(|(_, message)| message.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verity(on_corruption: OnCorruption) -> Verity {
        Verity {
            device: "/dev/vda5".into(),
            data_blocks: 7,
            root_hash: "ab".repeat(32),
            salt: "cd".into(),
            on_corruption,
        }
    }

    #[test]
    fn the_tree_starts_behind_the_data_and_corruption_is_never_ignored() {
        let hash = "ab".repeat(32);
        assert_eq!(
            verity(OnCorruption::Fail).parameters(),
            format!("1 /dev/vda5 /dev/vda5 4096 4096 7 7 sha256 {hash} cd")
        );
        assert!(
            verity(OnCorruption::Restart)
                .parameters()
                .ends_with(" cd 1 restart_on_corruption")
        );
        let unsalted = Verity {
            salt: String::new(),
            ..verity(OnCorruption::Fail)
        };
        assert!(unsalted.parameters().ends_with(&format!("{hash} -")));
    }

    #[test]
    fn the_request_has_the_kernels_shape() {
        assert_eq!(HEADER_BYTES, 312);
        assert_eq!(CREATE, 0xc138_fd03);
        let request = Request::new("x")
            .unwrap()
            .with_target(56, "verity", "abc")
            .unwrap();
        assert_eq!(request.room[8], 56);
        assert_eq!(&request.room[24..30], b"verity");
        assert_eq!(&request.room[40..44], b"abc\0");
        assert_eq!(request.room[20], 48, "the next target is aligned to 8");
    }

    #[test]
    fn names_and_tables_that_do_not_fit_are_refused() {
        assert!(Request::new("").is_err());
        assert!(Request::new(&"n".repeat(128)).is_err());
        assert!(Request::new("a/b").is_err());
        assert!(
            Request::new("x")
                .unwrap()
                .with_target(1, "verity", &"p".repeat(ROOM_BYTES))
                .is_err()
        );
    }

    #[test]
    fn the_corrupted_block_is_found_in_the_kernel_log() {
        let log = "4,1,1;hello\n3,2,2,-;device-mapper: verity: 254:5: data block 12 is corrupted\n";
        assert_eq!(corruption_in_log(log), Some("254:5: data block 12 is corrupted"));
        assert_eq!(corruption_in_log("all is well"), None);
    }
}
