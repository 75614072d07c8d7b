//! Which drive is meant.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use hyper_core::corestore::Corestore;
use hyper_core::key;
use hyper_core::session::GetOptions;
use hyper_drive::drive::{Drive, DriveOptions};

use crate::context::Context;
use crate::event::Event;
use crate::refusal::Refusal;
use crate::secret;
use crate::select::{Selector, mistyped};

/// Which drive, and how it is read.
#[derive(Debug, Args)]
pub struct WhichDrive {
    /// The drive: its name in this storage, or its key (z-base-32 or hexadecimal).
    #[arg(value_name = "DRIVE")]
    drive: Selector,
    /// File with the key that the drive is encrypted with (`-`: standard input).
    #[arg(long, value_name = "FILE")]
    encryption_key: Option<PathBuf>,
}

/// Only what is stored is read.
pub const NOT_WAITING: GetOptions = GetOptions {
    wait: false,
    timeout: None,
};

impl WhichDrive {
    /// Opens a drive, or makes it where it is named.
    pub fn open_or_create(&self, store: &Corestore, get_options: GetOptions) -> Result<Drive> {
        match &self.drive {
            Selector::Name(name) => Ok(Drive::open_with(
                &store.namespace(name),
                self.options(get_options)?,
            )?),
            _ => self.open(store, get_options),
        }
    }

    /// Opens a drive that is there.
    pub fn open(&self, store: &Corestore, get_options: GetOptions) -> Result<Drive> {
        match &self.drive {
            Selector::Key(key) => Ok(Drive::open_by_key_with(store, key, self.options(get_options)?)?),
            Selector::Mistyped(text, error) => Err(mistyped(text, *error).into()),
            Selector::Name(name) => {
                let store = store.namespace(name);
                if store.key_of("db")?.is_none() {
                    return Err(unknown(name).into());
                }
                Ok(Drive::open_with(&store, self.options(get_options)?)?)
            }
        }
    }

    fn options(&self, get_options: GetOptions) -> Result<DriveOptions> {
        let encryption_key = match &self.encryption_key {
            Some(file) => Some(*secret::read(file)?),
            None => None,
        };
        Ok(DriveOptions {
            encryption_key,
            get_options,
        })
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::NotFound(format!(
        "no drive is called {name:?} in this storage: `hearth-p2p drive create {name}` makes it"
    ))
}

/// What is known of a drive.
pub fn say(context: &Context, drive: &Drive) -> Result<()> {
    let (key, discovery_key) = (key::to_z32(drive.key()), key::to_hex(&drive.discovery_key()));
    let event = Event::Drive {
        key: &key,
        discovery_key: &discovery_key,
        version: drive.version(),
        writable: drive.is_writable(),
    };
    let writable = if drive.is_writable() { "yes" } else { "no" };
    let sentence = format!(
        "{key}\ndiscovery key  {discovery_key}\nversion        {}\nwritable       {writable}",
        drive.version()
    );
    context.output.say(&event, sentence)?;
    Ok(())
}
