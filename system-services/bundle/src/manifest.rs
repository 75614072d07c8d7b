//! The manifest of a bundle: what it is for, which images it holds, and the root of its hash tree.
//!
//! A manifest is a GKeyFile of at most [`MAX_MANIFEST`] bytes. As in RAUC, an unknown group or key and a
//! repeated group or key is an error: a misspelt key must not become a key that is silently absent.
//!
//! Two forms exist. [`Manifest`] is the content of a bundle's signature and complete. [`Template`] is what
//! a person or a build writes: it has no hashes and no sizes; [`Template::complete`] fills them in.

mod error;
mod keyfile;
mod name;
mod parse;
mod rollback;
mod template;
mod version;
mod write;

use std::collections::BTreeMap;

use zeroize::Zeroizing;

pub use error::ManifestError;
pub use name::{FileName, FileNameError, MAX_FILE_NAME};
pub use rollback::{META_GROUP, ROLLBACK_INDEX, RollbackIndexError, rollback_index};
pub use template::{Measured, Template, TemplateImage};
pub use version::VersionError;

/// Longest manifest in bytes.
pub const MAX_MANIFEST: usize = 64 * 1024;

/// A complete manifest, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The hardware and product this bundle is for; must equal the appliance's own.
    pub compatible: String,
    /// Version of the system in the bundle, for people and for the updater's comparison (semantic versions).
    pub version: Option<String>,
    /// What changed, for people.
    pub description: Option<String>,
    /// Identifies the build.
    pub build: Option<String>,
    /// Oldest RAUC (`1.14`) that may install this; kept for RAUC, without a meaning for us.
    pub min_rauc_version: Option<String>,
    /// How the payload is protected.
    pub format: Format,
    /// A program of the bundle that replaces the installer.
    pub handler: Option<Handler>,
    /// A program of the bundle that is called at defined points.
    pub hooks: Option<Hooks>,
    /// The images, in the order of the file.
    pub images: Vec<Image>,
    /// `[meta.LABEL]`: label, then key and value.
    pub meta: BTreeMap<String, BTreeMap<String, String>>,
}

/// How the payload is protected. `plain` has no place here: it is refused while parsing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A dm-verity tree behind the payload.
    Verity(Tree),
    /// As `Verity`, over a payload that is encrypted with AES-256-CBC in sectors of 4096 bytes.
    Crypt {
        /// The tree, over the encrypted payload.
        tree: Tree,
        /// Key of the payload.
        key: Zeroizing<[u8; 32]>,
    },
}

/// Where the trust in the payload comes from (dm-verity version 1, SHA-256, blocks of 4096 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    /// Hash of the top block.
    pub root: [u8; 32],
    /// Salt, hashed before each block.
    pub salt: [u8; 32],
    /// Bytes of the tree behind the payload: a multiple of 4096, not 0.
    pub size: u64,
}

impl Format {
    /// The tree, which every format has.
    pub fn tree(&self) -> &Tree {
        match self {
            Self::Verity(tree) | Self::Crypt { tree, .. } => tree,
        }
    }
}

/// `[handler]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// Program in the bundle.
    pub filename: FileName,
    /// Its arguments, one string as in the file.
    pub args: Option<String>,
}

/// `[hooks]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// Program in the bundle.
    pub filename: FileName,
    /// True: it decides whether the bundle may be installed (`hooks=install-check`).
    pub install_check: bool,
}

/// When the program of [`Hooks`] is called for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageHook {
    /// `pre-install`: before the image is written.
    PreInstall,
    /// `install`: instead of writing the image.
    Install,
    /// `post-install`: after the image was written.
    PostInstall,
}

/// `[image.CLASS]`, `[image.CLASS.VARIANT]` or `[image.REPO/ARTIFACT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Slot class, or the repository when [`Image::artifact`] is given.
    pub class: String,
    /// Hardware variant.
    pub variant: Option<String>,
    /// Name of the artifact: this image is for a repository of files, not for a slot.
    pub artifact: Option<String>,
    /// File in the bundle.
    pub filename: FileName,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Bytes of the file.
    pub size: u64,
    /// `type`: how the image is written, when the name's ending does not say it.
    pub image_type: Option<String>,
    /// When the bundle's hook program is called.
    pub hooks: Vec<ImageHook>,
    /// Adaptive methods that the bundle offers, such as `block-hash-index`.
    pub adaptive: Vec<String>,
    /// Conversions asked for while the bundle is made.
    pub convert: Vec<String>,
    /// Files in the bundle that the conversions gave.
    pub converted: Vec<FileName>,
}

impl Manifest {
    /// Reads the manifest of a signed bundle: tree, hashes and sizes must be there.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        parse::complete(text)
    }

    /// See [`rollback_index`].
    pub fn rollback_index(&self) -> Result<u32, RollbackIndexError> {
        rollback_index(&self.meta)
    }

    /// The text of this manifest, in RAUC's order: update, bundle, handler, hooks, images, meta.
    pub fn to_text(&self) -> String {
        write::text(self)
    }
}

/// RAUC's `manifest-hash`: SHA-256 of the bytes that were signed.
pub fn manifest_hash(bytes: &[u8]) -> [u8; 32] {
    sha256(bytes)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    hash
}
