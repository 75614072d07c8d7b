//! Why a manifest is refused.

use super::{FileName, FileNameError, MAX_MANIFEST, VersionError};

/// Why a manifest is refused. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Longer than [`MAX_MANIFEST`].
    #[error("the manifest has {size} bytes; {MAX_MANIFEST} are allowed")]
    TooLong {
        /// Its size in bytes.
        size: usize,
    },
    /// Not UTF-8, or a NUL byte.
    #[error("the manifest is no text: byte {offset} is neither UTF-8 nor allowed")]
    NotText {
        /// The first bad byte.
        offset: usize,
    },
    /// A line that is no comment, group or `key=value`.
    #[error("line {line} of the manifest: {reason}")]
    Syntax {
        /// The line.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A group nobody knows: a newer format, or a misspelling.
    #[error(
        "line {line} of the manifest: the group [{group}] is unknown; was the bundle made for a newer version, or is it misspelt?"
    )]
    UnknownGroup {
        /// The line.
        line: usize,
        /// The group.
        group: String,
    },
    /// A key nobody knows.
    #[error(
        "line {line} of the manifest: the key {key:?} in [{group}] is unknown; was the bundle made for a newer version, or is it misspelt?"
    )]
    UnknownKey {
        /// The line.
        line: usize,
        /// The group.
        group: String,
        /// The key.
        key: String,
    },
    /// The same group twice.
    #[error("line {line} of the manifest: the group [{group}] is there twice")]
    DuplicateGroup {
        /// The second line.
        line: usize,
        /// The group.
        group: String,
    },
    /// The same key twice in one group.
    #[error("line {line} of the manifest: the key {key:?} in [{group}] is there twice")]
    DuplicateKey {
        /// The second line.
        line: usize,
        /// The group.
        group: String,
        /// The key.
        key: String,
    },
    /// A group that must be there.
    #[error("the manifest has no group [{group}]")]
    MissingGroup {
        /// The group.
        group: &'static str,
    },
    /// A key that must be there.
    #[error("the manifest has no key {key:?} in [{group}]")]
    MissingKey {
        /// The group.
        group: String,
        /// The key.
        key: &'static str,
    },
    /// A value that is not of its key's form.
    #[error("line {line} of the manifest: {key:?} in [{group}] {reason}")]
    Value {
        /// The line.
        line: usize,
        /// The group.
        group: String,
        /// The key.
        key: String,
        /// What is wrong, as the rest of the sentence.
        reason: &'static str,
    },
    /// A file name that is a path, or none.
    #[error("line {line} of the manifest: the file name in {key:?} of [{group}] is not allowed")]
    FileName {
        /// The line.
        line: usize,
        /// The group.
        group: String,
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: FileNameError,
    },
    /// A RAUC version that is none.
    #[error("line {line} of the manifest: \"min-rauc-version\" is no version")]
    MinRaucVersion {
        /// The line.
        line: usize,
        /// Why.
        #[source]
        source: VersionError,
    },
    /// `format=plain`, or no format, which means the same.
    #[error(
        "the bundle has the format \"plain\", which is refused: its signature does not protect the payload while \
         it is read (CVE-2020-25860); make the bundle again with format=verity"
    )]
    Plain,
    /// A format nobody knows.
    #[error(
        "line {line} of the manifest: the bundle format {format:?} is unknown; verity and crypt are known"
    )]
    UnknownFormat {
        /// The line.
        line: usize,
        /// The format.
        format: String,
    },
    /// An image's file is not among the bundle's inputs.
    #[error("the manifest names the file {name}, which was not given")]
    FileMissing {
        /// The file.
        name: FileName,
    },
    /// A part of the template does not survive being written, such as a class with a `]`.
    #[error("a class, variant, label or value cannot be written as a manifest that reads the same")]
    NotWritable,
}
