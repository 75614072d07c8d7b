//! A real browser: Chromium, driven by Playwright in `browser/*.mjs`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::machine::{LOGS, TestMachine};

/// The variable that names the folder with `node_modules`.
pub const NODE_MODULES: &str = "HEARTH_TEST_NODE_MODULES";

/// Runs a script against a machine; it prints its findings as lines `key=value`.
pub fn run(machine: &TestMachine, script: &str, arguments: &[&str]) -> Result<Vec<(String, String)>> {
    let modules = std::env::var_os(NODE_MODULES)
        .with_context(|| format!("{NODE_MODULES} is not set: these tests are run by `cargo xtask test`"))?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser").join(script);
    let screenshots = std::env::var_os(LOGS)
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join("screenshots");
    std::fs::create_dir_all(&screenshots)?;
    let output = Command::new("node")
        .arg(&path)
        .arg(format!("http://localhost:{}", machine.port()))
        .arg(&screenshots)
        .args(arguments)
        .env(NODE_MODULES, modules)
        .output()
        .context("cannot start node")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{script} {arguments:?}: {}\n{said}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(said
        .lines()
        .filter_map(|l| l.split_once('='))
        .map(|(k, v)| (k.into(), v.into()))
        .collect())
}
