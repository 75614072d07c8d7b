//! Replaces single files of a FAT volume in an order that survives a cut at any sector write.
//!
//! The boot partition (firmware, U-Boot, device trees, boot manager) has no second copy, and FAT has no journal. What FAT
//! does have is one 32-byte directory entry that names a file's first cluster and its size, inside one sector. So:
//!
//! 1. reclaim what an earlier cut has lost (clusters that no file reaches), make the copies of the table equal;
//! 2. write the new content into free clusters and its chain into every copy of the table; **flush**;
//! 3. change the directory entry by one sector write: the atomic point; **flush**;
//! 4. free the old chain; **flush**.
//!
//! A cut before 3 leaves the old file and lost clusters, a cut after it the new file and lost clusters. A new file's name
//! takes several entries; they become visible by one sector write too, see [`Fat::put`].
//!
//! The volume is read strictly: whatever is not a sound FAT12, FAT16 or FAT32 is refused with a sentence.
//! Rules are those of Microsoft's "FAT: General Overview of On-Disk Format" (fatgen103, 2000).

mod change;
mod directory;
mod error;
mod geometry;
mod name;
mod reclaim;
mod reconcile;
mod session;
mod slots;
mod table;
mod time;
mod tree;
mod volume;

pub use error::{FatError, Result};
pub use geometry::Kind;
pub use reconcile::{Change, ChangeKind, Wanted, Wish, plan, reconcile};
pub use session::{Fat, FileInfo};
pub use time::Timestamp;
pub use volume::{MemoryVolume, Volume};

/// Opens a volume from foreign bytes, lists it and reads every file: what a fuzz target calls.
///
/// # Errors
/// Whatever is wrong with the bytes. Never a panic, never more work than the bytes allow for.
pub fn check_image(bytes: &[u8]) -> Result<Vec<FileInfo>> {
    let mut volume = MemoryVolume::new(bytes.to_vec());
    let fat = Fat::open(&mut volume)?;
    let files = fat.files();
    for file in files.iter().filter(|f| !f.folder) {
        fat.sha256(&file.path)?;
    }
    Ok(files)
}
