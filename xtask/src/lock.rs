//! `xtask lock`: takes the newest packages into the lock.

use anyhow::Result;
use board_support::Architecture;
use clap::Args;
use image_builder::cache::Cache;
use image_builder::packages::renew;
use image_builder::progress::Console;

use crate::doctor::{self, Need};
use crate::host;

/// Renew the locks: ask the Debian mirror for today's versions and write down their hashes.
#[derive(Debug, Args)]
pub struct Options {}

/// The verb.
pub fn lock(_: &Options) -> Result<()> {
    doctor::require(&[Need::Image])?;
    let cache = Cache::open()?;
    for architecture in [Architecture::Arm64, Architecture::Amd64] {
        let drift = renew(&host::checkout(), &cache, architecture, &Console)?;
        if drift.0.is_empty() {
            println!("{}: nothing changed", architecture.debian());
        }
        for line in drift.0 {
            println!("{}: {line}", architecture.debian());
        }
    }
    Ok(())
}
