//! From what a volume holds to what it shall hold, in the caller's order.

use std::collections::BTreeMap;
use std::io::Read;

use crate::error::{FatError, Result};
use crate::name::{fold, parts};
use crate::session::Fat;
use crate::time::Timestamp;
use crate::volume::Volume;

/// What shall be at a path.
pub enum Wish<'a> {
    /// A file with this content.
    Present {
        /// Size in bytes.
        len: u32,
        /// SHA-256 of the content.
        sha256: [u8; 32],
        /// The content; read only when the volume has another.
        content: &'a mut dyn Read,
    },
    /// No file.
    Absent,
}

/// One path and what shall be there.
pub struct Wanted<'a> {
    /// Path with `/` between its parts; upper and lower case are the same.
    pub path: &'a str,
    /// What shall be there.
    pub wish: Wish<'a>,
}

impl std::fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let len = match &self.wish {
            Wish::Present { len, .. } => Some(len),
            Wish::Absent => None,
        };
        f.debug_struct("Wanted")
            .field("path", &self.path)
            .field("len", &len)
            .finish_non_exhaustive()
    }
}

/// What happens to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// There was no such file.
    Added,
    /// It had other content.
    Replaced,
    /// It was there and shall not be.
    Removed,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As it was wanted.
    pub path: String,
    /// What happens to it.
    pub kind: ChangeKind,
}

/// What [`reconcile`] would change, in its order. Reads only; compares by content.
///
/// # Errors
/// When a path cannot be used or contradicts another, or there is no room at some point of the order.
pub fn plan<V: Volume + ?Sized>(fat: &Fat<'_, V>, wanted: &[Wanted<'_>]) -> Result<Vec<Change>> {
    check_paths(wanted)?;
    let mut changes = Vec::new();
    let mut free = fat.free_clusters();
    for one in wanted {
        let Some(kind) = difference(fat, one)? else {
            continue;
        };
        if let Wish::Present { len, .. } = &one.wish {
            let needed = fat.clusters_of_change(one.path, *len)?;
            fat.check_room(one.path, needed, free)?;
            free -= needed;
        }
        free += fat
            .len_of(one.path)?
            .map_or(0, |old| fat.geometry.clusters_for(old.into()));
        changes.push(Change {
            path: one.path.into(),
            kind,
        });
    }
    Ok(changes)
}

/// Brings the volume to what is wanted, one file after the other in the order given, and returns what was changed.
///
/// A file whose content is right is not touched. A cut at any moment leaves every path with its old or its new content,
/// those before it in the order with the new one; the same call again completes the work. Paths that are not wanted
/// stay as they are.
///
/// # Errors
/// As [`plan`], before the first write; later when the device or a reader fails, or content is not what was announced.
pub fn reconcile<V: Volume + ?Sized>(
    volume: &mut V,
    wanted: &mut [Wanted<'_>],
    time: Timestamp,
) -> Result<Vec<Change>> {
    let mut fat = Fat::open(volume)?;
    let changes = plan(&fat, wanted)?;
    fat.prepare()?;
    for one in wanted.iter_mut() {
        if !changes.iter().any(|c| c.path == one.path) {
            continue;
        }
        match &mut one.wish {
            Wish::Present { len, sha256, content } => fat.put(one.path, *len, sha256, content, time)?,
            Wish::Absent => {
                fat.remove(one.path)?;
            }
        }
    }
    fat.finish()?;
    Ok(changes)
}

fn difference<V: Volume + ?Sized>(fat: &Fat<'_, V>, wanted: &Wanted<'_>) -> Result<Option<ChangeKind>> {
    let have = fat.len_of(wanted.path)?;
    Ok(match (&wanted.wish, have) {
        (Wish::Absent, None) => None,
        (Wish::Absent, Some(_)) => Some(ChangeKind::Removed),
        (Wish::Present { .. }, None) => Some(ChangeKind::Added),
        (Wish::Present { len, sha256, .. }, Some(old)) => {
            let same = old == *len && fat.sha256(wanted.path)? == *sha256;
            (!same).then_some(ChangeKind::Replaced)
        }
    })
}

/// No path twice, none that is a file here and a folder there.
fn check_paths(wanted: &[Wanted<'_>]) -> Result<()> {
    let mut present: BTreeMap<String, bool> = BTreeMap::new();
    for one in wanted {
        parts(one.path)?;
        let there = matches!(one.wish, Wish::Present { .. });
        if present.insert(fold(one.path), there).is_some() {
            return Err(FatError::path(one.path, "it is wanted twice"));
        }
    }
    for one in wanted {
        let folded = fold(one.path);
        let above = folded.match_indices('/').map(|(at, _)| &folded[..at]);
        if above.clone().any(|a| present.get(a) == Some(&true)) {
            return Err(FatError::path(one.path, "a folder above it is wanted as a file"));
        }
    }
    Ok(())
}
