//! The disk image: partition table, partitions, and the files that carry it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use board_support::{Board, DiskSizes};
use disk_layout::{Guid, Mbr, Partition, SECTOR, Table, types};
use sha2::{Digest, Sha256};

use crate::cache::hex;
use crate::error::{BuildError, FileContext, Result};
use crate::program::run;
use crate::progress::Progress;

const MIB: u64 = 1 << 20;
/// Block of the block map, in bytes.
pub const MAP_BLOCK: u64 = 4096;

/// The names of the partitions in the order of the table.
pub const PARTITIONS: [&str; 7] = [
    "firmware",
    "bootstate",
    "boot-a",
    "boot-b",
    "root-a",
    "root-b",
    "data",
];

/// The table of a board. Both slots of a kind are neighbours: what is stored twice is then near enough for zstd
/// (a window of 128 MiB) to store it once.
pub fn table(board: &Board, disk_guid: Guid) -> Result<Table> {
    let DiskSizes {
        firmware_mib,
        boot_slot_mib,
        root_slot_mib,
        image_mib,
        ..
    } = board.disk;
    let fixed = [
        firmware_mib,
        1,
        boot_slot_mib,
        boot_slot_mib,
        root_slot_mib,
        root_slot_mib,
    ];
    let data_mib = image_mib - 2 - fixed.iter().sum::<u32>();
    let sizes = fixed.into_iter().chain([data_mib]);
    let mut at = MIB;
    let mut partitions = Vec::new();
    for (number, (name, mib)) in (1..).zip(PARTITIONS.into_iter().zip(sizes)) {
        let length = u64::from(mib) * MIB;
        let seed = Sha256::digest(format!("{disk_guid} {name}"));
        partitions.push(Partition {
            number,
            name: name.into(),
            type_guid: if name == "firmware" {
                types::EFI_SYSTEM
            } else {
                types::LINUX_DATA
            },
            unique_guid: guid(&seed),
            first_lba: at / SECTOR as u64,
            last_lba: (at + length) / SECTOR as u64 - 1,
            attributes: 0,
        });
        at += length;
    }
    let sectors = u64::from(image_mib) * MIB / SECTOR as u64;
    Table::new(disk_guid, sectors, partitions)
        .map_err(|e| BuildError::invalid(&board.name, format!("disk: {e}")))
}

/// A version-4 GUID from a hash.
pub fn guid(hash: &[u8]) -> Guid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    let value = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    Guid::from_u128(value)
}

/// Writes the image: only what is not zero, the rest stays a hole.
pub fn write(path: &Path, table: &Table, hybrid_mbr: bool, parts: &[(&str, &[u8])]) -> Result<()> {
    let mut file = File::create(path).at("create", path)?;
    file.set_len(table.disk_sectors() * SECTOR as u64)
        .at("write", path)?;
    let mut put = |offset: u64, bytes: &[u8]| -> Result<()> {
        for (i, block) in bytes.chunks(1 << 16).enumerate() {
            if block.iter().any(|b| *b != 0) {
                file.seek(SeekFrom::Start(offset + (i << 16) as u64))
                    .at("write", path)?;
                file.write_all(block).at("write", path)?;
            }
        }
        Ok(())
    };
    let mbr = if hybrid_mbr {
        Mbr::Hybrid { firmware: 1 }
    } else {
        Mbr::Protective
    };
    let primary = table
        .primary(mbr)
        .map_err(|e| BuildError::invalid("disk", e.to_string()))?;
    put(0, &primary)?;
    let backup = table.backup();
    put(
        table.disk_sectors() * SECTOR as u64 - backup.len() as u64,
        &backup,
    )?;
    for (name, bytes) in parts {
        let partition = table
            .by_name(name)
            .ok_or_else(|| BuildError::invalid(*name, "no such partition"))?;
        if bytes.len() as u64 > partition.byte_len() {
            return Err(BuildError::invalid(
                *name,
                format!(
                    "{} bytes do not fit into {} bytes",
                    bytes.len(),
                    partition.byte_len()
                ),
            ));
        }
        put(partition.byte_offset(), bytes)?;
    }
    file.sync_all().at("write", path)
}

/// An empty ext4 for `data`, made so that it can grow to terabytes without a change of its geometry.
pub fn empty_data(size_bytes: u64, id: Guid, time: u32, scratch: &Path) -> Result<Vec<u8>> {
    let path = scratch.join("data.img");
    let file = File::create(&path).at("create", &path)?;
    file.set_len(size_bytes).at("write", &path)?;
    let mke2fs = ["/usr/sbin/mke2fs", "/sbin/mke2fs"]
        .into_iter()
        .find(|p| Path::new(p).exists());
    // Block size, inode ratio and reserved descriptors (for 1 TiB) are those of a big disk: mke2fs would choose
    // small ones for a small partition, and growing keeps them for ever.
    run(Command::new(mke2fs.unwrap_or("mke2fs"))
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", "16384", "-m", "0", "-L", "data", "-J", "size=16"])
        .args(["-O", "has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"])
        .args(["-E", &format!("resize=268435456,hash_seed={id},root_owner=0:0,lazy_itable_init=0,nodiscard")])
        .args(["-U", &id.to_string()])
        .arg(&path)
        .env("MKE2FS_CONFIG", "/dev/null")
        .env("E2FSPROGS_FAKE_TIME", time.to_string())
        .env("SOURCE_DATE_EPOCH", time.to_string()))?;
    let bytes = std::fs::read(&path).at("read", &path)?;
    let _ = std::fs::remove_file(&path);
    Ok(bytes)
}

/// What packing found out.
#[derive(Debug)]
pub struct Packed {
    /// SHA-256 of the image.
    pub image_sha256: String,
    /// SHA-256 of the compressed image.
    pub zst_sha256: String,
    /// Bytes of the compressed image.
    pub zst_bytes: u64,
}

/// Reads the image once: compresses it, maps it and hashes it.
pub fn pack(image: &Path, table: &Table, zst: &Path, bmap: &Path, progress: &dyn Progress) -> Result<Packed> {
    let mut file = File::open(image).at("open", image)?;
    let size = file.metadata().at("read", image)?.len();
    let bar = progress.bytes("Compressing the image", size);
    let out = File::create(zst).at("create", zst)?;
    let mut encoder = zstd::Encoder::new(
        Hashing {
            inner: out,
            hasher: Sha256::new(),
            bytes: 0,
        },
        3,
    )
    .at("write", zst)?;
    let setup = (|| {
        // 2^27 = 128 MiB is the most that decoders accept without being told.
        encoder.window_log(27)?;
        encoder.long_distance_matching(true)?;
        encoder.include_checksum(true)?;
        encoder.set_pledged_src_size(Some(size))?;
        encoder.multithread(2)
    })();
    setup.at("write", zst)?;
    let mut hasher = Sha256::new();
    let mut map = BlockMap::new(table);
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < size {
        let n = (size - at).min(buffer.len() as u64) as usize;
        file.read_exact(&mut buffer[..n]).at("read", image)?;
        hasher.update(&buffer[..n]);
        map.add(&buffer[..n]);
        encoder.write_all(&buffer[..n]).at("write", zst)?;
        at += n as u64;
        bar.set(at);
    }
    let hashing = encoder.finish().at("write", zst)?;
    hashing.inner.sync_all().at("write", zst)?;
    std::fs::write(bmap, map.into_xml(size)).at("write", bmap)?;
    bar.finish();
    Ok(Packed {
        image_sha256: hex(&hasher.finalize()),
        zst_sha256: hex(&hashing.hasher.finalize()),
        zst_bytes: hashing.bytes,
    })
}

struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Which blocks must be written: bmap-tools' format 2.0.
///
/// Only inside the slots may a block of zeros be left out, because what lies behind a slot's content is never read. Zeros mean
/// something in a FAT, in a journal and in the boot state: on a used card the old bytes would stand in their place.
#[derive(Default)]
struct BlockMap {
    /// Blocks of the slots.
    sparse: Vec<std::ops::Range<u64>>,
    block: u64,
    mapped: u64,
    ranges: Vec<(u64, u64, String)>,
    open: Option<(u64, Sha256)>,
}

impl BlockMap {
    fn new(table: &Table) -> Self {
        let slots = ["boot-a", "boot-b", "root-a", "root-b"]
            .into_iter()
            .filter_map(|name| table.by_name(name));
        let blocks = slots.map(|p| p.byte_offset() / MAP_BLOCK..(p.byte_offset() + p.byte_len()) / MAP_BLOCK);
        Self {
            sparse: blocks.collect(),
            ..Self::default()
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        for block in bytes.chunks(MAP_BLOCK as usize) {
            let must = !self.sparse.iter().any(|range| range.contains(&self.block));
            if must || block.iter().any(|b| *b != 0) {
                let (_, hasher) = self.open.get_or_insert_with(|| (self.block, Sha256::new()));
                hasher.update(block);
                self.mapped += 1;
            } else {
                self.close();
            }
            self.block += 1;
        }
    }

    fn close(&mut self) {
        if let Some((first, hasher)) = self.open.take() {
            self.ranges.push((first, self.block - 1, hex(&hasher.finalize())));
        }
    }

    fn into_xml(mut self, size: u64) -> String {
        self.close();
        let ranges: String = self
            .ranges
            .iter()
            .map(|(first, last, hash)| {
                let range = if first == last {
                    format!("{first}")
                } else {
                    format!("{first}-{last}")
                };
                format!("        <Range chksum=\"{hash}\"> {range} </Range>\n")
            })
            .collect();
        let document = |checksum: &str| {
            format!(
                "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n    <ImageSize> {size} </ImageSize>\n    <BlockSize> {MAP_BLOCK} </BlockSize>\n    \
                 <BlocksCount> {} </BlocksCount>\n    <MappedBlocksCount> {} </MappedBlocksCount>\n    <ChecksumType> sha256 </ChecksumType>\n    \
                 <BmapFileChecksum> {checksum} </BmapFileChecksum>\n    <BlockMap>\n{ranges}    </BlockMap>\n</bmap>\n",
                self.block, self.mapped
            )
        };
        // The checksum is over the file with zeros in the checksum's place.
        let checksum = crate::cache::hash(document(&"0".repeat(64)).as_bytes());
        document(&checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_every_board_fits_and_ends_with_data() {
        for name in Board::names() {
            let board = Board::find(name).unwrap();
            let table = table(&board, guid(&[7; 32])).unwrap();
            assert_eq!(table.partitions().last().unwrap().name, "data");
            assert!(
                table.by_name("data").unwrap().byte_len() >= u64::from(board_support::MIN_DATA_MIB) * MIB
            );
        }
    }

    #[test]
    fn the_block_map_leaves_out_zeros_only_inside_the_slots() {
        let mut map = BlockMap {
            sparse: Vec::from([std::ops::Range { start: 0, end: 4 }]),
            ..BlockMap::default()
        };
        let mut bytes = vec![0; 6 * MAP_BLOCK as usize];
        bytes[MAP_BLOCK as usize] = 1;
        bytes[2 * MAP_BLOCK as usize] = 1;
        map.add(&bytes);
        let xml = map.into_xml(bytes.len() as u64);
        assert!(
            xml.contains("> 1-2 <") && xml.contains("> 4-5 <") && xml.contains("<MappedBlocksCount> 4 <"),
            "{xml}"
        );
    }
}
