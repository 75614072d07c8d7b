//! The order of writes: write aside, switch, free.

use std::io::Read;

use sha2::{Digest, Sha256};

use crate::directory::{ATTRIBUTE_FOLDER, SLOT};
use crate::error::{FatError, Result};
use crate::geometry::Kind;
use crate::name;
use crate::reclaim::UNKNOWN;
use crate::session::{Fat, Hasher};
use crate::table::Next;
use crate::time::Timestamp;
use crate::tree::join;
use crate::volume::Volume;

const ATTRIBUTE_ARCHIVE: u8 = 0x20;

impl<V: Volume + ?Sized> Fat<'_, V> {
    /// Replaces a file, or adds it with the folders that are missing above it.
    ///
    /// A cut at any moment leaves the path with wholly the old content (or none) or wholly the new one; of missing folders
    /// some may be there already, empty. `content` must be exactly `len` bytes with that SHA-256: it is checked while it is
    /// written, and read back, before the directory entry is changed.
    ///
    /// # Errors
    /// When there is no room (before the first write), the content is not what was announced, or the device fails.
    pub fn put(
        &mut self,
        path: &str,
        len: u32,
        sha256: &[u8; 32],
        content: &mut dyn Read,
        time: Timestamp,
    ) -> Result<()> {
        let parts = name::parts(path)?;
        let existing = self.file(path)?;
        let needed = self.clusters_of_change(path, len)?;
        self.check_room(path, needed, self.free_clusters())?;
        self.prepare()?;
        self.write_free_count(UNKNOWN)?;
        self.make_folders(path, &parts, time)?;
        let clusters = self.write_content(path, len, sha256, content)?;
        let first = clusters.first().copied().unwrap_or(0);
        match existing {
            Some(place) => {
                let old = self.tree.node(place).first_cluster;
                let kind = self.geometry.kind;
                self.change_entry(place, |entry| fill_entry(entry, kind, first, len, time))?;
                self.flush()?;
                self.free_chain(old)?;
            }
            None => self.add_file(path, &parts, first, len, time)?,
        }
        self.finish()
    }

    /// Removes a file; `false` when there is none. A cut leaves the file or no file. Folders stay.
    ///
    /// # Errors
    /// When the path is a folder, or the device fails.
    pub fn remove(&mut self, path: &str) -> Result<bool> {
        let Some(place) = self.file(path)? else {
            return Ok(false);
        };
        let node = self.tree.node(place).clone();
        self.prepare()?;
        self.write_free_count(UNKNOWN)?;
        self.delete_slots(place.folder, node.slots)?;
        self.free_chain(node.first_cluster)?;
        self.finish()?;
        Ok(true)
    }

    /// Clusters that a change takes before it gives any back: at most so many.
    pub(crate) fn clusters_of_change(&self, path: &str, len: u32) -> Result<u64> {
        let content = self.geometry.clusters_for(len.into());
        if self.file(path)?.is_some() {
            return Ok(content);
        }
        let parts = name::parts(path)?;
        let (_, missing) = self.parent(path, &parts)?;
        let entries = |name: &str| {
            let slots = name.encode_utf16().count().div_ceil(name::UNITS_PER_SLOT) + 1;
            self.geometry.clusters_for((slots * SLOT) as u64)
        };
        let own = parts.last().map_or(0, |name| entries(name));
        let folders: u64 = missing.iter().map(|name| entries(name) + 1).sum();
        Ok(content + own + folders)
    }

    pub(crate) fn check_room(&self, path: &str, needed: u64, free: u64) -> Result<()> {
        let bytes = u64::from(self.geometry.cluster_bytes());
        if needed <= free {
            return Ok(());
        }
        Err(FatError::NoSpace {
            path: path.into(),
            needed_bytes: needed * bytes,
            free_bytes: free * bytes,
        })
    }

    /// Free clusters, side by side where that is possible.
    fn allocate(&self, path: &str, count: u64) -> Result<Vec<u32>> {
        let mut run: Vec<u32> = Vec::new();
        let mut any: Vec<u32> = Vec::new();
        for cluster in 2..self.geometry.clusters + 2 {
            if run.len() as u64 == count {
                return Ok(run);
            }
            if !self.is_free(cluster) {
                run.clear();
                continue;
            }
            run.push(cluster);
            if (any.len() as u64) < count {
                any.push(cluster);
            }
        }
        self.check_room(path, count, any.len() as u64)?;
        Ok(if run.len() as u64 == count { run } else { any })
    }

    /// Writes content into free clusters and its chain into the tables. No file reaches them yet.
    fn write_content(
        &mut self,
        path: &str,
        len: u32,
        sha256: &[u8; 32],
        content: &mut dyn Read,
    ) -> Result<Vec<u32>> {
        let clusters = self.allocate(path, self.geometry.clusters_for(len.into()))?;
        let source = |source| FatError::Source {
            path: path.into(),
            source,
        };
        let mut hasher = Sha256::new();
        let mut left = len as usize;
        let mut bytes = vec![0; self.geometry.cluster_bytes() as usize];
        for cluster in &clusters {
            let part = left.min(bytes.len());
            bytes[part..].fill(0);
            content.read_exact(&mut bytes[..part]).map_err(source)?;
            hasher.update(&bytes[..part]);
            left -= part;
            self.write(self.geometry.sector_of(*cluster), &bytes)?;
        }
        if content.read(&mut [0]).map_err(source)? != 0 {
            return Err(FatError::content(
                path,
                format!("it is longer than the {len} bytes announced"),
            ));
        }
        if <[u8; 32]>::from(hasher.finalize()) != *sha256 {
            return Err(FatError::content(path, "its SHA-256 is not the one announced"));
        }
        self.keep(&clusters);
        self.table.set_chain(&clusters);
        self.write_table()?;
        self.flush()?;
        let mut hasher = Hasher(Sha256::new());
        let first = clusters.first().copied().unwrap_or(0);
        self.read_chain(first, len, path, &mut hasher)?;
        if <[u8; 32]>::from(hasher.0.finalize()) != *sha256 {
            return Err(FatError::content(
                path,
                "what was written reads back differently: the card or disk must be replaced",
            ));
        }
        Ok(clusters)
    }

    fn add_file(&mut self, path: &str, parts: &[&str], first: u32, len: u32, time: Timestamp) -> Result<()> {
        let (folder, _) = self.parent(path, parts)?;
        let name = parts.last().copied().unwrap_or_default();
        let mut slots = self.new_slots(folder, name)?;
        if let Some(own) = slots.last_mut() {
            fill_entry(own, self.geometry.kind, first, len, time);
            created(own, time);
        }
        self.add_entries(folder, &slots)
    }

    fn new_slots(&self, folder: usize, name: &str) -> Result<Vec<[u8; SLOT]>> {
        let of = &self.tree.folders[folder];
        let taken = |raw: &[u8; 11]| of.listing.shorts.contains(raw);
        name::slots(name, &taken).ok_or_else(|| FatError::FolderFull(of.path.clone()))
    }

    fn make_folders(&mut self, path: &str, parts: &[&str], time: Timestamp) -> Result<()> {
        loop {
            let (parent, missing) = self.parent(path, parts)?;
            let Some(name) = missing.first() else {
                return Ok(());
            };
            self.make_folder(parent, name, time)?;
        }
    }

    /// An empty folder: its cluster with `.` and `..` first, then its entry.
    fn make_folder(&mut self, parent: usize, name: &str, time: Timestamp) -> Result<()> {
        let path = join(&self.tree.folders[parent].path, name);
        let cluster = self.allocate(&path, 1)?.first().copied().unwrap_or(0);
        let kind = self.geometry.kind;
        let mut bytes = vec![0; self.geometry.cluster_bytes() as usize];
        let above = self.tree.folders[parent].as_parent;
        for (at, name, first) in [(0, b".          ", cluster), (SLOT, b"..         ", above)] {
            let entry = &mut bytes[at..at + SLOT];
            entry[..11].copy_from_slice(name);
            fill_entry(entry, kind, first, 0, time);
            created(entry, time);
            entry[11] = ATTRIBUTE_FOLDER;
        }
        self.write(self.geometry.sector_of(cluster), &bytes)?;
        self.table.set_chain(&[cluster]);
        self.write_table()?;
        self.flush()?;
        self.keep(&[cluster]);
        let mut slots = self.new_slots(parent, name)?;
        if let Some(own) = slots.last_mut() {
            fill_entry(own, kind, cluster, 0, time);
            created(own, time);
            own[11] = ATTRIBUTE_FOLDER;
        }
        self.add_entries(parent, &slots)?;
        self.rescan()
    }

    fn free_chain(&mut self, first: u32) -> Result<()> {
        let mut cluster = first;
        while cluster != 0 {
            let next = self.table.next(cluster);
            self.table.set(cluster, Next::Free);
            cluster = match next {
                Next::Cluster(next) => next,
                _ => 0,
            };
        }
        self.write_table()?;
        self.flush()
    }
}

/// Fills what an 8.3 entry says beside its name.
fn fill_entry(entry: &mut [u8], kind: Kind, first: u32, len: u32, time: Timestamp) {
    if entry[11] == 0 {
        entry[11] = ATTRIBUTE_ARCHIVE;
    }
    if kind == Kind::Fat32 {
        entry[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
    }
    entry[22..24].copy_from_slice(&time.time.to_le_bytes());
    entry[24..26].copy_from_slice(&time.date.to_le_bytes());
    entry[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&len.to_le_bytes());
}

/// Sets the times that only a new entry gets.
fn created(entry: &mut [u8], time: Timestamp) {
    entry[14..16].copy_from_slice(&time.time.to_le_bytes());
    entry[16..18].copy_from_slice(&time.date.to_le_bytes());
    entry[18..20].copy_from_slice(&time.date.to_le_bytes());
}
