//! Compiling our own programs for a board.
//!
//! The ordinary way is the toolchain's own target (`rustup target add`). Where that cannot be had, the standard
//! library is built from Debian's `rust-src` of the same version (docs/decisions/0003).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use board_support::Board;

use crate::cache::Cache;
use crate::deb;
use crate::error::{BuildError, FileContext, Result};
use crate::keys;
use crate::lock::LockedPackage;
use crate::profile::Profile;
use crate::program::{missing, shown};
use crate::tree::{Node, Tree};

/// What came out.
#[derive(Debug)]
pub struct Programs {
    /// Services: package → file.
    pub services: Vec<(String, PathBuf)>,
    /// pid 1 of the initramfs.
    pub early_boot: PathBuf,
    /// The boot manager.
    pub boot_manager: PathBuf,
}

/// How a target's standard library is had.
enum StandardLibrary {
    /// Installed with the toolchain.
    Installed,
    /// Built from source, at this path.
    Source(PathBuf),
}

/// The version of the toolchain that the checkout pins.
pub fn rust_version(checkout: &Path) -> Result<String> {
    let path = checkout.join("rust-toolchain.toml");
    let text = std::fs::read_to_string(&path).at("read", &path)?;
    text.lines()
        .find_map(|l| l.strip_prefix("channel = \"")?.strip_suffix('"'))
        .map(Into::into)
        .ok_or_else(|| BuildError::invalid("rust-toolchain.toml", "no channel"))
}

/// True when a target needs `rust-src`: it is not installed and rustup cannot get it.
pub fn needs_source(checkout: &Path, target: &str) -> bool {
    if installed(checkout, target) {
        return false;
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", target]).current_dir(checkout);
    let added = add
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    !(added.is_ok_and(|s| s.success()) && installed(checkout, target))
}

fn installed(checkout: &Path, target: &str) -> bool {
    let mut command = Command::new("rustc");
    command
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(checkout);
    let folder = command
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string())
        .unwrap_or_default();
    let has_core = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libcore-");
    std::fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(has_core))
}

/// Compiles everything of a profile for a board.
pub fn compile(
    checkout: &Path,
    cache: &Cache,
    board: &Board,
    profile: &Profile,
    rust_src: Option<&LockedPackage>,
    key: &keys::BootKey,
) -> Result<Programs> {
    let linux = board.architecture.linux_target();
    let uefi = board.architecture.uefi_target();
    let library = |target: &str| -> Result<StandardLibrary> {
        if installed(checkout, target) {
            return Ok(StandardLibrary::Installed);
        }
        let package =
            rust_src.ok_or_else(|| BuildError::invalid(target, "no standard library and no rust-src"))?;
        Ok(StandardLibrary::Source(unpack_source(checkout, cache, package)?))
    };
    let features = if profile.name == "dev" {
        Some("test-hooks")
    } else {
        None
    };
    let packages: Vec<&str> = profile.programs.iter().map(|p| p.package.as_str()).collect();
    let public_key = cache.folder("keys")?.join("boot.pub");
    let bytes = keys::public(&key.key);
    if std::fs::read(&public_key).ok().as_deref() != Some(&bytes) {
        crate::cache::write_whole(&public_key, &bytes)?;
    }
    let build = |target: &str, packages: &[&str], folder: &str, rustflags: &str, features: Option<&str>| {
        let library = library(target)?;
        cargo(&Build {
            checkout,
            target,
            library: &library,
            packages,
            folder,
            rustflags,
            features,
            public_key: &public_key,
        })
    };
    let services = build(linux, &packages, "services", "", None)?;
    // Fully static: the initramfs holds no libraries.
    let early = build(
        linux,
        &["early-boot"],
        "static",
        "-Ctarget-feature=+crt-static",
        features,
    )?;
    // No time of day, and no identity of a debug file that would depend on the folder.
    let boot = build(
        uefi,
        &["boot-manager"],
        "services",
        "-Clink-args=/Brepro /DEBUG:NONE",
        None,
    )?;
    let services = packages
        .iter()
        .map(|p| ((*p).to_string(), services.join(p)))
        .collect();
    Ok(Programs {
        services,
        early_boot: early.join("early-boot"),
        boot_manager: boot.join("boot-manager.efi"),
    })
}

/// One call of cargo.
struct Build<'a> {
    checkout: &'a Path,
    target: &'a str,
    library: &'a StandardLibrary,
    packages: &'a [&'a str],
    /// Below `target/image`: what differs in its flags has a folder of its own.
    folder: &'a str,
    rustflags: &'a str,
    features: Option<&'a str>,
    /// The boot manager's public key.
    public_key: &'a Path,
}

fn cargo(build: &Build<'_>) -> Result<PathBuf> {
    let Build {
        checkout,
        target,
        library,
        packages,
        folder,
        rustflags,
        features,
        public_key,
    } = *build;
    let target_folder = checkout.join("target/image").join(folder);
    let mut command = Command::new("cargo");
    command
        .args(["build", "--locked", "--profile", "appliance", "--target", target])
        .current_dir(checkout);
    command.arg("--target-dir").arg(&target_folder);
    for package in packages {
        command.args(["--package", package]);
    }
    if let Some(features) = features {
        command.args(["--features", features]);
    }
    let mut flags = vec![rustflags.to_string()];
    // The same bytes from any folder of any machine.
    flags.push(format!("--remap-path-prefix={}=/hearth", checkout.display()));
    if let Some(home) = cargo_home() {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    if let StandardLibrary::Source(source) = library {
        flags.push(format!("--remap-path-prefix={}=/rust", source.display()));
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .env("__CARGO_TESTS_ONLY_SRC_ROOT", source);
        if target.ends_with("uefi") {
            command.args([
                "-Zbuild-std=core,alloc,compiler_builtins",
                "-Zbuild-std-features=compiler-builtins-mem",
            ]);
        } else {
            command.arg("-Zbuild-std=std,panic_abort");
        }
    }
    if target.starts_with("aarch64-unknown-linux") && std::env::consts::ARCH != "aarch64" {
        command.env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            "aarch64-linux-gnu-gcc",
        );
    }
    if target.ends_with("uefi") {
        command.env("HEARTH_BOOT_KEY_FILE", public_key);
    }
    command.env(
        "CARGO_ENCODED_RUSTFLAGS",
        flags
            .iter()
            .filter(|f| !f.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join("\x1f"),
    );
    command
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let line = shown(&command);
    let status = command.status().map_err(|e| missing(&command, &line, &e))?;
    if !status.success() {
        return Err(BuildError::Program {
            command: line,
            problem: "does not compile (see above)".into(),
        });
    }
    Ok(target_folder.join(target).join("appliance"))
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// Unpacks `library/` of Debian's rust-src once per hash.
fn unpack_source(checkout: &Path, cache: &Cache, package: &LockedPackage) -> Result<PathBuf> {
    let wanted = rust_version(checkout)?;
    if !package.version.starts_with(&wanted) {
        return Err(BuildError::invalid(
            "rust-src",
            format!(
                "version {} does not fit the toolchain {wanted}; run `cargo xtask lock`",
                package.version
            ),
        ));
    }
    let folder = cache.folder("rust-src")?.join(&package.sha256[..16]);
    let library = folder.join("library");
    let stamp = folder.join("complete");
    if stamp.exists() {
        return Ok(library);
    }
    let _ = std::fs::remove_dir_all(&folder);
    let prefix = format!("usr/src/rustc-{wanted}/");
    let mut tree = Tree::default();
    let inside = |path: &str| {
        path.strip_prefix(&prefix)
            .is_some_and(|p| p.starts_with("library/"))
    };
    deb::unpack(&cache.by_hash("debs", &package.sha256)?, &inside, &mut tree)?;
    for (path, node) in tree.iter() {
        let Some(path) = path.strip_prefix(&prefix) else {
            continue;
        };
        let target = folder.join(path);
        match node {
            Node::Folder { .. } => std::fs::create_dir_all(&target).at("create", &target)?,
            Node::File { bytes, .. } => {
                if let Some(parent) = target.parent() {
                    std::fs::create_dir_all(parent).at("create", parent)?;
                }
                std::fs::write(&target, bytes).at("write", &target)?;
            }
            Node::Link { target: to } => std::os::unix::fs::symlink(to, &target).at("create", &target)?,
        }
    }
    crate::cache::write_whole(&stamp, b"")?;
    Ok(library)
}
