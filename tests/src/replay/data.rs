//! What must be there after every cut besides a system: the file system on `data` with the updater's notes, and the boot manager.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use redb::{Database, ReadableDatabase, TableDefinition, TableHandle};

use super::Sampler;
use super::image::Image;
use crate::disk::check_ext4;

/// The updater's notes, as `debugfs` names them.
const JOURNAL: &str = "/state/hearth-updater/updater.redb";
/// Where firmware looks for it; these tests run on Arm.
const BOOT_MANAGER: &str = "::EFI/BOOT/BOOTAA64.EFI";
/// Its record.
const RECORD: TableDefinition<&str, &[u8]> = TableDefinition::new("record");

/// Checks the file system and the updater's journal at some cuts.
#[derive(Debug)]
pub struct DataCheck {
    folder: PathBuf,
    /// Every so many cuts.
    every: u64,
    /// From this length of the log on the journal must be there.
    journal_at: u64,
    /// The boot manager on the partition `firmware`, as it was first.
    boot_manager: Option<Vec<u8>>,
    /// 1 when the last cut was at a write outside of the slots and `data`.
    near_state: std::cell::Cell<u64>,
    /// Journals that were opened.
    pub journals: u64,
    /// Journals that were cut while they were made, before anything stood in them.
    pub unfinished: u64,
}

impl DataCheck {
    /// About `samples` of `cuts` cuts, and those around writes of the boot state and of `firmware`; files go to `folder`.
    pub fn new(folder: &Path, samples: u64, cuts: u64, journal_at: u64) -> Self {
        Self {
            folder: folder.into(),
            every: (cuts / samples.max(1)).max(1),
            journal_at,
            boot_manager: None,
            near_state: std::cell::Cell::new(0),
            journals: 0,
            unfinished: 0,
        }
    }

    /// The partition without a second copy: nothing of this run may cost the box its boot manager.
    fn boot_manager(&mut self, image: &Image) -> Result<()> {
        let copy = self.folder.join("firmware");
        let _ = std::fs::remove_file(&copy);
        image.copy_to(&File::create_new(&copy)?, &image.partition("firmware")?)?;
        let output = Command::new("mcopy")
            .arg("-i")
            .arg(&copy)
            .arg(BOOT_MANAGER)
            .arg("-")
            .output()
            .context("cannot start mcopy")?;
        ensure!(
            output.status.success() && !output.stdout.is_empty(),
            "the boot manager cannot be read: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let first = self.boot_manager.get_or_insert_with(|| output.stdout.clone());
        ensure!(*first == output.stdout, "the boot manager is not what it was");
        Ok(())
    }

    fn journal(&mut self, data: &Path, must_be_there: bool) -> Result<()> {
        let out = self.folder.join("updater.redb");
        let _ = std::fs::remove_file(&out);
        let output = Command::new("debugfs")
            .arg("-R")
            .arg(format!("dump {JOURNAL} {}", out.display()))
            .arg(data)
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .output()
            .context("cannot start debugfs")?;
        if !out.exists() {
            ensure!(
                !must_be_there,
                "the updater's journal is gone: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            return Ok(());
        }
        // As the updater opens it: a file that was cut is repaired, one without a byte is a new one.
        let mut database = match Database::create(&out) {
            Ok(database) => database,
            // Cut while redb was making it: nothing was noted yet, and the updater begins another one.
            Err(_) if !must_be_there => {
                self.unfinished += 1;
                return Ok(());
            }
            Err(error) => return Err(error).context("the updater's journal does not open"),
        };
        database
            .check_integrity()
            .context("the updater's journal is damaged")?;
        let reading = database.begin_read()?;
        let named = reading.list_tables()?.any(|t| t.name() == RECORD.name());
        ensure!(
            named || !must_be_there,
            "the updater's journal has lost its record"
        );
        self.journals += 1;
        Ok(())
    }
}

impl Sampler for DataCheck {
    fn wants(&self, cut: u64, rare: bool) -> bool {
        // The cut itself, and the one that follows it.
        let near = self.near_state.replace(u64::from(rare)) > 0;
        rare || near || cut.is_multiple_of(self.every)
    }

    fn look(&mut self, image: &Image, position: u64) -> Result<()> {
        self.boot_manager(image)?;
        let copy = self.folder.join("data");
        let _ = std::fs::remove_file(&copy);
        image.copy_to(&File::create_new(&copy)?, &image.partition("data")?)?;
        check_ext4(&copy)?;
        self.journal(&copy, position >= self.journal_at)
    }
}
