//! Block devices: size, partition table, reads that skip the page cache.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::ioctl::{self, Getter, NoArg, Setter, opcode};

use crate::{Error, failed};

/// `BLKGETSIZE64` (Linux `include/uapi/linux/fs.h`); declared with `size_t`, writes 64 bits.
const GET_SIZE: ioctl::Opcode = opcode::read::<usize>(0x12, 114);
/// `BLKRRPART`.
const REREAD_PARTITIONS: ioctl::Opcode = opcode::none(0x12, 95);
/// `BLKPG`.
const PARTITION: ioctl::Opcode = opcode::none(0x12, 105);
/// `BLKPG_RESIZE_PARTITION` (Linux `include/uapi/linux/blkpg.h`).
const RESIZE: i32 = 3;

/// `struct blkpg_partition`.
#[repr(C)]
struct BlkpgPartition {
    start_bytes: i64,
    len_bytes: i64,
    number: i32,
    unused_names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct BlkpgArgument {
    operation: i32,
    flags: i32,
    data_bytes: i32,
    data: *mut c_void,
}

/// Size of a block device in bytes.
pub fn size_bytes(device: impl AsFd) -> Result<u64, Error> {
    // SAFETY: the opcode takes a pointer to a `u64` and writes it.
    unsafe { ioctl::ioctl(device, Getter::<GET_SIZE, u64>::new()) }
        .map_err(failed("ask for the size of the disk"))
}

/// Makes the kernel read the partition table again. Refused with `EBUSY` while a partition is in use.
pub fn reread_partitions(disk: impl AsFd) -> Result<(), Error> {
    // SAFETY: the opcode takes no argument.
    unsafe { ioctl::ioctl(disk, NoArg::<REREAD_PARTITIONS>::new()) }
        .map_err(failed("make the kernel read the partition table again"))
}

/// Tells the kernel the new length of partition `number` (1-based), which may be mounted. `start_bytes` must be where
/// the partition starts already; the table on the disk is the caller's to write.
pub fn resize_partition(disk: impl AsFd, number: u32, start_bytes: u64, len_bytes: u64) -> Result<(), Error> {
    let action = || format!("tell the kernel that partition {number} has {len_bytes} bytes");
    let too_large = |_| failed(action())(io::Error::from(io::ErrorKind::InvalidInput));
    let mut partition = BlkpgPartition {
        start_bytes: start_bytes.try_into().map_err(too_large)?,
        len_bytes: len_bytes.try_into().map_err(too_large)?,
        number: number.try_into().map_err(too_large)?,
        unused_names: [0; 128],
    };
    let argument = BlkpgArgument {
        operation: RESIZE,
        flags: 0,
        data_bytes: i32::try_from(size_of::<BlkpgPartition>()).unwrap_or(0),
        data: (&raw mut partition).cast(),
    };
    // SAFETY: the opcode takes a pointer to `struct blkpg_ioctl_arg`, whose `data` points to a `struct blkpg_partition`
    // of `data_bytes` that lives until the call returns.
    unsafe { ioctl::ioctl(disk, Setter::<PARTITION, BlkpgArgument>::new(argument)) }.map_err(failed(action()))
}

/// What direct reads want of offset, length and address.
const ALIGNMENT: usize = 4096;

/// Reads `len` bytes at `offset` from the medium itself, not from the page cache; both must be multiples of 4096.
/// Where the device does not do direct reads, the page cache answers.
pub fn read_uncached(device: &Path, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
    let action = || format!("read {len} bytes at {offset} of {}", device.display());
    direct(device, |file| {
        let mut buffer = vec![0; len + ALIGNMENT];
        let skip = buffer.as_ptr().align_offset(ALIGNMENT);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut buffer[skip..skip + len])?;
        Ok(buffer[skip..skip + len].to_vec())
    })
    .map_err(failed(action()))
}

/// Reads a device from its beginning to its end, keeps nothing (neither here nor in the page cache), and returns the
/// number of bytes. On dm-verity this checks every block.
pub fn read_through(device: &Path) -> Result<u64, Error> {
    const CHUNK: usize = 1 << 20;
    direct(device, |file| {
        let mut buffer = vec![0; CHUNK + ALIGNMENT];
        let skip = buffer.as_ptr().align_offset(ALIGNMENT);
        let mut total = 0;
        loop {
            match file.read(&mut buffer[skip..skip + CHUNK])? {
                0 => return Ok(total),
                length => total += length as u64,
            }
        }
    })
    .map_err(failed(format!("read the whole of {}", device.display())))
}

/// Opens without the page cache, or with it where the device does not do that (it says so when it is opened or read).
fn direct<T>(device: &Path, mut read: impl FnMut(&mut File) -> io::Result<T>) -> io::Result<T> {
    let mut with = |flags: OFlags| {
        read(
            &mut File::options()
                .read(true)
                .custom_flags(flags.bits().cast_signed())
                .open(device)?,
        )
    };
    match with(OFlags::DIRECT) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => with(OFlags::empty()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_shape() {
        assert_eq!(size_of::<BlkpgPartition>(), 152);
        assert_eq!(size_of::<BlkpgArgument>(), 24);
        assert_eq!(
            (GET_SIZE, REREAD_PARTITIONS, PARTITION),
            (0x8008_1272, 0x125f, 0x1269)
        );
    }

    #[test]
    fn uncached_read_returns_what_is_on_the_medium() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..12288_u32).map(|i| (i / 7) as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        assert_eq!(read_uncached(file.path(), 4096, 8192).unwrap(), bytes[4096..]);
        assert!(read_uncached(file.path(), 8192, 8192).is_err(), "behind the end");
        assert_eq!(read_through(file.path()).unwrap(), 12288);
    }
}
