//! `xtask image` and `xtask verify`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use board_support::Board;
use clap::Args;
use image_builder::build::{self, Image, Request};
use image_builder::keys::{self, BootKey};
use image_builder::packages::OnDrift;
use image_builder::progress::{Console, Progress};
use image_builder::update_keys::{self, UpdateTrust};
use image_builder::verify;
use indicatif::{BinaryBytes, DecimalBytes};

use crate::doctor::{self, Need};
use crate::host;

/// Build a flashable image: .img, .img.zst, .img.bmap, SHA-256, SBOM, licences and manifest.
#[derive(Debug, Args)]
pub struct Options {
    /// raspberry-pi, qemu-arm64 or pc-x86_64
    #[arg(long)]
    pub board: String,
    /// release (no shell, no login) or dev (root shell on the serial console)
    #[arg(long, default_value = "release")]
    pub profile: String,
    /// Refuse to build when the mirror no longer has what the lock says
    #[arg(long)]
    pub locked: bool,
    /// P-256 private key (PKCS#8 PEM) that signs the boot payloads; without it the development key does
    #[arg(long, value_name = "PEM")]
    pub boot_key: Option<PathBuf>,
    /// Certificates (PEM) of the roots whose updates the appliance takes; without it the development root
    #[arg(long, value_name = "PEM")]
    pub update_keyring: Option<PathBuf>,
    /// Revocation lists (PEM) that belong to --update-keyring
    #[arg(long, value_name = "PEM", requires = "update_keyring")]
    pub update_crl: Option<PathBuf>,
    /// Version of the image, such as 1.2.3; the project's own unless given
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Folder for the files
    #[arg(long, value_name = "FOLDER", default_value = "out")]
    pub out: PathBuf,
}

/// Re-read a finished image with sfdisk, fsck.fat, e2fsck, unsquashfs and veritysetup.
#[derive(Debug, Args)]
pub struct VerifyOptions {
    /// The board it is for
    #[arg(long)]
    board: String,
    /// The .img file
    #[arg(long)]
    image: PathBuf,
}

/// The key to sign with.
pub fn boot_key(path: Option<&Path>) -> Result<BootKey> {
    match path {
        Some(path) => Ok(keys::production(path)?),
        None => {
            let (key, made) = keys::development()?;
            if made {
                eprintln!(
                    "  made a development key: {}",
                    keys::development_key_path()?.display()
                );
            }
            Ok(key)
        }
    }
}

/// Whose updates the appliance takes.
pub fn update_trust(keyring: Option<&Path>, crls: Option<&Path>) -> Result<UpdateTrust> {
    if let Some(keyring) = keyring {
        return Ok(UpdateTrust::read(keyring, crls)?);
    }
    let (keys, made) = update_keys::development()?;
    if made {
        eprintln!("  made development keys for updates: {}", keys.folder().display());
    }
    Ok(UpdateTrust::read(&keys.keyring(), Some(&keys.crls()))?)
}

/// Builds an image as the options say.
pub fn make(options: &Options) -> Result<Image> {
    let board = Board::find(&options.board)?;
    doctor::require(&[Need::Image])?;
    let checkout = host::checkout();
    let key = boot_key(options.boot_key.as_deref())?;
    let out = if options.out.is_absolute() {
        options.out.clone()
    } else {
        checkout.join(&options.out)
    };
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    eprintln!("Building {} ({}, {})", board.title, board.name, options.profile);
    if key.development && options.profile == "release" {
        Console.warn("this release image is signed with DEVELOPMENT KEYS, which prove nothing; see `cargo xtask image --help`");
    }
    let on_drift = if options.locked {
        OnDrift::Refuse
    } else {
        OnDrift::Report
    };
    let request = Request {
        checkout: &checkout,
        board: &board,
        profile: &options.profile,
        key: &key,
        trust: &update_trust(options.update_keyring.as_deref(), options.update_crl.as_deref())?,
        version: options.version.as_deref(),
        on_drift,
        out: &out,
    };
    Ok(build::build(&request, &Console)?)
}

/// The verb `image`.
pub fn build(options: &Options) -> Result<()> {
    let image = make(options)?;
    println!("{}", image.image.display());
    println!(
        "{} ({}, root {}; {:.1} s, with compiling {:.1} s)",
        image.compressed.display(),
        DecimalBytes(image.compressed_bytes),
        BinaryBytes(image.squashfs_bytes),
        image.seconds.0,
        image.seconds.1
    );
    Ok(())
}

/// The verb `verify`.
pub fn verify(options: &VerifyOptions) -> Result<()> {
    let board = Board::find(&options.board)?;
    doctor::require(&[Need::Image])?;
    let scratch = tempfile::tempdir()?;
    verify::require_sound(&options.image, &board, &scratch.path().join("check"))?;
    println!("{} is sound", options.image.display());
    Ok(())
}
