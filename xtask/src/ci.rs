//! `xtask ci`: the checks that need no machine to boot.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use image_builder::cache::{Cache, hash_file};

use crate::doctor::{self, Need};
use crate::{host, image};

/// Check formatting, lints, licences, the architecture's invariants and that two builds give the same bytes.
#[derive(Debug, Args)]
pub struct Options {
    /// Leave out the second image build
    #[arg(long)]
    no_reproduce: bool,
}

/// Version of cargo-deny.
const CARGO_DENY: &str = "0.20.2";

/// The verb.
pub fn ci(options: &Options) -> Result<()> {
    doctor::require(&[Need::Image, Need::Qemu, Need::Test])?;
    let checkout = host::checkout();
    let mut failed: Vec<String> = Vec::new();
    let mut check = |what: &str, result: Result<()>| {
        match &result {
            Ok(()) => eprintln!("ok      {what}"),
            Err(e) => {
                eprintln!("FAILED  {what}: {e:#}");
                failed.push(what.into());
            }
        };
    };
    check("formatting", cargo(&checkout, &["fmt", "--all", "--check"]));
    check(
        "lints",
        cargo(
            &checkout,
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
        ),
    );
    check("invariants", invariants(&checkout));
    check("sandboxes", sandboxes(&checkout));
    check("licences and bans", deny(&checkout));
    if !options.no_reproduce {
        check("the same inputs give the same image", reproduce());
    }
    if !failed.is_empty() {
        bail!("{} failed", failed.join(", "));
    }
    Ok(())
}

fn cargo(checkout: &Path, arguments: &[&str]) -> Result<()> {
    host::run(Command::new("cargo").args(arguments).current_dir(checkout))
}

/// What a machine can check of ARCHITECTURE.md's invariants.
fn invariants(checkout: &Path) -> Result<()> {
    let mut problems = Vec::new();
    let services = [
        "early-boot",
        "provisioner",
        "updater",
        "console-status",
        "web-setup",
    ];
    for service in services {
        let folder = if service == "web-setup" {
            PathBuf::from(service)
        } else {
            Path::new("system-services").join(service)
        };
        let path = checkout.join(folder).join("Cargo.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for other in services.iter().filter(|o| **o != service) {
            if text
                .lines()
                .any(|l| l.starts_with(&format!("{other}.")) || l.starts_with(&format!("{other} =")))
            {
                problems.push(format!(
                    "{service} depends on the service {other}: they meet in ipc"
                ));
            }
        }
    }
    let base = [
        "system-services/ipc",
        "board-support/boot-state",
        "board-support/boot-payload",
        "board-support/disk-layout",
    ];
    for folder in base {
        let text = std::fs::read_to_string(checkout.join(folder).join("Cargo.toml"))?;
        if text
            .lines()
            .any(|l| l.contains("path = \"..") && !l.contains("dev-"))
        {
            problems.push(format!(
                "{folder} is a base crate and must depend on nothing in the workspace"
            ));
        }
    }
    // The Hypercore stack stands on its own: of this workspace it knows only itself.
    let workspace = std::fs::read_to_string(checkout.join("Cargo.toml"))?;
    let ours: Vec<&str> = workspace
        .lines()
        .filter(|l| l.contains("path = \""))
        .filter_map(|l| l.split_once(" =").map(|(name, _)| name))
        .collect();
    for name in ["hyper-core", "hyper-swarm", "hyper-drive"] {
        let text = std::fs::read_to_string(checkout.join("system-services").join(name).join("Cargo.toml"))?;
        let used = |other: &&&str| text.lines().any(|l| l.starts_with(&format!("{other}.workspace")));
        for other in ours.iter().filter(|o| !o.starts_with("hyper-")).filter(used) {
            problems.push(format!(
                "{name} depends on {other}: the Hypercore stack knows nothing of the appliance"
            ));
        }
    }
    // `unsafe` lives in os-io, and in the three modules of the boot manager that touch the firmware.
    for file in rust_files(checkout)? {
        let inside = file
            .strip_prefix(checkout)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        let allowed =
            inside.starts_with("system-services/os-io/") || inside.starts_with("board-support/boot-manager/");
        let text = std::fs::read_to_string(&file)?;
        let word = ["allow(", "unsafe_code)"].concat();
        if !allowed && text.contains(&word) {
            problems.push(format!("{inside}: unsafe code belongs into os-io"));
        }
    }
    let release = std::fs::read_to_string(checkout.join("image/profiles/release.toml"))?;
    for shell in ["bash", "dash", "busybox", "openssh"] {
        if release.contains(shell) {
            problems.push(format!(
                "image/profiles/release.toml: {shell} has no place in the release profile"
            ));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        bail!("{}", problems.join("; "))
    }
}

fn rust_files(checkout: &Path) -> Result<Vec<PathBuf>> {
    let out = Command::new("git")
        .args(["ls-files", "*.rs"])
        .current_dir(checkout)
        .output()?;
    Ok(String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(|l| checkout.join(l))
        .filter(|p| p.exists())
        .collect())
}

/// Every unit of ours that runs a program: exposure at most 2.5, as `systemd-analyze security` sees it offline.
fn sandboxes(checkout: &Path) -> Result<()> {
    let out = Command::new("git")
        .args(["ls-files", "*.service"])
        .current_dir(checkout)
        .output()?;
    let mut problems = Vec::new();
    let mut seen = 0;
    for path in String::from_utf8_lossy(&out.stdout).lines() {
        let text = std::fs::read_to_string(checkout.join(path))?;
        // Our programs; not the dev shell, nor drop-ins, nor the bus activation file.
        if !text.contains("ExecStart=/usr/lib/hearth/") && !text.contains("ExecStop=/usr/lib/hearth/") {
            continue;
        }
        seen += 1;
        let judged = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold=25"])
            .arg(checkout.join(path))
            .output()
            .context("cannot start systemd-analyze")?;
        let said = String::from_utf8_lossy(&judged.stdout).into_owned();
        let line = said
            .lines()
            .find(|l| l.contains("Overall exposure"))
            .unwrap_or("no judgement")
            .trim();
        eprintln!("        {path}: {}", line.trim_start_matches(['→', ' ']));
        if !judged.status.success() {
            problems.push(format!("{path}: {line}"));
        }
    }
    if seen < 4 {
        bail!("only {seen} units were found");
    }
    if problems.is_empty() {
        Ok(())
    } else {
        bail!("{}", problems.join("; "))
    }
}

/// cargo-deny, built once into the cache. The advisories' database is not asked for: no test may need the network.
fn deny(checkout: &Path) -> Result<()> {
    let folder = Cache::open()?.folder("tools")?;
    let program = folder.join("bin/cargo-deny");
    let version = Command::new(&program)
        .arg("--version")
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    if !version.is_ok_and(|v| v.contains(CARGO_DENY)) {
        eprintln!("        building cargo-deny {CARGO_DENY} (once)");
        host::run(
            Command::new("cargo")
                .args([
                    "install",
                    "--quiet",
                    "--locked",
                    "--force",
                    "--version",
                    CARGO_DENY,
                    "cargo-deny",
                    "--root",
                ])
                .arg(&folder)
                .current_dir(checkout),
        )?;
    }
    // It reads the licences of every target's crates; building fetched only this machine's.
    cargo(checkout, &["fetch", "--locked", "--quiet"])?;
    host::run(
        Command::new(program)
            .args([
                "--offline",
                "check",
                "--hide-inclusion-graph",
                "licenses",
                "bans",
                "sources",
            ])
            .current_dir(checkout),
    )
}

/// Builds an image twice and compares the bytes.
fn reproduce() -> Result<()> {
    let folder = tempfile::tempdir_in(host::checkout().join("target"))?;
    let build = |name: &str| -> Result<String> {
        let options = image::Options {
            board: "raspberry-pi".into(),
            profile: "release".into(),
            locked: false,
            boot_key: None,
            update_keyring: None,
            update_crl: None,
            version: None,
            out: folder.path().join(name),
        };
        Ok(hash_file(&image::make(&options)?.compressed)?)
    };
    let (first, second) = (build("first")?, build("second")?);
    if first != second {
        bail!("the compressed images differ: {first} and {second}");
    }
    Ok(())
}
