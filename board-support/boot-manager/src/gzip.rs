//! One gzip member (RFC 1952) into memory of known size.

use crate::disk::{Aligned, OutOfMemory};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use thiserror::Error;

/// Why a member was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GzipError {
    /// Not a gzip member, or one that ends in its header.
    #[error("not gzip")]
    Header,
    /// The compressed data is wrong, or does not have the length that was said.
    #[error("compressed data is wrong or of another length")]
    Data,
    /// No memory for the result.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

const CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const TRAILER: usize = 8;

/// Unpacks to exactly `unpacked_len` bytes.
///
/// The checksum in the trailer is not looked at: the stored bytes were checked by their SHA-256, and hashing
/// 50 MB once more would cost time at every boot.
pub fn unpack(gzip: &[u8], unpacked_len: usize) -> Result<Aligned, GzipError> {
    let body = deflate_stream(gzip).ok_or(GzipError::Header)?;
    let mut unpacked = Aligned::zeroed(unpacked_len)?;
    // Not boxed by hand: its constructor for the heap exists only with std. 11 kB of stack are there.
    let mut inflater = DecompressorOxide::new();
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, used, written) = decompress(&mut inflater, body, unpacked.as_mut_slice(), 0, flags);
    if status != TINFLStatus::Done || written != unpacked_len || body.len() - used != TRAILER {
        return Err(GzipError::Data);
    }
    Ok(unpacked)
}

/// What follows the header.
fn deflate_stream(gzip: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = gzip.split_first_chunk::<10>()?;
    let flags = header[3];
    if header[..3] != [0x1f, 0x8b, 8] || flags & 0xe0 != 0 {
        return None;
    }
    if flags & EXTRA != 0 {
        let (len, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & CRC != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}
