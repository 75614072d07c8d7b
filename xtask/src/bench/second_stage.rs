//! The peer for `bench boot`: a Debian for Arm that installs itself once, in the machine it is for.
//!
//! Its packages cannot run on this machine, and an emulator for single programs (binfmt) would have to be registered by
//! root: so they are extracted here, and the guest's own dpkg installs them, as debootstrap's second stage does.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use board_support::Board;
use board_support::qemu::Firmware;
use image_builder::cache::{Cache, hash, write_whole};

use super::appliance::Appliance;
use super::debian::{Debian, run};
use super::guest::{Guest, Writes};
use crate::host;

/// Starts the second stage from our own initramfs, in place of early-boot.
const INIT: &str = include_str!("second-stage/init.sh");
/// The second stage.
const INSTALL: &str = include_str!("second-stage/install.sh");
/// busybox carries the second stage and is what Debian's initramfs uses.
const MORE_PACKAGES: &str = "apt,busybox-static,e2fsprogs,";
const COMMAND_LINE: &str = "console=tty0 console=ttyAMA0,115200 panic=10 quiet loglevel=4";
/// Emulated, dpkg takes its time.
const INSTALL_LIMIT: Duration = Duration::from_secs(5400);
const FIRST_BOOT_LIMIT: Duration = Duration::from_secs(900);
const DISK_SIZE: &str = "4G";

/// A Debian that is ready to be measured.
pub struct Peer {
    disk: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
    folder: PathBuf,
}

impl Peer {
    /// Takes the disk of an earlier run when it is made of the same packages; else makes one.
    pub fn make(board: &Board, appliance: &Appliance, renew: bool) -> Result<Self> {
        let debian = Debian::of(board, MORE_PACKAGES)?;
        let made_of = hash(format!("{}\n{INIT}\n{INSTALL}", debian.content()).as_bytes());
        let file = |name: &str| debian.folder.join(format!("{name}-{}", &made_of[..16]));
        let peer = Self {
            disk: file("disk.img"),
            kernel: file("vmlinuz"),
            initramfs: file("initramfs"),
            folder: Cache::open()?.folder("bench/run")?,
        };
        let stamp = file("complete");
        if renew || !stamp.exists() {
            let _ = std::fs::remove_file(&stamp);
            peer.install(&debian, appliance)?;
            write_whole(&stamp, b"")?;
        }
        Ok(peer)
    }

    fn install(&self, debian: &Debian, appliance: &Appliance) -> Result<()> {
        eprintln!(
            "  Making the peer's disk (once; its packages install themselves in the emulated machine, which takes long)"
        );
        let root = debian.folder.join("extracted");
        debian.extract(&root)?;
        let etc = |name: &str, text: &str| write_whole(&root.join(name), text.as_bytes());
        etc("second-stage", INSTALL)?;
        etc("etc/fstab", "/dev/vda / ext4 errors=remount-ro 0 1\n")?;
        etc("etc/hostname", "debian\n")?;
        let busybox =
            std::fs::read(root.join("usr/bin/busybox")).context("busybox-static has no /usr/bin/busybox")?;
        let vmlinuz = root.join(format!("usr/lib/modules/{}/vmlinuz", debian.kernel_release));
        std::fs::copy(&vmlinuz, &self.kernel)
            .with_context(|| format!("cannot copy {}", vmlinuz.display()))?;
        let log = debian.folder.join("disk.log");
        let _ = std::fs::remove_file(&self.disk);
        let mut mke2fs = Command::new(program("mke2fs")?);
        // Nothing left to do for the kernel's lazy initialisation while we measure.
        mke2fs.args([
            "-q",
            "-t",
            "ext4",
            "-E",
            "lazy_itable_init=0,lazy_journal_init=0",
            "-d",
        ]);
        run(
            mke2fs.arg(&root).arg(&self.disk).arg(DISK_SIZE),
            Stdio::null(),
            &log,
        )?;
        std::fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;

        let carrier = debian.folder.join("carrier");
        let files = [("init", INIT.as_bytes()), ("busybox", &busybox)];
        write_whole(&carrier, &with_files(&appliance.image.slot.initramfs, &files))?;
        let firmware = Firmware::Linux {
            kernel: &self.kernel,
            initramfs: &carrier,
            command_line: COMMAND_LINE,
        };
        let machine = appliance.machine();
        let mut guest = Guest::start(
            machine,
            firmware,
            &self.disk,
            &self.folder,
            Writes::KeptUnsafe,
            Some(2048),
        )?;
        guest.vm.wait_for_end(INSTALL_LIMIT)?;
        if !guest.vm.console().contains("second stage: done") {
            bail!(
                "the peer did not install itself; its console is {}",
                self.folder.join("console.log").display()
            );
        }
        let release = &debian.kernel_release;
        let wanted = format!("dump /boot/initrd.img-{release} {}", self.initramfs.display());
        run(
            Command::new(program("debugfs")?)
                .args(["-R", &wanted])
                .arg(&self.disk),
            Stdio::null(),
            &log,
        )?;
        self.first_boot(appliance)
    }

    /// The first boot writes caches and keys: not what a person waits for every day. The guest powers itself off.
    fn first_boot(&self, appliance: &Appliance) -> Result<()> {
        let mut guest = self.boot(appliance, Writes::KeptUnsafe)?;
        guest.first_page("/", "", FIRST_BOOT_LIMIT)?;
        Ok(guest.vm.wait_for_end(FIRST_BOOT_LIMIT)?)
    }

    /// Starts it, for measuring.
    pub fn start(&self, appliance: &Appliance) -> Result<Guest> {
        self.boot(appliance, Writes::Dropped)
    }

    fn boot(&self, appliance: &Appliance, writes: Writes) -> Result<Guest> {
        let command_line = format!("root=/dev/vda ro {COMMAND_LINE}");
        let firmware = Firmware::Linux {
            kernel: &self.kernel,
            initramfs: &self.initramfs,
            command_line: &command_line,
        };
        Guest::start(
            appliance.machine(),
            firmware,
            &self.disk,
            &self.folder,
            writes,
            None,
        )
    }
}

fn program(name: &str) -> Result<PathBuf> {
    host::find_program(name)
        .with_context(|| format!("{name} is not installed; `cargo xtask doctor` says how to get it"))
}

/// An initramfs with more programs: the kernel unpacks archives one after the other (Documentation/driver-api/early-userspace/buffer-format.rst), the later
/// file of a name wins.
fn with_files(initramfs: &[u8], files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = initramfs.to_vec();
    let pad = |all: &mut Vec<u8>| all.resize(all.len().next_multiple_of(4), 0);
    pad(&mut all);
    let entries = files.iter().map(|(name, bytes)| (*name, 0o100_755_u32, *bytes));
    for (name, mode, bytes) in entries.chain([("TRAILER!!!", 0, &[][..])]) {
        // newc: magic, then inode, mode, uid, gid, links, mtime, size, device ×4, name's length, check.
        let fields = [
            0,
            mode,
            0,
            0,
            1,
            0,
            bytes.len() as u32,
            0,
            0,
            0,
            0,
            name.len() as u32 + 1,
            0,
        ];
        all.extend_from_slice(b"070701");
        all.extend(fields.iter().flat_map(|f| format!("{f:08x}").into_bytes()));
        all.extend_from_slice(name.as_bytes());
        all.push(0);
        pad(&mut all);
        all.extend_from_slice(bytes);
        pad(&mut all);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::with_files;

    #[test]
    fn added_files_start_where_the_kernel_looks_for_them() {
        let all = with_files(b"12345", &[("init", b"#!"), ("b", b"xyz")]);
        assert!(all.starts_with(b"12345\x00\x00\x00070701"));
        let headers: Vec<usize> = (0..all.len() - 6)
            .filter(|i| &all[*i..*i + 6] == b"070701")
            .collect();
        assert_eq!(headers.len(), 3);
        assert!(headers.iter().all(|at| at % 4 == 0), "{headers:?}");
    }
}
