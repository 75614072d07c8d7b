//! The files of the payload, one behind the other.

use std::io::{Read, Seek, SeekFrom, Write};

use ring::digest::{Context, SHA256};

use super::{BLOCK_HASH_INDEX, Input, PIECE, WriteError, aligned, squashfs};
use crate::chunks::{self, IndexBuilder};
use crate::manifest::{FileName, Measured};
use crate::verity::{BLOCK, array, sha256};

/// Files of a bundle with their indexes: fewer than a reader takes, and their names fit one plain folder (64 KiB).
const MAX_FILES: usize = 200;

/// A file that was written.
pub(super) struct Stored {
    pub name: FileName,
    /// Where it begins: a multiple of 4096.
    pub start: u64,
    pub measured: Measured,
    /// It has RAUC's index beside it.
    pub block_hash_index: bool,
}

/// A file that is made from another one.
struct Index {
    name: FileName,
    bytes: Vec<u8>,
}

/// Writes the whole payload from the beginning of `out` and leaves `out` behind it, at a multiple of 4096.
///
/// Files are neither packed (images are) nor split: each is one run of bytes that begins at a multiple of 4096, so that
/// a range of an image is a range of the bundle.
pub(super) fn write_payload<W: Write + Seek>(
    mut inputs: Vec<Input<'_>>,
    out: &mut W,
) -> Result<Vec<Stored>, WriteError> {
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    let count = inputs
        .iter()
        .map(|input| 1 + usize::from(input.block_hash_index) + usize::from(input.chunks.is_some()));
    let count = count.sum();
    if count > MAX_FILES {
        return Err(WriteError::TooManyFiles {
            count,
            limit: MAX_FILES,
        });
    }
    let mut files = Vec::new();
    let mut at = BLOCK as u64;
    for input in inputs {
        let (name, indexed) = (input.name.clone(), input.block_hash_index);
        let (measured, indexes) = write_input(input, at, out)?;
        files.push(Stored {
            name,
            start: at,
            measured,
            block_hash_index: indexed,
        });
        at = aligned(at + measured.size);
        for Index { name, bytes } in indexes {
            let measured = Measured {
                sha256: sha256(&bytes),
                size: bytes.len() as u64,
            };
            write_at(&bytes, at, out)?;
            files.push(Stored {
                name,
                start: at,
                measured,
                block_hash_index: false,
            });
            at = aligned(at + measured.size);
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = files.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(WriteError::Twice {
            name: pair[0].name.clone(),
        });
    }
    let (superblock, tables) = squashfs::tables(&files, at);
    write_at(&superblock, 0, out)?;
    write_at(&tables, at, out)?;
    Ok(files)
}

/// Writes at a multiple of 4096, with zeros up to the next.
fn write_at<W: Write + Seek>(bytes: &[u8], at: u64, out: &mut W) -> Result<(), WriteError> {
    let mut write = || {
        out.seek(SeekFrom::Start(at))?;
        out.write_all(bytes)?;
        let end = at + bytes.len() as u64;
        out.write_all(&vec![0; (aligned(end) - end) as usize])
    };
    write().map_err(WriteError::Output)
}

/// Copies one input and makes its indexes on the way.
fn write_input<W: Write + Seek>(
    input: Input<'_>,
    at: u64,
    out: &mut W,
) -> Result<(Measured, Vec<Index>), WriteError> {
    let Input {
        name,
        mut content,
        size,
        block_hash_index,
        chunks,
    } = input;
    if block_hash_index && !size.is_multiple_of(BLOCK as u64) {
        return Err(WriteError::NotWholeBlocks { name, size });
    }
    let mut hash = Context::new(&SHA256);
    let mut blocks = block_hash_index.then(Vec::new);
    let mut builder = chunks.map(|chunks| IndexBuilder::new(chunks.parameters, chunks.tree));
    out.seek(SeekFrom::Start(at)).map_err(WriteError::Output)?;
    let mut piece = vec![0; PIECE];
    let mut left = size;
    while left > 0 {
        let piece = &mut piece[..left.min(PIECE as u64) as usize];
        content.read_exact(piece).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => WriteError::InputSize {
                name: name.clone(),
                expected: size,
            },
            _ => WriteError::Input {
                name: name.clone(),
                source,
            },
        })?;
        hash.update(piece);
        if let Some(blocks) = &mut blocks {
            piece
                .chunks(BLOCK)
                .for_each(|block| blocks.extend_from_slice(&sha256(block)));
        }
        if let Some(builder) = &mut builder {
            builder.update(piece);
        }
        out.write_all(piece).map_err(WriteError::Output)?;
        left -= piece.len() as u64;
    }
    match content.read(&mut [0]) {
        Ok(0) => {}
        Ok(_) => return Err(WriteError::InputSize { name, expected: size }),
        Err(source) => return Err(WriteError::Input { name, source }),
    }
    out.write_all(&vec![0; (aligned(at + size) - (at + size)) as usize])
        .map_err(WriteError::Output)?;
    let mut indexes = Vec::new();
    if let Some(blocks) = blocks {
        indexes.push(Index {
            name: beside(&name, &format!(".{BLOCK_HASH_INDEX}"))?,
            bytes: blocks,
        });
    }
    if let Some(builder) = builder {
        let index = builder.finish().map_err(|source| WriteError::Chunks {
            name: name.clone(),
            source,
        })?;
        indexes.push(Index {
            name: beside(&name, chunks::SUFFIX)?,
            bytes: index.to_bytes(),
        });
    }
    Ok((
        Measured {
            sha256: array(hash.finish().as_ref()),
            size,
        },
        indexes,
    ))
}

fn beside(name: &FileName, suffix: &str) -> Result<FileName, WriteError> {
    FileName::new(&format!("{name}{suffix}")).map_err(|_| WriteError::NameTooLong { name: name.clone() })
}
