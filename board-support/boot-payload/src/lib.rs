//! The raw content of a boot slot (`boot-a`, `boot-b`): one header of 4096 bytes at byte 0, then kernel,
//! initramfs and command line, each beginning at a multiple of 4096.
//!
//! All numbers are little-endian. Bytes between the parts and behind the last one are not covered and not read.
//!
//! | byte | size | what |
//! |---|---|---|
//! | 0 | 8 | magic `HRTHBOOT` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | flags; bit 0: signed with development keys |
//! | 16 | 32 | compatible: the board this payload is for, NUL-padded |
//! | 48 | 64 | image version, NUL-padded |
//! | 112 | 4 | number of parts, 3 |
//! | 116 | 4 | zero |
//! | 120 | 3 x 64 | parts: kernel, initramfs, command line |
//! | 312 | 8 | key id: the first bytes of the SHA-256 of the public key (SEC1, uncompressed) |
//! | 320 | 64 | signature: P-256 ECDSA with SHA-256 over bytes 0 to 319, r then s, s in its lower half |
//! | 384 | 3712 | zero |
//!
//! One part:
//!
//! | byte | size | what |
//! |---|---|---|
//! | 0 | 4 | kind: 1 kernel, 2 initramfs, 3 command line |
//! | 4 | 4 | compression: 0 none, 1 gzip (kernel only) |
//! | 8 | 8 | offset in the partition, a multiple of 4096 |
//! | 16 | 8 | stored length |
//! | 24 | 8 | unpacked length |
//! | 32 | 32 | SHA-256 of the stored bytes |

#![no_std]

mod check;
mod header;
mod text;
#[cfg(feature = "write")]
mod write;

pub use check::{PartError, PartHash};
pub use header::{
    COMPATIBLE_LEN, Compression, HEADER_LEN, Header, HeaderError, MAX_COMMAND_LINE, MAX_STORED, MAX_UNPACKED,
    PART_ALIGN, Part, PartKind, SignatureError, VERSION_LEN, key_id,
};
pub use p256::ecdsa::{SigningKey, VerifyingKey};
pub use text::{Text, TextError};
#[cfg(feature = "write")]
pub use write::{Payload, WriteError};
