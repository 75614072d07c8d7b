//! From the lock to packages in the cache.

use std::path::{Path, PathBuf};

use board_support::{Architecture, Board};

use crate::apt::Apt;
use crate::cache::{Cache, hash_file, write_whole};
use crate::compile::rust_version;
use crate::error::{BuildError, FileContext, Result};
use crate::lock::{Drift, Lock, LockedPackage};
use crate::profile::Profile;
use crate::progress::Progress;
use crate::rootfs;

/// Path of the lock of an architecture.
pub fn lock_path(checkout: &Path, architecture: Architecture) -> PathBuf {
    checkout.join(format!("image/locks/{}.lock", architecture.debian()))
}

/// What may be done when the mirror has other versions than the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDrift {
    /// Say so and take what there is.
    Report,
    /// Refuse.
    Refuse,
}

/// Renews the lock of an architecture from the mirror; returns what changed.
pub fn renew(
    checkout: &Path,
    cache: &Cache,
    architecture: Architecture,
    progress: &dyn Progress,
) -> Result<Drift> {
    let path = lock_path(checkout, architecture);
    let old = Lock::read(&path)?;
    let new = resolve(checkout, cache, architecture, progress)?;
    write_whole(&path, new.to_toml()?.as_bytes())?;
    Ok(old.drift(&new))
}

fn resolve(
    checkout: &Path,
    cache: &Cache,
    architecture: Architecture,
    progress: &dyn Progress,
) -> Result<Lock> {
    progress.step(&format!(
        "Asking the Debian mirror for {} packages",
        architecture.debian()
    ));
    let apt = Apt::open(cache, architecture)?;
    apt.update()?;
    let request = Profile::request(checkout, architecture, &rust_version(checkout)?)?;
    Ok(Lock {
        format: 1,
        package: apt.resolve(&request)?,
    })
}

/// Sees to it that every needed package is in the cache, and returns the lock they are from.
/// `extra` names further packages, such as QEMU's boot firmware.
pub fn ensure(
    checkout: &Path,
    cache: &Cache,
    board: &Board,
    profile: &Profile,
    extra: &[&str],
    on_drift: OnDrift,
    progress: &dyn Progress,
) -> Result<Lock> {
    let lock = Lock::read(&lock_path(checkout, board.architecture))?;
    let needed = |lock: &Lock| -> Result<Vec<LockedPackage>> {
        let mut list: Vec<LockedPackage> = rootfs::needed(lock, board, profile)
            .into_iter()
            .cloned()
            .collect();
        for name in extra {
            let package = lock.named(name).ok_or_else(|| {
                BuildError::Packages(format!(
                    "the lock has no package {name}; `cargo xtask lock` renews it"
                ))
            })?;
            list.push(package.clone());
        }
        list.sort();
        list.dedup();
        Ok(list)
    };
    if !lock.package.is_empty() {
        let list = needed(&lock)?;
        let missing = missing(cache, &list)?;
        if missing.is_empty() {
            return Ok(lock);
        }
        progress.step(&format!("{} packages are not in the cache", missing.len()));
        let apt = Apt::open(cache, board.architecture)?;
        apt.update()?;
        match apt.download(cache, &missing, progress) {
            Ok(()) => return Ok(lock),
            Err(e) if on_drift == OnDrift::Refuse => {
                return Err(BuildError::Packages(format!(
                    "the mirror no longer has what the lock says, and --locked forbids anything else; `cargo xtask lock` renews the lock ({e})"
                )));
            }
            Err(_) => {}
        }
    } else if on_drift == OnDrift::Refuse {
        return Err(BuildError::Packages(
            "there is no lock; `cargo xtask lock` makes one".into(),
        ));
    }
    let newer = resolve(checkout, cache, board.architecture, progress)?;
    for line in lock.drift(&newer).0 {
        progress.warn(&format!("newer than the lock: {line}"));
    }
    let list = needed(&newer)?;
    let missing = missing(cache, &list)?;
    if !missing.is_empty() {
        Apt::open(cache, board.architecture)?.download(cache, &missing, progress)?;
    }
    Ok(newer)
}

/// The packages that are not in the cache, or not whole.
fn missing<'a>(cache: &Cache, list: &'a [LockedPackage]) -> Result<Vec<&'a LockedPackage>> {
    let mut missing = Vec::new();
    for package in list {
        let path = cache.by_hash("debs", &package.sha256)?;
        let size = std::fs::metadata(&path).map(|m| m.len()).ok();
        if size == Some(package.size_bytes) {
            continue; // the content is hashed when it is read
        }
        if size.is_some() {
            std::fs::remove_file(&path).at("remove", &path)?;
        }
        missing.push(package);
    }
    Ok(missing)
}

/// One file of a cached package.
pub fn file_of(cache: &Cache, package: &LockedPackage, inside: &str) -> Result<Vec<u8>> {
    let path = cache.by_hash("debs", &package.sha256)?;
    if hash_file(&path)? != package.sha256 {
        std::fs::remove_file(&path).at("remove", &path)?;
        return Err(BuildError::Packages(format!(
            "the cached file of {} was damaged and has been removed; run again to fetch it anew",
            package.name
        )));
    }
    let mut tree = crate::tree::Tree::default();
    crate::deb::unpack(&path, &|p| p == inside, &mut tree)?;
    let bytes = tree.bytes(inside).map(<[u8]>::to_vec);
    bytes.ok_or_else(|| BuildError::invalid(&package.name, format!("the package has no file {inside}")))
}
