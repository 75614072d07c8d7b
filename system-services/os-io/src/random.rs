//! Random bytes, and entropy for the kernel's pool.

use std::fs::File;

use rustix::ioctl::{self, Setter, opcode};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::{Error, failed};

/// Longest seed that is credited.
pub const MAX_SEED_BYTES: usize = 512;

/// Fills `buffer` with random bytes. Waits until the kernel's pool is seeded.
pub fn fill(buffer: &mut [u8]) -> Result<(), Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        filled +=
            getrandom(&mut buffer[filled..], GetRandomFlags::empty()).map_err(failed("get random bytes"))?;
    }
    Ok(())
}

/// True once the kernel's pool is seeded.
pub fn is_seeded() -> bool {
    getrandom(&mut [0_u8; 1], GetRandomFlags::NONBLOCK).is_ok()
}

/// `struct rand_pool_info` with its buffer (Linux `include/uapi/linux/random.h`).
#[repr(C)]
struct PoolInfo {
    entropy_bits: i32,
    buffer_bytes: i32,
    buffer: [u8; MAX_SEED_BYTES],
}

/// `RNDADDENTROPY` is declared with `int[2]`, not with the whole structure.
const ADD_ENTROPY: ioctl::Opcode = opcode::write::<[i32; 2]>(b'R', 3);

/// Mixes `seed` (the first [`MAX_SEED_BYTES`] of it) into the kernel's pool and credits all its bits.
///
/// Credit only a secret seed that was never used before: the caller replaces the file first, so that a power cut can
/// not bring the same seed twice.
pub fn credit(seed: &[u8]) -> Result<(), Error> {
    let seed = &seed[..seed.len().min(MAX_SEED_BYTES)];
    let mut buffer = [0; MAX_SEED_BYTES];
    buffer[..seed.len()].copy_from_slice(seed);
    // At most 512 bytes: both fit.
    let bytes = i32::try_from(seed.len()).unwrap_or(0);
    let info = PoolInfo {
        entropy_bits: bytes * 8,
        buffer_bytes: bytes,
        buffer,
    };
    let device = File::options()
        .write(true)
        .open("/dev/urandom")
        .map_err(failed("open /dev/urandom"))?;
    // SAFETY: the opcode takes a pointer to `struct rand_pool_info`, reads `buffer_bytes` of its buffer, writes nothing.
    unsafe { ioctl::ioctl(device, Setter::<ADD_ENTROPY, PoolInfo>::new(info)) }
        .map_err(failed("credit the seed to the kernel's entropy pool"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_fill_the_whole_buffer() {
        let mut buffer = [0_u8; 300];
        fill(&mut buffer).unwrap();
        assert!(buffer[256..].iter().any(|b| *b != 0));
    }
}
