//! Making a folder on a disk like a drive, or a drive like a folder.
//!
//! What differs is copied: files by their length and content, links by where they lead. A file has its name only when it is whole, on the disk as in the drive.
//! Names and links of a drive are those of its writer: what does not lie plainly within the folder is left out, and said.

mod disk_path;
mod export;
mod folder;
mod import;
mod listing;
mod meter;
mod plan;
mod walk;

pub use disk_path::{BadLink, BadName, DiskPath, MAX_DEPTH, UNFINISHED, link_on_disk};
pub use export::to_folder;
pub use folder::Folder;
pub use import::to_drive;
pub use meter::Progress;
pub use plan::{Action, Compare, Item, Kind, decide};

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::bee::CoreKey;
use crate::drive::{DriveError, FilePath, PathError};

/// The most left-out files that a report names. The others are counted.
const NAMED: usize = 1000;

/// How a mirror is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorOptions {
    /// Remove what the source does not have.
    pub prune: bool,
    /// Change nothing, but say what would be done.
    pub dry_run: bool,
    /// When files of the same length are taken for the same.
    pub compare: Compare,
    /// What is left alone on both sides.
    pub ignore: Ignore,
    /// How long a block of a content is waited for, at most.
    pub timeout: Option<Duration>,
}

impl Default for MirrorOptions {
    fn default() -> Self {
        Self {
            prune: true,
            dry_run: false,
            compare: Compare::default(),
            ignore: Ignore::default(),
            timeout: Some(Duration::from_secs(60)),
        }
    }
}

/// Paths that a mirror leaves alone: files, and folders with all that is below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore(Vec<FilePath>);

impl Ignore {
    /// These paths of the drive.
    pub fn new(paths: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, PathError> {
        let paths = paths.into_iter().map(|path| FilePath::new(path.as_ref()));
        paths.collect::<Result<_, _>>().map(Self)
    }

    fn ignores(&self, path: &str) -> bool {
        self.0
            .iter()
            .any(|ignored| is_at_or_below(path, ignored.as_str()))
    }
}

fn is_at_or_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What was done, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Files and links of the source.
    pub files: u64,
    /// Of these, those that the target did not have.
    pub added: u64,
    /// Those that the target had otherwise.
    pub changed: u64,
    /// What only the target had, and has no longer.
    pub removed: u64,
    /// Bytes that were copied.
    pub bytes_copied: u64,
    /// How many were left out.
    pub left_out_count: u64,
    /// What was left out, and why; the first of them.
    pub left_out: Vec<LeftOut>,
}

impl Report {
    fn leave_out(&mut self, what: LeftOut) {
        self.left_out_count += 1;
        if self.left_out.len() < NAMED {
            self.left_out.push(what);
        }
    }
}

/// Something that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path in the drive.
    pub path: String,
    /// Why, for people.
    pub why: String,
}

impl LeftOut {
    fn new(path: String, why: impl fmt::Display) -> Self {
        Self {
            path,
            why: why.to_string(),
        }
    }

    /// Says the whole chain of an error.
    fn because(path: String, error: &dyn std::error::Error) -> Self {
        let mut why = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            why = format!("{why}: {error}");
            source = error.source();
        }
        Self { path, why }
    }
}

/// Why a mirror is not made. What was copied before stays.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The drive fails.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The folder fails.
    #[error("the folder {path} cannot be {what}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What was to be done with it.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A drive of which nothing has come yet looks like an empty one.
    #[error("nothing is known of the drive {0} yet: connect to a peer that has it first")]
    NothingKnown(CoreKey),
    /// Not our drive.
    #[error("the drive {0} cannot be written here: it is another's, or an old version of ours")]
    NotWritable(CoreKey),
    /// The runtime ended, or a panic ended the work.
    #[error("the work on the folder was cut off")]
    Interrupted,
}

impl MirrorError {
    fn folder(folder: &Folder, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = folder.path().to_owned();
        move |source| Self::Folder { path, what, source }
    }
}

/// Runs what may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, MirrorError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| MirrorError::Interrupted)
}
