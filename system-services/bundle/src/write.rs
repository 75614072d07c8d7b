//! Making bundles, for build machines and tests (feature `write`).
//!
//! The same template, files and key give the same payload bytes: names are sorted, times are zero, the salt of the
//! hash tree is the SHA-256 of the payload. Only the signature differs from one time to the next.

mod error;
mod layout;
mod squashfs;

use std::io::{self, Read, Seek, SeekFrom, Write};

use cbc::cipher::KeyInit;
use ring::digest::{Context, SHA256};
use zeroize::Zeroizing;

pub use error::WriteError;

use crate::chunks::{Parameters, TreeTail};
use crate::container::{Parts, raw_parts};
use crate::crypt::{SECTOR, encrypt_sector};
use crate::manifest::{FileName, Format, Manifest, Template, Tree, manifest_hash};
use crate::source::ReadAt;
use crate::verity::{BLOCK, TreeBuilder, array};

/// Suffix of RAUC's index: SHA-256 of every block of 4096 bytes, one behind the other.
pub const BLOCK_HASH_INDEX: &str = "block-hash-index";
/// Bytes that are copied at once.
const PIECE: usize = 128 * 1024;

/// A file of a bundle.
pub struct Input<'a> {
    /// Its name.
    pub name: FileName,
    /// Its bytes, read once.
    pub content: Box<dyn Read + 'a>,
    /// How many bytes it has; more or fewer are an error.
    pub size: u64,
    /// Makes `NAME.block-hash-index` and announces it in the manifest (`adaptive=`). The size must be a multiple of 4096.
    pub block_hash_index: bool,
    /// Makes `NAME.chunks`.
    pub chunks: Option<Chunks>,
}

/// How a file's chunk index is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chunks {
    /// Lengths of chunks.
    pub parameters: Parameters,
    /// A dm-verity tree at the end of the file, which then need not be transferred.
    pub tree: Option<TreeTail>,
}

/// A bundle that was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its manifest.
    pub manifest: Manifest,
    /// SHA-256 of the manifest.
    pub manifest_hash: [u8; 32],
    /// Bytes of the bundle.
    pub size: u64,
}

/// What signs a manifest may fail with.
pub type SignFailure = Box<dyn std::error::Error + Send + Sync>;

/// Writes a bundle from the beginning of `out`, which is read back for the hash tree. With `crypt_key` the payload is
/// encrypted and the format `crypt`. Memory: indexes and hash tree, about 2 % of the largest file; no file as a whole.
pub fn write<W: Read + Write + Seek, E: Into<SignFailure>>(
    mut template: Template,
    inputs: Vec<Input<'_>>,
    crypt_key: Option<Zeroizing<[u8; 32]>>,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    out: &mut W,
) -> Result<Written, WriteError> {
    let files = layout::write_payload(inputs, out)?;
    for image in &mut template.images {
        let indexed = files
            .iter()
            .any(|file| file.name == image.filename && file.block_hash_index);
        if indexed && !image.adaptive.iter().any(|method| method == BLOCK_HASH_INDEX) {
            image.adaptive.push(BLOCK_HASH_INDEX.to_owned());
        }
    }
    let size = out.stream_position().map_err(WriteError::Output)?;
    if let Some(key) = &crypt_key {
        encrypt(out, size, key).map_err(WriteError::Output)?;
    }
    let tree = append_tree(out, size)?;
    let format = match crypt_key {
        None => Format::Verity(tree),
        Some(key) => Format::Crypt { tree, key },
    };
    let measure = |name: &FileName| {
        files
            .iter()
            .find(|file| file.name == *name)
            .map(|file| file.measured)
    };
    let manifest = template.complete(format, measure).map_err(WriteError::Manifest)?;
    let text = manifest.to_text();
    let cms = sign(text.as_bytes()).map_err(|source| WriteError::Sign(source.into()))?;
    append_cms(out, &cms)?;
    Ok(Written {
        manifest_hash: manifest_hash(text.as_bytes()),
        manifest,
        size: size + tree.size + cms.len() as u64 + 8,
    })
}

/// Writes the same payload with another signature, which must be over the same manifest bytes: sign what
/// [`read_unverified`](crate::cms::read_unverified) or, better, [`verify`](crate::cms::verify) gives.
pub fn resign<S: ReadAt + ?Sized>(
    source: &S,
    new_cms: &[u8],
    out: &mut impl Write,
) -> Result<(), WriteError> {
    let Parts { payload, .. } = raw_parts(source).map_err(|source| WriteError::Source(Box::new(source)))?;
    let mut piece = vec![0; PIECE];
    for at in (payload.start..payload.end).step_by(PIECE) {
        let piece = &mut piece[..(payload.end - at).min(PIECE as u64) as usize];
        source.read_exact_at(piece, at).map_err(WriteError::ReadSource)?;
        out.write_all(piece).map_err(WriteError::Output)?;
    }
    append_cms(out, new_cms)
}

fn append_cms(out: &mut impl Write, cms: &[u8]) -> Result<(), WriteError> {
    let append = |out: &mut dyn Write| {
        out.write_all(cms)?;
        out.write_all(&(cms.len() as u64).to_be_bytes())?;
        out.flush()
    };
    append(out).map_err(WriteError::Output)
}

/// Hashes the payload twice, for the salt and for the tree, and appends the tree.
fn append_tree<W: Read + Write + Seek>(out: &mut W, size: u64) -> Result<Tree, WriteError> {
    let mut salt = Context::new(&SHA256);
    read_back(out, size, &mut |piece| salt.update(piece)).map_err(WriteError::Output)?;
    let salt = array(salt.finish().as_ref());
    let mut builder = TreeBuilder::new(salt);
    read_back(out, size, &mut |piece| builder.update(piece)).map_err(WriteError::Output)?;
    let tree = builder.finish().map_err(WriteError::Tree)?;
    out.seek(SeekFrom::Start(size)).map_err(WriteError::Output)?;
    out.write_all(&tree.tree).map_err(WriteError::Output)?;
    Ok(Tree {
        root: tree.root,
        salt,
        size: tree.tree.len() as u64,
    })
}

fn read_back<W: Read + Seek>(out: &mut W, size: u64, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    out.seek(SeekFrom::Start(0))?;
    let mut piece = vec![0; PIECE];
    for at in (0..size).step_by(PIECE) {
        let piece = &mut piece[..(size - at).min(PIECE as u64) as usize];
        out.read_exact(piece)?;
        each(piece);
    }
    Ok(())
}

/// Encrypts what was written, in place. The size is a multiple of a sector.
fn encrypt<W: Read + Write + Seek>(out: &mut W, size: u64, key: &[u8; 32]) -> io::Result<()> {
    let cipher = aes::Aes256::new(&cbc::cipher::Array(*key));
    let mut piece = vec![0; PIECE];
    for at in (0..size).step_by(PIECE) {
        let piece = &mut piece[..(size - at).min(PIECE as u64) as usize];
        out.seek(SeekFrom::Start(at))?;
        out.read_exact(piece)?;
        for (sector, bytes) in (at / SECTOR as u64..).zip(piece.chunks_exact_mut(SECTOR)) {
            encrypt_sector(&cipher, sector, bytes);
        }
        out.seek(SeekFrom::Start(at))?;
        out.write_all(piece)?;
    }
    Ok(())
}

/// The next multiple of a block.
fn aligned(at: u64) -> u64 {
    at.next_multiple_of(BLOCK as u64)
}
