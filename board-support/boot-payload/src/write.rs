//! The writing side: the whole content of a boot slot from its parts.

extern crate std;

use crate::check::command_line;
use crate::header::{HEADER_LEN, Header, HeaderError, PART_ALIGN, Part, PartKind, key_id};
use crate::{Compression, Text, TextError};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256};
use std::vec::Vec;
use thiserror::Error;

/// Why a payload cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The compatible string.
    #[error("compatible {0}")]
    Compatible(TextError),
    /// The version string.
    #[error("version {0}")]
    Version(TextError),
    /// The command line is not one line of at most 2048 bytes.
    #[error("the command line is too long or has a control character")]
    CommandLine,
    /// Empty or too big.
    #[error(transparent)]
    Header(HeaderError),
    /// The key cannot sign.
    #[error("signing failed")]
    Signing,
}

/// What goes into a boot slot.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    /// The board it is for.
    pub compatible: &'a str,
    /// Image version, for people.
    pub version: &'a str,
    /// The kernel (an EFI application), gzip.
    pub kernel_gzip: &'a [u8],
    /// Bytes of the unpacked kernel.
    pub kernel_unpacked_len: u64,
    /// The initramfs as the kernel reads it.
    pub initramfs: &'a [u8],
    /// The kernel's command line.
    pub command_line: &'a str,
    /// The signing key is one that anyone can make.
    pub development_keys: bool,
}

impl Payload<'_> {
    /// The bytes of the slot, signed. Same inputs, same bytes: the signature is deterministic (RFC 6979).
    /// The result is as long as needed; the rest of the partition does not matter.
    pub fn write(&self, key: &SigningKey) -> Result<Vec<u8>, WriteError> {
        command_line(self.command_line.as_bytes()).map_err(|_| WriteError::CommandLine)?;
        let sources = [
            (
                PartKind::Kernel,
                Compression::Gzip,
                self.kernel_gzip,
                self.kernel_unpacked_len,
            ),
            (
                PartKind::Initramfs,
                Compression::None,
                self.initramfs,
                self.initramfs.len() as u64,
            ),
            (
                PartKind::CommandLine,
                Compression::None,
                self.command_line.as_bytes(),
                self.command_line.len() as u64,
            ),
        ];
        let mut end = HEADER_LEN as u64;
        let parts = sources.map(|(kind, compression, stored, unpacked_len)| {
            let offset = end.next_multiple_of(PART_ALIGN);
            let stored_len = stored.len() as u64;
            end = offset + stored_len;
            Part {
                kind,
                compression,
                offset,
                stored_len,
                unpacked_len,
                sha256: Sha256::digest(stored).into(),
            }
        });
        let mut header = Header {
            development_keys: self.development_keys,
            compatible: Text::new(self.compatible).map_err(WriteError::Compatible)?,
            version: Text::new(self.version).map_err(WriteError::Version)?,
            parts,
            key_id: key_id(key.verifying_key()),
            signature: [0; 64],
        };
        let signature: Signature = key
            .sign_prehash(&header.digest())
            .map_err(|_| WriteError::Signing)?;
        header.signature = signature.normalize_s().to_bytes().into();
        let encoded = header.encode();
        // One judge of limits: what the parser refuses is not written.
        Header::parse(&encoded, end).map_err(WriteError::Header)?;
        let mut slot = Vec::with_capacity(end as usize);
        slot.extend_from_slice(&encoded);
        for (part, (_, _, stored, _)) in parts.iter().zip(sources) {
            slot.resize(part.offset as usize, 0);
            slot.extend_from_slice(stored);
        }
        Ok(slot)
    }
}
