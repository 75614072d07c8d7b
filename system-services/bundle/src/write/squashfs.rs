//! The tables of a squashfs 4.0 whose root folder holds files that are stored as they are.
//!
//! Nothing is packed, so the tables depend on names, places and sizes alone. Compression is said to be gzip, which
//! every kernel and tool can read; flags and every block say that it is not used.

use super::layout::Stored;

/// Bytes of a data block. Larger ones make shorter block lists; 128 KiB is what every tool is used to.
const BLOCK_SIZE: u32 = 128 * 1024;
/// Bytes of a table's block, and the mark of one that is not packed.
const METADATA_BLOCK: usize = 8192;
const METADATA_PLAIN: u16 = 1 << 15;
/// In the length of a data block: it is not packed.
const DATA_PLAIN: u32 = 1 << 24;
/// Inodes, data, fragments, attributes and ids are not packed; no fragments; no attributes.
const FLAGS: u16 = 0x0001 | 0x0002 | 0x0008 | 0x0010 | 0x0100 | 0x0200 | 0x0800;
const GZIP: u16 = 1;
/// There is no such table, no such fragment.
const NONE_64: u64 = u64::MAX;
const NONE_32: u32 = u32::MAX;
const FOLDER: u16 = 1;
const FILE: u16 = 2;
const LARGE_FILE: u16 = 9;

/// Superblock, and the tables that begin at `at`, for files in the order of their names.
pub(super) fn tables(files: &[Stored], at: u64) -> (Vec<u8>, Vec<u8>) {
    let mut inodes = Vec::new();
    let mut places = Vec::new();
    for (file, number) in files.iter().zip(1..) {
        places.push(Reference::to(inodes.len()));
        put_file(&mut inodes, file, number);
    }
    let listing = listing(files, &places);
    let root = Reference::to(inodes.len());
    put_root(&mut inodes, files.len() as u32, listing.len());

    let mut out = metadata(&inodes);
    let directory_table = at + out.len() as u64;
    out.extend(metadata(&listing));
    let id_block = at + out.len() as u64;
    out.extend(metadata(&[0; 4])); // user and group 0
    let id_table = at + out.len() as u64;
    out.extend(id_block.to_le_bytes());
    let end = at + out.len() as u64;

    let mut superblock = b"hsqs".to_vec();
    put_u32(&mut superblock, &[files.len() as u32 + 1, 0, BLOCK_SIZE, 0]);
    put_u16(
        &mut superblock,
        &[GZIP, BLOCK_SIZE.ilog2() as u16, FLAGS, 1, 4, 0],
    );
    let root = (root.block as u64) << 16 | u64::from(root.offset);
    // The table of fragments has no entries; its place is the next table's, as mksquashfs writes it.
    for number in [
        root,
        end,
        id_table,
        NONE_64,
        at,
        directory_table,
        id_block,
        NONE_64,
    ] {
        superblock.extend(number.to_le_bytes());
    }
    (superblock, out)
}

/// Where an inode is: its metadata block, counted in stored bytes, and the offset in it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Reference {
    block: u32,
    offset: u16,
}

impl Reference {
    fn to(position: usize) -> Self {
        let stored = METADATA_BLOCK + 2;
        Self {
            block: (position / METADATA_BLOCK * stored) as u32,
            offset: (position % METADATA_BLOCK) as u16,
        }
    }
}

fn put_u16(out: &mut Vec<u8>, numbers: &[u16]) {
    numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
}

fn put_u32(out: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
}

/// Kind, access rights, user, group, time, number.
fn put_header(out: &mut Vec<u8>, kind: u16, mode: u16, number: u32) {
    put_u16(out, &[kind, mode, 0, 0]);
    put_u32(out, &[0, number]);
}

fn put_file(out: &mut Vec<u8>, file: &Stored, number: u32) {
    let size = file.measured.size;
    match (u32::try_from(file.start), u32::try_from(size)) {
        (Ok(start), Ok(size)) => {
            put_header(out, FILE, 0o644, number);
            put_u32(out, &[start, NONE_32, 0, size]);
        }
        _ => {
            put_header(out, LARGE_FILE, 0o644, number);
            for number in [file.start, size, 0] {
                out.extend(number.to_le_bytes());
            }
            put_u32(out, &[1, NONE_32, 0, NONE_32]); // links, fragment, offset in it, attributes
        }
    }
    let block = u64::from(BLOCK_SIZE);
    for _ in 0..size / block {
        put_u32(out, &[BLOCK_SIZE | DATA_PLAIN]);
    }
    if !size.is_multiple_of(block) {
        put_u32(out, &[(size % block) as u32 | DATA_PLAIN]);
    }
}

/// The root folder; the size of a listing counts three bytes that are not there. 200 names fit its 16 bits.
fn put_root(out: &mut Vec<u8>, files: u32, listing: usize) {
    put_header(out, FOLDER, 0o755, files + 1);
    put_u32(out, &[0, 2]); // block of the listing, links
    put_u16(out, &[(listing + 3) as u16, 0]);
    put_u32(out, &[files + 2]); // the root has no parent: a number that no inode has
}

/// Names in order. A header opens every run of inodes of one metadata block.
fn listing(files: &[Stored], places: &[Reference]) -> Vec<u8> {
    let mut out = Vec::new();
    let entries: Vec<_> = files.iter().zip(places).zip(1u32..).collect();
    for run in entries.chunk_by(|a, b| a.0.1.block == b.0.1.block) {
        for run in run.chunks(256) {
            let first = run[0].1;
            put_u32(&mut out, &[run.len() as u32 - 1, run[0].0.1.block, first]);
            for ((file, place), number) in run {
                let name = file.name.as_str().as_bytes();
                put_u16(
                    &mut out,
                    &[place.offset, (number - first) as u16, FILE, name.len() as u16 - 1],
                );
                out.extend_from_slice(name);
            }
        }
    }
    out
}

/// A table as it is stored: blocks with their lengths.
fn metadata(table: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(table.len() + table.len() / 1024 + 2);
    for block in table.chunks(METADATA_BLOCK) {
        put_u16(&mut out, &[block.len() as u16 | METADATA_PLAIN]);
        out.extend_from_slice(block);
    }
    out
}
