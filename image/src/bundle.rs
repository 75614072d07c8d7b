//! An update bundle from a finished image: what is in its slot a.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use boot_payload::{HEADER_LEN, Header, PART_ALIGN, PartKind};
use bundle::chunks::TreeTail;
use bundle::cms::UnixTime;
use bundle::manifest::{FileName, META_GROUP, ROLLBACK_INDEX, Template, TemplateImage};
use bundle::sign::{SigningIdentity, sign};
use bundle::source::ReadAt;
use bundle::verity::{BLOCK, tree_size};
use bundle::write::{Chunks, Input, SignFailure, Written, write};
use disk_layout::SECTOR;

use crate::cache::hash_file;
use crate::error::{BuildError, FileContext, Result};
use crate::token::Token;

/// What a slot of an image holds, and where in the image file it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInImage {
    /// Made for this.
    pub compatible: String,
    /// Version.
    pub version: String,
    /// Rollback index: that of the profile from which the image was made.
    pub rollback_index: u32,
    /// Kernel command line.
    pub command_line: String,
    /// Bytes of the boot payload.
    pub boot: Range<u64>,
    /// Bytes of the root file system and the tree behind it.
    pub root: Range<u64>,
    /// Salt of that tree.
    pub salt: [u8; 32],
    /// Bytes before that tree.
    pub root_data: u64,
}

/// Finds slot a in an image.
pub fn slot(path: &Path) -> Result<SlotInImage> {
    let bad = |problem: String| BuildError::invalid(path.display().to_string(), problem);
    let file = File::open(path).at("open", path)?;
    let sectors = file.metadata().at("read", path)?.len() / SECTOR as u64;
    let found = disk_layout::read(sectors, |lba, into: &mut [u8]| {
        file.read_exact_at(into, lba * SECTOR as u64)
    })
    .map_err(|e| bad(format!("is no image of ours: {e}")))?;
    let place = |name: &str| {
        let partition = found.table.by_name(name);
        partition
            .map(|p| (p.byte_offset(), p.byte_len()))
            .ok_or_else(|| bad(format!("has no partition {name}")))
    };
    let (boot_start, boot_len) = place("boot-a")?;
    let (root_start, root_len) = place("root-a")?;
    let mut header = [0; HEADER_LEN];
    file.read_exact_at(&mut header, boot_start).at("read", path)?;
    let header = Header::parse(&header, boot_len).map_err(|e| bad(format!("boot-a: {e}")))?;
    let parts = [PartKind::Kernel, PartKind::Initramfs, PartKind::CommandLine].map(|kind| header.part(kind));
    let end = parts
        .iter()
        .map(|p| p.offset() + p.stored_len())
        .max()
        .unwrap_or(0);
    let words = header.part(PartKind::CommandLine);
    let mut command_line = vec![0; usize::try_from(words.stored_len()).unwrap_or(0)];
    file.read_exact_at(&mut command_line, boot_start + words.offset())
        .at("read", path)?;
    let command_line =
        String::from_utf8(command_line).map_err(|_| bad("its command line is no text".into()))?;
    let found = |name: &str| command_line.split(' ').find_map(|w| w.strip_prefix(name));
    let word = |name: &str| found(name).ok_or_else(|| bad(format!("its command line has no {name}")));
    let blocks: u64 = word("hearth.root-blocks=")?
        .parse()
        .map_err(|_| bad("hearth.root-blocks is no number".into()))?;
    let salt = digest(word("hearth.root-salt=")?).ok_or_else(|| bad("hearth.root-salt is no hash".into()))?;
    // Images that were made before there was an index have none.
    let rollback_index = found("hearth.rollback-index=")
        .map_or(Ok(0), str::parse)
        .map_err(|_| bad("hearth.rollback-index is no number".into()))?;
    let root_data = blocks.saturating_mul(BLOCK as u64);
    let tree = tree_size(root_data).map_err(|e| bad(format!("hearth.root-blocks: {e}")))?;
    if root_data + tree > root_len {
        return Err(bad("its root is larger than its slot".into()));
    }
    Ok(SlotInImage {
        compatible: header.compatible().into(),
        version: header.version().into(),
        rollback_index,
        boot: boot_start..boot_start + end.next_multiple_of(PART_ALIGN),
        root: root_start..root_start + root_data + tree,
        salt,
        root_data,
        command_line,
    })
}

/// Who signs.
pub enum Signer {
    /// A key in a file.
    File(Box<SigningIdentity>),
    /// A key on a token, used through openssl, which asks for the PIN itself.
    Token(Token),
}

impl Signer {
    /// `key` is a file (PKCS#8 PEM) or a `pkcs11:` URI; `certificates` is the leaf's, then the intermediates'.
    pub fn new(key: &str, certificates: &Path) -> Result<Self> {
        let chain = fs::read_to_string(certificates).at("read", certificates)?;
        if key.starts_with("pkcs11:") {
            let token = Token::new(key, &chain).ok_or_else(|| {
                let problem = "holds no certificate in PEM; give the signer's, then its intermediates'";
                BuildError::invalid(certificates.display().to_string(), problem)
            })?;
            return Ok(Self::Token(token));
        }
        let text = fs::read_to_string(key).at("read", key)?;
        let identity = SigningIdentity::from_pem(&text, &chain)
            .map_err(|e| BuildError::invalid(key, error_chain(&e)))?;
        Ok(Self::File(Box::new(identity)))
    }

    /// Signs a manifest or a channel index; the result holds it (CMS, DER).
    pub fn sign(&self, content: &[u8], now: UnixTime) -> Result<Vec<u8>, SignFailure> {
        match self {
            Self::File(identity) => Ok(sign(content, identity, now)?),
            Self::Token(token) => token.sign(content),
        }
    }
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes();
    let mut out = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

/// What to make.
pub struct Request<'a> {
    /// The finished `.img`.
    pub image: &'a Path,
    /// What changed, for people.
    pub description: Option<&'a str>,
    /// Build, for people.
    pub build: Option<&'a str>,
    /// Who signs.
    pub signer: &'a Signer,
    /// The present time.
    pub now: UnixTime,
    /// The file to be made.
    pub out: &'a Path,
}

/// Makes a bundle. It appears whole or not at all.
pub fn make(request: &Request<'_>) -> Result<Written> {
    let slot = slot(request.image)?;
    let sbom = request.image.with_extension("sbom.cdx.json");
    let mut meta = vec![
        ("chunks", "1".to_owned()),
        (ROLLBACK_INDEX, slot.rollback_index.to_string()),
    ];
    if sbom.exists() {
        let name = sbom
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        meta.push(("sbom", name));
        meta.push(("sbom-sha256", hash_file(&sbom)?));
    }
    let name = |text: &str| FileName::new(text).map_err(|e| BuildError::invalid(text, e.to_string()));
    let images = [
        ("rootfs", "rootfs.img", &slot.root),
        ("boot", "boot.img", &slot.boot),
    ];
    let template = Template {
        compatible: slot.compatible.clone(),
        version: Some(slot.version.clone()),
        description: request.description.map(Into::into),
        build: request.build.map(Into::into),
        images: images
            .iter()
            .map(|(class, file, _)| Ok(TemplateImage::new(class, name(file)?)))
            .collect::<Result<_>>()?,
        meta: [(
            META_GROUP.into(),
            meta.into_iter().map(|(k, v)| (k.into(), v)).collect(),
        )]
        .into(),
        ..Template::default()
    };
    let inputs = images
        .iter()
        .map(|(class, file, range)| {
            Ok(Input {
                name: name(file)?,
                content: Box::new(part(request.image, range)?),
                size: range.end - range.start,
                block_hash_index: true,
                chunks: Some(Chunks {
                    tree: (*class == "rootfs").then_some(TreeTail {
                        data_size: slot.root_data,
                        salt: slot.salt,
                    }),
                    ..Chunks::default()
                }),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let unfinished = request.out.with_extension("raucb.unfinished");
    let result = (|| {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&unfinished)
            .at("create", &unfinished)?;
        let written = write(
            template,
            inputs,
            None,
            |manifest| request.signer.sign(manifest, request.now),
            &mut file,
        )
        .map_err(|e| BuildError::invalid("bundle", error_chain(&e)))?;
        file.sync_all().at("write", &unfinished)?;
        fs::rename(&unfinished, request.out).at("rename", request.out)?;
        Ok(written)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    result
}

fn part(path: &Path, range: &Range<u64>) -> Result<impl Read + use<>> {
    let mut file = File::open(path).at("open", path)?;
    file.seek(SeekFrom::Start(range.start)).at("read", path)?;
    Ok(io::BufReader::with_capacity(1 << 20, file).take(range.end - range.start))
}

/// A file as the source of a bundle.
pub struct BundleFile {
    file: File,
    size: u64,
}

impl BundleFile {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at("open", path)?;
        let size = file.metadata().at("read", path)?.len();
        Ok(Self { file, size })
    }
}

impl ReadAt for BundleFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
}

/// An error and its causes in one line.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
