//! `tunnel serve`.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use hyper_core::crypto::{Hash, KeyPair};
use hyper_core::key;
use hyper_swarm::dht::{Dht, FirewallRule, Server, ServerOptions};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Identity, join};
use crate::context::Context;
use crate::event::Event;
use crate::output::Output;
use crate::refusal::Refusal;
use crate::select::{Selector, mistyped};

/// Connections at a time.
const MAX_CONNECTIONS: usize = 512;

/// Brings a TCP service of this computer, or of one that it reaches, to who knows the tunnel's key, until Ctrl-C.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The service.
    #[arg(value_name = "HOST:PORT")]
    service: String,
    #[command(flatten)]
    identity: Identity,
    /// Let in this peer only. May be given several times. (`tunnel connect` says its key.)
    #[arg(long, value_name = "KEY", conflicts_with = "private")]
    allow: Vec<Selector>,
    /// Let in only who has the same secret.
    #[arg(long, requires = "seed")]
    private: bool,
}

pub(super) async fn run(options: Options, context: &Context) -> Result<()> {
    if !options.service.contains(':') {
        return Err(Refusal::Usage(format!("{} is no HOST:PORT", options.service)).into());
    }
    let pair = options.identity.key_pair(context)?;
    let firewall = firewall(&options, &pair)?;
    let dht = Dht::bind(context.dht_options())
        .await
        .context("no DHT node can be started")?;
    let how = ServerOptions {
        firewall,
        ..ServerOptions::default()
    };
    let starting = dht.listen(&pair, how);
    let Some(server) = context.stop.or(starting).await else {
        return Ok(());
    };
    let mut server = server.context("the tunnel cannot be served")?;
    let key = key::to_z32(server.public_key());
    let sentence = match options.private {
        true => format!("{key}\nopen to who has the same secret; Ctrl-C ends"),
        false => {
            format!("{key}\nthere: hearth-p2p tunnel connect {key} --listen 127.0.0.1:PORT; Ctrl-C ends")
        }
    };
    context.output.say(&Event::Serving { key: &key }, sentence)?;
    context
        .stop
        .or(serve(&mut server, context.output, options.service))
        .await;
    server.close().await;
    super::say_goodbye().await;
    Ok(())
}

/// Who is kept out.
fn firewall(options: &Options, pair: &KeyPair) -> Result<Option<FirewallRule>> {
    let mut allowed = HashSet::<Hash>::new();
    for key in &options.allow {
        allowed.insert(as_key(key)?);
    }
    if options.private {
        allowed.insert(pair.public_key());
    }
    if allowed.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(move |asker| !allowed.contains(asker.public_key))))
}

/// A key, not a name.
pub(super) fn as_key(selector: &Selector) -> Result<Hash> {
    let error = match selector {
        Selector::Key(key) => return Ok(*key),
        Selector::Mistyped(text, error) => mistyped(text, *error),
        Selector::Name(text) => Refusal::Usage(format!("{text} is no key of a peer")),
    };
    Err(error.into())
}

async fn serve(server: &mut Server, output: Output, service: String) {
    let mut connections = JoinSet::new();
    while let Some(connection) = server.accept().await {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let service = service.clone();
        connections.spawn(async move {
            match TcpStream::connect(&service).await {
                Ok(tcp) => join(output, connection, tcp).await,
                Err(error) => {
                    tracing::warn!(service, %error, "the service takes no connection");
                    connection.connection.handle.destroy();
                }
            }
        });
    }
}
