//! Updates for a machine under test: bundles made from its image, and a server that has them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use board_support::Board;
use board_support::qemu::Vm;
use bundle::cms::UnixTime;
use bundle::verity::hash_tree;
use https_server::Server;
use image_builder::bundle::{Request, Signer, make};
use image_builder::cache::hex;
use image_builder::update_keys;
use serde_json::Value;

use crate::disk::{Disk, Slot};
use crate::machine::artifact;
use crate::{patience, shell};

/// Where a guest sees the host's loopback (QEMU's user network).
const HOST: &str = "10.0.2.2";
/// Where the guest keeps the certificates of authorities of its own.
const AUTHORITIES: &str = "/var/lib/hearth-updater/authorities.pem";

/// The variable that names the program `xtask`.
pub const XTASK: &str = "HEARTH_TEST_XTASK";
/// The owner's choice of a channel in the guest.
const CHOICE: &str = "/var/lib/hearth-updater/channel.toml";

/// Bytes of the root of [`Updates::make_foreign`].
pub const FOREIGN_BYTES: usize = 16 << 20;

/// What makes an update differ from the image that the machine runs.
#[derive(Debug, Clone, Copy)]
pub struct Variant<'a> {
    /// Its version.
    pub version: &'a str,
    /// More words for the kernel's command line, such as `hearth.test=hang`.
    pub words: &'a str,
}

/// A server with updates for one board.
pub struct Updates {
    board: Board,
    image: PathBuf,
    folder: tempfile::TempDir,
    /// The server.
    pub server: Server,
}

impl Updates {
    /// Starts a server; updates are made from `image`, a file of `cargo xtask test`.
    pub fn for_board(board: &str, image: &str) -> Result<Self> {
        Self::of_image(board, artifact(image)?)
    }

    /// Starts a server; updates are made from the image at this path.
    pub fn of_image(board: &str, image: PathBuf) -> Result<Self> {
        Ok(Self {
            board: Board::find(board)?,
            image,
            folder: tempfile::Builder::new().prefix("hearth-updates-").tempdir()?,
            server: Server::start(&[HOST])?,
        })
    }

    /// Makes a bundle whose root is nothing but new bytes. It installs like any other; its system would not start.
    pub fn make_foreign(&self, variant: &Variant<'_>) -> Result<PathBuf> {
        self.make_from(variant, |disk, slot| {
            let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
            let root: Vec<u8> = (0..FOREIGN_BYTES / 8)
                .flat_map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state.to_le_bytes()
                })
                .collect();
            let tree = hash_tree(&root)?;
            disk.write("root-a", 0, &root)?;
            disk.write("root-a", root.len() as u64, &tree.tree)?;
            let words = slot
                .command_line
                .split(' ')
                .map(|word| match word.split_once('=') {
                    Some(("hearth.root-hash", _)) => format!("hearth.root-hash={}", hex(&tree.root)),
                    Some(("hearth.root-salt", _)) => format!("hearth.root-salt={}", hex(&tree.salt)),
                    Some(("hearth.root-blocks", _)) => format!("hearth.root-blocks={}", tree.data_blocks),
                    _ => word.to_owned(),
                });
            slot.command_line = words.collect::<Vec<_>>().join(" ");
            Ok(())
        })
    }

    /// Makes a bundle of the system that the machine runs, under another version.
    pub fn make(&self, variant: &Variant<'_>) -> Result<PathBuf> {
        self.make_from(variant, |_, _| Ok(()))
    }

    /// Makes a bundle of an image whose disk and slot a are changed before.
    pub fn make_from(
        &self,
        variant: &Variant<'_>,
        change: impl FnOnce(&Disk, &mut Slot) -> Result<()>,
    ) -> Result<PathBuf> {
        let copy = self.folder.path().join("variant.img");
        let disk = Disk::copy(&self.image, &copy, 0, &self.board)?;
        let mut slot = disk.slot('a')?;
        let old = format!("hearth.version={}", slot.version());
        let new = format!("hearth.version={}", variant.version);
        slot.command_line = format!("{} {}", slot.command_line.replace(&old, &new), variant.words)
            .trim_end()
            .to_owned();
        slot.set_version(variant.version);
        change(&disk, &mut slot)?;
        disk.set_slot('a', &slot)?;
        let bundle = self.folder.path().join(format!("{}.raucb", variant.version));
        let (keys, _) = update_keys::development()?;
        make(&Request {
            image: &copy,
            description: Some("Made by a test."),
            build: None,
            signer: &Signer::new(&keys.key().to_string_lossy(), &keys.certificates())?,
            now: UnixTime(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()),
            out: &bundle,
        })?;
        std::fs::remove_file(copy)?;
        Ok(bundle)
    }

    /// Makes a bundle and serves it; the address is the guest's.
    pub fn serve(&self, variant: &Variant<'_>) -> Result<String> {
        let bundle = self.make(variant)?;
        self.serve_file(&bundle)
    }

    /// Serves a file; the address is the guest's.
    pub fn serve_file(&self, file: &Path) -> Result<String> {
        let name = file.file_name().context("no name")?.to_string_lossy();
        self.server.put(&format!("/{name}"), std::fs::read(file)?);
        Ok(format!("https://{HOST}:{}/{name}", self.server.port()))
    }

    /// Makes a bundle, publishes it on the channel `stable` with `xtask publish`, and serves what that made.
    pub fn publish(&self, variant: &Variant<'_>) -> Result<()> {
        let bundle = self.make(variant)?;
        let xtask = std::env::var_os(XTASK)
            .with_context(|| format!("{XTASK} is not set: these tests are run by `cargo xtask test`"))?;
        let out = self.folder.path().join("channels");
        let output = Command::new(xtask)
            .args(["publish", "--channel", "stable", "--bundle"])
            .arg(&bundle)
            .arg("--out")
            .arg(&out)
            .output()
            .context("cannot start xtask")?;
        ensure!(
            output.status.success(),
            "xtask publish: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.serve_folder(&out, "")
    }

    fn serve_folder(&self, folder: &Path, prefix: &str) -> Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.serve_folder(&entry.path(), &path)?;
            } else {
                self.server.put(&path, std::fs::read(entry.path())?);
            }
        }
        Ok(())
    }

    /// Tells the guest that its channel is at this server.
    pub fn choose_channel(&self, vm: &mut Vm) -> Result<()> {
        let line = format!("address = \"https://{HOST}:{}\"", self.server.port());
        shell::run(vm, &format!("echo '{line}' > {CHOICE}; sync"), 60).map(drop)
    }

    /// Tells the guest whose certificates the server has.
    pub fn trust(&self, vm: &mut Vm) -> Result<()> {
        for (number, line) in self.server.authority_pem().lines().enumerate() {
            let into = if number == 0 { ">" } else { ">>" };
            let said = shell::run(vm, &format!("echo '{line}' {into} {AUTHORITIES}"), 30)?;
            // The folder is there once the updater has started.
            ensure!(!said.contains("No such file"), "{said}");
        }
        // The plug may be pulled next.
        shell::run(vm, "sync", 60).map(drop)
    }
}

/// `hearth-update status --json`.
pub fn status(vm: &mut Vm) -> Result<Value> {
    let text = shell::run(vm, "hearth-update status --json", 60)?;
    let json = text.find('{').map(|at| &text[at..]).unwrap_or_default();
    serde_json::from_str(json).with_context(|| format!("hearth-update status --json said: {text}"))
}

/// Asks for the status until it is as wanted.
pub fn wait_for(vm: &mut Vm, what: &str, seconds: u64, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let last = match status(vm) {
            Ok(status) if wanted(&status) => return Ok(status),
            Ok(status) => format!("{status:#}"),
            Err(error) => format!("{error:#}"),
        };
        if begun.elapsed() > patience(seconds) {
            bail!("{what} did not come in {seconds} s; last: {last}");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
