//! `xtask keys`: the development keys that sign boot payloads and updates.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use image_builder::{keys, update_keys};

/// Make the development keys, outside of the checkout; existing ones stay.
///
/// One key signs boot payloads; a root, an intermediate and a leaf sign update bundles. Images made with them say so in
/// their name and on their console: everybody can make such keys. For production keys, on a token, see
/// docs/update-keys.md and docs/decisions/0006-boot-keys.md.
#[derive(Debug, Args)]
pub struct Options {}

/// The verb.
pub fn keys(_: &Options) -> Result<()> {
    let (_, made) = keys::development()?;
    say(made, &keys::development_key_path()?);
    let (updates, made) = update_keys::development()?;
    say(made, updates.folder());
    Ok(())
}

fn say(made: bool, path: &Path) {
    println!(
        "{} {}",
        if made { "made" } else { "already there:" },
        path.display()
    );
}
