//! Directory entries: each change becomes visible by one sector write.

use crate::directory::{DELETED, SLOT};
use crate::error::{FatError, Result};
use crate::session::{Fat, read_sectors};
use crate::table::Next;
use crate::tree::{MAX_FOLDER_BYTES, Place};
use crate::volume::Volume;

impl<V: Volume + ?Sized> Fat<'_, V> {
    /// Changes the 8.3 entry of a node, by one sector write.
    pub(crate) fn change_entry(&mut self, place: Place, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let slot = self.tree.node(place).slots.end - 1;
        self.write_slots(place.folder, slot, |bytes| change(&mut bytes[..SLOT]))
    }

    /// Writes the sector that holds an entry, after `change` was applied to the bytes from that entry on.
    fn write_slots(&mut self, folder: usize, slot: usize, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let per_sector = self.geometry.sector_bytes as usize / SLOT;
        let sector = self.tree.folders[folder].sectors[slot / per_sector];
        let mut bytes = read_sectors(self.volume, sector, 1)?;
        change(&mut bytes[slot % per_sector * SLOT..]);
        self.write(sector, &bytes)
    }

    /// Marks entries as deleted: the last one (8.3) first, when they are in more than one sector. What a cut leaves of a
    /// long name belongs to no file.
    pub(crate) fn delete_slots(&mut self, folder: usize, slots: std::ops::Range<usize>) -> Result<()> {
        let per_sector = self.geometry.sector_bytes as usize / SLOT;
        let mut end = slots.end;
        while end > slots.start {
            let start = slots.start.max((end - 1) / per_sector * per_sector);
            self.write_slots(folder, start, |bytes| {
                for slot in bytes.chunks_exact_mut(SLOT).take(end - start) {
                    slot[0] = DELETED;
                }
            })?;
            self.flush()?;
            end = start;
        }
        Ok(())
    }

    /// Adds entries that belong together, so that all of them become visible by one sector write.
    pub(crate) fn add_entries(&mut self, folder: usize, slots: &[[u8; SLOT]]) -> Result<()> {
        if let Some(start) = self.gap(folder, slots.len()) {
            self.write_slots(folder, start, |bytes| {
                bytes[..slots.len() * SLOT].copy_from_slice(slots.as_flattened());
            })?;
            return self.flush();
        }
        let per_sector = self.geometry.sector_bytes as usize / SLOT;
        let have = self.tree.folders[folder].bytes.len() / SLOT;
        let start = self.tree.folders[folder].listing.end;
        if start + slots.len() > have {
            self.extend(folder, (start + slots.len() - have) * SLOT)?;
        }
        // Behind the last entry nothing is visible until the zero at `start` is overwritten. That is the last write.
        let of = &self.tree.folders[folder];
        let mut bytes = of.bytes.clone();
        let end = (start + slots.len()) * SLOT;
        bytes[start * SLOT..end].copy_from_slice(slots.as_flattened());
        let sector_bytes = per_sector * SLOT;
        let mut touched_end = end.next_multiple_of(sector_bytes);
        bytes[end..touched_end].fill(0);
        if end == touched_end && bytes.get(end).is_some_and(|first| *first != 0) {
            bytes[end..end + sector_bytes].fill(0);
            touched_end += sector_bytes;
        }
        let first = start / per_sector;
        let later: Vec<(u32, usize)> = (first + 1..touched_end / sector_bytes)
            .map(|n| (of.sectors[n], n * sector_bytes))
            .collect();
        let visible = of.sectors[first];
        for (sector, at) in &later {
            self.write(*sector, &bytes[*at..*at + sector_bytes])?;
        }
        if !later.is_empty() {
            self.flush()?;
        }
        self.write(visible, &bytes[first * sector_bytes..][..sector_bytes])?;
        self.flush()
    }

    /// A run of deleted entries inside one sector.
    fn gap(&self, folder: usize, count: usize) -> Option<usize> {
        let per_sector = self.geometry.sector_bytes as usize / SLOT;
        let of = &self.tree.folders[folder];
        let mut run = 0;
        for slot in 0..of.listing.end {
            if slot.is_multiple_of(per_sector) {
                run = 0;
            }
            run = if of.bytes[slot * SLOT] == DELETED {
                run + 1
            } else {
                0
            };
            if run == count {
                return Some(slot + 1 - count);
            }
        }
        None
    }

    /// Makes a folder longer by zeroed clusters.
    fn extend(&mut self, folder: usize, bytes: usize) -> Result<()> {
        let of = &self.tree.folders[folder];
        let path = of.path.clone();
        let (Some(last), false) = (of.last_cluster, of.bytes.len() + bytes > MAX_FOLDER_BYTES) else {
            return Err(FatError::FolderFull(path));
        };
        let count = self.geometry.clusters_for(bytes as u64);
        // The first of them must be one that the last entry of the chain can point to in one step.
        let first = (2..self.geometry.clusters + 2)
            .find(|c| self.is_free(*c) && self.table.links_atomically(last, *c));
        let mut clusters: Vec<u32> = first.into_iter().collect();
        let others = (2..self.geometry.clusters + 2).filter(|c| self.is_free(*c) && Some(*c) != first);
        clusters.extend(others.take((count as usize).saturating_sub(1)));
        if (clusters.len() as u64) < count {
            return Err(FatError::NoSpace {
                path,
                needed_bytes: count * u64::from(self.geometry.cluster_bytes()),
                free_bytes: self.free_bytes(),
            });
        }
        let zeros = vec![0; self.geometry.cluster_bytes() as usize];
        for cluster in &clusters {
            self.write(self.geometry.sector_of(*cluster), &zeros)?;
        }
        self.table.set_chain(&clusters);
        self.write_table()?;
        self.flush()?;
        self.table.set(last, Next::Cluster(clusters[0]));
        self.write_table_stepwise()?;
        self.rescan()
    }
}
