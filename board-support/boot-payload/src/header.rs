//! The header: strict parser, signature.

use crate::text::{Text, TextError};
use core::fmt;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Bytes of the header.
pub const HEADER_LEN: usize = 4096;
/// Parts begin at multiples of this many bytes, so that they can be read by blocks into aligned pages.
pub const PART_ALIGN: u64 = 4096;
/// Bytes of the compatible field.
pub const COMPATIBLE_LEN: usize = 32;
/// Bytes of the version field.
pub const VERSION_LEN: usize = 64;
/// Most bytes of the stored kernel, and of the initramfs.
pub const MAX_STORED: u64 = 64 << 20;
/// Most bytes of the unpacked kernel.
pub const MAX_UNPACKED: u64 = 128 << 20;
/// Most bytes of the command line. Arm64 and x86 kernels take 2047; the boot manager's own words come on top.
pub const MAX_COMMAND_LINE: u64 = 2048;

const MAGIC: [u8; 8] = *b"HRTHBOOT";
const FORMAT: u32 = 1;
const FLAG_DEVELOPMENT_KEYS: u32 = 1;
const PARTS: usize = 3;
const AT_FORMAT: usize = 8;
const AT_FLAGS: usize = 12;
const AT_COMPATIBLE: usize = 16;
const AT_VERSION: usize = 48;
const AT_COUNT: usize = 112;
const AT_PARTS: usize = 120;
const PART_LEN: usize = 64;
const AT_KEY_ID: usize = AT_PARTS + PARTS * PART_LEN;
const AT_SIGNATURE: usize = AT_KEY_ID + 8;
const AT_END: usize = AT_SIGNATURE + 64;

/// Why a header was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Not a boot payload at all; perhaps an empty slot.
    #[error("no boot payload here (wrong magic number)")]
    Magic,
    /// Written by a newer image builder.
    #[error("format version {0} is not known here")]
    Format(u32),
    /// Flags that are not known here.
    #[error("unknown flags {0:#x}")]
    Flags(u32),
    /// The compatible field.
    #[error("compatible {0}")]
    Compatible(TextError),
    /// The version field.
    #[error("version {0}")]
    Version(TextError),
    /// Not the three parts in their order.
    #[error("part {0} is not the one expected there")]
    Parts(u32),
    /// Compression that is not known, or not allowed for this part.
    #[error("{kind}: compression {value} is not allowed")]
    Compression {
        /// Which part.
        kind: PartKind,
        /// The number in the header.
        value: u32,
    },
    /// A length of zero or above its limit, or one that contradicts the compression.
    #[error("{kind}: length {value} is not allowed")]
    Length {
        /// Which part.
        kind: PartKind,
        /// Bytes.
        value: u64,
    },
    /// Not a multiple of 4096, within the header or the part before, or beyond the partition.
    #[error("{kind}: offset {value} is misaligned, overlaps, or lies outside the partition")]
    Offset {
        /// Which part.
        kind: PartKind,
        /// Bytes from the beginning of the partition.
        value: u64,
    },
    /// A byte that must be zero is not.
    #[error("reserved byte {0} is not zero")]
    Reserved(usize),
}

/// Why a signature was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// Signed with a key that is not ours.
    #[error("signed with another key")]
    OtherKey,
    /// Not a signature of this header by this key.
    #[error("signature is wrong")]
    Wrong,
}

/// The parts of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// The kernel: an EFI application once unpacked.
    Kernel,
    /// The initramfs, a cpio archive (compressed or not: the kernel's business).
    Initramfs,
    /// The kernel's command line, UTF-8 without a final NUL.
    CommandLine,
}

impl PartKind {
    /// All kinds in their order.
    pub const ALL: [Self; PARTS] = [Self::Kernel, Self::Initramfs, Self::CommandLine];

    fn number(self) -> u32 {
        match self {
            Self::Kernel => 1,
            Self::Initramfs => 2,
            Self::CommandLine => 3,
        }
    }

    fn max_stored(self) -> u64 {
        match self {
            Self::Kernel | Self::Initramfs => MAX_STORED,
            Self::CommandLine => MAX_COMMAND_LINE,
        }
    }
}

impl fmt::Display for PartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Initramfs => "initramfs",
            Self::CommandLine => "command line",
        })
    }
}

/// How a part is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// One gzip member (RFC 1952).
    Gzip,
}

/// Where one part lies, and what it must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub(crate) kind: PartKind,
    pub(crate) compression: Compression,
    pub(crate) offset: u64,
    pub(crate) stored_len: u64,
    pub(crate) unpacked_len: u64,
    pub(crate) sha256: [u8; 32],
}

impl Part {
    /// Which part.
    pub fn kind(&self) -> PartKind {
        self.kind
    }
    /// How it is stored.
    pub fn compression(&self) -> Compression {
        self.compression
    }
    /// Bytes from the beginning of the partition; a multiple of [`PART_ALIGN`].
    pub fn offset(&self) -> u64 {
        self.offset
    }
    /// Bytes in the partition.
    pub fn stored_len(&self) -> u64 {
        self.stored_len
    }
    /// Bytes once unpacked.
    pub fn unpacked_len(&self) -> u64 {
        self.unpacked_len
    }
    /// SHA-256 of the stored bytes.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    fn parse(
        kind: PartKind,
        index: u32,
        bytes: &[u8; PART_LEN],
        free_from: u64,
        end: u64,
    ) -> Result<Self, HeaderError> {
        if u32_at(bytes, 0) != kind.number() {
            return Err(HeaderError::Parts(index));
        }
        let compression = match (u32_at(bytes, 4), kind) {
            (0, _) => Compression::None,
            (1, PartKind::Kernel) => Compression::Gzip,
            (value, _) => return Err(HeaderError::Compression { kind, value }),
        };
        let (offset, stored_len, unpacked_len) = (u64_at(bytes, 8), u64_at(bytes, 16), u64_at(bytes, 24));
        if stored_len == 0 || stored_len > kind.max_stored() {
            return Err(HeaderError::Length {
                kind,
                value: stored_len,
            });
        }
        let unpacked_ok = match compression {
            Compression::None => unpacked_len == stored_len,
            Compression::Gzip => (1..=MAX_UNPACKED).contains(&unpacked_len),
        };
        if !unpacked_ok {
            return Err(HeaderError::Length {
                kind,
                value: unpacked_len,
            });
        }
        let inside = offset.checked_add(stored_len).is_some_and(|last| last <= end);
        if !offset.is_multiple_of(PART_ALIGN) || offset < free_from || !inside {
            return Err(HeaderError::Offset { kind, value: offset });
        }
        Ok(Self {
            kind,
            compression,
            offset,
            stored_len,
            unpacked_len,
            sha256: array_at(bytes, 32),
        })
    }

    fn encode(&self, bytes: &mut [u8]) {
        put(bytes, 0, &self.kind.number().to_le_bytes());
        put(
            bytes,
            4,
            &u32::from(self.compression == Compression::Gzip).to_le_bytes(),
        );
        put(bytes, 8, &self.offset.to_le_bytes());
        put(bytes, 16, &self.stored_len.to_le_bytes());
        put(bytes, 24, &self.unpacked_len.to_le_bytes());
        put(bytes, 32, &self.sha256);
    }
}

/// A header whose every field is within its limits. **Not yet trusted**: see [`Header::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub(crate) development_keys: bool,
    pub(crate) compatible: Text<COMPATIBLE_LEN>,
    pub(crate) version: Text<VERSION_LEN>,
    pub(crate) parts: [Part; PARTS],
    pub(crate) key_id: [u8; 8],
    pub(crate) signature: [u8; 64],
}

impl Header {
    /// Reads a header of a partition of `partition_len` bytes.
    pub fn parse(bytes: &[u8; HEADER_LEN], partition_len: u64) -> Result<Self, HeaderError> {
        if bytes[..8] != MAGIC {
            return Err(HeaderError::Magic);
        }
        let format = u32_at(bytes, AT_FORMAT);
        if format != FORMAT {
            return Err(HeaderError::Format(format));
        }
        let flags = u32_at(bytes, AT_FLAGS);
        if flags & !FLAG_DEVELOPMENT_KEYS != 0 {
            return Err(HeaderError::Flags(flags));
        }
        let count = u32_at(bytes, AT_COUNT);
        if count as usize != PARTS {
            return Err(HeaderError::Parts(count));
        }
        let reserved = (AT_COUNT + 4..AT_PARTS)
            .chain(AT_END..HEADER_LEN)
            .find(|at| bytes[*at] != 0);
        if let Some(at) = reserved {
            return Err(HeaderError::Reserved(at));
        }
        let compatible = Text::parse(&array_at(bytes, AT_COMPATIBLE)).map_err(HeaderError::Compatible)?;
        let version = Text::parse(&array_at(bytes, AT_VERSION)).map_err(HeaderError::Version)?;
        let part = |index: u32, free_from| {
            let at = AT_PARTS + index as usize * PART_LEN;
            Part::parse(
                PartKind::ALL[index as usize],
                index,
                &array_at(bytes, at),
                free_from,
                partition_len,
            )
        };
        // Each part begins behind the one before: no overlap, and one way to say the same thing.
        let kernel = part(0, HEADER_LEN as u64)?;
        let initramfs = part(1, kernel.offset + kernel.stored_len)?;
        let command_line = part(2, initramfs.offset + initramfs.stored_len)?;
        Ok(Self {
            development_keys: flags & FLAG_DEVELOPMENT_KEYS != 0,
            compatible,
            version,
            parts: [kernel, initramfs, command_line],
            key_id: array_at(bytes, AT_KEY_ID),
            signature: array_at(bytes, AT_SIGNATURE),
        })
    }

    /// The bytes of this header; [`Header::parse`] of them gives it back.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, AT_FORMAT, &FORMAT.to_le_bytes());
        put(
            &mut bytes,
            AT_FLAGS,
            &u32::from(self.development_keys).to_le_bytes(),
        );
        put(&mut bytes, AT_COMPATIBLE, self.compatible.bytes());
        put(&mut bytes, AT_VERSION, self.version.bytes());
        put(&mut bytes, AT_COUNT, &(PARTS as u32).to_le_bytes());
        for (index, part) in self.parts.iter().enumerate() {
            part.encode(&mut bytes[AT_PARTS + index * PART_LEN..]);
        }
        put(&mut bytes, AT_KEY_ID, &self.key_id);
        put(&mut bytes, AT_SIGNATURE, &self.signature);
        bytes
    }

    /// SHA-256 of the signed bytes: everything before the signature.
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.encode()[..AT_SIGNATURE]).into()
    }

    /// Is this header signed by the owner of `key`?
    ///
    /// A signature with s in its upper half is refused: it could be made from ours by anyone (malleability), and
    /// a payload shall have one signature only.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), SignatureError> {
        if self.key_id != key_id(key) {
            return Err(SignatureError::OtherKey);
        }
        let signature = Signature::from_slice(&self.signature).map_err(|_| SignatureError::Wrong)?;
        if signature.normalize_s() != signature {
            return Err(SignatureError::Wrong);
        }
        key.verify_prehash(&self.digest(), &signature)
            .map_err(|_| SignatureError::Wrong)
    }

    /// Signed with keys that anyone can make: not for a released image.
    pub fn development_keys(&self) -> bool {
        self.development_keys
    }
    /// The board that this payload is for.
    pub fn compatible(&self) -> &str {
        self.compatible.as_str()
    }
    /// Image version, for people.
    pub fn version(&self) -> &str {
        self.version.as_str()
    }
    /// Key id of the signer; says which key to try, proves nothing.
    pub fn key_id(&self) -> [u8; 8] {
        self.key_id
    }
    /// One part.
    pub fn part(&self, kind: PartKind) -> &Part {
        &self.parts[kind.number() as usize - 1]
    }
}

/// The first 8 bytes of the SHA-256 of the public key (SEC1, uncompressed, 65 bytes).
pub fn key_id(key: &VerifyingKey) -> [u8; 8] {
    let hash: [u8; 32] = Sha256::digest(key.to_sec1_point(false).as_bytes()).into();
    array_at(&hash, 0)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}
