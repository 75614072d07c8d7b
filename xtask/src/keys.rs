//! `xtask keys`: the development key that signs boot payloads.

use anyhow::Result;
use clap::Args;
use image_builder::keys;

/// Make the development keys, outside of the checkout; existing ones stay.
///
/// Images signed with them say so in their name and on their console: everybody can make such keys. For a
/// production key see docs/decisions/0006-boot-keys.md and `cargo xtask image --boot-key`.
#[derive(Debug, Args)]
pub struct Options {}

/// The verb.
pub fn keys(_: &Options) -> Result<()> {
    let (_, made) = keys::development()?;
    let path = keys::development_key_path()?;
    println!(
        "{} {}",
        if made { "made" } else { "already there:" },
        path.display()
    );
    Ok(())
}
