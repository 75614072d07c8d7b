//! `tunnel connect`.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::Args;
use hyper_core::crypto::{Hash, KeyPair};
use hyper_core::key;
use hyper_swarm::dht::Dht;
use hyper_swarm::dht::connect::ConnectOptions;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::serve::as_key;
use super::{Identity, join};
use crate::context::Context;
use crate::event::Event;
use crate::output::Output;
use crate::select::Selector;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 512;

/// Takes TCP connections here and lets them out where the tunnel is served, until Ctrl-C.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The tunnel's key, as `tunnel serve` says it.
    #[arg(
        value_name = "KEY",
        required_unless_present = "private",
        conflicts_with = "private"
    )]
    server: Option<Selector>,
    /// Where connections are taken. Port 0: any; which one is said.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[command(flatten)]
    identity: Identity,
    /// The tunnel is one of `tunnel serve --private` with the same secret.
    #[arg(long, requires = "seed")]
    private: bool,
}

/// Where connections go.
#[derive(Clone)]
struct To {
    dht: Dht,
    pair: KeyPair,
    server: Hash,
    output: Output,
}

pub(super) async fn run(options: Options, context: &Context) -> Result<()> {
    let pair = options.identity.key_pair(context)?;
    let server = match &options.server {
        Some(server) => as_key(server)?,
        None => pair.public_key(),
    };
    let taken = || {
        format!(
            "no connections can be taken at {}: is it this computer's, and free?",
            options.listen
        )
    };
    let listener = TcpListener::bind(options.listen).await.with_context(taken)?;
    let dht = Dht::bind(context.dht_options())
        .await
        .context("no DHT node can be started")?;
    let address = listener.local_addr().with_context(taken)?.to_string();
    let own = key::to_z32(&pair.public_key());
    let sentence = format!(
        "connections to {address} go through the tunnel; Ctrl-C ends\nknown to the other end as {own}"
    );
    context
        .output
        .say(&Event::Listening { address: &address }, sentence)?;
    let to = To {
        dht,
        pair,
        server,
        output: context.output,
    };
    context.stop.or(take(listener, to)).await;
    super::say_goodbye().await;
    Ok(())
}

async fn take(listener: TcpListener, to: To) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((tcp, _)) => {
                connections.spawn(go_through(to.clone(), tcp));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection taken");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

async fn go_through(to: To, tcp: TcpStream) {
    let connected = to
        .dht
        .connect(to.server, &to.pair, &ConnectOptions::default())
        .await;
    match connected {
        Ok(connection) => join(to.output, connection, tcp).await,
        Err(error) => {
            let (peer, reason) = (
                key::to_z32(&to.server),
                format!("{:#}", anyhow::Error::new(error)),
            );
            let event = Event::NotConnected {
                peer: &peer,
                reason: &reason,
            };
            // Nobody listens any more: the verb notices that by itself.
            let _ = to
                .output
                .tell(&event, format!("no connection through the tunnel: {reason}"));
        }
    }
}
