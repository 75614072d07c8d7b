//! Secret streams over TCP on loopback, as the scripts speak them.

use anyhow::Result;
use hyper_core::link::Link;
use hyper_swarm::connection::{self, Options};
use hyper_swarm::noise::KeyPair;
use tokio::net::{TcpListener, TcpStream};

/// Connects to a script that listens on this port.
///
/// # Errors
/// When nobody listens there, or who does is no peer.
pub async fn connect(port: u16) -> Result<Link> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let keys = KeyPair::from_seed(&[9; 32]);
    Ok(connection::initiate(stream, &keys, &Options::hyperdht())
        .await?
        .link)
}

/// Who [`listen`]s.
pub fn identity() -> KeyPair {
    KeyPair::from_seed(&[8; 32])
}

/// Listens for scripts as long as the test runs, and gives the port.
///
/// # Errors
/// When no port is free.
pub async fn listen(mut attach: impl FnMut(Link) + Send + 'static) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        let keys = identity();
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(connection) = connection::accept(stream, &keys, &Options::hyperdht()).await {
                attach(connection.link);
            }
        }
    });
    Ok(port)
}
