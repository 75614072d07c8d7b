//! `tunnel`: TCP connections from one computer to another, through NATs and firewalls, as hypertele 1.1 has them.

mod connect;
mod pipe;
mod serve;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use hyper_core::crypto::KeyPair;
use hyper_core::key;
use hyper_swarm::dht::connect::PeerConnection;
use tokio::net::TcpStream;

use self::pipe::pipe;
use crate::context::Context;
use crate::event::Event;
use crate::output::Output;
use crate::secret;

/// Brings a TCP service of this computer to another one: encrypted, without opening a port to the Internet.
///
/// Who knows the tunnel's key can use the service, unless `--allow` or `--private` says who can. The other end may be hypertele 1.1 (without
/// its `--compress`).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  here$   hearth-p2p tunnel serve 127.0.0.1:22          says the tunnel's key
  there$  hearth-p2p tunnel connect KEY --listen 127.0.0.1:2222
  there$  ssh -p 2222 127.0.0.1

Only for who has a secret:
  here$   hearth-p2p key new tunnel.seed                copy the file to the other computer, by a safe way
  here$   hearth-p2p tunnel serve 127.0.0.1:22 --seed tunnel.seed --private
  there$  hearth-p2p tunnel connect --seed tunnel.seed --private --listen 127.0.0.1:2222")]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(serve::Options),
    Connect(connect::Options),
}

/// By which key this end is known.
#[derive(Debug, Args)]
struct Identity {
    /// File with the secret that this end is known by (`-`: standard input). By default one that the storage keeps.
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// Another one of the storage's: each tunnel that is served at the same time needs its own.
    #[arg(long, value_name = "NAME", default_value = "tunnel", conflicts_with = "seed")]
    name: String,
}

impl Identity {
    /// The key pair. The storage is not held open: other verbs can use it meanwhile.
    fn key_pair(&self, context: &Context) -> Result<KeyPair> {
        match &self.seed {
            Some(file) => Ok(KeyPair::from_seed(&*secret::read(file)?)),
            None => Ok(context.open()?.namespace("tunnels").key_pair(&self.name)),
        }
    }
}

/// Does it.
pub async fn run(options: Options, context: &Context) -> Result<()> {
    match options.verb {
        Verb::Serve(options) => serve::run(options, context).await,
        Verb::Connect(options) => connect::run(options, context).await,
    }
}

/// Connections that were dropped end by packets, which need a moment.
async fn say_goodbye() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Lets bytes through until both ends are done, and says so.
async fn join(output: Output, connection: PeerConnection, tcp: TcpStream) {
    let peer = key::to_z32(connection.remote_public_key());
    let handle = connection.connection.handle.clone();
    // Nobody listens any more: the verb notices that by itself.
    let _ = output.note(&Event::Connected { peer: &peer });
    let piped = pipe(connection.connection.link, tcp).await;
    if let Err(error) = &piped {
        tracing::info!(peer, %error, "cut off");
        handle.destroy();
    }
    let reason = piped.err().map(|error| error.to_string());
    let _ = output.note(&Event::Disconnected {
        peer: &peer,
        reason: reason.as_deref(),
    });
}
