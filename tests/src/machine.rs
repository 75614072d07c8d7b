//! A machine for a test: a disk of its own, a console that is kept.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use board_support::Board;
use board_support::qemu::{Firmware, Machine, Vm};

use crate::disk::Disk;
use crate::{http, patience};

/// The variable that names the folder with the images, and beside them `firmware-BOARD`.
pub const IMAGES: &str = "HEARTH_TEST_IMAGES";
/// The variable that names the folder where consoles and screenshots are kept.
pub const LOGS: &str = "HEARTH_TEST_LOGS";

/// A file made by `cargo xtask test`.
pub fn artifact(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os(IMAGES)
        .with_context(|| format!("{IMAGES} is not set: these tests are run by `cargo xtask test`"))?;
    let path = PathBuf::from(folder).join(name);
    if !path.exists() {
        bail!(
            "{} does not exist: these tests are run by `cargo xtask test`",
            path.display()
        );
    }
    Ok(path)
}

/// Size of a USB stick.
const STICK_BYTES: u64 = 256 << 20;

/// Machines at once: each emulates two CPUs, and a test's time limits are for a machine that has them.
const SLOTS: usize = 3;
static RUNNING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// Permission to run one machine.
#[derive(Debug)]
struct Permit;

impl Permit {
    fn get() -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(|e| e.into_inner());
        while *running >= SLOTS {
            running = FREED.wait(running).unwrap_or_else(|e| e.into_inner());
        }
        *running += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(|e| e.into_inner()) -= 1;
        FREED.notify_one();
    }
}

/// A machine under test.
pub struct TestMachine {
    name: String,
    board: Board,
    folder: tempfile::TempDir,
    firmware: Option<PathBuf>,
    /// The disk; not to be touched while the machine runs.
    pub disk: Disk,
    vm: Option<Vm>,
    port: u16,
    boots: u32,
    write_log: Option<PathBuf>,
    usb_stick: Option<PathBuf>,
    _permit: Permit,
}

impl TestMachine {
    /// A machine of a board with a fresh disk from its image. `name` is the test's.
    pub fn new(name: &str, board: &str, image: &str, disk_bytes: u64) -> Result<Self> {
        let permit = Permit::get();
        let board = Board::find(board)?;
        let folder = tempfile::Builder::new().prefix("hearth-test-").tempdir()?;
        let disk = Disk::copy(
            &artifact(image)?,
            &folder.path().join("disk.img"),
            disk_bytes,
            &board,
        )?;
        let qemu = board.qemu.as_ref().context("QEMU does not run this board")?;
        let firmware = match &qemu.firmware_package {
            Some(_) => Some(artifact(&format!("firmware-{}", board.name))?),
            None => None,
        };
        Ok(Self {
            name: name.into(),
            board,
            folder,
            firmware,
            disk,
            vm: None,
            port: free_port()?,
            boots: 0,
            write_log: None,
            usb_stick: None,
            _permit: permit,
        })
    }

    /// The QEMU Arm board with the dev image.
    pub fn qemu_arm64(name: &str) -> Result<Self> {
        Self::new(name, "qemu-arm64", "hearth-qemu-arm64-dev.img", 1 << 30)
    }

    /// The PC board with the dev image.
    pub fn pc_x86_64(name: &str) -> Result<Self> {
        Self::new(name, "pc-x86_64", "hearth-pc-x86_64-dev.img", 1 << 30)
    }

    /// The port on localhost that leads to port 80.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From the next start on, every write to the disk is also recorded in this file (see [`crate::write_log`]).
    pub fn record_writes(&mut self, log: PathBuf) {
        self.write_log = Some(log);
    }

    /// From the next start on, a USB stick with a FAT file system of this label and these files is plugged in.
    pub fn plug_in(&mut self, label: &str, files: &[&Path]) -> Result<()> {
        let stick = self.folder.path().join("stick.img");
        let mkfs = ["/usr/sbin/mkfs.vfat", "/sbin/mkfs.vfat"];
        let mkfs = mkfs.into_iter().find(|p| Path::new(p).exists());
        std::fs::File::create(&stick)?.set_len(STICK_BYTES)?;
        ran(Command::new(mkfs.unwrap_or("mkfs.vfat"))
            .args(["-n", label])
            .arg(&stick))?;
        ran(Command::new("mcopy").arg("-i").arg(&stick).args(files).arg("::"))?;
        self.usb_stick = Some(stick);
        Ok(())
    }

    /// Switches it on.
    pub fn start(&mut self) -> Result<()> {
        self.stop();
        self.boots += 1;
        let qemu = self.board.qemu.as_ref().context("QEMU does not run this board")?;
        let (kernel, device_tree) = (
            self.folder.path().join("u-boot.bin"),
            self.folder.path().join("board.dtb"),
        );
        if let (Some(k), Some(d)) = (&qemu.kernel_on_card, &qemu.device_tree_on_card) {
            self.disk.copy_from_firmware(k, &kernel)?;
            self.disk.copy_from_firmware(d, &device_tree)?;
            for node in &qemu.device_tree_disable {
                let status = Command::new("fdtput")
                    .args(["-t", "s"])
                    .arg(&device_tree)
                    .args([node, "status", "disabled"])
                    .status()
                    .context("cannot start fdtput")?;
                ensure!(status.success(), "fdtput {node}: {status}");
            }
        }
        let firmware = match &self.firmware {
            Some(path) => Firmware::Bios(path),
            None => Firmware::Card {
                kernel: &kernel,
                device_tree: &device_tree,
            },
        };
        let machine = Machine {
            firmware,
            disk: &self.disk.path,
            usb_stick: self.usb_stick.as_deref(),
            http_port: Some(self.port),
            capture: Some(&self.folder.path().join("network.pcap")),
            console: &self.console_path(self.boots),
            keyboard: &self.folder.path().join("keyboard"),
            control: &self.folder.path().join("control"),
        };
        let logged = match &self.write_log {
            Some(log) => {
                // QEMU wants the file to be there.
                std::fs::File::create(log)?;
                let logged = qemu.with_write_log(log);
                Some(logged.context("this board's disk cannot be recorded")?)
            }
            None => None,
        };
        self.vm = Some(Vm::start(logged.as_ref().unwrap_or(qemu), &machine)?);
        Ok(())
    }

    fn console_path(&self, boot: u32) -> PathBuf {
        self.folder.path().join(format!("console-{boot}.log"))
    }

    /// Whether the box has told a name by mDNS since it was switched on: `NAME.local` as DNS writes it.
    pub fn told_by_mdns(&self, name: &str) -> Result<bool> {
        let wanted = [&[name.len() as u8], name.as_bytes(), b"\x05local\0"].concat();
        let packets = std::fs::read(self.folder.path().join("network.pcap"))?;
        Ok(packets.windows(wanted.len()).any(|w| w == wanted))
    }

    /// The running machine.
    pub fn vm(&mut self) -> Result<&mut Vm> {
        self.vm.as_mut().context("the machine is off")
    }

    /// Waits for a text on the console.
    pub fn expect(&mut self, text: &str, seconds: u64) -> Result<String> {
        let limit = patience(seconds);
        Ok(self.vm()?.wait_for(&format!("{text:?}"), limit, |c| {
            c.contains(text).then(|| c.to_string())
        })?)
    }

    /// Waits until the page answers; returns the time since the machine was switched on.
    pub fn expect_page(&mut self, seconds: u64) -> Result<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < patience(seconds) {
            if http::is_healthy(self.port) {
                return Ok(self.vm()?.uptime());
            }
            if self.vm()?.ended().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.vm()?
            .wait_for("the page", Duration::ZERO, |_| None::<Duration>)
            .map_err(Into::into)
    }

    /// Waits until the machine has powered itself off.
    pub fn expect_end(&mut self, seconds: u64) -> Result<String> {
        self.vm()?.wait_for_end(patience(seconds))?;
        Ok(self.vm()?.console())
    }

    /// Pulls the plug.
    pub fn stop(&mut self) {
        self.vm = None;
    }
}

impl Drop for TestMachine {
    fn drop(&mut self) {
        self.stop();
        if let Some(folder) = std::env::var_os(LOGS).map(PathBuf::from) {
            let _ = std::fs::create_dir_all(&folder);
            for boot in 1..=self.boots {
                let kept = folder.join(format!("{}-console-{boot}.log", self.name));
                let _ = std::fs::copy(self.console_path(boot), kept);
            }
        }
    }
}

fn ran(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The part of a console's text that belongs to the last boot of a machine that rebooted by itself.
pub fn boots(console: &str) -> Vec<&str> {
    console.split("Hearth boot manager: ").skip(1).collect()
}
