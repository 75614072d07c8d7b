//! Every folder of the volume, and which clusters its files reach.

use std::collections::BTreeSet;

use crate::directory::{self, Listing, Node, SLOT};
use crate::error::{FatError, Result};
use crate::geometry::{Geometry, RootFolder};
use crate::name::fold;
use crate::session::read_sectors;
use crate::table::Table;
use crate::volume::Volume;

/// Folders inside each other, at most.
pub(crate) const MAX_DEPTH: usize = 16;
/// Files and folders of a volume, at most.
const MAX_NODES: usize = 65_536;
/// Bytes of one folder, at most (fatgen103: 65 536 entries).
pub(crate) const MAX_FOLDER_BYTES: usize = 65_536 * SLOT;

/// One folder.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Path with `/` between its parts; empty for the root.
    pub path: String,
    /// `None` for the fixed root of FAT12 and FAT16.
    pub last_cluster: Option<u32>,
    /// First cluster as a `..` entry below names it: 0 for any root.
    pub as_parent: u32,
    pub sectors: Vec<u32>,
    pub bytes: Vec<u8>,
    pub listing: Listing,
    /// Beside `listing.nodes`: the folder's number in [`Tree::folders`].
    pub children: Vec<Option<usize>>,
}

/// The whole tree. The root is folder 0.
#[derive(Debug)]
pub(crate) struct Tree {
    pub folders: Vec<Folder>,
    /// By cluster number: reached by a file or a folder.
    pub used: Vec<bool>,
}

/// A node and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub folder: usize,
    pub node: usize,
}

impl Tree {
    /// Reads all folders and walks all chains.
    pub fn scan<V: Volume + ?Sized>(volume: &V, geometry: &Geometry, table: &Table) -> Result<Self> {
        let mut tree = Self {
            folders: Vec::new(),
            used: vec![false; geometry.clusters as usize + 2],
        };
        let mut nodes = 0;
        // Folder, number of its node, its first cluster, depth.
        let mut queue: Vec<(Option<Place>, u32, usize)> = vec![(None, 0, 0)];
        while let Some((parent, first, depth)) = queue.pop() {
            let index = tree.folders.len();
            let path = parent.map_or(String::new(), |p| tree.path(p));
            let folder = tree.read_folder(volume, geometry, table, path, parent.map(|_| first))?;
            nodes += folder.listing.nodes.len();
            if depth > MAX_DEPTH || nodes > MAX_NODES {
                return Err(FatError::damaged(
                    &folder.path,
                    format!("more than {MAX_DEPTH} folders inside each other, or {MAX_NODES} files"),
                ));
            }
            for (number, node) in folder.listing.nodes.iter().enumerate() {
                let path = join(&folder.path, &node.name);
                if node.folder {
                    let place = Place {
                        folder: index,
                        node: number,
                    };
                    queue.push((Some(place), node.first_cluster, depth + 1));
                } else {
                    walk_file(geometry, table, node, &mut tree.used, &path)?;
                }
            }
            tree.folders.push(folder);
            if let Some(p) = parent {
                tree.folders[p.folder].children[p.node] = Some(index);
            }
        }
        Ok(tree)
    }

    fn read_folder<V: Volume + ?Sized>(
        &mut self,
        volume: &V,
        geometry: &Geometry,
        table: &Table,
        path: String,
        first_cluster: Option<u32>,
    ) -> Result<Folder> {
        let place = if path.is_empty() { "the root folder" } else { &path };
        let mut last_cluster = None;
        let sectors: Vec<u32> = match (first_cluster, geometry.root) {
            (None, RootFolder::Fixed { first, sectors }) => (first..first + sectors).collect(),
            (Some(cluster), _) | (None, RootFolder::Chain(cluster)) => {
                let chain = table.walk(cluster, &mut self.used, place)?;
                last_cluster = chain.last().copied();
                let sectors_of = |c: &u32| {
                    let first = geometry.sector_of(*c);
                    first..first + geometry.cluster_sectors
                };
                chain.iter().flat_map(sectors_of).collect()
            }
        };
        if sectors.len() * geometry.sector_bytes as usize > MAX_FOLDER_BYTES {
            return Err(FatError::damaged(place, "a folder of more than 65536 entries"));
        }
        let mut bytes = Vec::with_capacity(sectors.len() * geometry.sector_bytes as usize);
        for sector in &sectors {
            bytes.extend(read_sectors(volume, *sector, 1)?);
        }
        let listing = directory::parse(&bytes, geometry.kind, place)?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = listing.nodes.iter().find(|n| !seen.insert(fold(&n.name))) {
            return Err(FatError::damaged(
                place,
                format!("holds the name {:?} twice", twice.name),
            ));
        }
        Ok(Folder {
            as_parent: first_cluster.unwrap_or(0),
            last_cluster,
            sectors,
            bytes,
            children: vec![None; listing.nodes.len()],
            listing,
            path,
        })
    }

    pub fn node(&self, place: Place) -> &Node {
        &self.folders[place.folder].listing.nodes[place.node]
    }

    pub fn path(&self, place: Place) -> String {
        join(&self.folders[place.folder].path, &self.node(place).name)
    }

    /// The node of that name in a folder.
    pub fn child(&self, folder: usize, name: &str) -> Option<Place> {
        let folded = fold(name);
        let nodes = &self.folders[folder].listing.nodes;
        let node = nodes.iter().position(|n| n.is_called(&folded))?;
        Some(Place { folder, node })
    }

    /// The folder that a node is.
    pub fn folder_of(&self, place: Place) -> Option<usize> {
        self.folders[place.folder].children[place.node]
    }
}

fn walk_file(geometry: &Geometry, table: &Table, node: &Node, used: &mut [bool], path: &str) -> Result<()> {
    if node.first_cluster == 0 {
        return if node.size == 0 {
            Ok(())
        } else {
            Err(FatError::damaged(path, "it has a size and no clusters"))
        };
    }
    let chain = table.walk(node.first_cluster, used, path)?;
    if (chain.len() as u64) < geometry.clusters_for(node.size.into()) {
        return Err(FatError::damaged(
            path,
            format!("{} bytes are more than its chain holds", node.size),
        ));
    }
    Ok(())
}

pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.into()
    } else {
        format!("{folder}/{name}")
    }
}
