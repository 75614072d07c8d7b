//! The encrypted payload of a `crypt` bundle: AES-256-CBC in sectors of 4096 bytes, as dm-crypt's `aes-cbc-plain64`
//! without `iv_large_sectors` does it: the IV is the number of the sector in units of 512 bytes, little endian.

use std::io;
use std::ops::Range;

use aes::Aes256;
use cbc::Decryptor;
use cbc::cipher::consts::U16;
use cbc::cipher::{Array, BlockModeDecrypt, InnerIvInit, KeyInit};

use crate::source::ReadAt;

/// Bytes of a sector.
pub const SECTOR: usize = 4096;
/// The unit in which the IV counts.
const IV_UNIT: u64 = 512;

/// Decrypts what it reads. Put it above a [`VerifiedReader`](crate::verity::VerifiedReader): the hash tree covers the
/// encrypted bytes, so nothing is decrypted that was not verified.
pub struct DecryptedReader<R> {
    source: R,
    /// Round keys: boxed, since most bundles have none.
    cipher: Box<Aes256>,
}

impl<R: ReadAt> DecryptedReader<R> {
    /// Decrypts with `key`.
    pub fn new(source: R, key: &[u8; 32]) -> Self {
        Self {
            source,
            cipher: Box::new(Aes256::new(&Array(*key))),
        }
    }

    /// What it reads from.
    pub fn source(&self) -> &R {
        &self.source
    }

    fn read_sectors(&self, buf: &mut [u8], first: u64) -> io::Result<()> {
        self.source.read_exact_at(buf, first * SECTOR as u64)?;
        for (sector, bytes) in (first..).zip(buf.chunks_exact_mut(SECTOR)) {
            decrypt_sector(&self.cipher, sector, bytes);
        }
        Ok(())
    }
}

impl<R: ReadAt> ReadAt for DecryptedReader<R> {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        if offset
            .checked_add(buf.len() as u64)
            .is_none_or(|end| end > self.size())
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !buf.is_empty() {
            let (sector, start) = (offset / SECTOR as u64, (offset % SECTOR as u64) as usize);
            let length = match buf.len() {
                length if start == 0 && length >= SECTOR => length / SECTOR * SECTOR,
                length => length.min(SECTOR - start),
            };
            let (now, rest) = buf.split_at_mut(length);
            if length.is_multiple_of(SECTOR) {
                self.read_sectors(now, sector)?;
            } else {
                let mut whole = [0; SECTOR];
                self.read_sectors(&mut whole, sector)?;
                now.copy_from_slice(&whole[start..start + length]);
            }
            buf = rest;
            offset += length as u64;
        }
        Ok(())
    }

    fn will_read(&self, ranges: &[Range<u64>]) {
        self.source.will_read(ranges);
    }
}

fn iv(sector: u64) -> Array<u8, U16> {
    let mut iv = Array::default();
    iv[..8].copy_from_slice(&(sector * (SECTOR as u64 / IV_UNIT)).to_le_bytes());
    iv
}

fn decrypt_sector(cipher: &Aes256, sector: u64, bytes: &mut [u8]) {
    let (blocks, _) = Array::slice_as_chunks_mut(bytes);
    Decryptor::inner_iv_init(cipher, &iv(sector)).decrypt_blocks(blocks);
}

/// Encrypts one sector in place.
#[cfg(feature = "write")]
pub(crate) fn encrypt_sector(cipher: &Aes256, sector: u64, bytes: &mut [u8]) {
    use cbc::cipher::BlockModeEncrypt;
    let (blocks, _) = Array::slice_as_chunks_mut(bytes);
    cbc::Encryptor::inner_iv_init(cipher, &iv(sector)).encrypt_blocks(blocks);
}
