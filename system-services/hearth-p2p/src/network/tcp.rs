//! Peers over TCP, as `store.replicate()` of the JavaScript stack has them: a secret stream, its handshake within the stream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper_swarm::connection::{self, Options};
use hyper_swarm::noise::KeyPair;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::peers::Peers;
use crate::event::Event;
use crate::output::Output;

/// After a connection could not be made, or ended.
const PAUSE: Duration = Duration::from_secs(2);

/// Connections of strangers at a time.
const MAX_INCOMING: usize = 256;

/// Opens the port, and says so.
pub(super) async fn listen(address: SocketAddr, output: Output) -> Result<TcpListener> {
    let failed =
        || format!("no peers can be taken at the TCP address {address}: is it this computer's, and free?");
    let listener = TcpListener::bind(address).await.with_context(failed)?;
    let address = listener.local_addr().with_context(failed)?.to_string();
    output.tell(
        &Event::Listening { address: &address },
        format!("takes peers at {address}"),
    )?;
    Ok(listener)
}

/// Takes peers for ever.
pub(super) async fn accept_all(listener: TcpListener, keys: Arc<KeyPair>, peers: Peers) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_INCOMING {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, from)) => {
                let (keys, peers) = (Arc::clone(&keys), peers.clone());
                connections.spawn(async move {
                    if let Err(error) = serve(stream, false, &keys, &peers).await {
                        tracing::warn!(%from, error = format!("{error:#}"), "no connection");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Connects to a peer, and again when the connection ended.
pub(super) async fn stay_connected(address: String, keys: Arc<KeyPair>, peers: Peers) {
    loop {
        let connected = async {
            let stream = TcpStream::connect(&address).await?;
            serve(stream, true, &keys, &peers).await
        };
        if let Err(error) = connected.await {
            tracing::warn!(address, error = format!("{error:#}"), "not connected");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn serve(stream: TcpStream, initiator: bool, keys: &KeyPair, peers: &Peers) -> Result<()> {
    stream.set_nodelay(true)?;
    let options = Options::hyperdht();
    let connection = match initiator {
        true => connection::initiate(stream, keys, &options).await?,
        false => connection::accept(stream, keys, &options).await?,
    };
    peers.replicate(connection).await;
    Ok(())
}
