//! `xtask doctor`: what this machine lacks, and how to get it.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::host::{self, find_program};

/// Say what is missing on this machine; as root, install it with apt-get.
#[derive(Debug, Args)]
pub struct Options {
    /// Only say what is missing; install nothing
    #[arg(long)]
    check: bool,
}

/// What a verb needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Building images.
    Image,
    /// Running them in QEMU.
    Qemu,
    /// The tests.
    Test,
    /// The benchmarks' peers.
    Bench,
}

/// A program (or file) and the Debian and Ubuntu package that has it.
struct Tool {
    need: Need,
    program: &'static str,
    package: &'static str,
}

const fn tool(need: Need, program: &'static str, package: &'static str) -> Tool {
    Tool {
        need,
        program,
        package,
    }
}

const TOOLS: &[Tool] = &[
    tool(Need::Image, "git", "git"),
    tool(Need::Image, "cc", "gcc"),
    tool(Need::Image, "/usr/include/stdio.h", "libc6-dev"),
    tool(
        Need::Image,
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
    ),
    tool(Need::Image, "apt-get", "apt"),
    tool(Need::Image, "mkfs.vfat", "dosfstools"),
    tool(Need::Image, "mcopy", "mtools"),
    tool(Need::Image, "mke2fs", "e2fsprogs"),
    tool(Need::Image, "sfdisk", "fdisk"),
    tool(Need::Image, "depmod", "kmod"),
    tool(Need::Image, "unsquashfs", "squashfs-tools"),
    tool(Need::Image, "veritysetup", "cryptsetup-bin"),
    tool(Need::Qemu, "qemu-system-aarch64", "qemu-system-arm"),
    tool(Need::Qemu, "setpriv", "util-linux"),
    tool(Need::Test, "qemu-system-x86_64", "qemu-system-x86"),
    tool(Need::Test, "fdtput", "device-tree-compiler"),
    tool(Need::Test, "chromium", "chromium"),
    tool(Need::Test, "node", "nodejs"),
    tool(Need::Test, "npm", "npm"),
    tool(Need::Test, "nft", "nftables"),
    tool(Need::Test, "ip", "iproute2"),
    tool(Need::Test, "dbus-daemon", "dbus-daemon"),
    tool(Need::Test, "systemd-analyze", "systemd"),
    tool(Need::Test, "bmaptool", "bmap-tools"),
    tool(Need::Bench, "mmdebstrap", "mmdebstrap"),
    tool(Need::Bench, "sqfstar", "squashfs-tools"),
    tool(Need::Bench, "tar", "tar"),
    tool(Need::Bench, "gzip", "gzip"),
];

/// Packages that only a machine of another architecture needs.
const CROSS: Tool = tool(Need::Image, "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu");
const CROSS_LIBC: Tool = tool(
    Need::Image,
    "/usr/aarch64-linux-gnu/include/stdio.h",
    "libc6-dev-arm64-cross",
);
/// Ubuntu's apt names no Debian mirror: debootstrap's default is taken (or HEARTH_DEBIAN_MIRROR).
const MIRROR: Tool = tool(Need::Image, "debootstrap", "debootstrap");

fn missing(needs: &[Need]) -> Vec<&'static Tool> {
    let is_debian = std::fs::read_to_string("/etc/os-release")
        .unwrap_or_default()
        .lines()
        .any(|l| l == "ID=debian");
    let cross: &[&Tool] = if std::env::consts::ARCH == "aarch64" {
        &[]
    } else {
        &[&CROSS, &CROSS_LIBC]
    };
    let mirror: &[&Tool] = if is_debian || host::is_set("HEARTH_DEBIAN_MIRROR") {
        &[]
    } else {
        &[&MIRROR]
    };
    TOOLS
        .iter()
        .chain(cross.iter().copied())
        .chain(mirror.iter().copied())
        .filter(|t| needs.contains(&t.need))
        .filter(|t| match t.program.strip_prefix('/') {
            Some(_) => !Path::new(t.program).exists(),
            None => find_program(t.program).is_none(),
        })
        .collect()
}

/// Sees to it that what the needs name is there: installs it as root, else says the one line to paste.
pub fn require(needs: &[Need]) -> Result<()> {
    let lacking = missing(needs);
    if lacking.is_empty() {
        return Ok(());
    }
    let packages = packages(&lacking);
    if !host::is_root() {
        bail!(
            "this machine lacks {}. Paste this line, then run again:\n\n    sudo apt-get install --no-install-recommends -y {}\n",
            lacking.iter().map(|t| t.program).collect::<Vec<_>>().join(", "),
            packages.join(" ")
        );
    }
    eprintln!("Installing {}", packages.join(" "));
    let install = || {
        host::run(
            Command::new("apt-get")
                .args(["install", "-y", "-qq", "--no-install-recommends"])
                .args(&packages)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdout(std::process::Stdio::null()),
        )
    };
    // A fresh machine has no package lists yet, or old ones that name vanished files.
    if install().is_err() {
        host::run(Command::new("apt-get").args(["update", "-qq"]))?;
        install()?;
    }
    let still = missing(needs);
    if !still.is_empty() {
        bail!(
            "apt-get ran, but {} is still missing",
            still.iter().map(|t| t.program).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

fn packages(tools: &[&'static Tool]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = tools.iter().map(|t| t.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// The verb.
pub fn doctor(options: &Options) -> Result<()> {
    let all = [Need::Image, Need::Qemu, Need::Test, Need::Bench];
    let lacking = missing(&all);
    if lacking.is_empty() {
        println!("Everything is there: images can be built, run, tested and measured.");
        return Ok(());
    }
    for tool in &lacking {
        println!(
            "missing: {} (package {}), for {:?}",
            tool.program, tool.package, tool.need
        );
    }
    if options.check {
        bail!(
            "{} things are missing; `cargo xtask doctor` says or does what is needed",
            lacking.len()
        );
    }
    require(&all)?;
    println!("Everything is there now.");
    Ok(())
}
