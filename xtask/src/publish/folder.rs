//! The folder that is served: bundles under names that say what they are, indexes replaced as a whole.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bundle::container::{Bundle, Limits};
use bundle::keyring::Keyring;
use channel::{ChannelName, MAX_FILE, UnixTime};
use image_builder::bundle::BundleFile;
use image_builder::cache::hex;
use image_builder::progress::{Console, Progress};
use ipc::updater_version::Version;
use tempfile::NamedTempFile;

/// A bundle whose signature is right.
pub struct Judged {
    pub path: PathBuf,
    pub compatible: String,
    pub version: Version,
    pub description: String,
    pub rollback_index: u32,
    pub manifest_hash: [u8; 32],
    pub size_bytes: u64,
    /// Where it will be, below the folder.
    pub location: String,
}

/// Opens a bundle: signature, manifest, names and sizes.
pub fn judge(path: &Path, keyring: &Keyring, now: UnixTime) -> Result<Judged> {
    let shown = || path.display().to_string();
    let bundle = open(path, keyring, now)?;
    let manifest = bundle.manifest();
    let Some(version) = &manifest.version else {
        bail!(
            "{} names no version, so no box could tell whether it is newer; make it with a version",
            path.display()
        );
    };
    let version = Version::parse(version).with_context(shown)?;
    let plain = |text: &str| -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        text.trim_start_matches('.')
            .chars()
            .map(|c| if allowed(c) { c } else { '_' })
            .collect()
    };
    let manifest_hash = bundle.manifest_hash();
    let location = format!(
        "bundles/{}/{}-{}.raucb",
        plain(&manifest.compatible),
        plain(version.as_str()),
        hex(&manifest_hash[..8])
    );
    Ok(Judged {
        path: path.to_owned(),
        compatible: manifest.compatible.clone(),
        version,
        description: manifest.description.clone().unwrap_or_default(),
        rollback_index: manifest.rollback_index().with_context(shown)?,
        manifest_hash,
        size_bytes: bundle.size(),
        location,
    })
}

fn open(path: &Path, keyring: &Keyring, now: UnixTime) -> Result<Bundle<BundleFile>> {
    let file = BundleFile::open(path)?;
    Bundle::open(file, keyring, now, Limits::default()).with_context(|| path.display().to_string())
}

/// Every byte of the file that will be served.
fn verify(path: &Path, expected: &Judged, keyring: &Keyring, now: UnixTime) -> Result<()> {
    let bundle = open(path, keyring, now)?;
    ensure!(
        bundle.manifest_hash() == expected.manifest_hash,
        "it changed while it was copied"
    );
    let bar = Console.bytes(&format!("Verifying {}", expected.location), bundle.size());
    let result = bundle.verify_payload(&mut |done, _| bar.set(done));
    bar.finish();
    result?;
    for image in &bundle.manifest().images {
        let found = bundle.hash_image(image, &mut |_, _| ())?;
        ensure!(
            found == image.sha256,
            "{} is not what the manifest says (SHA-256 differs)",
            image.filename.as_str()
        );
    }
    Ok(())
}

/// The folder, held by this process alone. What it put there goes away again when no index follows.
pub struct Folder {
    path: PathBuf,
    unconfirmed: Vec<PathBuf>,
    _lock: File,
}

impl Folder {
    /// Makes it when there is none.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        let lock = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        if lock.try_lock().is_err() {
            bail!(
                "somebody else publishes into {} at the moment; try again when that is done",
                path.display()
            );
        }
        Ok(Self {
            path: path.to_owned(),
            unconfirmed: Vec::new(),
            _lock: lock,
        })
    }

    /// Where a channel's index is.
    pub fn index_path(&self, channel: &ChannelName) -> PathBuf {
        self.path.join(channel.file_name())
    }

    /// The index file, if there is one.
    pub fn read_index(&self, channel: &ChannelName) -> Result<Option<Vec<u8>>> {
        read_index(&self.index_path(channel))
    }

    /// Copies a bundle and verifies the copy; one that is there already is verified only.
    pub fn put_bundle(&mut self, bundle: &Judged, keyring: &Keyring, now: UnixTime) -> Result<()> {
        let target = self.path.join(&bundle.location);
        if target.exists() && verify(&target, bundle, keyring, now).is_ok() {
            return Ok(());
        }
        let folder = target.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut source = File::open(&bundle.path).with_context(|| bundle.path.display().to_string())?;
        let existed = target.exists();
        place(
            folder,
            &target,
            |file| {
                io::copy(&mut source, file).context("is there room on the disk?")?;
                Ok(())
            },
            |copy| verify(copy, bundle, keyring, now),
        )
        .with_context(|| format!("{} could not be published", bundle.path.display()))?;
        if !existed {
            self.unconfirmed.push(target);
        }
        Ok(())
    }

    /// Replaces the index as a whole; from here on boxes see it.
    pub fn put_index(mut self, channel: &ChannelName, der: &[u8]) -> Result<PathBuf> {
        let target = self.index_path(channel);
        place(
            &self.path,
            &target,
            |mut file| Ok(io::Write::write_all(&mut file, der)?),
            |_| Ok(()),
        )?;
        self.unconfirmed.clear();
        Ok(target)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for path in &self.unconfirmed {
            let _ = fs::remove_file(path);
        }
    }
}

/// The bytes of an index file, if there is one; not more than an index may have.
pub fn read_index(path: &Path) -> Result<Option<Vec<u8>>> {
    let size = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other
            .with_context(|| format!("cannot read {}", path.display()))?
            .len(),
    };
    ensure!(
        size <= MAX_FILE as u64,
        "{} has {size} bytes; that is no index",
        path.display()
    );
    Ok(Some(
        fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
    ))
}

/// Writes beside `target`, checks, syncs, renames: there is the old file or the whole new one.
fn place(
    folder: &Path,
    target: &Path,
    write: impl FnOnce(&mut File) -> Result<()>,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let cannot = || format!("cannot write {}", target.display());
    let mut file = NamedTempFile::with_prefix_in(".unfinished-", folder).with_context(cannot)?;
    write(file.as_file_mut()).with_context(cannot)?;
    // A web server runs as somebody else.
    file.as_file()
        .set_permissions(Permissions::from_mode(0o644))
        .with_context(cannot)?;
    file.as_file().sync_all().with_context(cannot)?;
    check(file.path())?;
    file.persist(target).with_context(cannot)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(cannot)
}
