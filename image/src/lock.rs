//! The lock: which version of which package, with its hash, per architecture.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{BuildError, FileContext, Result};

/// What a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// In every root file system.
    Root,
    /// In the root file system of the dev profile only.
    Dev,
    /// Kernel and modules.
    Kernel,
    /// Taken for single files: firmware, boot loaders, the Rust standard library's source.
    Extra,
}

/// One package of the lock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// What it is for.
    pub role: Role,
    /// Name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// `arm64`, `amd64` or `all`.
    pub architecture: String,
    /// Size of the .deb.
    pub size_bytes: u64,
    /// SHA-256 of the .deb, from the signed package index.
    pub sha256: String,
}

/// All packages of one architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Format of this file.
    pub format: u32,
    /// Sorted by role and name.
    #[serde(default)]
    pub package: Vec<LockedPackage>,
}

/// A difference between a lock and what the archive has today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift(pub Vec<String>);

impl Lock {
    /// Reads a lock; a missing file is an empty lock.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&path.display().to_string(), &text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).at("read", path),
        }
    }

    /// From TOML. Hashes become file names, so their shape is checked here.
    pub fn parse(what: &str, text: &str) -> Result<Self> {
        let lock: Self = toml::from_str(text)
            .map_err(|e| BuildError::invalid(what, e.to_string().trim_end().replace('\n', " ")))?;
        if lock.format != 1 {
            return Err(BuildError::invalid(
                what,
                format!("format {} is not known", lock.format),
            ));
        }
        for p in &lock.package {
            let hash_ok =
                p.sha256.len() == 64 && p.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            // Debian policy 5.6.1. A name that began with a hyphen would be an option to apt.
            let name_ok = p.name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && p.name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
            if !hash_ok || !name_ok {
                return Err(BuildError::invalid(
                    what,
                    format!("package {:?}: name or sha256 is malformed", p.name),
                ));
            }
        }
        Ok(lock)
    }

    /// As TOML with a heading for people.
    pub fn to_toml(&self) -> Result<String> {
        let body = toml::to_string(self).map_err(|e| BuildError::invalid("lock", e.to_string()))?;
        Ok(format!(
            "# Made by `cargo xtask lock`. Versions and hashes come from the signed package indices.\n{body}"
        ))
    }

    /// What differs, in a person's words.
    pub fn drift(&self, newer: &Self) -> Drift {
        let find = |lock: &Self, p: &LockedPackage| {
            lock.package
                .iter()
                .find(|q| q.name == p.name && q.role == p.role)
                .cloned()
        };
        let mut lines = Vec::new();
        for new in &newer.package {
            match find(self, new) {
                None => lines.push(format!("{} {} is new", new.name, new.version)),
                Some(old) if old.version != new.version => {
                    lines.push(format!("{} {} became {}", new.name, old.version, new.version));
                }
                Some(old) if old.sha256 != new.sha256 => {
                    lines.push(format!("{} {} has other content", new.name, new.version));
                }
                Some(_) => {}
            }
        }
        lines.extend(
            self.package
                .iter()
                .filter(|p| find(newer, p).is_none())
                .map(|p| format!("{} is gone", p.name)),
        );
        Drift(lines)
    }

    /// The packages of a role.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &LockedPackage> {
        self.package.iter().filter(move |p| p.role == role)
    }

    /// The package of that name, whatever its role.
    pub fn named(&self, name: &str) -> Option<&LockedPackage> {
        self.package.iter().find(|p| p.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> LockedPackage {
        LockedPackage {
            role: Role::Root,
            name: name.into(),
            version: version.into(),
            architecture: "arm64".into(),
            size_bytes: 1,
            sha256: "a".repeat(64),
        }
    }

    #[test]
    fn drift_names_what_changed() {
        let old = Lock {
            format: 1,
            package: vec![package("systemd", "1"), package("kmod", "1")],
        };
        let new = Lock {
            format: 1,
            package: vec![package("systemd", "2"), package("udev", "1")],
        };
        assert_eq!(
            old.drift(&new).0,
            ["systemd 1 became 2", "udev 1 is new", "kmod is gone"]
        );
        assert!(old.drift(&old).0.is_empty());
    }

    #[test]
    fn a_name_that_could_be_an_option_or_a_folder_is_refused() {
        for name in ["", "-y", "..", "+x", "a/b"] {
            let text = toml::to_string(&Lock {
                format: 1,
                package: vec![package(name, "1")],
            })
            .unwrap();
            assert!(Lock::parse("lock", &text).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_hash_that_could_be_a_path_is_refused() {
        let mut bad = package("systemd", "1");
        bad.sha256 = "../".repeat(21) + "x";
        let text = toml::to_string(&Lock {
            format: 1,
            package: vec![bad],
        })
        .unwrap();
        assert!(
            Lock::parse("lock", &text)
                .unwrap_err()
                .to_string()
                .contains("systemd")
        );
    }
}
