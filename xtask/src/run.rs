//! `xtask run`: an appliance in QEMU.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use board_support::Board;
use board_support::qemu::{Firmware, Machine, Vm};
use clap::Args;
use image_builder::cache::Cache;
use indicatif::{ProgressBar, ProgressStyle};

use crate::doctor::{self, Need};
use crate::{image, qemu};

/// Build the image for the QEMU Arm board, start it, and say which address to open.
///
/// The disk is kept for the next run: its data stays, the system on it is renewed. Ctrl-C powers the machine off cleanly.
#[derive(Debug, Args)]
pub struct Options {
    /// release, or dev (root shell on the serial console)
    #[arg(long, default_value = "dev")]
    profile: String,
    /// Start over with an empty disk
    #[arg(long)]
    fresh: bool,
    /// Port on localhost; without it 8080, or the next free one
    #[arg(long)]
    port: Option<u16>,
    /// Stop the machine as soon as the page answers (for scripts)
    #[arg(long)]
    until_ready: bool,
}

static STOP: AtomicBool = AtomicBool::new(false);

/// What the console says on the way, and what a person is told.
const MILESTONES: [(&str, &str); 5] = [
    ("U-Boot", "U-Boot"),
    ("Hearth boot manager", "boot manager"),
    ("hearth: ", "early-boot: modules, verified root, data"),
    ("hearth: handing over", "systemd"),
    ("hearth: ready", "network"),
];

/// The verb.
pub fn run(options: &Options) -> Result<()> {
    doctor::require(&[Need::Image, Need::Qemu])?;
    let board = Board::find("qemu-arm64")?;
    let built = image::make(&image::Options {
        board: board.name.clone(),
        profile: options.profile.clone(),
        locked: false,
        boot_key: None,
        update_keyring: None,
        update_crl: None,
        version: None,
        out: "out".into(),
    })?;
    let folder = Cache::open()?.folder("run")?;
    let disk = folder.join("disk.img");
    if options.fresh || !disk.exists() {
        qemu::copy_disk(&built.image, &disk, qemu::DISK_BYTES)?;
        eprintln!("  new disk: {}", disk.display());
    } else {
        qemu::renew_system(&built.image, &disk, &board)?;
        eprintln!("  kept the data on {} (--fresh starts over)", disk.display());
    }
    let firmware = qemu::firmware(&board)?;
    let port = free_port(options.port)?;
    catch_ctrl_c()?;
    let mut vm = start(&board, &firmware, &disk, port, &folder)?;
    let ready = wait_until_ready(&mut vm, port)?;
    if ready {
        let console = folder.join("console.log");
        println!(
            "\n  Hearth is up after {:.0} s: open  http://localhost:{port}/",
            vm.uptime().as_secs_f64()
        );
        println!("  The console is in {}; Ctrl-C powers off.\n", console.display());
    }
    while ready && !options.until_ready && !STOP.load(Ordering::Relaxed) && vm.ended().is_none() {
        std::thread::sleep(Duration::from_millis(100));
    }
    stop(&mut vm)
}

fn start(board: &Board, firmware: &Path, disk: &Path, port: u16, folder: &Path) -> Result<Vm> {
    let control: PathBuf = folder.join("control.sock");
    let console = folder.join("console.log");
    let machine = Machine {
        firmware: Firmware::Bios(firmware),
        disk,
        usb_stick: None,
        http_port: Some(port),
        capture: None,
        console: &console,
        keyboard: &folder.join("keyboard.sock"),
        control: &control,
    };
    let qemu = board.qemu.as_ref().context("QEMU does not run this board")?;
    Ok(Vm::start(qemu, &machine)?)
}

/// Shows how far the boot is; false when a person stopped it.
fn wait_until_ready(vm: &mut Vm, port: u16) -> Result<bool> {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let mut shown = 0;
    let begun = Instant::now();
    loop {
        let text = vm.console();
        while shown < MILESTONES.len() && text.contains(MILESTONES[shown].0) {
            bar.println(format!(
                "  {:5.1} s  {}",
                vm.uptime().as_secs_f64(),
                MILESTONES[shown].1
            ));
            if bar.is_hidden() {
                eprintln!("  {:5.1} s  {}", vm.uptime().as_secs_f64(), MILESTONES[shown].1);
            }
            shown += 1;
        }
        bar.set_message("waiting for the page");
        if answers(port) {
            bar.finish_and_clear();
            return Ok(true);
        }
        if STOP.load(Ordering::Relaxed) {
            bar.finish_and_clear();
            return Ok(false);
        }
        if vm.ended().is_some() || begun.elapsed() > Duration::from_secs(300) {
            bar.finish_and_clear();
            vm.wait_for("the page", Duration::ZERO, |_| None::<()>)?;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One request; QEMU accepts connections long before the guest does, so only a whole answer counts.
pub fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.take(4096).read_to_string(&mut text)?;
        Ok(text.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

fn stop(vm: &mut Vm) -> Result<()> {
    if vm.ended().is_some() {
        eprintln!("  The machine has powered off.");
        return Ok(());
    }
    eprintln!("  Powering off…");
    match vm.stop_cleanly(Duration::from_secs(45)) {
        Ok(()) => eprintln!("  Powered off cleanly."),
        Err(_) => {
            // Early in the boot nobody reads the keyboard yet; nothing can be lost by it.
            vm.kill();
            eprintln!("  It did not answer, so the plug was pulled; the disk can take that.");
        }
    }
    Ok(())
}

fn free_port(wanted: Option<u16>) -> Result<u16> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    match wanted {
        Some(port) if free(port) => Ok(port),
        Some(port) => bail!("port {port} is in use; choose another with --port"),
        None => (8080..8180)
            .find(|p| free(*p))
            .context("no port from 8080 to 8179 is free; choose one with --port"),
    }
}

/// Ctrl-C sets a flag; a second one ends the program at once.
fn catch_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("cannot catch Ctrl-C")
}
