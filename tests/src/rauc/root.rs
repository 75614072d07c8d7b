//! Private roots: Debian packages with their dependencies, unpacked into the cache and run by their own loader.
//!
//! Nothing is installed and nobody needs to be root. A root is trusted only when every file in it has the hash that was
//! noted when it was unpacked from packages whose hashes came from the signed index.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use board_support::Architecture;
use image_builder::apt::Apt;
use image_builder::cache::{Cache, hash, hash_file, write_whole};
use image_builder::lock::{Lock, LockedPackage};
use image_builder::profile::PackageRequest;
use image_builder::program;
use image_builder::progress::Console;

/// Dependencies that the programs do not need to run: packages' scripts and the init system.
const NOT_NEEDED: [&str; 10] = [
    "adduser",
    "base-files",
    "base-passwd",
    "debconf",
    "libc-gconv-modules-extra",
    "libsystemd-shared",
    "login.defs",
    "passwd",
    "systemd",
    "mount",
];
/// The note of every file's hash, written last.
const LISTING: &str = "files.sha256";

/// What a root is made of.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Debian's suite: `trixie`, `sid`.
    pub suite: &'static str,
    /// Packages; their dependencies come along.
    pub packages: &'static [&'static str],
    /// Programs below `/usr/bin` or `/usr/sbin` that get a wrapper in [`Root::bin`].
    pub programs: &'static [&'static str],
}

/// An unpacked, checked root.
#[derive(Debug, Clone)]
pub struct Root {
    folder: PathBuf,
}

impl Root {
    /// The root of a recipe: from the cache when it is whole, else fetched and unpacked (some 25 MB, once).
    ///
    /// # Errors
    /// When the mirror cannot be used, or a package is not what the signed index says.
    pub fn of(recipe: &Recipe) -> Result<Self> {
        let cache = Cache::open()?;
        let roots = cache.folder("rauc")?;
        let guard = fs::File::create(roots.join(format!("{}.guard", recipe.suite)))?;
        guard.lock().context("cannot lock the cache")?;
        let request = hash(format!("{recipe:?}").as_bytes());
        let noted = roots.join(format!("{}-{}.lock", recipe.suite, &request[..16]));
        let mut lock = Lock::read(&noted).unwrap_or_default();
        if !lock.package.is_empty() {
            let root = Self::at(&roots, &lock)?;
            if root.is_whole() {
                return Ok(root);
            }
        }
        // The packages of the note may be in the cache, or gone from the mirror meanwhile.
        if lock.package.is_empty() || fetch(&cache, recipe, &lock.package).is_err() {
            lock = resolve(&cache, recipe)?;
            fetch(&cache, recipe, &lock.package)?;
        }
        let root = Self::at(&roots, &lock)?;
        root.unpack(&cache, recipe, &lock)?;
        write_whole(&noted, lock.to_toml()?.as_bytes())?;
        Ok(root)
    }

    fn at(roots: &Path, lock: &Lock) -> Result<Self> {
        let folder = roots.join(&hash(lock.to_toml()?.as_bytes())[..32]);
        Ok(Self { folder })
    }

    /// The folder that stands for `/`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder with the wrappers, for `PATH`.
    pub fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// A program of this root, which finds only this root's programs and modules before the machine's.
    pub fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into());
        let mut command = Command::new(self.bin().join(program));
        command
            .env("PATH", format!("{}:{path}", self.bin().display()))
            .env("LC_ALL", "C.UTF-8")
            // The machine's modules and settings belong to other versions of these libraries.
            .env("OPENSSL_CONF", "/dev/null")
            .env("OPENSSL_MODULES", self.libraries().join("ossl-modules"))
            .env("GIO_MODULE_DIR", self.libraries().join("gio/modules"))
            .env("GIO_USE_VFS", "local");
        command
    }

    fn libraries(&self) -> PathBuf {
        self.folder.join("usr/lib").join(triplet())
    }

    fn unpack(&self, cache: &Cache, recipe: &Recipe, lock: &Lock) -> Result<()> {
        let _ = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(self.bin())?;
        for package in &lock.package {
            let deb = cache.by_hash("debs", &package.sha256)?;
            ensure!(
                hash_file(&deb)? == package.sha256,
                "the cached file of {} is damaged: remove {}",
                package.name,
                deb.display()
            );
            program::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&self.folder))?;
        }
        for name in recipe.programs {
            let wrapper = self.bin().join(name);
            fs::write(&wrapper, self.wrapper(name)?)?;
            fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
        }
        let mut text = String::new();
        for (path, sha256) in self.hashes()? {
            text += &format!("{sha256}  {path}\n");
        }
        write_whole(&self.folder.join(LISTING), text.as_bytes())?;
        Ok(())
    }

    /// `exec` of the program by this root's own loader, wherever the cache was moved to.
    fn wrapper(&self, name: &str) -> Result<String> {
        let loader = match host()? {
            Architecture::Amd64 => "usr/lib64/ld-linux-x86-64.so.2",
            Architecture::Arm64 => "usr/lib/ld-linux-aarch64.so.1",
        };
        let program = ["usr/bin", "usr/sbin"]
            .iter()
            .map(|folder| format!("{folder}/{name}"))
            .find(|path| self.folder.join(path).exists())
            .with_context(|| format!("no package of the root has the program {name}"))?;
        ensure!(self.folder.join(loader).exists(), "the root has no {loader}");
        let libraries = format!("usr/lib/{}", triplet());
        Ok(format!(
            "#!/bin/sh\nroot=${{0%/*}}/..\nexec \"$root/{loader}\" --library-path \"$root/{libraries}\" --argv0 \"$0\" \"$root/{program}\" \"$@\"\n"
        ))
    }

    fn is_whole(&self) -> bool {
        let Ok(text) = fs::read_to_string(self.folder.join(LISTING)) else {
            return false;
        };
        let noted: BTreeMap<String, String> = text
            .lines()
            .filter_map(|l| l.split_once("  "))
            .map(|(sha256, path)| (path.into(), sha256.into()))
            .collect();
        !noted.is_empty() && self.hashes().is_ok_and(|found| found == noted)
    }

    /// Every regular file but the note, with its hash.
    fn hashes(&self) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let mut queue = vec![self.folder.clone()];
        while let Some(folder) = queue.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let kind = fs::symlink_metadata(&path)?.file_type();
                let name = path.strip_prefix(&self.folder)?.to_string_lossy().into_owned();
                if kind.is_dir() {
                    queue.push(path);
                } else if kind.is_file() && name != LISTING {
                    found.insert(name, hash_file(&path)?);
                } else if kind.is_symlink() {
                    let target = fs::read_link(&path)?;
                    found.insert(name, hash(target.as_os_str().as_encoded_bytes()));
                }
            }
        }
        Ok(found)
    }
}

fn host() -> Result<Architecture> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(Architecture::Amd64),
        "aarch64" => Ok(Architecture::Arm64),
        other => anyhow::bail!("no Debian packages are known for a machine of architecture {other}"),
    }
}

fn triplet() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}

fn resolve(cache: &Cache, recipe: &Recipe) -> Result<Lock> {
    let apt = Apt::open_suite(cache, host()?, recipe.suite)?;
    apt.update()?;
    let request = PackageRequest {
        root: recipe.packages.iter().map(|p| (*p).into()).collect(),
        exclude: NOT_NEEDED.map(Into::into).into(),
        ..PackageRequest::default()
    };
    Ok(Lock {
        format: 1,
        package: apt.resolve(&request)?,
    })
}

fn fetch(cache: &Cache, recipe: &Recipe, packages: &[LockedPackage]) -> Result<()> {
    let mut missing = Vec::new();
    for package in packages {
        let path = cache.by_hash("debs", &package.sha256)?;
        if !path.exists() || hash_file(&path)? != package.sha256 {
            let _ = fs::remove_file(&path);
            missing.push(package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let apt = Apt::open_suite(cache, host()?, recipe.suite)?;
    Ok(apt.download(cache, &missing, &Console)?)
}
