//! The image: plain or compressed, read once from its beginning to its end, each byte checked against the block map.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use disk_layout::SECTOR;
use sha2::{Digest, Sha256};

use super::aligned::Aligned;
use super::bmap::{self, BlockMap};

/// Bytes that are read and written at once.
pub const CHUNK: usize = 1 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The image builder's window, 2^27 bytes; decoders accept no more without being told.
const WINDOW_LOG: u32 = 27;

/// An image that can be flashed.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    compressed: bool,
    /// Unpacked size, in bytes: a whole number of sectors.
    pub bytes: u64,
    /// The block map beside it, if there is one.
    pub map: Option<BlockMap>,
}

impl Image {
    /// Looks at an image (`.img` or `.img.zst`) and at its block map.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let mut file = File::open(path).with_context(|| format!("cannot open the image {shown}"))?;
        let mut head = Vec::new();
        file.by_ref()
            .take(64)
            .read_to_end(&mut head)
            .with_context(|| format!("cannot read {shown}"))?;
        let compressed = head.starts_with(&ZSTD_MAGIC);
        let size = if compressed {
            zstd::zstd_safe::get_frame_content_size(&head).ok().flatten()
        } else {
            Some(file.metadata()?.len())
        };
        let map = read_map(path)?;
        if let (Some(map), Some(size)) = (&map, size) {
            ensure!(
                map.image_bytes == size,
                "{shown} has {size} bytes, but its block map is for {}: one of them is of another build; build or fetch both again",
                map.image_bytes
            );
        }
        let bytes = size.or(map.as_ref().map(|m| m.image_bytes));
        let bytes = bytes
            .with_context(|| format!("{shown} does not say how big it is: unpack it with `zstd -d` first"))?;
        ensure!(
            bytes > 0 && bytes.is_multiple_of(SECTOR as u64),
            "{shown} is not a disk image (.img or .img.zst): {bytes} bytes are not a whole number of sectors"
        );
        Ok(Self {
            path: path.to_path_buf(),
            compressed,
            bytes,
            map,
        })
    }

    /// Reads the whole image: `each(offset, bytes)` gets it in pieces of [`CHUNK`] bytes (the last may be shorter).
    /// Fails on the first byte that the block map contradicts; an image that passes through is as it was built.
    pub fn read(&self, mut each: impl FnMut(u64, Aligned) -> Result<()>) -> Result<()> {
        let shown = self.path.display();
        let damaged = || format!("{shown} is damaged: build or fetch it again");
        let file = File::open(&self.path).with_context(|| format!("cannot open {shown}"))?;
        let mut reader: Box<dyn Read> = if self.compressed {
            let mut decoder = zstd::Decoder::new(file)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Box::new(decoder)
        } else {
            Box::new(file)
        };
        let mut check = self.map.as_ref().map(Check::new);
        let mut at = 0;
        while at < self.bytes {
            let mut chunk = Aligned::new((self.bytes - at).min(CHUNK as u64) as usize);
            reader
                .read_exact(&mut chunk)
                .map_err(|e| shorter(e, at))
                .with_context(damaged)?;
            if let Some(check) = &mut check {
                check.feed(at, &chunk).with_context(damaged)?;
            }
            let length = chunk.len() as u64;
            each(at, chunk)?;
            at += length;
        }
        let more = reader.read(&mut [0]).with_context(damaged)?;
        ensure!(more == 0, "{}: it is longer than {at} bytes", damaged());
        Ok(())
    }
}

fn shorter(error: std::io::Error, at: u64) -> anyhow::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => anyhow::anyhow!("it ends after {} MiB", at >> 20),
        _ => error.into(),
    }
}

/// `x.img.bmap` (or `x.bmap`) for `x.img` and `x.img.zst`.
fn read_map(image: &Path) -> Result<Option<BlockMap>> {
    let plain = if image.extension().is_some_and(|e| e == "zst") {
        image.with_extension("")
    } else {
        image.to_path_buf()
    };
    let mut longer = OsString::from(&plain);
    longer.push(".bmap");
    for path in [PathBuf::from(longer), plain.with_extension("bmap")] {
        let shown = path.display();
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => file.take(bmap::MAX_BYTES as u64 + 1).read_to_string(&mut text),
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => bail!("cannot read the block map {shown}: {e}"),
        }
        .with_context(|| format!("cannot read the block map {shown}"))?;
        let map = bmap::parse(&text).with_context(|| {
            format!("the block map {shown} is damaged (build or fetch it again, or remove it to write the whole image)")
        })?;
        return Ok(Some(map));
    }
    Ok(None)
}

/// Follows an image as it passes and compares it with its map.
struct Check<'a> {
    map: &'a BlockMap,
    next: usize,
    hasher: Sha256,
}

impl<'a> Check<'a> {
    fn new(map: &'a BlockMap) -> Self {
        Self {
            map,
            next: 0,
            hasher: Sha256::new(),
        }
    }

    /// `bytes` stand at `at`; called from the beginning to the end of the image without gaps.
    fn feed(&mut self, mut at: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let range = self
                .map
                .mapped
                .get(self.next)
                .map_or(u64::MAX..u64::MAX, |m| m.bytes.clone());
            let inside = at >= range.start;
            let end = if inside { range.end } else { range.start };
            let (now, later) =
                bytes.split_at(usize::try_from(end - at).map_or(bytes.len(), |n| n.min(bytes.len())));
            if inside {
                self.hasher.update(now);
            } else {
                ensure!(
                    now.iter().all(|b| *b == 0),
                    "what its block map calls empty is not, near byte {at}"
                );
            }
            at += now.len() as u64;
            bytes = later;
            if inside && at == range.end {
                let actual: [u8; 32] = self.hasher.finalize_reset().into();
                ensure!(
                    actual == self.map.mapped[self.next].sha256,
                    "bytes {} to {} do not have the SHA-256 of its block map",
                    range.start,
                    range.end - 1
                );
                self.next += 1;
            }
        }
        Ok(())
    }
}
