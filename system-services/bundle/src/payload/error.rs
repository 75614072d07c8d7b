//! Why the files of a bundle cannot be read.

use std::io;

use crate::manifest::FileName;

/// Why the files of a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The source failed, or what it gave does not match the hash tree (then the source error is a
    /// [`VerityError`](crate::verity::VerityError)).
    #[error("cannot read the payload of the bundle")]
    Read(#[from] io::Error),
    /// No squashfs.
    #[error("the payload of the bundle is no squashfs")]
    NotSquashfs,
    /// A squashfs of another version.
    #[error("the payload is a squashfs of version {major}.{minor}; only version 4.0 can be read")]
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// A compression that is not built in.
    #[error(
        "the payload is compressed with {name}; make the bundle with `mksquashfs -comp gzip` or `-comp zstd`"
    )]
    Compression {
        /// Name of the method.
        name: &'static str,
    },
    /// A value that cannot be.
    #[error("the payload's file system is damaged: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// More than the limits allow.
    #[error("the payload has more {what} than the {limit} that are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// No such file.
    #[error("the bundle holds no file {name}")]
    Missing {
        /// The name.
        name: FileName,
    },
    /// A folder, a link, a device.
    #[error("{name} in the bundle is a {kind}, not a regular file")]
    NotAFile {
        /// The name.
        name: FileName,
        /// What it is.
        kind: &'static str,
    },
}
