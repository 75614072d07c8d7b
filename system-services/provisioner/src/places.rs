//! Where the provisioner finds its files, below a root that a test can move.

use std::path::{Path, PathBuf};

use os_io::root::Root;

/// Longest file that is read whole; ours have a few hundred bytes.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Absolute paths of the appliance below a root: `/` on the appliance, a temporary folder in tests.
#[derive(Debug, Clone)]
pub struct Places {
    root: Root,
}

impl Places {
    /// The running appliance.
    pub fn appliance() -> Self {
        Self { root: Root::system() }
    }

    /// Everything below `root`. The kernel's host name is then left alone.
    pub fn below(root: &Path) -> Self {
        Self { root: Root::at(root) }
    }

    /// True on the appliance itself: only there may the kernel's own state (host name) be changed.
    pub fn is_appliance(&self) -> bool {
        self.root == Root::system()
    }

    /// An absolute path of the appliance, below the root.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.path(path)
    }

    /// `settings.toml`: its rename is the commit point of setup.
    pub fn settings(&self) -> PathBuf {
        self.at(ipc::paths::SETTINGS)
    }

    /// Folder of the secrets, 0700.
    pub fn secrets(&self) -> PathBuf {
        self.at(ipc::paths::SECRETS)
    }

    /// The administrator's name and password hash, 0600.
    pub fn administrator(&self) -> PathBuf {
        self.secrets().join("administrator.toml")
    }

    /// Marker that makes early-boot empty `data`.
    pub fn factory_reset_marker(&self) -> PathBuf {
        self.at(ipc::paths::DATA).join(ipc::paths::FACTORY_RESET_MARKER)
    }

    /// The compiled time zone of that name.
    pub fn time_zone(&self, zone: &ipc::settings::TimeZone) -> PathBuf {
        self.at("/usr/share/zoneinfo").join(zone.as_str())
    }

    /// Folder of the small persistent tail of the journal.
    pub fn journal_tail(&self) -> PathBuf {
        self.at("/var/lib/hearth-provisioner/journal")
    }
}

/// Reads a small file; `None` when there is none. Longer than [`MAX_FILE_BYTES`] is an error, not a prefix.
pub fn read_small(path: &Path) -> std::io::Result<Option<String>> {
    use std::io::Read;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!(
            "longer than {MAX_FILE_BYTES} bytes"
        )));
    }
    Ok(Some(text))
}
