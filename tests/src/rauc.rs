//! The real `rauc` as an oracle for our own bundles, in two versions, without installing it.

pub mod interface;
mod ours;
mod pki;
mod root;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};

pub use ours::OurBundle;
pub use pki::{KeyKind, Pki, Purpose, tests_pki, tests_pki_for};
pub use root::{Recipe, Root};

const TRIXIE: Recipe = Recipe {
    suite: "trixie",
    packages: &["rauc", "squashfs-tools"],
    programs: &["rauc", "mksquashfs", "unsquashfs", "dbus-daemon"],
};
const SID: Recipe = Recipe {
    suite: "sid",
    packages: &["rauc", "squashfs-tools", "rauc-hawkbit-updater"],
    programs: &[
        "rauc",
        "mksquashfs",
        "unsquashfs",
        "dbus-daemon",
        "rauc-hawkbit-updater",
    ],
};

/// A real `rauc` in its private root.
#[derive(Debug, Clone)]
pub struct Rauc {
    root: Root,
}

impl Rauc {
    /// Debian trixie's, 1.13.
    ///
    /// # Errors
    /// When its packages can be had neither from the cache nor from the mirror.
    pub fn version_1_13() -> Result<Self> {
        static ROOT: OnceLock<Result<Root, String>> = OnceLock::new();
        Self::of(&ROOT, &TRIXIE)
    }

    /// Debian sid's: 1.15, or newer when sid has moved on.
    ///
    /// # Errors
    /// As [`Rauc::version_1_13`].
    pub fn version_1_15() -> Result<Self> {
        static ROOT: OnceLock<Result<Root, String>> = OnceLock::new();
        Self::of(&ROOT, &SID)
    }

    /// Both, oldest first: what a test of a format walks through.
    pub fn both() -> Result<[Self; 2]> {
        Ok([Self::version_1_13()?, Self::version_1_15()?])
    }

    fn of(once: &OnceLock<Result<Root, String>>, recipe: &Recipe) -> Result<Self> {
        let made = once.get_or_init(|| Root::of(recipe).map_err(|e| format!("{e:#}")));
        let root = made
            .clone()
            .map_err(|said| anyhow!("rauc of {}: {said}", recipe.suite))?;
        Ok(Self { root })
    }

    /// `rauc`, to which arguments are to be added.
    pub fn command(&self) -> Command {
        self.root.command("rauc")
    }

    /// Another program of the same root: `mksquashfs`, `unsquashfs`, `dbus-daemon`, on sid `rauc-hawkbit-updater`.
    pub fn program(&self, name: &str) -> Command {
        self.root.command(name)
    }

    /// Files of rauc's package, such as `usr/share/dbus-1/interfaces/…`.
    pub fn file(&self, inside: &str) -> PathBuf {
        self.root.folder().join(inside)
    }

    /// Runs `rauc` to its end, whatever its exit status.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command()
            .args(arguments)
            .output()
            .context("the private rauc cannot be started")
    }

    /// Major and minor number, as it says itself.
    pub fn version(&self) -> Result<(u32, u32)> {
        let said = text_of(&self.run(&["--version"])?)?;
        let number = said
            .trim()
            .strip_prefix("rauc ")
            .and_then(|v| {
                let mut parts = v.split('.');
                Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
            })
            .with_context(|| format!("no version: {said:?}"))?;
        Ok(number)
    }
}

/// Standard output of a program that succeeded; the error holds what it said on both streams.
pub fn text_of(output: &Output) -> Result<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

/// What goes into a bundle that the real rauc makes.
#[derive(Debug, Clone)]
pub struct BundleSource {
    /// `verity`, `crypt` or `plain`.
    pub format: &'static str,
    /// `compatible` of the manifest.
    pub compatible: String,
    /// `version` of the manifest.
    pub version: String,
    /// Slot class, file name and content of each image.
    pub images: Vec<(String, String, Vec<u8>)>,
    /// Lines put at the end of the manifest as they are.
    pub more: String,
}

impl BundleSource {
    /// A `verity` bundle with one small image for the slot class `rootfs`.
    pub fn small() -> Self {
        // Not compressible: rauc refuses a payload that fits one block.
        let mut state = 0x9e37_79b9_u32;
        let image = (0..48 * 1024).map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        });
        Self {
            format: "verity",
            compatible: "hearth-test".into(),
            version: "1".into(),
            images: vec![("rootfs".into(), "root.img".into(), image.collect())],
            more: String::new(),
        }
    }

    /// The manifest, before rauc adds sizes and hashes.
    pub fn manifest(&self) -> String {
        let mut text = format!(
            "[update]\ncompatible={}\nversion={}\n\n[bundle]\nformat={}\n",
            self.compatible, self.version, self.format
        );
        for (class, file, _) in &self.images {
            text += &format!("\n[image.{class}]\nfilename={file}\n");
        }
        text + &self.more
    }
}

/// Has rauc make and sign a bundle: `<folder>/<name>.raucb`.
pub fn make_bundle(
    rauc: &Rauc,
    pki: &Pki,
    source: &BundleSource,
    folder: &Path,
    name: &str,
) -> Result<PathBuf> {
    let content = folder.join(format!("{name}.content"));
    fs::create_dir_all(&content)?;
    fs::write(content.join("manifest.raucm"), source.manifest())?;
    for (_, file, bytes) in &source.images {
        fs::write(content.join(file), bytes)?;
    }
    let bundle = folder.join(format!("{name}.raucb"));
    let _ = fs::remove_file(&bundle);
    let config = system_conf(folder, &[&pki.root], &source.compatible, "")?;
    let output = rauc
        .command()
        .arg("--conf")
        .arg(config)
        .arg("bundle")
        .arg("--cert")
        .arg(&pki.leaf)
        .arg("--key")
        .arg(&pki.leaf_key)
        .arg("--intermediate")
        .arg(&pki.intermediate)
        .arg(&content)
        .arg(&bundle)
        .output()?;
    text_of(&output).context("rauc bundle")?;
    Ok(bundle)
}

/// Writes a `system.conf` that checks signers as the appliance does: `codesign`, and CRLs when `more` says so.
///
/// `keyring` is a list of PEM files (certificates and revocation lists), joined into one; `more` is put into `[keyring]`.
pub fn system_conf(folder: &Path, keyring: &[&Path], compatible: &str, more: &str) -> Result<PathBuf> {
    let mut pem = Vec::new();
    for part in keyring {
        pem.extend(fs::read(part).with_context(|| format!("cannot read {}", part.display()))?);
    }
    let joined = folder.join("keyring.pem");
    fs::write(&joined, pem)?;
    let path = folder.join("system.conf");
    fs::write(
        &path,
        format!(
            "[system]\ncompatible={compatible}\nbootloader=noop\nbundle-formats=verity crypt\n\n\
             [keyring]\npath={}\ncheck-purpose=codesign\n{more}",
            joined.display()
        ),
    )?;
    Ok(path)
}

/// `rauc info` of a bundle under a `system.conf`, whatever its exit status.
pub fn info(rauc: &Rauc, system_conf: &Path, bundle: &Path) -> Result<Output> {
    let mut command = rauc.command();
    command.arg("--conf").arg(system_conf).arg("info").arg(bundle);
    Ok(command.output()?)
}
