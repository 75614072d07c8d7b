//! Everything that is kept between builds, outside the checkout. Nothing in it is trusted without its hash.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{BuildError, FileContext, Result};

/// The cache folder: `$HEARTH_CACHE`, else `$XDG_CACHE_HOME/hearth`, else `~/.cache/hearth`.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Finds and makes the folder.
    pub fn open() -> Result<Self> {
        let from = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let root = from("HEARTH_CACHE")
            .or_else(|| from("XDG_CACHE_HOME").map(|p| p.join("hearth")))
            .or_else(|| from("HOME").map(|p| p.join(".cache/hearth")))
            .ok_or_else(|| {
                BuildError::invalid("HOME", "not set; set HEARTH_CACHE to a folder for downloads")
            })?;
        fs::create_dir_all(&root).at("create", &root)?;
        Ok(Self { root })
    }

    /// A folder of the cache, made when it is missing.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).at("create", &path)?;
        Ok(path)
    }

    /// Where a file with this hash stands, whether it is there or not.
    pub fn by_hash(&self, folder: &str, sha256: &str) -> Result<PathBuf> {
        Ok(self.folder(folder)?.join(sha256))
    }
}

/// SHA-256 of a file, as lower-case hex.
pub fn hash_file(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).at("open", path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer).at("read", path)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

/// SHA-256 of bytes, as lower-case hex.
pub fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes a file that is either whole or not there: temporary name, fsync, rename.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("partial");
    let mut file = fs::File::create(&temporary).at("create", &temporary)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .at("write", &temporary)?;
    fs::rename(&temporary, path).at("rename", path)
}
