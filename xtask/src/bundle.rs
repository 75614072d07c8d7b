//! `xtask bundle`: makes, shows, judges and re-signs update bundles.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use board_support::Board;
use bundle::cms::{self, Signer as SignedBy, UnixTime};
use bundle::container::{Bundle, Limits, raw_parts, read_cms};
use bundle::keyring::Keyring;
use bundle::manifest::{Format, Manifest, manifest_hash};
use bundle::write::resign;
use clap::{Args, Subcommand};
use image_builder::bundle::{BundleFile, Request, Signer, make};
use image_builder::cache::hex;
use image_builder::progress::{Console, Progress};
use image_builder::update_keys;
use indicatif::DecimalBytes;
use serde_json::json;

use crate::image;

/// Make an update bundle from an image, or show, judge or re-sign one.
///
/// Bundles are RAUC's (format verity): `rauc info` reads them too. Without a verb one is made: from a finished image
/// (`--image`), or from one that is built first (`--board`). It is named like the image, with the ending .raucb.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Options {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    create: Create,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Inspect(Inspect),
    Verify(Verify),
    Resign(Resign),
}

#[derive(Debug, Args)]
struct Create {
    /// The finished .img
    #[arg(
        long,
        value_name = "IMG",
        required_unless_present = "board",
        conflicts_with = "board"
    )]
    image: Option<PathBuf>,
    /// Build the image of this board first: raspberry-pi, qemu-arm64 or pc-x86_64
    #[arg(long)]
    board: Option<String>,
    /// Profile of that image
    #[arg(long, default_value = "release")]
    profile: String,
    /// Version of that image, such as 1.2.3
    #[arg(long, requires = "board")]
    version: Option<String>,
    /// What changed, shown to the people who own a box
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Name of the build, such as a date or a commit
    #[arg(long, value_name = "TEXT")]
    build: Option<String>,
    #[command(flatten)]
    signing: Signing,
    /// Keyring that must accept the result; without it the development root
    #[arg(long, value_name = "PEM")]
    keyring: Option<PathBuf>,
    /// Folder for images and bundles
    #[arg(long, value_name = "FOLDER", default_value = "out")]
    out: PathBuf,
}

/// Who signs; without both, the development signer.
#[derive(Debug, Args)]
pub struct Signing {
    /// Private key that signs: a file (PKCS#8 PEM; P-256 or RSA), or pkcs11:… for a token
    #[arg(long, value_name = "KEY", requires = "certificate")]
    key: Option<String>,
    /// The signer's certificate followed by its intermediates (PEM)
    #[arg(long, value_name = "PEM", requires = "key")]
    certificate: Option<PathBuf>,
}

impl Signing {
    /// Reads key and certificates.
    pub fn signer(&self) -> Result<Signer> {
        match (&self.key, &self.certificate) {
            (Some(key), Some(certificate)) => Ok(Signer::new(key, certificate)?),
            _ => {
                let (keys, made) = update_keys::development()?;
                if made {
                    eprintln!("  made development keys for updates: {}", keys.folder().display());
                }
                let key = keys.key();
                Ok(Signer::new(&key.to_string_lossy(), &keys.certificates())?)
            }
        }
    }
}

/// Show what a bundle says about itself.
///
/// Without --keyring the signature is not checked, and the first line says so.
#[derive(Debug, Args)]
struct Inspect {
    /// The bundle
    file: PathBuf,
    /// Check the signature against these roots
    #[arg(long, value_name = "PEM")]
    keyring: Option<PathBuf>,
    /// For machines
    #[arg(long)]
    json: bool,
}

/// Judge a bundle: signature, manifest, every byte of the payload, every image. Exit status 0: valid.
#[derive(Debug, Args)]
struct Verify {
    /// The bundle
    file: PathBuf,
    /// Certificates of the roots to trust (PEM)
    #[arg(long, value_name = "PEM")]
    keyring: PathBuf,
    /// Revocation lists (PEM)
    #[arg(long, value_name = "PEM")]
    crl: Option<PathBuf>,
    /// The bundle must be made for this
    #[arg(long, value_name = "NAME")]
    compatible: Option<String>,
}

/// Sign the same content with another key, for example when a test signature is replaced by the release's.
#[derive(Debug, Args)]
struct Resign {
    /// The bundle
    file: PathBuf,
    /// The new bundle
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    signing: Signing,
    /// Keyring that accepts the present signature; without it the development root
    #[arg(long, value_name = "PEM")]
    keyring: Option<PathBuf>,
    /// Keyring that must accept the new signature; without it the development root
    #[arg(long, value_name = "PEM")]
    new_keyring: Option<PathBuf>,
}

/// The verb.
pub fn bundle(options: &Options) -> Result<()> {
    match &options.verb {
        None => create(&options.create),
        Some(Verb::Inspect(options)) => inspect(options),
        Some(Verb::Verify(options)) => verify(options),
        Some(Verb::Resign(options)) => sign_again(options),
    }
}

/// The present time.
pub fn now() -> UnixTime {
    UnixTime(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs()),
    )
}

/// The roots in a file, or the development root.
pub fn keyring(path: Option<&Path>, crl: Option<&Path>) -> Result<Keyring> {
    let development;
    let (path, crl) = match path {
        Some(path) => (path, crl.map(Path::to_owned)),
        None => {
            let (keys, _) = update_keys::development()?;
            development = keys.keyring();
            (development.as_path(), Some(keys.crls()))
        }
    };
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let keyring = Keyring::from_pem(&read(path)?).with_context(|| path.display().to_string())?;
    match crl {
        None => Ok(keyring),
        Some(crl) => keyring
            .with_crls(&read(&crl)?)
            .with_context(|| crl.display().to_string()),
    }
}

fn open(path: &Path, keyring: &Keyring) -> Result<Bundle<BundleFile>> {
    let file = BundleFile::open(path)?;
    Bundle::open(file, keyring, now(), Limits::default()).with_context(|| path.display().to_string())
}

fn create(options: &Create) -> Result<()> {
    let signer = options.signing.signer()?;
    let keyring = keyring(options.keyring.as_deref(), None)?;
    let image = match (&options.image, &options.board) {
        (Some(image), _) => image.clone(),
        (None, Some(board)) => {
            let board = Board::find(board)?;
            image::make(&image::Options {
                board: board.name.clone(),
                profile: options.profile.clone(),
                locked: false,
                boot_key: None,
                update_keyring: options.keyring.clone(),
                update_crl: None,
                version: options.version.clone(),
                out: options.out.clone(),
            })?
            .image
        }
        (None, None) => bail!("give --image or --board; see --help"),
    };
    let out = image.with_extension("raucb");
    Console.step("Making the bundle");
    let written = make(&Request {
        image: &image,
        description: options.description.as_deref(),
        build: options.build.as_deref(),
        signer: &signer,
        now: now(),
        out: &out,
    })?;
    // An expired key or a foreign certificate is found here, not on every box.
    if let Err(error) = check(&out, &keyring) {
        let _ = std::fs::remove_file(&out);
        return Err(error.context("the new bundle would be refused by every box, so it was removed"));
    }
    println!("{}", out.display());
    println!(
        "{} {} ({}), rollback index {}, manifest {}",
        written.manifest.compatible,
        written.manifest.version.as_deref().unwrap_or("without a version"),
        DecimalBytes(written.size),
        written.manifest.rollback_index()?,
        hex(&written.manifest_hash)
    );
    Ok(())
}

/// Everything that can be wrong with a bundle.
fn check(path: &Path, keyring: &Keyring) -> Result<Bundle<BundleFile>> {
    let bundle = open(path, keyring)?;
    bundle
        .manifest()
        .rollback_index()
        .with_context(|| path.display().to_string())?;
    let bar = Console.bytes("Verifying the payload", bundle.size());
    let result = bundle.verify_payload(&mut |done, _| bar.set(done));
    bar.finish();
    result.with_context(|| path.display().to_string())?;
    for image in &bundle.manifest().images {
        let name = image.filename.as_str();
        let bar = Console.bytes(&format!("Hashing {name}"), image.size);
        let found = bundle.hash_image(image, &mut |done, _| bar.set(done));
        bar.finish();
        ensure!(
            found.with_context(|| name.to_owned())? == image.sha256,
            "{}: {name} is not what the manifest says (SHA-256 differs)",
            path.display()
        );
    }
    Ok(bundle)
}

fn verify(options: &Verify) -> Result<()> {
    let keyring = keyring(Some(&options.keyring), options.crl.as_deref())?;
    let bundle = check(&options.file, &keyring)?;
    let manifest = bundle.manifest();
    if let Some(wanted) = &options.compatible {
        ensure!(
            *wanted == manifest.compatible,
            "{} is made for {}, not for {wanted}",
            options.file.display(),
            manifest.compatible
        );
    }
    println!(
        "{} is valid: {} {}, signed by {}",
        options.file.display(),
        manifest.compatible,
        manifest.version.as_deref().unwrap_or("without a version"),
        bundle.signer().subject
    );
    Ok(())
}

fn sign_again(options: &Resign) -> Result<()> {
    let signer = options.signing.signer()?;
    check(&options.file, &keyring(options.keyring.as_deref(), None)?)?;
    let source = BundleFile::open(&options.file)?;
    let signed = cms::read_unverified(&read_cms(&source, &raw_parts(&source)?)?)?;
    let cms = signer
        .sign(&signed.content, now())
        .map_err(|e| anyhow::anyhow!(e))?;
    let unfinished = options.out.with_extension("unfinished");
    let result = (|| {
        let mut out = std::fs::File::create(&unfinished)
            .with_context(|| format!("cannot create {}", unfinished.display()))?;
        resign(&source, &cms, &mut out)?;
        out.sync_all()?;
        check(&unfinished, &keyring(options.new_keyring.as_deref(), None)?)
            .context("the new signature would be refused")?;
        std::fs::rename(&unfinished, &options.out)
            .with_context(|| format!("cannot rename to {}", options.out.display()))
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    result?;
    println!("{}", options.out.display());
    Ok(())
}

fn inspect(options: &Inspect) -> Result<()> {
    let source = BundleFile::open(&options.file)?;
    let size = bundle::source::ReadAt::size(&source);
    let parts = raw_parts(&source).with_context(|| options.file.display().to_string())?;
    let der = read_cms(&source, &parts)?;
    let signed = match &options.keyring {
        Some(path) => cms::verify(&der, &keyring(Some(path), None)?, now()),
        None => cms::read_unverified(&der),
    }
    .with_context(|| options.file.display().to_string())?;
    let manifest = Manifest::parse(&signed.content).with_context(|| options.file.display().to_string())?;
    let facts = Facts {
        manifest: &manifest,
        hash: hex(&manifest_hash(&signed.content)),
        signer: &signed.signer,
        verified: options.keyring.is_some(),
        size,
    };
    if options.json {
        println!("{:#}", facts.json());
    } else {
        facts.print();
    }
    Ok(())
}

struct Facts<'a> {
    manifest: &'a Manifest,
    hash: String,
    signer: &'a SignedBy,
    verified: bool,
    size: u64,
}

impl Facts<'_> {
    fn format(&self) -> &'static str {
        match self.manifest.format {
            Format::Verity(_) => "verity",
            Format::Crypt { .. } => "crypt",
        }
    }

    fn json(&self) -> serde_json::Value {
        let m = self.manifest;
        let images: Vec<_> = m
            .images
            .iter()
            .map(|i| {
                json!({
                    "class": i.class, "filename": i.filename.as_str(), "sha256": hex(&i.sha256), "size_bytes": i.size,
                    "adaptive": i.adaptive,
                })
            })
            .collect();
        json!({
            "compatible": m.compatible,
            "version": m.version,
            "description": m.description,
            "build": m.build,
            "rollback_index": m.rollback_index().ok(),
            "format": self.format(),
            "size_bytes": self.size,
            "manifest_hash": self.hash,
            "verity": { "hash": hex(&m.format.tree().root), "salt": hex(&m.format.tree().salt), "size_bytes": m.format.tree().size },
            "images": images,
            "meta": m.meta,
            "signature_checked": self.verified,
            "signer": {
                "subject": self.signer.subject, "issuer": self.signer.issuer, "serial": self.signer.serial,
                "not_after_unix_s": self.signer.not_after, "signing_time_unix_s": self.signer.signing_time,
            },
        })
    }

    fn print(&self) {
        let m = self.manifest;
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        if !self.verified {
            println!("The signature was NOT checked: give --keyring.");
        }
        println!("Compatible    {}", m.compatible);
        println!("Version       {}", or_none(&m.version));
        println!("Build         {}", or_none(&m.build));
        match m.rollback_index() {
            Ok(index) => println!("Rollback      index {index}"),
            Err(error) => println!("Rollback      {error}: every box refuses this bundle"),
        }
        println!("Description   {}", or_none(&m.description));
        println!("Format        {} ({})", self.format(), DecimalBytes(self.size));
        println!("Manifest      {}", self.hash);
        println!("Signed by     {}", self.signer.subject);
        println!(
            "Issued by     {} (serial {})",
            self.signer.issuer, self.signer.serial
        );
        for image in &m.images {
            println!(
                "Image         {}: {} ({}), SHA-256 {}",
                image.class,
                image.filename.as_str(),
                DecimalBytes(image.size),
                hex(&image.sha256)
            );
        }
        for (label, entries) in &m.meta {
            for (key, value) in entries {
                println!("{:<13} {value}", format!("{label}.{key}"));
            }
        }
    }
}
