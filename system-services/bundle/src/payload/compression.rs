//! Unpacking one block.

use std::io;

use super::PayloadError;

/// How blocks are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// zlib streams; mksquashfs's default.
    Gzip,
    /// Zstandard frames.
    Zstd,
}

impl Compression {
    /// From the number in the superblock.
    pub(super) fn new(id: u16) -> Result<Self, PayloadError> {
        match id {
            1 => Ok(Self::Gzip),
            6 => Ok(Self::Zstd),
            2 => Err(PayloadError::Compression { name: "lzma" }),
            3 => Err(PayloadError::Compression { name: "lzo" }),
            4 => Err(PayloadError::Compression { name: "xz" }),
            5 => Err(PayloadError::Compression { name: "lz4" }),
            _ => Err(PayloadError::Compression {
                name: "an unknown method",
            }),
        }
    }

    /// Unpacks into `out`, which is as long as the result may be at most; gives the length.
    pub(super) fn unpack(self, packed: &[u8], out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip => {
                let mut inflate = flate2::Decompress::new(true);
                match inflate.decompress(packed, out, flate2::FlushDecompress::Finish) {
                    Ok(flate2::Status::StreamEnd) => Ok(inflate.total_out() as usize),
                    Ok(_) => Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a packed block does not end where it should",
                    )),
                    Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                }
            }
            Self::Zstd => zstd::bulk::Decompressor::new()?
                .decompress_to_buffer(packed, out)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}
