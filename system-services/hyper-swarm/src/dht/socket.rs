//! A UDP socket of the node, which carries the streams of connections, too.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use tokio::sync::mpsc;

use crate::udx::{self, Datagram, Udx};

/// The longest datagram that is looked at, in bytes. Nodes send what fits into one packet of any network.
pub const MAX_DATAGRAM_BYTES: usize = 4096;

/// A UDP socket for IPv4. Cheap to clone; closed when the last clone and the last stream on it are gone.
#[derive(Clone, Debug)]
pub struct Socket {
    socket: udx::Socket,
    local: SocketAddrV4,
}

impl Socket {
    /// Binds it; port 0 takes any. What comes to it and belongs to no stream comes out of the channel.
    pub fn bind(udx: &Udx, address: SocketAddrV4) -> io::Result<(Self, mpsc::Receiver<Datagram>)> {
        let (socket, datagrams) = udx.bind(address.into())?;
        let SocketAddr::V4(local) = socket.local_addr() else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        Ok((Self { socket, local }, datagrams))
    }

    /// Where it is bound.
    pub fn local_address(&self) -> SocketAddrV4 {
        self.local
    }

    /// As streams use it.
    pub fn udx(&self) -> &udx::Socket {
        &self.socket
    }

    /// Sends a datagram if there is room for it, with a time to live of `ttl` hops (0: the usual). Like any
    /// datagram it may be lost.
    pub fn send(&self, bytes: &[u8], to: SocketAddrV4, ttl: u8) {
        let sent = match ttl {
            0 => self.socket.try_send_to(bytes, to.into()),
            ttl => self.socket.try_send_to_ttl(bytes, to.into(), ttl),
        };
        if let Err(error) = sent {
            tracing::trace!(%to, %error, "datagram not sent");
        }
    }
}
