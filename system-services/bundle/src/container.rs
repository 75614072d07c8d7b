//! A bundle: payload, hash tree, signature, and the length of the signature in the last eight bytes.

use std::io;
use std::ops::Range;

use crate::cms::{self, CmsError, Signer, UnixTime};
use crate::crypt::DecryptedReader;
use crate::keyring::Keyring;
use crate::manifest::{FileName, Format, Image, Manifest, ManifestError, manifest_hash};
use crate::payload::{File, Payload, PayloadError, PayloadLimits};
use crate::source::{ReadAt, Window};
use crate::verity::{BLOCK, VerifiedReader, Verity, VerityError, array, tree_size};

/// Bytes of the length at the end of a bundle.
const TRAILER: u64 = 8;
/// Bytes that are read at once where everything is read.
const PIECE: usize = 128 * 1024;

/// What a bundle may ask of its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest signature in bytes; the manifest is in it. RAUC's default is 64 KiB.
    pub cms: u64,
    /// Limits for the payload's tables.
    pub payload: PayloadLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cms: 64 * 1024,
            payload: PayloadLimits::default(),
        }
    }
}

/// Where the parts of a bundle are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Payload with its hash tree.
    pub payload: Range<u64>,
    /// Signature with the manifest in it (CMS, DER).
    pub cms: Range<u64>,
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The source failed.
    #[error("cannot read the bundle")]
    Read(#[source] io::Error),
    /// Too short for a trailer, or its length field cannot be.
    #[error("this is no bundle, or it was cut off: {reason} (the file has {size} bytes)")]
    Trailer {
        /// What is wrong.
        reason: &'static str,
        /// Bytes of the file.
        size: u64,
    },
    /// A signature longer than allowed.
    #[error(
        "the signature is said to have {length} bytes; {limit} are allowed: is this a bundle, or was it changed?"
    )]
    SignatureTooLong {
        /// Its length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// The signature is not one to trust.
    #[error("the signature of the bundle is refused")]
    Signature(#[source] CmsError),
    /// What was signed is no manifest.
    #[error("the bundle is signed, but its manifest is refused")]
    Manifest(#[source] ManifestError),
    /// Payload and tree cannot be these.
    #[error(
        "payload and hash tree have {size} bytes, which does not fit a tree of {tree_size} bytes; the bundle was cut off or changed"
    )]
    PayloadSize {
        /// Bytes before the signature.
        size: u64,
        /// Bytes of the tree in them, as the manifest has it.
        tree_size: u64,
    },
    /// The payload cannot be read.
    #[error("the payload of the bundle is refused")]
    Payload(#[source] PayloadError),
    /// The manifest names a file that is not there.
    #[error("the manifest names {name}, which cannot be had from the bundle")]
    FileMissing {
        /// The file.
        name: FileName,
        /// Why it cannot be opened.
        #[source]
        source: PayloadError,
    },
    /// An image of another size.
    #[error("{name} has {size} bytes in the bundle; the manifest says {expected}")]
    ImageSize {
        /// The file.
        name: FileName,
        /// Bytes in the payload.
        size: u64,
        /// Bytes in the manifest.
        expected: u64,
    },
}

/// Finds the parts by the trailer alone, with the default limit for the signature. Nothing is verified.
pub fn raw_parts<S: ReadAt + ?Sized>(source: &S) -> Result<Parts, OpenError> {
    parts(source, Limits::default().cms)
}

fn parts<S: ReadAt + ?Sized>(source: &S, limit: u64) -> Result<Parts, OpenError> {
    let size = source.size();
    let Some(end) = size.checked_sub(TRAILER) else {
        return Err(OpenError::Trailer {
            reason: "it is too short",
            size,
        });
    };
    let mut trailer = [0; TRAILER as usize];
    source.read_exact_at(&mut trailer, end).map_err(OpenError::Read)?;
    let length = u64::from_be_bytes(trailer);
    if length == 0 {
        return Err(OpenError::Trailer {
            reason: "its last eight bytes are zero",
            size,
        });
    }
    let Some(start) = end.checked_sub(length) else {
        return Err(OpenError::Trailer {
            reason: "its last eight bytes are no length of a signature",
            size,
        });
    };
    if length > limit {
        return Err(OpenError::SignatureTooLong { length, limit });
    }
    Ok(Parts {
        payload: 0..start,
        cms: start..end,
    })
}

/// Reads the signature: at most as long as [`raw_parts`] allows.
pub fn read_cms<S: ReadAt + ?Sized>(source: &S, parts: &Parts) -> Result<Vec<u8>, OpenError> {
    let length = usize::try_from(parts.cms.end - parts.cms.start).unwrap_or(usize::MAX);
    let mut der = vec![0; length];
    source
        .read_exact_at(&mut der, parts.cms.start)
        .map_err(OpenError::Read)?;
    Ok(der)
}

/// The verified and, where needed, decrypted bytes of the payload.
pub struct Data<S>(Layers<S>);

enum Layers<S> {
    Verity(VerifiedReader<Window<S>>),
    Crypt(DecryptedReader<VerifiedReader<Window<S>>>),
}

impl<S: ReadAt> Data<S> {
    fn verified(&self) -> &VerifiedReader<Window<S>> {
        match &self.0 {
            Layers::Verity(verified) => verified,
            Layers::Crypt(decrypted) => decrypted.source(),
        }
    }
}

impl<S: ReadAt> ReadAt for Data<S> {
    fn size(&self) -> u64 {
        self.verified().size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.0 {
            Layers::Verity(verified) => verified.read_exact_at(buf, offset),
            Layers::Crypt(decrypted) => decrypted.read_exact_at(buf, offset),
        }
    }

    fn will_read(&self, ranges: &[Range<u64>]) {
        self.verified().will_read(ranges);
    }
}

/// A bundle whose signature was verified. Its payload is verified block by block when it is read.
///
/// Memory: the signature while opening, 1 MiB of hash blocks, two unpacked blocks of the payload and its block lists.
pub struct Bundle<S> {
    manifest: Manifest,
    manifest_hash: [u8; 32],
    signer: Signer,
    size: u64,
    payload: Payload<Data<S>>,
}

impl<S: ReadAt> Bundle<S> {
    /// Verifies the signature, reads the manifest in it (one inside the payload has no meaning), and checks that the
    /// payload holds what the manifest names.
    pub fn open(source: S, keyring: &Keyring, now: UnixTime, limits: Limits) -> Result<Self, OpenError> {
        let size = source.size();
        let parts = parts(&source, limits.cms)?;
        let signed = cms::verify(&read_cms(&source, &parts)?, keyring, now).map_err(OpenError::Signature)?;
        let manifest = Manifest::parse(&signed.content).map_err(OpenError::Manifest)?;
        let data = data(source, &parts, &manifest.format)?;
        let payload = Payload::open(data, &limits.payload).map_err(OpenError::Payload)?;
        let manifest_hash = manifest_hash(&signed.content);
        let bundle = Self {
            manifest,
            manifest_hash,
            signer: signed.signer,
            size,
            payload,
        };
        bundle.check_files()?;
        Ok(bundle)
    }

    fn check_files(&self) -> Result<(), OpenError> {
        let missing = |name: &FileName, source| OpenError::FileMissing {
            name: name.clone(),
            source,
        };
        for image in &self.manifest.images {
            let name = &image.filename;
            let size = self
                .payload
                .file(name)
                .map_err(|error| missing(name, error))?
                .size();
            if size != image.size {
                return Err(OpenError::ImageSize {
                    name: name.clone(),
                    size,
                    expected: image.size,
                });
            }
        }
        let handler = self.manifest.handler.iter().map(|handler| &handler.filename);
        let hooks = self.manifest.hooks.iter().map(|hooks| &hooks.filename);
        for name in handler.chain(hooks) {
            self.payload.file(name).map_err(|error| missing(name, error))?;
        }
        Ok(())
    }

    /// The manifest that was signed.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest: identifies the bundle.
    pub fn manifest_hash(&self) -> [u8; 32] {
        self.manifest_hash
    }

    /// Who signed.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Bytes of the whole bundle.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Names and sizes in bytes of the files in the payload, sorted by name.
    pub fn files(&self) -> impl Iterator<Item = (&FileName, u64)> {
        self.payload.files()
    }

    /// A file of the payload; each block is verified when it is read.
    pub fn file(&self, name: &FileName) -> Result<File<'_, Data<S>>, PayloadError> {
        self.payload.file(name)
    }

    /// Reads and verifies everything, also what no file uses. `progress` gets bytes done and in all.
    pub fn verify_payload(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), PayloadError> {
        let verified = self.payload.data().verified();
        read_all(verified, &mut |done, _| progress(done, verified.size()))?;
        Ok(verified.verify_tree()?)
    }

    /// SHA-256 of an image's file, to be compared with the manifest's.
    pub fn hash_image(
        &self,
        image: &Image,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<[u8; 32], PayloadError> {
        let file = self.payload.file(&image.filename)?;
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        read_all(&file, &mut |done, bytes| {
            context.update(bytes);
            progress(done, image.size);
        })?;
        Ok(array(context.finish().as_ref()))
    }
}

/// Reads from the first to the last byte in pieces; `each` gets bytes done and the piece.
fn read_all<R: ReadAt>(source: &R, each: &mut dyn FnMut(u64, &[u8])) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < source.size() {
        let length = usize::try_from(source.size() - at).map_or(PIECE, |left| left.min(PIECE));
        source.read_exact_at(&mut piece[..length], at)?;
        at += length as u64;
        each(at, &piece[..length]);
    }
    Ok(())
}

/// Puts the layers over the payload. The tree must have exactly the size that the data needs.
fn data<S: ReadAt>(source: S, parts: &Parts, format: &Format) -> Result<Data<S>, OpenError> {
    let tree = format.tree();
    let size = parts.payload.end;
    let refused = || OpenError::PayloadSize {
        size,
        tree_size: tree.size,
    };
    let data_size = size.checked_sub(tree.size).ok_or_else(refused)?;
    if data_size <= BLOCK as u64 || tree_size(data_size).ok() != Some(tree.size) {
        return Err(refused());
    }
    let verity = Verity {
        root: tree.root,
        salt: tree.salt,
        data_size,
    };
    let verified = VerifiedReader::new(Window::new(source, parts.payload.clone()), verity)
        .map_err(|_: VerityError| refused())?;
    Ok(Data(match format {
        Format::Verity(_) => Layers::Verity(verified),
        Format::Crypt { key, .. } => Layers::Crypt(DecryptedReader::new(verified, key)),
    }))
}
