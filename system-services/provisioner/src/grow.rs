//! Grows `data` to the end of the disk: partition table, kernel, file system, in this order.
//!
//! Every step looks at what is there and does only what is missing, so that a cut anywhere is mended by another run.
//! A cut inside the table leaves the old table or the new one (`disk_layout::grow_last`); ext4 journals its own growing.

use std::io;

use disk_layout::{ReadError, SectorWrite};
use thiserror::Error;

use crate::ext4::{Geometry, NotExt4};

/// Label of the partition that grows.
const DATA: &str = "data";
/// The file system grows by at least this much at a time; smaller steps only cost journal commits.
const STEP_BYTES: u64 = 1 << 30;
/// At most about so many steps, however big the disk is.
const STEPS: u64 = 64;

/// The disk and the mounted file system. Two implementations: the kernel's, and a test's that loses power.
pub trait Target {
    /// Bytes of the whole disk.
    fn disk_bytes(&mut self) -> io::Result<u64>;
    /// Fills the buffer from sector `lba` on.
    fn read_sectors(&mut self, lba: u64, into: &mut [u8]) -> io::Result<()>;
    /// Writes and flushes.
    fn write_sectors(&mut self, write: &SectorWrite) -> io::Result<()>;
    /// Bytes of the data partition as the kernel knows it now.
    fn partition_bytes(&mut self) -> io::Result<u64>;
    /// Tells the kernel the partition's new length.
    fn resize_partition(&mut self, number: u32, start_bytes: u64, len_bytes: u64) -> io::Result<()>;
    /// The file system's superblock.
    fn superblock(&mut self) -> io::Result<Vec<u8>>;
    /// Grows the file system to so many of its blocks.
    fn resize_file_system(&mut self, blocks: u64) -> io::Result<()>;
}

/// Why `data` did not grow.
#[derive(Debug, Error)]
pub enum GrowError {
    /// Reading, writing or an ioctl failed.
    #[error("{action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The disk has no table that we can read.
    #[error("the partition table cannot be read: {0}")]
    Table(String),
    /// The table does not allow it.
    #[error(transparent)]
    Layout(#[from] disk_layout::GrowError),
    /// The last partition is not `data`: this disk is not ours to change.
    #[error("the last partition of the disk is not {DATA:?}")]
    NotData,
    /// The file system is not what we expect.
    #[error(transparent)]
    FileSystem(#[from] NotExt4),
    /// The kernel said yes and did nothing.
    #[error("the file system stays at {blocks} blocks")]
    Stuck {
        /// Blocks now.
        blocks: u64,
    },
}

fn io_error(action: &'static str) -> impl FnOnce(io::Error) -> GrowError {
    move |source| GrowError::Io { action, source }
}

/// What is and what could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// Bytes of the whole disk.
    pub disk_bytes: u64,
    /// The file system now.
    pub file_system: Geometry,
    /// Bytes of the partition when it reaches the end of the disk.
    pub final_partition_bytes: u64,
}

impl Survey {
    /// Nothing is left to grow.
    pub fn is_complete(&self) -> bool {
        self.file_system.fills(self.final_partition_bytes)
    }
}

struct Plan {
    number: u32,
    start_bytes: u64,
    len_bytes: u64,
    writes: Vec<SectorWrite>,
}

fn plan(target: &mut impl Target) -> Result<Plan, GrowError> {
    let sectors = target
        .disk_bytes()
        .map_err(io_error("read the size of the disk"))?
        / disk_layout::SECTOR as u64;
    let found = disk_layout::read(sectors, |lba, into: &mut [u8]| target.read_sectors(lba, into)).map_err(
        |e| match e {
            ReadError::Io(source) => GrowError::Io {
                action: "read the partition table",
                source,
            },
            other @ ReadError::NoTable { .. } => GrowError::Table(other.to_string()),
        },
    )?;
    let (table, writes) = match disk_layout::grow_last(&found, sectors)? {
        Some(growth) => (growth.table, growth.writes),
        // Nothing to grow, but a primary copy that an earlier cut tore is still to be mended.
        None if found.primary_damage.is_some() => {
            let writes = disk_layout::repair_primary(&found.table);
            (found.table, writes)
        }
        None => (found.table, Vec::new()),
    };
    let last = table
        .partitions()
        .iter()
        .max_by_key(|p| p.first_lba)
        .ok_or(GrowError::NotData)?;
    if last.name != DATA {
        return Err(GrowError::NotData);
    }
    Ok(Plan {
        number: last.number,
        start_bytes: last.byte_offset(),
        len_bytes: last.byte_len(),
        writes,
    })
}

fn geometry(target: &mut impl Target) -> Result<Geometry, GrowError> {
    let raw = target
        .superblock()
        .map_err(io_error("read the superblock of data"))?;
    Ok(Geometry::parse(&raw)?)
}

/// Looks, changes nothing.
pub fn survey(target: &mut impl Target) -> Result<Survey, GrowError> {
    let plan = plan(target)?;
    Ok(Survey {
        disk_bytes: target
            .disk_bytes()
            .map_err(io_error("read the size of the disk"))?,
        file_system: geometry(target)?,
        final_partition_bytes: plan.len_bytes,
    })
}

/// Grows; `progress(done_bytes, total_bytes)` counts bytes of the file system.
pub fn grow(target: &mut impl Target, mut progress: impl FnMut(u64, u64)) -> Result<(), GrowError> {
    let plan = plan(target)?;
    for write in &plan.writes {
        target
            .write_sectors(write)
            .map_err(io_error("write the partition table"))?;
    }
    if target
        .partition_bytes()
        .map_err(io_error("read the size of data"))?
        < plan.len_bytes
    {
        target
            .resize_partition(plan.number, plan.start_bytes, plan.len_bytes)
            .map_err(io_error("tell the kernel the new size of data"))?;
    }
    let mut now = geometry(target)?;
    let total = plan.len_bytes / now.block_bytes;
    let step = (STEP_BYTES / now.block_bytes).max(total.saturating_sub(now.blocks) / STEPS);
    while !now.fills(plan.len_bytes) {
        progress(now.bytes(), plan.len_bytes);
        let next = now.blocks.saturating_add(step).min(total);
        target
            .resize_file_system(next)
            .map_err(io_error("grow the data file system"))?;
        let grown = geometry(target)?;
        if grown.blocks <= now.blocks {
            return Err(GrowError::Stuck { blocks: grown.blocks });
        }
        now = grown;
    }
    progress(now.bytes(), plan.len_bytes);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ext4::tests::superblock;
    use disk_layout::{Guid, Mbr, Partition, SECTOR, Table};
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    const MIB: u64 = 1 << 20;
    const START: u64 = 4 * MIB;

    /// A disk in a sparse file; the n-th write, ioctl included, is where the power goes.
    struct Image {
        disk: File,
        kernel_partition_bytes: u64,
        file_system_blocks: u64,
        steps: usize,
        cut_at: Option<(usize, bool)>,
    }

    impl Image {
        /// An image for a disk of 16 MiB with 12 MiB of data, flashed to a disk of `bytes`.
        fn flashed(bytes: u64) -> Self {
            let disk = tempfile::tempfile().unwrap();
            disk.set_len(bytes).unwrap();
            let table = table(16 * MIB);
            disk.write_all_at(&table.primary(Mbr::Protective).unwrap(), 0)
                .unwrap();
            disk.write_all_at(&table.backup(), 16 * MIB - 33 * SECTOR as u64)
                .unwrap();
            let partition = table.partitions()[0].byte_len();
            Self {
                disk,
                kernel_partition_bytes: partition,
                file_system_blocks: partition / 4096,
                steps: 0,
                cut_at: None,
            }
        }

        /// The machine starts again: the kernel takes the partition's size from the table.
        fn reboot(&mut self) {
            (self.cut_at, self.steps) = (None, 0);
            let sectors = self.disk.metadata().unwrap().len() / SECTOR as u64;
            let disk = &self.disk;
            let found = disk_layout::read(sectors, |lba, into: &mut [u8]| {
                disk.read_exact_at(into, lba * SECTOR as u64)
            });
            self.kernel_partition_bytes = found.unwrap().table.by_name("data").unwrap().byte_len();
        }

        fn step(&mut self, effect: impl FnOnce(&mut Self, bool) -> io::Result<()>) -> io::Result<()> {
            self.steps += 1;
            match self.cut_at {
                Some((at, torn)) if at + 1 == self.steps => {
                    if torn {
                        effect(self, true)?;
                    }
                    Err(io::Error::other("power cut"))
                }
                _ => effect(self, false),
            }
        }
    }

    fn table(bytes: u64) -> Table {
        let first_lba = START / SECTOR as u64;
        let partition = Partition {
            number: 1,
            name: "data".into(),
            type_guid: Guid::parse("0fc63daf-8483-4772-8e79-3d69d8477de4").unwrap(),
            unique_guid: Guid::parse("0fc63daf-8483-4772-8e79-3d69d8477de5").unwrap(),
            first_lba,
            last_lba: (bytes / SECTOR as u64 - 33 - first_lba) / 8 * 8 + first_lba - 1,
            attributes: 0,
        };
        Table::new(
            Guid::parse("0fc63daf-8483-4772-8e79-3d69d8477de6").unwrap(),
            bytes / SECTOR as u64,
            vec![partition],
        )
        .unwrap()
    }

    impl Target for Image {
        fn disk_bytes(&mut self) -> io::Result<u64> {
            Ok(self.disk.metadata()?.len())
        }
        fn read_sectors(&mut self, lba: u64, into: &mut [u8]) -> io::Result<()> {
            self.disk.read_exact_at(into, lba * SECTOR as u64)
        }
        fn write_sectors(&mut self, write: &SectorWrite) -> io::Result<()> {
            self.step(|image, torn| {
                let bytes = if torn {
                    &write.bytes[..write.bytes.len() / 2]
                } else {
                    &write.bytes[..]
                };
                image.disk.write_all_at(bytes, write.byte_offset())
            })
        }
        fn partition_bytes(&mut self) -> io::Result<u64> {
            Ok(self.kernel_partition_bytes)
        }
        fn resize_partition(&mut self, number: u32, start_bytes: u64, len_bytes: u64) -> io::Result<()> {
            assert_eq!((number, start_bytes), (1, START));
            self.step(|image, _| {
                image.kernel_partition_bytes = len_bytes;
                Ok(())
            })
        }
        fn superblock(&mut self) -> io::Result<Vec<u8>> {
            Ok(superblock(self.file_system_blocks))
        }
        fn resize_file_system(&mut self, blocks: u64) -> io::Result<()> {
            self.step(|image, torn| {
                assert!(
                    blocks * 4096 <= image.kernel_partition_bytes,
                    "never beyond the partition"
                );
                // A last group too small for its tables is dropped, as ext4 does; a cut leaves a size in between.
                let blocks = if blocks % 32768 < 500 {
                    blocks / 32768 * 32768
                } else {
                    blocks
                };
                image.file_system_blocks = if torn {
                    (image.file_system_blocks + blocks) / 2
                } else {
                    blocks
                };
                Ok(())
            })
        }
    }

    #[test]
    fn data_grows_to_the_end_of_the_disk_in_steps_and_a_second_run_changes_nothing() {
        let mut image = Image::flashed(32 << 30);
        assert!(!survey(&mut image).unwrap().is_complete());
        let mut seen = Vec::new();
        grow(&mut image, |done, total| seen.push((done, total))).unwrap();
        assert!(
            seen.len() > 10 && seen.windows(2).all(|w| w[0].0 < w[1].0),
            "{seen:?}"
        );
        let survey = survey(&mut image).unwrap();
        assert!(survey.is_complete());
        assert!((32 << 30) - START - survey.final_partition_bytes < MIB);
        let steps = image.steps;
        grow(&mut image, |_, _| {}).unwrap();
        assert_eq!(image.steps, steps);
    }

    #[test]
    fn a_cut_at_any_step_is_mended_by_the_next_run() {
        let mut whole = Image::flashed(8 << 30);
        grow(&mut whole, |_, _| {}).unwrap();
        for cut in 0..whole.steps {
            for torn in [false, true] {
                let mut image = Image::flashed(8 << 30);
                image.cut_at = Some((cut, torn));
                assert!(grow(&mut image, |_, _| {}).is_err());
                image.reboot();
                grow(&mut image, |_, _| {}).unwrap_or_else(|e| panic!("cut {cut} torn {torn}: {e}"));
                assert!(survey(&mut image).unwrap().is_complete());
                assert_eq!(image.file_system_blocks, whole.file_system_blocks);
                assert_eq!(image.kernel_partition_bytes, whole.kernel_partition_bytes);
            }
        }
        assert!(whole.steps > 10);
    }

    #[test]
    fn a_service_that_died_after_the_table_still_tells_the_kernel() {
        let mut image = Image::flashed(8 << 30);
        image.cut_at = Some((4, false));
        assert!(grow(&mut image, |_, _| {}).is_err());
        image.cut_at = None;
        grow(&mut image, |_, _| {}).unwrap();
        assert!(survey(&mut image).unwrap().is_complete());
    }

    #[test]
    fn a_disk_whose_last_partition_is_something_else_is_left_alone() {
        let mut image = Image::flashed(8 << 30);
        let mut partitions = table(16 * MIB).partitions().to_vec();
        partitions[0].name = "photos".into();
        let foreign = Table::new(table(16 * MIB).disk_guid(), 16 * MIB / 512, partitions).unwrap();
        image
            .disk
            .write_all_at(&foreign.primary(Mbr::Protective).unwrap(), 0)
            .unwrap();
        assert!(matches!(grow(&mut image, |_, _| {}), Err(GrowError::NotData)));
        assert_eq!(image.steps, 0);
    }
}
