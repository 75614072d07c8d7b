//! A slot's payload: read, checked, unpacked.

use crate::disk::{Aligned, Disk, DiskError, OutOfMemory};
use crate::gzip::{GzipError, unpack};
use crate::run::Key;
use alloc::string::String;
use boot_payload::{
    Compression, HEADER_LEN, Header, HeaderError, Part, PartError, PartHash, PartKind, SignatureError,
};
use disk_layout::{Partition, SECTOR};
use thiserror::Error;

/// Longest command line that Linux takes (`COMMAND_LINE_SIZE` of arm64 and x86 is 2048 with its NUL).
/// It would cut a longer one, and our words stand at the end.
pub const MAX_WHOLE_COMMAND_LINE: usize = 2047;

/// Bytes read and hashed at a time: still in the cache when they are hashed, and small for any firmware.
const CHUNK: usize = 1 << 20;

/// Why a payload was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KernelError {
    /// The table has no partition of that name.
    #[error("there is no such partition")]
    NoPartition,
    /// Reading failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// This program was built without a key.
    #[error("this boot manager was built without a public key and accepts nothing")]
    NoKey,
    /// The bytes of a part.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The kernel cannot be unpacked.
    #[error("kernel: {0}")]
    Gzip(GzipError),
    /// No memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// With our words the command line would be cut.
    #[error("command line: {0} bytes are too many")]
    CommandLine(usize),
}

/// Everything that is needed to start a kernel.
#[derive(Debug)]
pub struct Kernel {
    /// The kernel, an EFI application.
    pub image: Aligned,
    /// The initramfs.
    pub initramfs: Aligned,
    /// The whole command line.
    pub command_line: String,
}

/// The header of a slot, read and verified.
pub(crate) fn read_header(
    disk: &mut impl Disk,
    partition: &Partition,
    key: &Key,
) -> Result<Header, KernelError> {
    let mut page = Aligned::zeroed(HEADER_LEN)?;
    if partition.byte_len() < HEADER_LEN as u64 {
        return Err(KernelError::NoPartition);
    }
    disk.read(partition.first_lba, page.as_mut_slice())?;
    let mut bytes = [0; HEADER_LEN];
    bytes.copy_from_slice(page.as_slice());
    let header = Header::parse(&bytes, partition.byte_len())?;
    header.verify(key.verifying_key().ok_or(KernelError::NoKey)?)?;
    Ok(header)
}

/// The parts of a verified slot; `ours` follows the payload's command line.
pub(crate) fn read_kernel(
    disk: &mut impl Disk,
    partition: &Partition,
    header: &Header,
    ours: &str,
) -> Result<Kernel, KernelError> {
    let stored = read_part(disk, partition, header.part(PartKind::CommandLine))?;
    let text = header.check_command_line(stored.as_slice())?;
    let mut command_line = String::from(text);
    command_line.push(' ');
    command_line.push_str(ours);
    if command_line.len() > MAX_WHOLE_COMMAND_LINE {
        return Err(KernelError::CommandLine(command_line.len()));
    }
    let initramfs = read_part(disk, partition, header.part(PartKind::Initramfs))?;
    let part = header.part(PartKind::Kernel);
    let stored = read_part(disk, partition, part)?;
    let image = match part.compression() {
        Compression::None => stored,
        // The parser limits it to 128 MiB.
        Compression::Gzip => {
            unpack(stored.as_slice(), part.unpacked_len() as usize).map_err(KernelError::Gzip)?
        }
    };
    Ok(Kernel {
        image,
        initramfs,
        command_line,
    })
}

/// The bytes of one part, checked.
fn read_part(disk: &mut impl Disk, partition: &Partition, part: &Part) -> Result<Aligned, KernelError> {
    // The parser limits it to 64 MiB.
    let len = part.stored_len() as usize;
    let mut buffer = Aligned::zeroed(len.next_multiple_of(SECTOR))?;
    let mut hash = PartHash::new(part);
    let mut lba = partition.first_lba + part.offset() / SECTOR as u64;
    let mut left = len;
    for chunk in buffer.as_mut_slice().chunks_mut(CHUNK) {
        disk.read(lba, chunk)?;
        let used = left.min(chunk.len());
        hash.update(&chunk[..used]);
        left -= used;
        lba += (chunk.len() / SECTOR) as u64;
    }
    hash.finish()?;
    buffer.truncate(len);
    Ok(buffer)
}
