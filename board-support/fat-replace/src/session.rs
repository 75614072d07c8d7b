//! An opened volume: listing and reading.

use std::io::Write;

use sha2::{Digest, Sha256};

use crate::error::{FatError, Result};
use crate::geometry::{Geometry, Kind};
use crate::name;
use crate::table::{Next, Table};
use crate::tree::{Place, Tree};
use crate::volume::Volume;

/// A file or a folder of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Path with `/` between its parts, in the volume's spelling.
    pub path: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// Size in bytes; 0 for a folder.
    pub len: u32,
}

/// An opened, checked volume. After an error of a change it must be opened again.
#[derive(Debug)]
pub struct Fat<'v, V: Volume + ?Sized> {
    pub(crate) volume: &'v mut V,
    pub(crate) geometry: Geometry,
    pub(crate) table: Table,
    pub(crate) tree: Tree,
    pub(crate) prepared: bool,
    /// Clusters that were filled and that no entry names yet.
    pub(crate) pending: Vec<u32>,
}

impl<'v, V: Volume + ?Sized> Fat<'v, V> {
    /// Reads the boot sector, the table and every folder. Writes nothing.
    ///
    /// # Errors
    /// When the volume is not FAT, contradicts itself, or is beyond the limits (4 Mi clusters, 65 536 files, folders
    /// 16 deep), and when the device fails.
    pub fn open(volume: &'v mut V) -> Result<Self> {
        let size = volume.sector_size();
        if !size.is_power_of_two() || !(512..=4096).contains(&size) {
            return Err(FatError::NotFat(format!("the disk has sectors of {size} bytes")));
        }
        let boot = read_sectors(volume, 0, 1)?;
        let geometry = Geometry::parse(&boot, volume.sector_count())?;
        let bytes = read_sectors(volume, geometry.table_start, geometry.table_sectors)?;
        let table = Table::new(geometry, bytes);
        let tree = Tree::scan(volume, &geometry, &table)?;
        Ok(Self {
            volume,
            geometry,
            table,
            tree,
            prepared: false,
            pending: Vec::new(),
        })
    }

    /// FAT12, FAT16 or FAT32.
    pub fn kind(&self) -> Kind {
        self.geometry.kind
    }

    /// Bytes in clusters that no file reaches, those included that an earlier cut has lost.
    pub fn free_bytes(&self) -> u64 {
        self.free_clusters() * u64::from(self.geometry.cluster_bytes())
    }

    pub(crate) fn free_clusters(&self) -> u64 {
        (2..self.geometry.clusters + 2)
            .filter(|c| self.is_free(*c))
            .count() as u64
    }

    pub(crate) fn is_free(&self, cluster: u32) -> bool {
        !self.tree.used[cluster as usize] && self.table.next(cluster) != Next::Bad
    }

    /// Every file and folder, sorted by path.
    pub fn files(&self) -> Vec<FileInfo> {
        let mut files = Vec::new();
        for (folder, of) in self.tree.folders.iter().enumerate() {
            for (node, entry) in of.listing.nodes.iter().enumerate() {
                files.push(FileInfo {
                    path: self.tree.path(Place { folder, node }),
                    folder: entry.folder,
                    len: if entry.folder { 0 } else { entry.size },
                });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// Size of a file in bytes, when there is one of that path.
    ///
    /// # Errors
    /// As [`Fat::read`], but for a missing file.
    pub fn len_of(&self, path: &str) -> Result<Option<u32>> {
        Ok(self.file(path)?.map(|place| self.tree.node(place).size))
    }

    /// Passes a file's content on, cluster by cluster; returns its size. Upper and lower case are the same.
    ///
    /// # Errors
    /// When there is no such file, the path is none that FAT can store, or reading or passing on fails.
    pub fn read(&self, path: &str, sink: &mut dyn Write) -> Result<u64> {
        let place = self.file(path)?.ok_or_else(|| FatError::NotFound(path.into()))?;
        let node = self.tree.node(place);
        self.read_chain(node.first_cluster, node.size, path, sink)
    }

    /// SHA-256 of a file's content.
    ///
    /// # Errors
    /// As [`Fat::read`].
    pub fn sha256(&self, path: &str) -> Result<[u8; 32]> {
        let mut hasher = Hasher(Sha256::new());
        self.read(path, &mut hasher)?;
        Ok(hasher.0.finalize().into())
    }

    pub(crate) fn read_chain(
        &self,
        first_cluster: u32,
        len: u32,
        path: &str,
        sink: &mut dyn Write,
    ) -> Result<u64> {
        let mut left = len as usize;
        let mut cluster = first_cluster;
        while left > 0 {
            let bytes = read_sectors(
                self.volume,
                self.geometry.sector_of(cluster),
                self.geometry.cluster_sectors,
            )?;
            let part = &bytes[..left.min(bytes.len())];
            sink.write_all(part).map_err(|source| FatError::Sink {
                path: path.into(),
                source,
            })?;
            left -= part.len();
            match self.table.next(cluster) {
                Next::Cluster(next) => cluster = next,
                _ if left == 0 => {}
                _ => return Err(FatError::damaged(path, "its chain is shorter than its size")),
            }
        }
        Ok(len.into())
    }

    /// The node of a path, if there is one and it is a file.
    pub(crate) fn file(&self, path: &str) -> Result<Option<Place>> {
        let parts = name::parts(path)?;
        let (parent, missing) = self.parent(path, &parts)?;
        let Some(name) = parts.last().filter(|_| missing.is_empty()) else {
            return Ok(None);
        };
        let found = self.tree.child(parent, name);
        match found {
            Some(place) if self.tree.node(place).folder => {
                Err(FatError::path(path, "there is a folder of that name"))
            }
            found => Ok(found),
        }
    }

    /// The deepest existing folder above a path, and the folders that are missing between the two.
    pub(crate) fn parent<'p>(&self, path: &str, parts: &'p [&'p str]) -> Result<(usize, &'p [&'p str])> {
        let above = &parts[..parts.len().saturating_sub(1)];
        let mut folder = 0;
        for (depth, part) in above.iter().enumerate() {
            let Some(place) = self.tree.child(folder, part) else {
                return Ok((folder, &above[depth..]));
            };
            folder = self
                .tree
                .folder_of(place)
                .ok_or_else(|| FatError::path(path, format!("{part:?} is a file, not a folder")))?;
        }
        Ok((folder, &[]))
    }

    pub(crate) fn write(&mut self, sector: u32, bytes: &[u8]) -> Result<()> {
        let written = self.volume.write(sector.into(), bytes);
        written.map_err(|source| FatError::Device {
            action: "write",
            sector: sector.into(),
            source,
        })
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.volume.flush().map_err(|source| FatError::Device {
            action: "flush after",
            sector: 0,
            source,
        })
    }

    /// Reads the folders anew, after a change.
    pub(crate) fn rescan(&mut self) -> Result<()> {
        self.tree = Tree::scan(self.volume, &self.geometry, &self.table)?;
        for cluster in &self.pending {
            self.tree.used[*cluster as usize] = true;
        }
        Ok(())
    }

    /// Keeps clusters from being allocated until an entry names them.
    pub(crate) fn keep(&mut self, clusters: &[u32]) {
        for cluster in clusters {
            self.tree.used[*cluster as usize] = true;
        }
        self.pending.extend(clusters);
    }
}

/// A hash as the end of a stream.
pub(crate) struct Hasher(pub Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sectors of a volume; their number was checked against its size.
pub(crate) fn read_sectors<V: Volume + ?Sized>(volume: &V, sector: u32, count: u32) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count as usize * volume.sector_size()];
    let read = volume.read(sector.into(), &mut bytes);
    read.map_err(|source| FatError::Device {
        action: "read",
        sector: sector.into(),
        source,
    })?;
    Ok(bytes)
}
