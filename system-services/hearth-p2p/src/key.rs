//! `key`: secrets made, keys shown and converted.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use hyper_core::crypto::{self, Hash, KeyPair};
use hyper_core::key;

use crate::context::Context;
use crate::event::Event;
use crate::secret;
use crate::select::{Selector, mistyped};

/// Makes secrets, shows public keys, converts keys.
///
/// A secret is a file with 64 characters that only its owner may read. It serves as the identity of a tunnel (`tunnel serve --seed`), as
/// the key of encrypted cores (`--encryption-key`) and as a storage's primary key (`--primary-key`).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hearth-p2p key new tunnel.seed        makes a secret, says its public key
  hearth-p2p key show tunnel.seed       says the public key again
  hearth-p2p key show --primary         says the public key of the storage itself
  hearth-p2p key export backup.key      writes the storage's primary key into a file
  hearth-p2p key convert KEY            the key in z-base-32 and hexadecimal")]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Makes a secret in a new file and says its public key.
    New {
        /// The file: it must not be there yet.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Says the public key of a secret.
    Show {
        /// The file of the secret (`-`: standard input).
        #[arg(value_name = "FILE", required_unless_present = "primary")]
        file: Option<PathBuf>,
        /// Of this storage, by which its peers know it.
        #[arg(long, conflicts_with = "file")]
        primary: bool,
    },
    /// Writes the storage's primary key into a new file: with it the same cores can be written elsewhere. Keep it as you keep a password.
    Export {
        /// The file: it must not be there yet.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Says a key in z-base-32 and in hexadecimal, and what a core of this key is found by.
    Convert {
        /// The key, in either form, or a link pear://KEY.
        #[arg(value_name = "KEY")]
        key: Selector,
    },
}

/// Does it.
pub async fn run(options: Options, context: &Context) -> Result<()> {
    let key = match options.verb {
        Verb::New { file } => KeyPair::from_seed(&*secret::create(&file)?).public_key(),
        Verb::Show { file: Some(file), .. } => KeyPair::from_seed(&*secret::read(&file)?).public_key(),
        Verb::Show { file: None, .. } => context.identity(&context.open()?).public_key(),
        Verb::Export { file } => {
            let store = context.open()?;
            secret::write(&file, store.primary_key().as_bytes())?;
            context.identity(&store).public_key()
        }
        Verb::Convert { key } => parse(key)?,
    };
    say(context, &key)
}

/// A key, not a name.
fn parse(selector: Selector) -> Result<Hash> {
    match selector {
        Selector::Key(key) => Ok(key),
        Selector::Mistyped(text, error) => Err(mistyped(&text, error).into()),
        Selector::Name(text) => {
            let error = key::parse(&text).err();
            let error = error.unwrap_or(key::KeyTextError::Length(text.len()));
            Err(mistyped(&text, error).into())
        }
    }
}

fn say(context: &Context, key: &Hash) -> Result<()> {
    let discovery_key = key::to_hex(&crypto::discovery_key(key));
    let (key, hex) = (key::to_z32(key), key::to_hex(key));
    let event = Event::Key {
        key: &key,
        hex: &hex,
        discovery_key: &discovery_key,
    };
    let sentence = format!("{key}\nhexadecimal    {hex}\ndiscovery key  {discovery_key}");
    context.output.say(&event, sentence)?;
    Ok(())
}
