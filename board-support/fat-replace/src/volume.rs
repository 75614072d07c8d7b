//! What a volume is stored on.

use std::io;

/// A disk, or a partition of it, by sectors. Sector 0 is the volume's boot sector.
///
/// A write of one sector must be atomic: after a power cut the sector holds the old or the new bytes. Writes of several
/// sectors need not be, and nothing is durable before [`Volume::flush`].
pub trait Volume {
    /// Bytes of a sector that are written as one: 512 or a larger power of two.
    fn sector_size(&self) -> usize;
    /// Sectors of the volume.
    fn sector_count(&self) -> u64;
    /// Fills `buf`, a whole number of sectors, from `sector` on.
    ///
    /// # Errors
    /// When the device fails, or the sectors are not all inside the volume.
    fn read(&self, sector: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes `buf`, a whole number of sectors, from `sector` on.
    ///
    /// # Errors
    /// As [`Volume::read`].
    fn write(&mut self, sector: u64, buf: &[u8]) -> io::Result<()>;
    /// Returns when everything written so far survives a power cut.
    ///
    /// # Errors
    /// When the device fails.
    fn flush(&mut self) -> io::Result<()>;
}

/// A volume in memory: images before they are written, and foreign bytes in tests.
#[derive(Debug, Clone)]
pub struct MemoryVolume {
    bytes: Vec<u8>,
    sector_size: usize,
}

impl MemoryVolume {
    /// From the bytes of an image with sectors of 512 bytes; what is behind the last whole sector does not count.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self::with_sector_size(bytes, 512)
    }

    /// The same with sectors of another size; 0 is taken for 1.
    pub fn with_sector_size(bytes: Vec<u8>, sector_size: usize) -> Self {
        let sector_size = sector_size.max(1);
        Self { bytes, sector_size }
    }

    /// The image.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn range(&self, sector: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
        let start = usize::try_from(sector)
            .ok()
            .and_then(|s| s.checked_mul(self.sector_size));
        let range = start.and_then(|s| Some(s..s.checked_add(len)?));
        range
            .filter(|r| r.end <= self.bytes.len() && len.is_multiple_of(self.sector_size))
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "behind the end of the image"))
    }
}

impl Volume for MemoryVolume {
    fn sector_size(&self) -> usize {
        self.sector_size
    }

    fn sector_count(&self) -> u64 {
        (self.bytes.len() / self.sector_size) as u64
    }

    fn read(&self, sector: u64, buf: &mut [u8]) -> io::Result<()> {
        let range = self.range(sector, buf.len())?;
        buf.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn write(&mut self, sector: u64, buf: &[u8]) -> io::Result<()> {
        let range = self.range(sector, buf.len())?;
        self.bytes[range].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
