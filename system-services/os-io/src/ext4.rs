//! Growing a mounted ext4.

use std::os::fd::AsFd;

use rustix::ioctl::{self, Setter, opcode};

use crate::{Error, failed};

/// `EXT4_IOC_RESIZE_FS` (Linux `fs/ext4/ext4.h`).
const RESIZE_FS: ioctl::Opcode = opcode::write::<u64>(b'f', 16);

/// Grows the mounted file system that `mountpoint` belongs to, to `blocks` of its own block size.
///
/// The kernel journals it: cut short, the file system has the old size or a size in between, and the call can be repeated.
pub fn resize(mountpoint: impl AsFd, blocks: u64) -> Result<(), Error> {
    // SAFETY: the opcode takes a pointer to one `__u64` that the kernel only reads.
    unsafe { ioctl::ioctl(mountpoint, Setter::<RESIZE_FS, u64>::new(blocks)) }
        .map_err(failed(format!("grow ext4 to {blocks} blocks")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_that_is_not_ext4_is_refused() {
        assert_eq!(RESIZE_FS, 0x4008_6610);
        assert!(resize(std::fs::File::open("/proc").unwrap(), 1).is_err());
    }
}
