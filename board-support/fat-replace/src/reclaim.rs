//! The table on the volume: writing it, and removing what a cut has left.

use crate::error::Result;
use crate::session::{Fat, read_sectors};
use crate::table::Next;
use crate::volume::Volume;

/// "Not known" in the counters of the FSInfo sector.
pub(crate) const UNKNOWN: u32 = 0xffff_ffff;

impl<V: Volume + ?Sized> Fat<'_, V> {
    /// Removes what a cut has left: different copies of the table, long names without a file, lost clusters.
    /// Writes nothing when there is nothing of that kind.
    ///
    /// # Errors
    /// When the device fails.
    pub fn prepare(&mut self) -> Result<()> {
        if self.prepared {
            return Ok(());
        }
        // First every copy says what the first one says; only then are clusters freed, in all of them.
        let mut differ = false;
        for copy in 1..self.geometry.table_copies {
            let start = self.geometry.table_start + copy * self.geometry.table_sectors;
            let other = read_sectors(self.volume, start, self.geometry.table_sectors)?;
            for (sector, bytes) in (0..).zip(other.chunks_exact(self.geometry.sector_bytes as usize)) {
                if self.table.sector(sector) != bytes {
                    let ours = self.table.sector(sector).to_vec();
                    self.write(start + sector, &ours)?;
                    differ = true;
                }
            }
        }
        if differ {
            self.flush()?;
        }
        let stray: Vec<(usize, usize)> = (0..)
            .zip(&self.tree.folders)
            .flat_map(|(folder, of)| of.listing.stray.iter().map(move |slot| (folder, *slot)))
            .collect();
        for (folder, slot) in &stray {
            self.delete_slots(*folder, *slot..*slot + 1)?;
        }
        if !stray.is_empty() {
            self.rescan()?;
        }
        let lost: Vec<u32> = (2..self.geometry.clusters + 2)
            .filter(|c| self.is_free(*c) && self.table.next(*c) != Next::Free)
            .collect();
        for cluster in &lost {
            self.table.set(*cluster, Next::Free);
        }
        if !lost.is_empty() {
            self.write_table()?;
            self.flush()?;
        }
        self.prepared = true;
        Ok(())
    }

    /// Reads the tree back, and notes how many clusters are free. What came before must be flushed.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.pending.clear();
        self.rescan()?;
        self.write_free_count(self.free_clusters() as u32)?;
        self.flush()
    }

    /// Writes the changed sectors of the table to every copy. For changes that no file depends on, in any order.
    pub(crate) fn write_table(&mut self) -> Result<()> {
        for sector in self.table.take_dirty() {
            self.write_table_sector(sector)?;
        }
        Ok(())
    }

    /// The same, one sector of the table at a time: for a change that a folder depends on.
    pub(crate) fn write_table_stepwise(&mut self) -> Result<()> {
        for sector in self.table.take_dirty() {
            self.write_table_sector(sector)?;
            self.flush()?;
        }
        Ok(())
    }

    fn write_table_sector(&mut self, sector: u32) -> Result<()> {
        let bytes = self.table.sector(sector).to_vec();
        for copy in 0..self.geometry.table_copies {
            let start = self.geometry.table_start + copy * self.geometry.table_sectors;
            self.write(start + sector, &bytes)?;
        }
        Ok(())
    }

    /// The FSInfo sector's number of free clusters: a hint that nobody may rely on.
    pub(crate) fn write_free_count(&mut self, count: u32) -> Result<()> {
        let Some(sector) = self.geometry.fs_info else {
            return Ok(());
        };
        let mut bytes = read_sectors(self.volume, sector, 1)?;
        let sound = bytes.starts_with(b"RRaA") && bytes[484..488] == *b"rrAa";
        if sound && bytes[488..492] != count.to_le_bytes() {
            bytes[488..492].copy_from_slice(&count.to_le_bytes());
            self.write(sector, &bytes)?;
        }
        Ok(())
    }
}
