//! Pairs of images that an appliance would go between.
//!
//! They are built in a copy of the checkout (its last commit), so that both of a pair have the same folder, and a source
//! file of a service can be changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use board_support::{Architecture, Board};
use image_builder::apt::Apt;
use image_builder::build::{self, Request};
use image_builder::cache::Cache;
use image_builder::lock::{Lock, LockedPackage};
use image_builder::packages::{OnDrift, lock_path};
use image_builder::profile::PackageRequest;
use image_builder::program::run;
use image_builder::progress::Console;

use crate::{host, image};

const BOARD: &str = "qemu-arm64";
/// How much later the next version's sources are: every file of its root has that time.
const LATER_SECONDS: u64 = 30 * 86_400;

/// Packages that had an update since the last point release: the old ones are in the release itself, the new ones in the
/// lock.
const UPDATED: [&str; 6] = [
    "ca-certificates",
    "libexpat1",
    "libpcre2-8-0",
    "libssl3t64",
    "tzdata",
    "zlib1g",
];
/// Packages whose next release has the same upstream version with other patches: the old ones are in the lock.
const REVISED: [&str; 4] = ["dbus-broker", "kmod", "libidn2-0", "libzstd1"];
/// Where the revised ones are.
const NEXT_SUITE: &str = "forky";

/// The service that changes, and what stands before the new line.
const CHANGED: (&str, &str) = ("web-setup/src/main.rs", "fn main() -> anyhow::Result<()> {\n");
const NEW_LINE: &str = "    eprintln!(\"web-setup {} starts\", env!(\"CARGO_PKG_VERSION\"));\n";

/// An image and the one that follows it.
pub struct Pair {
    /// What is between them, for people.
    pub what: &'static str,
    /// The image that both slots have.
    pub old: PathBuf,
    /// The next one.
    pub new: PathBuf,
    /// Versions that changed, for people.
    pub changes: String,
}

/// A copy of the checkout.
struct Copy {
    folder: PathBuf,
    out: PathBuf,
    lock: Lock,
}

/// Builds both pairs. With `renew`, the packages of the point release are asked for anew.
pub fn pairs(renew: bool) -> Result<[Pair; 2]> {
    let copy = Copy::make()?;
    let (before, after) = point_release(&copy.lock, renew)?;
    let packages = Pair {
        what: "ten packages changed",
        old: copy.build("packages-old", false, Some(&before))?,
        new: copy.build("packages-new", true, Some(&after))?,
        changes: before.drift(&after).0.join(", "),
    };
    // The changed service comes last: every change of it has to be compiled.
    copy.reset()?;
    let old = copy.build("service-old", false, None)?;
    copy.change_service()?;
    let service = Pair {
        what: "one service changed",
        old,
        new: copy.build("service-new", true, None)?,
        changes: "one more line in web-setup's main function, which moves most of its code, and another version number"
            .into(),
    };
    copy.reset()?;
    Ok([service, packages])
}

impl Copy {
    fn make() -> Result<Self> {
        let parent = Cache::open()?.folder("bench/update")?;
        let folder = parent.join("checkout");
        if !folder.join(".git").exists() {
            run(Command::new("git")
                .args(["clone", "--quiet", "--shared"])
                .arg(host::checkout())
                .arg(&folder))?;
        }
        let copy = Self {
            out: parent.join("images"),
            lock: Lock::read(&lock_path(&host::checkout(), Architecture::Arm64))?,
            folder,
        };
        copy.git(&["fetch", "--quiet", "origin", "HEAD"])?;
        copy.git(&["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"])?;
        copy.reset()?;
        Ok(copy)
    }

    fn git(&self, arguments: &[&str]) -> Result<String> {
        let said = run(Command::new("git").args(arguments).current_dir(&self.folder))?;
        Ok(String::from_utf8(said)?.trim().to_owned())
    }

    fn reset(&self) -> Result<()> {
        self.git(&["reset", "--quiet", "--hard", "FETCH_HEAD"]).map(drop)
    }

    fn change_service(&self) -> Result<()> {
        let (path, before) = CHANGED;
        let path = self.folder.join(path);
        let text = fs::read_to_string(&path)?;
        let changed = text.replacen(before, &format!("{before}{NEW_LINE}"), 1);
        ensure!(
            changed != text,
            "{} has no line to change any more",
            path.display()
        );
        Ok(fs::write(path, changed)?)
    }

    /// The next version's last commit is later, and its number another.
    fn commit_later(&self) -> Result<()> {
        let then: u64 = self.git(&["log", "-1", "--format=%ct", "FETCH_HEAD"])?.parse()?;
        run(Command::new("git")
            .current_dir(&self.folder)
            .env("GIT_COMMITTER_DATE", format!("{} +0000", then + LATER_SECONDS))
            .args(["-c", "user.name=Hearth", "-c", "user.email=bench@localhost"])
            .args(["commit", "--quiet", "--all", "--allow-empty", "--message", "Next"]))?;
        Ok(())
    }

    fn build(&self, name: &str, next: bool, lock: Option<&Lock>) -> Result<PathBuf> {
        if let Some(lock) = lock {
            fs::write(lock_path(&self.folder, Architecture::Arm64), lock.to_toml()?)?;
        }
        if next {
            self.commit_later()?;
        }
        let board = Board::find(BOARD)?;
        let out = self.out.join(name);
        fs::create_dir_all(&out)?;
        eprintln!("Building {name}");
        let made = build::build(
            &Request {
                checkout: &self.folder,
                board: &board,
                profile: "release",
                key: &image::boot_key(None)?,
                trust: &image::update_trust(None, None)?,
                version: Some(if next { "0.99.1" } else { "0.99.0" }),
                on_drift: OnDrift::Refuse,
                out: &out,
            },
            &Console,
        )?;
        Ok(made.image)
    }
}

/// The lock before and after a point release of ten packages.
fn point_release(lock: &Lock, renew: bool) -> Result<(Lock, Lock)> {
    let cache = Cache::open()?;
    let noted = cache.folder("bench/update")?.join("point-release.toml");
    let mut other = Lock::read(&noted)?;
    let in_cache = |p: &LockedPackage| cache.by_hash("debs", &p.sha256).is_ok_and(|path| path.exists());
    if renew || other.package.is_empty() || !other.package.iter().all(in_cache) {
        other = Lock {
            format: 1,
            package: vec![],
        };
        for (suite, names) in [("trixie", &UPDATED[..]), (NEXT_SUITE, &REVISED[..])] {
            eprintln!("Asking the Debian mirror for packages of {suite}");
            let apt = Apt::open_suite(&cache, Architecture::Arm64, suite)?;
            apt.update()?;
            let request = PackageRequest {
                extra: names.iter().map(|n| (*n).into()).collect(),
                ..PackageRequest::default()
            };
            let found = apt.resolve(&request)?;
            apt.download(&cache, &found.iter().collect::<Vec<_>>(), &Console)?;
            other.package.extend(found);
        }
        image_builder::cache::write_whole(&noted, other.to_toml()?.as_bytes())?;
    }
    let (mut before, mut after) = (lock.clone(), lock.clone());
    for found in &other.package {
        let into = if UPDATED.contains(&found.name.as_str()) {
            &mut before
        } else {
            &mut after
        };
        let entry = into.package.iter_mut().find(|p| p.name == found.name);
        let entry = entry.with_context(|| format!("the lock has no package {}", found.name))?;
        *entry = LockedPackage {
            role: entry.role,
            ..found.clone()
        };
    }
    let changed = before.drift(&after).0.len();
    ensure!(
        changed == UPDATED.len() + REVISED.len(),
        "only {changed} packages differ: choose others in {}",
        Path::new(file!()).display()
    );
    Ok((before, after))
}
