//! What every verb gets: where data lie, whom to ask first, how to speak.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use hyper_core::corestore::{Corestore, PrimaryKey};
use hyper_core::crypto::KeyPair;
use hyper_core::store::LostChanges;
use hyper_swarm::dht::{BootstrapNode, DhtOptions};

use crate::event::Event;
use crate::output::Output;
use crate::secret;
use crate::stop::Stop;

/// The options of all verbs.
#[derive(Debug, Args)]
pub struct Options {
    /// Folder in which cores and keys are kept, made for its owner alone. By default ~/.local/share/hearth-p2p.
    #[arg(long, value_name = "DIR", global = true, env = "HEARTH_P2P_STORAGE", help_heading = "Everywhere",
        default_value_os_t = default_storage(), hide_default_value = true, hide_env_values = true)]
    pub storage: PathBuf,
    /// A DHT node to ask first, instead of the public ones. May be given several times.
    #[arg(long, value_name = "HOST:PORT", global = true, help_heading = "Everywhere")]
    pub bootstrap: Vec<BootstrapNode>,
    /// The interface that the DHT node of this program listens on, by its IPv4 address.
    #[arg(long, value_name = "ADDRESS", global = true, help_heading = "Everywhere", default_value_t = Ipv4Addr::UNSPECIFIED)]
    pub bind: Ipv4Addr,
    /// Say what happens in JSON, one value a line.
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// File with the secret from which a new storage has its cores (`-`: standard input). The same secret gives the same cores anywhere.
    #[arg(long, value_name = "FILE", global = true, help_heading = "Everywhere")]
    pub primary_key: Option<PathBuf>,
}

/// `$XDG_DATA_HOME/hearth-p2p` or `~/.local/share/hearth-p2p`; without a home the folder that one is in.
fn default_storage() -> PathBuf {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    data.filter(|path| path.is_absolute())
        .or_else(home)
        .unwrap_or_default()
        .join("hearth-p2p")
}

/// What a verb works with.
pub struct Context {
    /// How it speaks.
    pub output: Output,
    /// Whether the user wants an end.
    pub stop: Stop,
    options: Options,
}

impl Context {
    /// Listens for Ctrl-C from here on.
    pub fn new(options: Options, output: Output) -> Result<Self> {
        let stop = Stop::listen().context("signals cannot be heard")?;
        Ok(Self {
            output,
            stop,
            options,
        })
    }

    /// Opens the storage, or makes it.
    pub fn open(&self) -> Result<Corestore> {
        let folder = &self.options.storage;
        let store = match &self.options.primary_key {
            Some(file) => Corestore::open_with(folder, &PrimaryKey::new(*secret::read(file)?))?,
            None => Corestore::open(folder)?,
        };
        if let Some(LostChanges { offset, at_least }) = store.store().lost_changes()? {
            let folder = folder.display();
            self.output.tell(
                &Event::LostChanges { offset, at_least },
                format!(
                    "{folder} is open for reading only: its log is damaged at byte {offset}, and at least {at_least} of its last changes \
                     are lost. `hearth-p2p core audit --all --clear` goes on without them"
                ),
            )?;
        }
        Ok(store)
    }

    /// How a node of the DHT begins.
    pub fn dht_options(&self) -> DhtOptions {
        let mut options = DhtOptions {
            host: self.options.bind,
            ..DhtOptions::default()
        };
        if !self.options.bootstrap.is_empty() {
            options.bootstrap.clone_from(&self.options.bootstrap);
        }
        options
    }

    /// By which peers know this storage. The name is the one that programs of the JavaScript stack take.
    pub fn identity(&self, store: &Corestore) -> KeyPair {
        store.key_pair("hyperswarm")
    }
}

/// Runs a verb.
pub fn block_on(verb: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the program's threads cannot be started")?;
    let result = runtime.block_on(verb);
    // Whatever reads from a terminal would hold the end up.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}
