//! One image, from the first package to the last file beside it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use board_support::{Board, FirmwareFile};
use boot_payload::Payload;
use bundle::verity;
use flate2::{Compression, GzBuilder};
use globset::GlobBuilder;
use serde_json::json;

use crate::cache::{Cache, hash, hex};
use crate::compile;
use crate::disk;
use crate::error::{BuildError, FileContext, Result};
use crate::keys::BootKey;
use crate::lock::LockedPackage;
use crate::modules;
use crate::packages::{self, OnDrift};
use crate::profile::Profile;
use crate::progress::Progress;
use crate::rootfs::{self, Version};
use crate::sbom;
use crate::tree::{Node, Tree};
use crate::update_keys::UpdateTrust;
use crate::{fat, verify};

/// Level of zstd in the root file system. Measured on 2 cores: 15 makes the root some 7 % smaller and the build a third longer.
const SQUASHFS_LEVEL: u32 = 12;

/// Where the root file system has the files of the `firmware` partition.
pub const FIRMWARE_FOLDER: &str = "usr/lib/hearth/firmware";

/// What to build.
#[derive(Debug)]
pub struct Request<'a> {
    /// The checkout.
    pub checkout: &'a Path,
    /// For which board.
    pub board: &'a Board,
    /// `release` or `dev`.
    pub profile: &'a str,
    /// Signs the payloads.
    pub key: &'a BootKey,
    /// Whose updates the appliance takes.
    pub trust: &'a UpdateTrust,
    /// Version of the image; the project's own unless given.
    pub version: Option<&'a str>,
    /// When the mirror has other versions than the lock.
    pub on_drift: OnDrift,
    /// Folder for the files.
    pub out: &'a Path,
}

/// The finished image and how it was made.
#[derive(Debug)]
pub struct Image {
    /// The raw image.
    pub image: PathBuf,
    /// The compressed image.
    pub compressed: PathBuf,
    /// Bytes of the compressed image.
    pub compressed_bytes: u64,
    /// Bytes of the squashfs.
    pub squashfs_bytes: u64,
    /// Seconds without compiling, and with.
    pub seconds: (f64, f64),
    /// The slots' content, for tests and updates.
    pub slot: SlotContent,
}

/// What both slots hold.
#[derive(Debug, Clone)]
pub struct SlotContent {
    /// Compressed kernel.
    pub kernel_gzip: Vec<u8>,
    /// Bytes of the unpacked kernel.
    pub kernel_unpacked_len: u64,
    /// Initramfs.
    pub initramfs: Vec<u8>,
    /// Command line.
    pub command_line: String,
    /// Squashfs and hash tree.
    pub root: Vec<u8>,
}

/// Builds the image, verifies it, and puts the files in place.
pub fn build(request: &Request<'_>, progress: &dyn Progress) -> Result<Image> {
    let begun = Instant::now();
    let Request {
        checkout, board, key, ..
    } = *request;
    let cache = Cache::open()?;
    let profile = Profile::read(checkout, request.profile)?;
    let targets = [
        board.architecture.linux_target(),
        board.architecture.uefi_target(),
    ];
    let from_source = targets.iter().any(|t| compile::needs_source(checkout, t));
    let extra: &[&str] = if from_source { &["rust-src"] } else { &[] };
    let lock = packages::ensure(
        checkout,
        &cache,
        board,
        &profile,
        extra,
        request.on_drift,
        progress,
    )?;
    let needed = rootfs::needed(&lock, board, &profile);

    progress.step("Compiling our programs");
    let compiling = Instant::now();
    let programs = compile::compile(checkout, &cache, board, &profile, lock.named("rust-src"), key)?;
    let compile_seconds = compiling.elapsed().as_secs_f64();

    progress.step(&format!("Unpacking {} packages", needed.len()));
    let sources = rootfs::unpack(&cache, &needed, &profile)?;
    let version = version(checkout, request.version)?;
    let early_boot = std::fs::read(&programs.early_boot).at("read", &programs.early_boot)?;
    let boot_manager = std::fs::read(&programs.boot_manager).at("read", &programs.boot_manager)?;

    progress.step("Packing kernel and root file system");
    let release = modules::kernel_release(&sources.kernel)?;
    let selection = modules::select(&sources.kernel, &release, &board.modules)?;
    let partition = firmware_partition(board, &sources, &boot_manager)?;
    let mut tree = rootfs::assemble(&rootfs::Parts {
        checkout,
        board,
        profile: &profile,
        sources: &sources,
        modules: &selection.root,
        programs: &programs,
        version: &version,
        development_keys: key.development,
        trust: request.trust,
    })?;
    // The `firmware` partition has no second copy: a system that proved itself brings it up to date from here.
    for (path, node) in partition.iter() {
        tree.insert(&format!("{FIRMWARE_FOLDER}/{path}"), node.clone());
    }
    let problems = verify::libraries(&tree, board.architecture);
    if !problems.is_empty() {
        return Err(BuildError::Unsound(problems));
    }
    let kernel = sources
        .kernel
        .bytes(&format!("usr/lib/modules/{release}/vmlinuz"))
        .unwrap_or_default();
    let (kernel_gzip, initramfs, squashfs) = std::thread::scope(|scope| {
        let small = scope.spawn(|| -> Result<(Vec<u8>, Vec<u8>)> {
            Ok((gzip(kernel)?, initramfs(&early_boot, &selection.initramfs)?))
        });
        let squashfs = tree.to_squashfs(version.built, SQUASHFS_LEVEL);
        let (gzip, initramfs) = small
            .join()
            .unwrap_or_else(|_| Err(BuildError::invalid("kernel", "a thread stopped")))?;
        squashfs.map(|s| (gzip, initramfs, s))
    })?;
    let squashfs_bytes = squashfs.len() as u64;
    let hashes =
        verity::hash_tree(&squashfs).map_err(|e| BuildError::invalid("root file system", e.to_string()))?;
    let mut root = squashfs;
    root.extend_from_slice(&hashes.tree);
    let slot = SlotContent {
        kernel_gzip,
        kernel_unpacked_len: kernel.len() as u64,
        initramfs,
        command_line: command_line(board, &profile, &version, key, &hashes),
        root,
    };

    progress.step("Putting the disk together");
    let name = file_name(board, &profile, &version, key);
    let scratch = Scratch::new(request.out, &name)?;
    let disk_guid = disk::guid(&hashes.root);
    let table = disk::table(board, disk_guid)?;
    let size_of = |name: &str| table.by_name(name).map_or(0, disk_layout::Partition::byte_len);
    let firmware = fat::build(
        &partition,
        size_of("firmware"),
        // Not HEARTH: that is the name of a stick with an update.
        "HEARTH-BOOT",
        version.built,
        &scratch.0,
    )?;
    let data = disk::empty_data(
        size_of("data"),
        disk::guid(&hashes.salt),
        version.built,
        &scratch.0,
    )?;
    let payload = payload(board, &version, key, &slot)?;
    let state = bootstate();
    let parts: [(&str, &[u8]); 7] = [
        ("firmware", &firmware),
        ("bootstate", &state),
        ("boot-a", &payload),
        ("boot-b", &payload),
        ("root-a", &slot.root),
        ("root-b", &slot.root),
        ("data", &data),
    ];
    let image = scratch.0.join(format!("{name}.img"));
    disk::write(&image, &table, board.disk.hybrid_mbr, &parts)?;

    let crates = {
        let mut list: Vec<&str> = profile.programs.iter().map(|p| p.package.as_str()).collect();
        list.extend(["early-boot", "boot-manager"]);
        sbom::crates(checkout, board.architecture.linux_target(), &list)?
    };
    let write = |suffix: &str, bytes: &[u8]| -> Result<()> {
        let path = scratch.0.join(format!("{name}{suffix}"));
        std::fs::write(&path, bytes).at("write", &path)
    };
    let compressed = scratch.0.join(format!("{name}.img.zst"));
    let (packed, problems) = std::thread::scope(|scope| {
        let checks = scope.spawn(|| verify::image(&image, board, &scratch.0.join("check")));
        let packed = disk::pack(
            &image,
            &table,
            &compressed,
            &scratch.0.join(format!("{name}.img.bmap")),
            progress,
        );
        (
            packed,
            checks
                .join()
                .unwrap_or_else(|_| Err(BuildError::invalid("verify", "a thread stopped"))),
        )
    });
    let (packed, mut problems) = (packed?, problems?);
    problems.extend(verify::budgets(
        board,
        &profile.name,
        squashfs_bytes,
        packed.zst_bytes,
    ));
    if !problems.is_empty() {
        return Err(BuildError::Unsound(problems));
    }
    let document = sbom::document(&name, &version.number, &needed, &sources.copyrights, &crates);
    write(".sbom.cdx.json", pretty(&document).as_bytes())?;
    write(
        ".licences.tar.zst",
        &sbom::licences(&sources.copyrights, &crates, version.built)?,
    )?;
    write(
        ".manifest.json",
        pretty(&manifest(
            request,
            &version,
            &needed,
            &hashes,
            &slot,
            &packed,
            squashfs_bytes,
        ))
        .as_bytes(),
    )?;
    write(
        ".sha256",
        format!(
            "{}  {name}.img\n{}  {name}.img.zst\n",
            packed.image_sha256, packed.zst_sha256
        )
        .as_bytes(),
    )?;
    scratch.publish(request.out, &name)?;
    let total = begun.elapsed().as_secs_f64();
    Ok(Image {
        image: request.out.join(format!("{name}.img")),
        compressed: request.out.join(format!("{name}.img.zst")),
        compressed_bytes: packed.zst_bytes,
        squashfs_bytes,
        seconds: (total - compile_seconds, total),
        slot,
    })
}

/// Name of the files without their ending. A release with development keys says so where nobody can miss it.
pub fn file_name(board: &Board, profile: &Profile, version: &Version, key: &BootKey) -> String {
    let warning = if key.development && profile.name == "release" {
        "-DEVELOPMENT-KEYS"
    } else {
        ""
    };
    format!(
        "hearth-{}-{}-{}{warning}",
        board.name, profile.name, version.number
    )
}

/// The signed content of a boot slot.
pub fn payload(board: &Board, version: &Version, key: &BootKey, slot: &SlotContent) -> Result<Vec<u8>> {
    Payload {
        compatible: &board.compatible,
        version: &version.number,
        kernel_gzip: &slot.kernel_gzip,
        kernel_unpacked_len: slot.kernel_unpacked_len,
        initramfs: &slot.initramfs,
        command_line: &slot.command_line,
        development_keys: key.development,
    }
    .write(&key.key)
    .map_err(|e| BuildError::invalid("boot payload", e.to_string()))
}

/// Version of the image (of the project unless given), and the time of its last commit (or `SOURCE_DATE_EPOCH`).
pub fn version(checkout: &Path, number: Option<&str>) -> Result<Version> {
    let number = number.unwrap_or(env!("CARGO_PKG_VERSION"));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    if number.len() > 32 || !number.starts_with(|c: char| c.is_ascii_digit()) || !number.chars().all(allowed)
    {
        return Err(BuildError::invalid(
            "version",
            format!("{number:?}: use a number such as 1.2.3 or 1.2.3-beta.1, at most 32 characters"),
        ));
    }
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().or_else(|| {
        let out = Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(checkout)
            .output()
            .ok()?;
        out.status
            .success()
            .then(|| String::from_utf8_lossy(&out.stdout).trim().to_string())
    });
    let epoch = epoch.ok_or_else(|| {
        BuildError::invalid(
            "SOURCE_DATE_EPOCH",
            "not set, and this is no git checkout: set it to the sources' time in seconds",
        )
    })?;
    let built = epoch
        .parse()
        .map_err(|_| BuildError::invalid("SOURCE_DATE_EPOCH", format!("{epoch:?} is no number")))?;
    Ok(Version {
        number: number.into(),
        built,
    })
}

fn command_line(
    board: &Board,
    profile: &Profile,
    version: &Version,
    key: &BootKey,
    hashes: &verity::HashTree,
) -> String {
    let mut words = board.kernel.command_line.clone();
    // `gpt`: Linux too takes the backup table when the first one is torn.
    words.extend(["gpt", "panic=10", "quiet", "loglevel=4"].map(Into::into));
    words.push(format!("hearth.root-hash={}", hex(&hashes.root)));
    words.push(format!("hearth.root-salt={}", hex(&hashes.salt)));
    words.push(format!("hearth.root-blocks={}", hashes.data_blocks));
    words.push(format!(
        "hearth.board={} hearth.profile={}",
        board.name, profile.name
    ));
    words.push(format!(
        "hearth.version={} hearth.built={}",
        version.number, version.built
    ));
    words.push(format!("hearth.rollback-index={}", profile.rollback_index));
    words.push(format!("hearth.dev-keys={}", u8::from(key.development)));
    words.join(" ")
}

/// Both copies of a fresh boot state, as far apart as the partition has them.
fn bootstate() -> Vec<u8> {
    let copies = boot_state::Bootstate::initial();
    let mut bytes = vec![0; boot_state::COPY_OFFSETS[1] as usize + boot_state::SECTOR_LEN];
    for (copy, offset) in copies.iter().zip(boot_state::COPY_OFFSETS) {
        bytes[offset as usize..][..copy.len()].copy_from_slice(copy);
    }
    bytes
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write;
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(9));
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .at("compress", "kernel")
}

fn initramfs(early_boot: &[u8], modules: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    tree.file("init", early_boot, 0o755);
    for folder in ["dev", "proc", "sys", "run", "sysroot"] {
        tree.folder(folder, 0o755);
    }
    let mut list = String::new();
    for (path, bytes) in modules {
        tree.file(path, bytes.clone(), 0o644);
        list.push_str(path);
        list.push('\n');
    }
    tree.file("modules.load", list.into_bytes(), 0o644);
    zstd::encode_all(&tree.to_cpio()[..], 17).at("compress", "initramfs")
}

fn firmware_partition(board: &Board, sources: &rootfs::Sources, boot_manager: &[u8]) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file(board.architecture.efi_boot_path(), boot_manager, 0o644);
    for file in &board.firmware_partition.files {
        match file {
            FirmwareFile::Text { text, to } => tree.file(to, text.clone().into_bytes(), 0o644),
            FirmwareFile::UbootEnvironment {
                uboot_environment,
                size_bytes,
                to,
            } => {
                tree.file(to, uboot_environment_file(uboot_environment, *size_bytes)?, 0o644);
            }
            FirmwareFile::Package { from, to } => {
                let glob = GlobBuilder::new(from)
                    .literal_separator(true)
                    .build()
                    .map_err(|e| BuildError::invalid("firmware_partition", e.to_string()))?
                    .compile_matcher();
                let found = sources
                    .extra
                    .iter()
                    .chain(sources.kernel.iter())
                    .find_map(|(path, node)| match node {
                        Node::File { bytes, .. } if glob.is_match(path) => Some(bytes.clone()),
                        _ => None,
                    });
                let bytes = found.ok_or_else(|| {
                    BuildError::invalid(
                        "firmware_partition",
                        format!("no package of this board has {from}"),
                    )
                })?;
                tree.file(to, bytes, 0o644);
            }
        }
    }
    Ok(tree)
}

/// U-Boot's environment as it stands in a file: CRC-32, then `name=value` with a NUL behind each, padded with NULs.
fn uboot_environment_file(text: &str, size: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if !line.contains('=') {
            return Err(BuildError::invalid(
                "uboot_environment",
                format!("{line:?} is not name=value"),
            ));
        }
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(0);
    }
    if bytes.len() >= size {
        return Err(BuildError::invalid(
            "uboot_environment",
            format!("longer than {size} bytes"),
        ));
    }
    bytes.resize(size, 0);
    let sum = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

fn manifest(
    request: &Request<'_>,
    version: &Version,
    packages: &[&LockedPackage],
    hashes: &verity::HashTree,
    slot: &SlotContent,
    packed: &disk::Packed,
    squashfs_bytes: u64,
) -> serde_json::Value {
    let packages: Vec<_> = packages
        .iter()
        .map(|p| json!({ "name": p.name, "version": p.version, "architecture": p.architecture, "sha256": p.sha256 }))
        .collect();
    json!({
        "format": 1,
        "board": request.board.name,
        "compatible": request.board.compatible,
        "profile": request.profile,
        "version": version.number,
        "source_date_epoch": version.built,
        "development_keys": request.key.development,
        "boot_key_sha256": hash(&crate::keys::public(&request.key.key)),
        "update_keyring_sha256": hash(request.trust.keyring_pem.as_bytes()),
        "root_hash": hex(&hashes.root),
        "root_salt": hex(&hashes.salt),
        "root_data_blocks": hashes.data_blocks,
        "squashfs_bytes": squashfs_bytes,
        "kernel_sha256": hash(&slot.kernel_gzip),
        "initramfs_sha256": hash(&slot.initramfs),
        "command_line": slot.command_line,
        "image_sha256": packed.image_sha256,
        "compressed_bytes": packed.zst_bytes,
        "packages": packages,
    })
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// A folder for unfinished files: nothing in the output folder is ever half an image.
struct Scratch(PathBuf);

impl Scratch {
    fn new(out: &Path, name: &str) -> Result<Self> {
        let path = out.join(format!(".unfinished-{name}"));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).at("create", &path)?;
        Ok(Self(path))
    }

    /// Moves the finished files into the output folder, the image last.
    fn publish(self, out: &Path, name: &str) -> Result<()> {
        for suffix in [
            ".sbom.cdx.json",
            ".licences.tar.zst",
            ".manifest.json",
            ".sha256",
            ".img.bmap",
            ".img.zst",
            ".img",
        ] {
            let file = format!("{name}{suffix}");
            std::fs::rename(self.0.join(&file), out.join(&file)).at("rename", out.join(&file))?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
