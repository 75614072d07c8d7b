//! `xtask test`: unit, property, interop and end-to-end tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use board_support::Board;
use clap::Args;
use image_builder::cache::{Cache, hash_file};

use crate::doctor::{self, Need};
use crate::{host, image, qemu};

/// Run every test: unit, property and fuzz corpora, live JavaScript peers, then end to end in QEMU with a real browser.
///
/// The images for the end-to-end tests are built first. Consoles and screenshots are kept in target/test-logs.
#[derive(Debug, Args)]
pub struct Options {
    /// Only the unit, property and corpus tests
    #[arg(long, group = "part")]
    unit: bool,
    /// Only the tests with live JavaScript peers of the Hypercore stack; as root, because some are behind NATs in network namespaces
    #[arg(long, group = "part")]
    interop: bool,
    /// Only the end-to-end tests
    #[arg(long, group = "part")]
    end_to_end: bool,
    /// Only tests of that part whose name contains this
    #[arg(long, value_name = "NAME", requires = "part", conflicts_with = "unit")]
    only: Option<String>,
    /// Also those that take long: ten updates in a row, kills of QEMU at random moments, more of the bad updates
    #[arg(long, conflicts_with_all = ["unit", "interop"])]
    long: bool,
    /// Take the images that an earlier run has built
    #[arg(long, requires = "end_to_end")]
    no_build: bool,
}

/// Board, profile: the images that the tests boot.
const IMAGES: [(&str, &str); 3] = [
    ("qemu-arm64", "dev"),
    ("pc-x86_64", "dev"),
    ("raspberry-pi", "release"),
];

/// The verb.
pub fn test(options: &Options) -> Result<()> {
    doctor::require(&[Need::Image, Need::Qemu, Need::Test])?;
    let mut counts = Counts::default();
    let mut failed = Vec::new();
    let all = !(options.unit || options.interop || options.end_to_end);
    if all || options.unit {
        let mut command = cargo(&[
            "test",
            "--workspace",
            "--exclude",
            "hearth-tests",
            "--exclude",
            "hearth-interop",
            "--no-fail-fast",
        ]);
        if !run_tests("unit, property and corpus tests", &mut command, &mut counts)? {
            failed.push("unit");
        }
    }
    if all || options.interop {
        let mut command = interop(options)?;
        if !run_tests("tests with live peers", &mut command, &mut counts)? {
            failed.push("live peer");
        }
    }
    if all || options.end_to_end {
        let mut command = end_to_end(options)?;
        if !run_tests("end-to-end tests", &mut command, &mut counts)? {
            failed.push("end-to-end");
        }
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    if !failed.is_empty() {
        bail!("{} tests failed", failed.join(" and "));
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(host::checkout());
    command
}

fn interop(options: &Options) -> Result<Command> {
    let modules = node_modules("tests/interop")?;
    let built = cargo(&["build", "--package", "hearth-p2p"]).status();
    if !built.context("cargo cannot be started")?.success() {
        bail!("hearth-p2p was not built");
    }
    let mut command = cargo(&["test", "--package", "hearth-interop", "--no-fail-fast"]);
    command.env(
        "HEARTH_TEST_P2P_PROGRAM",
        host::checkout().join("target/debug/hearth-p2p"),
    );
    if let Some(only) = &options.only {
        command.args(["--", only, "--nocapture"]);
    }
    command.env("HEARTH_TEST_NODE_MODULES", modules);
    Ok(command)
}

fn end_to_end(options: &Options) -> Result<Command> {
    let checkout = host::checkout();
    let folder = checkout.join("target/test-images");
    if !options.no_build {
        prepare_images(&folder)?;
    }
    let modules = node_modules("tests/browser")?;
    let logs = checkout.join("target/test-logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let mut command = cargo(&["test", "--package", "hearth-tests"]);
    if options.long {
        command.args(["--features", "long"]);
    }
    command.args(["--", "--test-threads", "4"]);
    if let Some(only) = &options.only {
        command.args([only, "--nocapture"]);
    }
    command
        .env("HEARTH_TEST_IMAGES", folder)
        .env("HEARTH_TEST_LOGS", logs)
        .env("HEARTH_TEST_XTASK", std::env::current_exe()?)
        .env("HEARTH_TEST_NODE_MODULES", modules);
    Ok(command)
}

/// Builds the images and puts them, and QEMU's firmware, under names without a version.
fn prepare_images(folder: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, profile) in IMAGES {
        let board = Board::find(name)?;
        let options = image::Options {
            board: name.into(),
            profile: profile.into(),
            locked: false,
            boot_key: None,
            update_keyring: None,
            update_crl: None,
            version: None,
            out: "out".into(),
        };
        let built = image::make(&options)?;
        let link = folder.join(format!("hearth-{name}-{profile}.img"));
        std::fs::hard_link(&built.image, &link).or_else(|_| std::fs::copy(&built.image, &link).map(drop))?;
        if board.qemu.as_ref().is_some_and(|q| q.firmware_package.is_some()) {
            std::fs::copy(qemu::firmware(&board)?, folder.join(format!("firmware-{name}")))?;
        }
    }
    Ok(())
}

/// The npm packages that the lock in this folder of the checkout names, in the cache.
pub fn node_modules(folder: &str) -> Result<PathBuf> {
    let source = host::checkout().join(folder);
    let hash = hash_file(&source.join("package-lock.json"))?;
    let folder = Cache::open()?.folder("node")?.join(&hash[..16]);
    let modules = folder.join("node_modules");
    if !folder.join("complete").exists() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(source.join(file), folder.join(file))?;
        }
        // npm checks every package against the hash in the lock.
        host::run(
            Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
                .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
                .current_dir(&folder),
        )
        .with_context(|| {
            format!(
                "npm could not fetch the packages of {}: check the network connection and run again",
                source.display()
            )
        })?;
        image_builder::cache::write_whole(&folder.join("complete"), b"")?;
    }
    Ok(modules)
}

/// What the test programs counted.
#[derive(Debug, Default)]
struct Counts {
    passed: u64,
    failed: u64,
}

/// Runs a test command, shows what it prints, and adds up its closing lines.
fn run_tests(what: &str, command: &mut Command, counts: &mut Counts) -> Result<bool> {
    use std::io::BufRead;
    eprintln!("Running {what}");
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("no output")?;
    let mut programs = 0;
    for line in std::io::BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some((passed, failed)) = closing_line(&line) {
            counts.passed += passed;
            counts.failed += failed;
            programs += 1;
        }
    }
    let status = child.wait()?;
    eprintln!("{what}: {:.0} s", begun.elapsed().as_secs_f64());
    if programs == 0 {
        bail!("{what}: no test program ran ({status})");
    }
    Ok(status.success())
}

/// `test result: ok. 3 passed; 0 failed; …`
fn closing_line(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        rest.split([';', '.'])
            .find_map(|p| p.trim().strip_suffix(word)?.trim().parse().ok())
    };
    Some((number("passed")?, number("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_test_programs_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(closing_line(line), Some((12, 3)));
        assert_eq!(closing_line("test x ... ok"), None);
    }
}
