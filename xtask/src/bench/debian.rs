//! The peer: a plain Debian by mmdebstrap, from a folder of packages.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use board_support::{Architecture, Board};
use image_builder::apt;
use image_builder::cache::{Cache, write_whole};
use image_builder::lock::{LockedPackage, Role};
use image_builder::packages::{self, OnDrift};
use image_builder::profile::Profile;
use image_builder::progress::Console;

use crate::host;

/// What a small Debian server with a web page consists of, apart from its kernel; initramfs-tools with zstd is what this
/// release of Debian makes its initramfs with.
const PACKAGES: &str = "systemd,systemd-sysv,udev,nginx,initramfs-tools,zstd";

/// Packages and indices for the peer of a board, on this machine.
#[derive(Debug)]
pub struct Debian {
    /// Where they and what is made of them are.
    pub folder: PathBuf,
    /// Release of the kernel, as in `/lib/modules`.
    pub kernel_release: String,
    architecture: Architecture,
    include: String,
}

impl Debian {
    /// Names the packages of a peer of `board`: the kernel is the one that our image has. `more` packages end with a comma.
    pub fn of(board: &Board, more: &str) -> Result<Self> {
        let cache = Cache::open()?;
        let checkout = host::checkout();
        let profile = Profile::read(&checkout, "release")?;
        let lock = packages::ensure(&checkout, &cache, board, &profile, &[], OnDrift::Report, &Console)?;
        let architecture = board.architecture;
        let is_kernel = |p: &&LockedPackage| p.role == Role::Kernel && p.name.starts_with("linux-image-");
        let kernel = lock
            .package
            .iter()
            .find(is_kernel)
            .context("the lock has no kernel")?;
        let release = kernel.name.trim_start_matches("linux-image-").to_string();
        let suite = &board.kernel.suite;
        Ok(Self {
            folder: cache.folder(&format!("bench/{}", architecture.debian()))?,
            kernel_release: release,
            architecture,
            include: format!(
                "{more}{PACKAGES},linux-base/{suite},{}={}",
                kernel.name, kernel.version
            ),
        })
    }

    /// Path of the file that says which packages are whole in the folder.
    fn stamp(&self) -> PathBuf {
        self.folder.join("packages-complete")
    }

    /// What the peer is made of, in one line: another line, another peer.
    pub fn content(&self) -> &str {
        &self.include
    }

    fn mmdebstrap(&self, variant: &str) -> Result<Command> {
        let sources = self.folder.join("sources.list");
        std::fs::write(&sources, apt::sources()?)
            .with_context(|| format!("cannot write {}", sources.display()))?;
        let mut command = Command::new("mmdebstrap");
        command
            .current_dir(&self.folder)
            .env("LC_ALL", "C.UTF-8")
            .args(["--format=tar", "--variant"])
            .arg(variant);
        command.arg(format!("--architectures={}", self.architecture.debian()));
        command
            .arg("--aptopt=Acquire::Languages \"none\"")
            .arg("--dpkgopt=force-unsafe-io");
        Ok(command)
    }

    /// Fetches all packages once: one build with the network, whose packages are kept.
    pub fn fetch(&self, renew: bool) -> Result<()> {
        let kept = std::fs::read_to_string(self.stamp()).unwrap_or_default();
        if kept == self.include && !renew {
            return Ok(());
        }
        eprintln!("  Fetching the peer's packages (once)");
        for sub in ["archives", "lists"] {
            let path = self.folder.join(sub);
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let mut command = self.mmdebstrap("apt")?;
        command
            .arg(format!("--include={}", self.include))
            .args(["--skip=download/empty", "--skip=essential/unlink"])
            .arg("--customize-hook=sync-out /var/cache/apt/archives archives")
            .arg("--customize-hook=sync-out /var/lib/apt/lists lists")
            .args([apt::SUITE, "-", "sources.list"]);
        run(&mut command, Stdio::null(), &self.folder.join("fetch.log"))?;
        write_whole(&self.stamp(), self.include.as_bytes())?;
        Ok(())
    }

    /// One whole build from those packages, without any network: squashfs, kernel and initramfs in the folder `build`.
    /// Returns the seconds.
    pub fn build(&self) -> Result<f64> {
        let out = self.folder.join("build");
        let _ = std::fs::remove_dir_all(&out);
        std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
        let begun = Instant::now();
        let release = &self.kernel_release;
        let mut command = self.mmdebstrap("apt")?;
        command
            .arg(format!("--include={}", self.include))
            .arg("--skip=update")
            .arg("--setup-hook=mkdir -p \"$1/var/cache/apt/archives\" \"$1/var/lib/apt/lists\"")
            .arg("--setup-hook=sync-in archives /var/cache/apt/archives")
            .arg("--setup-hook=sync-in lists /var/lib/apt/lists")
            .arg(format!(
                "--customize-hook=download /boot/vmlinuz-{release} build/vmlinuz"
            ))
            .arg(format!(
                "--customize-hook=download /boot/initrd.img-{release} build/initramfs"
            ))
            // Stored beside the root file system, as ours are.
            .arg("--customize-hook=rm -r \"$1/boot\"")
            .args([apt::SUITE, "-", "sources.list"]);
        let mut squashfs = Command::new("sqfstar");
        squashfs.current_dir(&out).args([
            "-comp",
            "zstd",
            "-b",
            "128K",
            "-quiet",
            "-no-progress",
            "root.squashfs",
        ]);
        pipe(&mut command, &mut squashfs, &self.folder.join("build.log"))?;
        let kernel = out.join("vmlinuz.gz");
        let to = File::create(&kernel).with_context(|| format!("cannot create {}", kernel.display()))?;
        run(
            Command::new("gzip").current_dir(&out).args(["-9nc", "vmlinuz"]),
            to.into(),
            &self.folder.join("build.log"),
        )?;
        self.compress(&out)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Kernel, initramfs and root file system in one file, compressed as our images are.
    fn compress(&self, out: &Path) -> Result<()> {
        let path = out.join("all.zst");
        let to = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut encoder = zstd::Encoder::new(to, 3)?;
        for part in ["vmlinuz.gz", "initramfs", "root.squashfs"] {
            let path = out.join(part);
            let mut from = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            std::io::copy(&mut from, &mut encoder)
                .with_context(|| format!("cannot compress {}", path.display()))?;
        }
        encoder
            .finish()?
            .sync_all()
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Bytes of the squashfs, and of all together compressed.
    pub fn sizes(&self) -> Result<(u64, u64)> {
        let size = |name: &str| -> Result<u64> {
            let path = self.folder.join("build").join(name);
            Ok(std::fs::metadata(&path)
                .with_context(|| format!("cannot read {}", path.display()))?
                .len())
        };
        Ok((size("root.squashfs")?, size("all.zst")?))
    }

    /// Extracts all packages of another architecture and keeps the packages among them, for a second stage in the guest
    /// that installs them: nothing of them runs on this machine. Returns the folder with the files.
    pub fn extract(&self, into: &Path) -> Result<()> {
        let _ = std::fs::remove_dir_all(into);
        std::fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
        let mut command = self.mmdebstrap("extract")?;
        command
            .args(["--include=?essential", "--include"])
            .arg(&self.include)
            .arg("--skip=cleanup")
            .args([apt::SUITE, "-", "sources.list"]);
        let mut unpack = Command::new("tar");
        // The second stage gives every file its owner.
        unpack
            .current_dir(into)
            .args(["-x", "--no-same-owner", "--exclude=./dev/*"]);
        pipe(&mut command, &mut unpack, &self.folder.join("extract.log"))
    }
}

/// Runs a program; what it says goes to a file, and its end into the error.
pub fn run(command: &mut Command, output: Stdio, log: &Path) -> Result<()> {
    let line = image_builder::program::shown(command);
    let said = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let status = command.stdin(Stdio::null()).stdout(output).stderr(said).status();
    let status = status.with_context(|| format!("cannot start {line}"))?;
    if !status.success() {
        bail!("{line}: {status}: {}", tail(log));
    }
    Ok(())
}

/// Runs two programs, the first one's output being the second one's input.
fn pipe(from: &mut Command, to: &mut Command, log: &Path) -> Result<()> {
    let lines = [
        image_builder::program::shown(from),
        image_builder::program::shown(to),
    ];
    let said = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut first = from
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(said.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start {}", lines[0]))?;
    let input = first.stdout.take().context("no output to read")?;
    let second = to.stdin(input).stdout(Stdio::null()).stderr(said).status();
    let statuses = [
        first.wait()?,
        second.with_context(|| format!("cannot start {}", lines[1]))?,
    ];
    for (line, status) in lines.iter().zip(statuses) {
        if !status.success() {
            bail!("{line}: {status}: {}", tail(log));
        }
    }
    Ok(())
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .rev()
        .filter(|l| !l.trim().is_empty())
        .take(6)
        .collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
