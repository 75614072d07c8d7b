//! `dht`: nodes of a DHT.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use hyper_swarm::dht::{DEFAULT_PORT, Dht, DhtOptions, NodeState};

use crate::context::Context;
use crate::event::Event;
use crate::refusal::Refusal;

/// Nodes of the DHT, in which peers find each other.
#[derive(Debug, Args)]
#[command(after_help = "\
A private DHT, for a home or a company:
  on a computer that all others reach, here 192.0.2.1:
    hearth-p2p dht bootstrap --host 192.0.2.1
  on two or more others (a computer learns from several how it is seen):
    hearth-p2p dht node --persistent --bootstrap 192.0.2.1:49737
  everywhere:
    hearth-p2p core seed log --bootstrap 192.0.2.1:49737")]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs a node that others begin with, until Ctrl-C.
    Bootstrap(BootstrapOptions),
    /// Runs an ordinary node that stores for others, until Ctrl-C.
    Node(NodeOptions),
}

#[derive(Debug, Args)]
struct BootstrapOptions {
    /// The IPv4 address under which others reach this node.
    #[arg(long, value_name = "ADDRESS")]
    host: Ipv4Addr,
    /// The UDP port.
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_PORT)]
    port: u16,
}

#[derive(Debug, Args)]
struct NodeOptions {
    /// The UDP port. By default 49737, or another one where that is taken.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Store for others at once. Otherwise the node waits until it was there for a while and strangers reach it.
    #[arg(long)]
    persistent: bool,
}

/// Does it.
pub async fn run(options: Options, context: &Context) -> Result<()> {
    match options.verb {
        Verb::Bootstrap(options) => bootstrap(options, context).await,
        Verb::Node(options) => node(options, context).await,
    }
}

async fn bootstrap(options: BootstrapOptions, context: &Context) -> Result<()> {
    if options.port == 0 {
        return Err(
            Refusal::Usage("a node that others begin with needs a port of its own, not 0".into()).into(),
        );
    }
    let dht = Dht::bind(DhtOptions {
        host: context.dht_options().host,
        ..DhtOptions::bootstrapper(SocketAddrV4::new(options.host, options.port))
    })
    .await
    .context("the node cannot be started")?;
    let address = SocketAddrV4::new(options.host, dht.local_address().port());
    let sentence = format!("others begin with --bootstrap {address}; Ctrl-C ends");
    context.output.say(
        &Event::Listening {
            address: &address.to_string(),
        },
        sentence,
    )?;
    serve(&dht, context).await
}

async fn node(options: NodeOptions, context: &Context) -> Result<()> {
    let dht = Dht::bind(DhtOptions {
        port: options.port.unwrap_or(DEFAULT_PORT),
        any_port: options.port.is_none(),
        ephemeral: options.persistent.then_some(false),
        firewalled: !options.persistent,
        ..context.dht_options()
    })
    .await
    .context("the node cannot be started")?;
    let address = dht.local_address().to_string();
    context.output.say(
        &Event::Listening { address: &address },
        format!("listens on {address}; Ctrl-C ends"),
    )?;
    serve(&dht, context).await
}

/// Until the user ends it; says how the node stands when that changes.
async fn serve(dht: &Dht, context: &Context) -> Result<()> {
    let mut states = dht.watch();
    let telling = async {
        let mut told = None;
        loop {
            let state = *states.borrow_and_update();
            let now = (!state.is_ephemeral(), state.firewalled);
            if state.bootstrapped && told.replace(now) != Some(now) {
                tell(context, dht, state)?;
            }
            if states.changed().await.is_err() {
                return anyhow::Ok(());
            }
        }
    };
    context.stop.or(telling).await.unwrap_or(Ok(()))
}

fn tell(context: &Context, dht: &Dht, state: NodeState) -> Result<()> {
    let remote = dht.remote_address().map(|address| address.to_string());
    let event = Event::Node {
        address: remote.as_deref(),
        persistent: !state.is_ephemeral(),
        firewalled: state.firewalled,
        nodes: dht.nodes(usize::MAX).len(),
    };
    let reach = if state.firewalled {
        "perhaps not reached by strangers"
    } else {
        "reached by strangers"
    };
    let role = if state.is_ephemeral() {
        "stores nothing for others yet"
    } else {
        "stores for others"
    };
    let seen = remote.as_deref().unwrap_or("an address that is not known yet");
    context
        .output
        .say(&event, format!("seen at {seen}, {reach}, {role}"))?;
    Ok(())
}
