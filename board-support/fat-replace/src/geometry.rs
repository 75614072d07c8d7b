//! The boot sector: where the tables, the root folder and the clusters are.

use crate::error::{FatError, Result};

/// Most clusters of a volume: the table is held in memory (16 MiB then).
const MAX_CLUSTERS: u32 = 4 << 20;
/// Largest cluster (fatgen103: "a bytes per cluster value greater than 32K" is troublesome; mkfs.fat makes 64 KiB).
const MAX_CLUSTER_BYTES: u32 = 64 << 10;

/// Width of an entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 12 bits.
    Fat12,
    /// 16 bits.
    Fat16,
    /// 28 bits in four bytes.
    Fat32,
}

impl Kind {
    /// Bits that an entry takes in the table.
    pub(crate) fn bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }
}

/// Where the root folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootFolder {
    /// FAT12 and FAT16: a fixed number of sectors before the clusters.
    Fixed { first: u32, sectors: u32 },
    /// FAT32: a chain of clusters.
    Chain(u32),
}

/// A checked boot sector. Sector numbers count from the start of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub kind: Kind,
    pub sector_bytes: u32,
    pub cluster_sectors: u32,
    pub table_start: u32,
    pub table_sectors: u32,
    pub table_copies: u32,
    pub root: RootFolder,
    pub data_start: u32,
    /// Number of clusters; they are numbered from 2.
    pub clusters: u32,
    pub fs_info: Option<u32>,
}

impl Geometry {
    /// Reads a boot sector of `sector.len()` bytes on a volume of so many sectors.
    pub fn parse(sector: &[u8], volume_sectors: u64) -> Result<Self> {
        let no = |problem: &str| FatError::NotFat(problem.into());
        if sector.len() < 512 || sector[510..512] != [0x55, 0xaa] {
            return Err(no("the boot sector has no signature 55 AA"));
        }
        if sector[0] != 0xeb && sector[0] != 0xe9 {
            return Err(no("the boot sector does not begin with a jump"));
        }
        let u16_at = |at: usize| u32::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
        let u32_at = |at: usize| u16_at(at) | u16_at(at + 2) << 16;
        let sector_bytes = u16_at(11);
        if !sector_bytes.is_power_of_two() || !(512..=4096).contains(&sector_bytes) {
            return Err(FatError::NotFat(format!(
                "sectors of {sector_bytes} bytes are not known"
            )));
        }
        if sector_bytes as usize != sector.len() {
            return Err(FatError::NotFat(format!(
                "it has sectors of {sector_bytes} bytes, the disk writes {} at once",
                sector.len()
            )));
        }
        let cluster_sectors = u32::from(sector[13]);
        if !cluster_sectors.is_power_of_two() || cluster_sectors * sector_bytes > MAX_CLUSTER_BYTES {
            return Err(FatError::NotFat(format!(
                "clusters of {cluster_sectors} sectors are not known"
            )));
        }
        let table_start = u16_at(14);
        let table_copies = u32::from(sector[16]);
        if table_start == 0 || !(1..=2).contains(&table_copies) {
            return Err(no("it has no reserved sector, or not one or two tables"));
        }
        let total = some(u16_at(19)).unwrap_or_else(|| u32_at(32));
        if u64::from(total) > volume_sectors {
            return Err(FatError::NotFat(format!(
                "it has {total} sectors, the partition has {volume_sectors}"
            )));
        }
        // As Linux, U-Boot and EDK II tell them apart; mkfs.fat makes small FAT32 volumes that a count of clusters would misjudge.
        let wide = u16_at(22) == 0;
        let table_sectors = if wide { u32_at(36) } else { u16_at(22) };
        let root_slots = u16_at(17);
        if (root_slots == 0) != wide || !(root_slots * 32).is_multiple_of(sector_bytes) {
            return Err(no("the size of the root folder does not fit"));
        }
        let root_sectors = root_slots * 32 / sector_bytes;
        let tables = table_sectors.checked_mul(table_copies).filter(|t| *t > 0);
        let root_first = tables.and_then(|t| t.checked_add(table_start));
        let data = root_first.and_then(|r| r.checked_add(root_sectors));
        let (Some(root_first), Some(data_start)) = (root_first, data.filter(|d| *d < total)) else {
            return Err(no("its tables are larger than the volume"));
        };
        let clusters = (total - data_start) / cluster_sectors;
        let kind = match clusters {
            _ if wide => Kind::Fat32,
            ..4085 => Kind::Fat12,
            4085..65525 => Kind::Fat16,
            _ => return Err(no("it has more clusters than FAT16 can have")),
        };
        if clusters == 0 || clusters > MAX_CLUSTERS {
            return Err(FatError::NotFat(format!(
                "{clusters} clusters are not from 1 to {MAX_CLUSTERS}"
            )));
        }
        let room = u64::from(table_sectors) * u64::from(sector_bytes) * 8 / kind.bits();
        if room < u64::from(clusters) + 2 {
            return Err(no("its table is too small for its clusters"));
        }
        let (root, fs_info) = if wide {
            if u16_at(40) & 0x80 != 0 {
                return Err(no("its tables are not mirrored"));
            }
            if u16_at(42) != 0 {
                return Err(no("it is of a FAT32 version that is not known"));
            }
            if !(2..clusters + 2).contains(&u32_at(44)) {
                return Err(no("its root folder is outside"));
            }
            let fs_info = some(u16_at(48)).filter(|s| *s < table_start);
            (RootFolder::Chain(u32_at(44)), fs_info)
        } else {
            let first = root_first;
            let sectors = root_sectors;
            (RootFolder::Fixed { first, sectors }, None)
        };
        Ok(Self {
            kind,
            sector_bytes,
            cluster_sectors,
            table_start,
            table_sectors,
            table_copies,
            root,
            data_start,
            clusters,
            fs_info,
        })
    }

    /// Bytes of a cluster.
    pub fn cluster_bytes(&self) -> u32 {
        self.cluster_sectors * self.sector_bytes
    }

    /// Whether a cluster is on the volume.
    pub fn holds(&self, cluster: u32) -> bool {
        (2..self.clusters + 2).contains(&cluster)
    }

    /// First sector of a cluster that [`Self::holds`].
    pub fn sector_of(&self, cluster: u32) -> u32 {
        self.data_start + (cluster - 2) * self.cluster_sectors
    }

    /// Clusters that so many bytes take.
    pub fn clusters_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(u64::from(self.cluster_bytes()))
    }
}

fn some(number: u32) -> Option<u32> {
    (number != 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A FAT16 boot sector: 1 reserved, 2 tables of 32, 512 root slots, 8192 sectors.
    fn sector() -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
        bytes[11..24].copy_from_slice(&[0, 2, 1, 1, 0, 2, 0, 2, 0, 0x20, 0xf8, 32, 0]);
        bytes[510..].copy_from_slice(&[0x55, 0xaa]);
        bytes
    }

    #[test]
    fn a_sound_boot_sector_is_read() {
        let geometry = Geometry::parse(&sector(), 8192).unwrap();
        assert_eq!(geometry.kind, Kind::Fat16);
        assert_eq!((geometry.data_start, geometry.clusters), (1 + 64 + 32, 8192 - 97));
    }

    #[test]
    fn every_byte_of_a_boot_sector_may_be_anything() {
        for at in 0..64 {
            for value in 0..=255 {
                let mut bytes = sector();
                bytes[at] = value;
                if let Ok(g) = Geometry::parse(&bytes, 8192) {
                    let end = g.data_start + g.clusters * g.cluster_sectors;
                    assert!(end <= 8192 && g.clusters > 0, "byte {at} = {value}: {g:?}");
                }
            }
        }
    }

    #[test]
    fn a_volume_larger_than_its_partition_is_refused() {
        let said = Geometry::parse(&sector(), 8191).unwrap_err().to_string();
        assert!(said.contains("8192") && said.contains("8191"), "{said}");
    }
}
