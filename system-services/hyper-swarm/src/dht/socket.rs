//! A UDP socket of the node.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use tokio::net::UdpSocket;

/// The longest datagram that is looked at, in bytes. Nodes send what fits into one packet of any network.
pub const MAX_DATAGRAM_BYTES: usize = 4096;

/// A UDP socket for IPv4.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    local: SocketAddrV4,
}

impl Socket {
    /// Binds it; port 0 takes any.
    pub async fn bind(address: SocketAddrV4) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        // Until then the runtime does not know that it can be written to, and `send` would drop everything.
        socket.writable().await?;
        let SocketAddr::V4(local) = socket.local_addr()? else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        Ok(Self { socket, local })
    }

    /// Where it is bound.
    pub fn local_address(&self) -> SocketAddrV4 {
        self.local
    }

    /// The next datagram, as long as it is no longer than `buffer`.
    pub async fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<(&'a [u8], SocketAddrV4)> {
        loop {
            match self.socket.recv_from(buffer).await {
                // As long as the buffer: it was cut.
                Ok((len, SocketAddr::V4(from))) if len < buffer.len() => return Ok((&buffer[..len], from)),
                Ok(_) => {}
                // An ICMP answer to what was sent earlier, to whomever.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a datagram if there is room for it, with a time to live of `ttl` hops (0: the system's default). Like any
    /// datagram it may be lost.
    pub fn send(&self, bytes: &[u8], to: SocketAddrV4, ttl: u8) {
        let sent = if ttl == 0 {
            self.socket.try_send_to(bytes, to.into())
        } else {
            self.send_with_ttl(bytes, to, ttl)
        };
        if let Err(error) = sent {
            tracing::trace!(%to, %error, "datagram not sent");
        }
    }

    fn send_with_ttl(&self, bytes: &[u8], to: SocketAddrV4, ttl: u8) -> io::Result<usize> {
        let usual = self.socket.ttl()?;
        self.socket.set_ttl(ttl.into())?;
        let sent = self.socket.try_send_to(bytes, to.into());
        self.socket.set_ttl(usual)?;
        sent
    }
}
