//! A folder that stands for an appliance, and the real engine that installs into it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::host;

/// Numbers and names of the partitions that the engine looks for.
const PARTITIONS: [(u32, &str); 4] = [(3, "boot-a"), (4, "boot-b"), (5, "root-a"), (6, "root-b")];

/// What `install_file` measured of itself.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Seconds from opening the bundle to the end.
    pub seconds: f64,
    /// Seconds until everything was written and flushed.
    pub seconds_written: f64,
    /// Bytes that came from the bundle.
    pub fetched_bytes: u64,
    /// Peak of the resident memory.
    pub peak_bytes: u64,
}

/// A folder with a keyring and files for partitions; slot a runs.
pub struct Boxed {
    folder: PathBuf,
    program: PathBuf,
}

impl Boxed {
    /// Makes the folder anew. The engine is compiled as it is for images, but for this machine.
    pub fn new(folder: &Path, keyring: &Path) -> Result<Self> {
        let _ = fs::remove_dir_all(folder);
        for (number, name) in PARTITIONS {
            let sysfs = folder.join(format!("sys/block/vda/vda{number}"));
            fs::create_dir_all(&sysfs)?;
            fs::write(
                sysfs.join("uevent"),
                format!("DEVTYPE=partition\nPARTN={number}\nPARTNAME={name}\n"),
            )?;
        }
        fs::create_dir_all(folder.join("dev"))?;
        let boxed = Self {
            folder: folder.into(),
            program: compile()?,
        };
        let path = boxed.path(ipc::paths::UPDATE_KEYRING);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::copy(keyring, path).with_context(|| format!("cannot copy {}", keyring.display()))?;
        Ok(boxed)
    }

    /// Where a file of the appliance is.
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.folder.join(absolute.trim_start_matches('/'))
    }

    /// The file that stands for a partition, such as `root-b`.
    pub fn partition(&self, name: &str) -> PathBuf {
        let number = PARTITIONS
            .iter()
            .find(|(_, n)| *n == name)
            .map_or(0, |(number, _)| *number);
        self.path(&format!("/dev/vda{number}"))
    }

    /// Fills a partition, whose blocks are then allocated as a real one's are.
    pub fn fill(&self, name: &str, from: &mut dyn std::io::Read) -> Result<()> {
        let mut file = File::create(self.partition(name))?;
        std::io::copy(from, &mut file)?;
        Ok(file.sync_all()?)
    }

    /// Installs from a path inside the folder or an `https://` address, and reads back.
    pub fn install(&self, source: &str) -> Result<Installed> {
        let text = image_builder::program::run(Command::new(&self.program).arg(&self.folder).arg(source))?;
        Ok(serde_json::from_slice(&text)?)
    }
}

fn compile() -> Result<PathBuf> {
    let checkout = host::checkout();
    host::run(
        Command::new("cargo")
            .current_dir(&checkout)
            .args(["build", "--quiet", "--locked", "--profile", "appliance"])
            .args(["--package", "updater", "--example", "install_file"]),
    )?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout.join("target"), PathBuf::from);
    Ok(target.join("appliance/examples/install_file"))
}
