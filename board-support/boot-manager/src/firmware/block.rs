//! The disk that we were loaded from.
// Opening a protocol without locking others out is unsafe in `uefi`; locking them out would take the disk from
// the firmware's own drivers. Nothing here is kept beyond the call, or outlives the disk's driver.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use boot_manager::{Disk, DiskError};
use core::fmt;
use disk_layout::SECTOR;
use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol};
use uefi::proto::ProtocolPointer;
use uefi::proto::device_path::DevicePath;
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::media::block::BlockIO;
use uefi::{Handle, Status};

/// Why there is no disk.
pub enum Problem {
    /// The firmware refused something.
    Firmware(&'static str, Status),
    /// No whole disk lies on the path that we were loaded from.
    NoDisk,
    /// Sectors of another size.
    SectorSize(u32),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firmware(what, status) => write!(f, "{what}: {status}"),
            Self::NoDisk => f.write_str("the disk that this program was loaded from is not found"),
            Self::SectorSize(bytes) => {
                write!(f, "the disk has sectors of {bytes} bytes; only 512 is supported")
            }
        }
    }
}

/// Opens a protocol beside whoever has it open already.
pub fn open<P: ProtocolPointer + ?Sized>(handle: Handle) -> uefi::Result<ScopedProtocol<P>> {
    let params = OpenProtocolParams {
        handle,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: handles of disks, and of images that we loaded ourselves, stay while we run.
    unsafe { boot::open_protocol(params, OpenProtocolAttributes::GetProtocol) }
}

/// A whole disk through Block I/O.
pub struct BlockDisk {
    block: ScopedProtocol<BlockIO>,
    media_id: u32,
    sectors: u64,
}

/// Finds the whole disk on our own device path: never a partition, and never another disk with the same content.
pub fn own_disk() -> Result<BlockDisk, Problem> {
    let firmware = |what| move |error: uefi::Error| Problem::Firmware(what, error.status());
    let image = open::<LoadedImage>(boot::image_handle()).map_err(firmware("own image"))?;
    let device = image.device().ok_or(Problem::NoDisk)?;
    let own: Box<[u8]> = path_of(device).map_err(firmware("own device path"))?;
    let handles = boot::find_handles::<BlockIO>().map_err(firmware("disks"))?;
    let mut best: Option<(usize, Handle)> = None;
    for handle in handles {
        let Ok(path) = path_of(handle) else { continue };
        let whole = open::<BlockIO>(handle).is_ok_and(|block| !block.media().is_logical_partition());
        if whole && own.starts_with(&path) && best.is_none_or(|(len, _)| path.len() > len) {
            best = Some((path.len(), handle));
        }
    }
    let (_, handle) = best.ok_or(Problem::NoDisk)?;
    let block = open::<BlockIO>(handle).map_err(firmware("disk"))?;
    let media = block.media();
    if media.block_size() as usize != SECTOR {
        return Err(Problem::SectorSize(media.block_size()));
    }
    let (media_id, sectors) = (media.media_id(), media.last_block().saturating_add(1));
    Ok(BlockDisk {
        block,
        media_id,
        sectors,
    })
}

/// The device path without its end node.
fn path_of(handle: Handle) -> uefi::Result<Box<[u8]>> {
    const END_NODE: usize = 4;
    let path = open::<DevicePath>(handle)?;
    let bytes = path.as_bytes();
    Ok(bytes[..bytes.len().saturating_sub(END_NODE)].into())
}

impl Disk for BlockDisk {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn read(&mut self, lba: u64, into: &mut [u8]) -> Result<(), DiskError> {
        self.block
            .read_blocks(self.media_id, lba, into)
            .map_err(|_| DiskError { lba })
    }

    fn write(&mut self, lba: u64, from: &[u8]) -> Result<(), DiskError> {
        self.block
            .write_blocks(self.media_id, lba, from)
            .map_err(|_| DiskError { lba })
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.block.flush_blocks().map_err(|_| DiskError { lba: 0 })
    }
}
