//! A UDP socket that carries streams, and datagrams of others beside them.

mod batch;
mod receive;
mod task;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};

use super::endpoint::Registry;
use super::shared::Shared;

pub(super) use batch::Scratch;

/// Datagrams that wait to be taken, further ones are lost.
const DATAGRAMS: usize = 512;
/// What is asked of the kernel; it gives what its `rmem_max` and `wmem_max` allow.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
const SEND_BUFFER_BYTES: usize = 1 << 20;
/// Hops that a datagram may take, if nothing else is said; the peers' figure.
const DEFAULT_TTL: u8 = 64;

/// Something that came by a socket and belongs to no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// What was sent.
    pub bytes: Vec<u8>,
    /// By whom.
    pub from: SocketAddr,
}

/// A packet came for a stream that is not connected, or by another socket than it is connected to.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The socket that it came by.
    pub socket: Socket,
    /// Who sent it.
    pub from: SocketAddr,
}

/// A UDP socket. Cheap to clone; two are equal if they are the same socket.
#[derive(Clone)]
pub struct Socket {
    guard: Arc<Guard>,
}

/// Closes the socket when nobody has it any more.
struct Guard {
    carrier: Arc<Carrier>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.carrier.closing.notify_one();
    }
}

/// What a socket and its task share.
struct Carrier {
    io: UdpSocket,
    udp: UdpSocketState,
    local: SocketAddr,
    registry: Arc<Registry>,
    /// Held while something is sent, so that a lower TTL is for one datagram only.
    ttl: Mutex<()>,
    /// Streams that have something for the task to do.
    queue: Mutex<Vec<Arc<Shared>>>,
    queued: Notify,
    closing: Notify,
}

impl Socket {
    pub(super) fn bind(
        registry: Arc<Registry>,
        address: SocketAddr,
    ) -> io::Result<(Self, mpsc::Receiver<Datagram>)> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let io = UdpSocket::from_std(socket)?;
        let udp = UdpSocketState::new(UdpSockRef::from(&io))?;
        // A smaller buffer than asked for still works.
        let _ = udp.set_recv_buffer_size(UdpSockRef::from(&io), RECEIVE_BUFFER_BYTES);
        let _ = udp.set_send_buffer_size(UdpSockRef::from(&io), SEND_BUFFER_BYTES);
        let local = io.local_addr()?;
        let carrier = Arc::new(Carrier {
            io,
            udp,
            local,
            registry,
            ttl: Mutex::new(()),
            queue: Mutex::new(Vec::new()),
            queued: Notify::new(),
            closing: Notify::new(),
        });
        let (sender, receiver) = mpsc::channel(DATAGRAMS);
        let guard = Arc::new(Guard {
            carrier: carrier.clone(),
        });
        tokio::spawn(task::Task::new(carrier, Arc::downgrade(&guard), sender).run());
        Ok((Self { guard }, receiver))
    }

    fn carrier(&self) -> &Arc<Carrier> {
        &self.guard.carrier
    }

    /// The address that it is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.carrier().local
    }

    /// Sends a datagram now or not at all.
    ///
    /// # Errors
    /// Those of the operating system; [`io::ErrorKind::WouldBlock`] if it has no room.
    pub fn try_send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        // Not by way of the runtime, which takes a new socket for full until it has looked.
        self.carrier().send(bytes, None, to, None)
    }

    /// As [`try_send_to`](Self::try_send_to), no further than `ttl` hops: it opens the own NAT for an address and does not reach the
    /// other's.
    ///
    /// # Errors
    /// Those of the operating system; [`io::ErrorKind::WouldBlock`] if it has no room.
    pub fn try_send_to_ttl(&self, bytes: &[u8], to: SocketAddr, ttl: u8) -> io::Result<()> {
        self.carrier().send(bytes, None, to, Some(ttl))
    }

    /// Has the task look at a stream.
    pub(super) fn serve(&self, shared: &Arc<Shared>) {
        let carrier = self.carrier();
        carrier
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(shared.clone());
        carrier.queued.notify_one();
    }

    fn is_of(&self, carrier: &Arc<Carrier>) -> bool {
        Arc::ptr_eq(self.carrier(), carrier)
    }
}

impl Carrier {
    /// As the socket's family writes an address.
    fn destination(&self, to: SocketAddr) -> SocketAddr {
        match (self.local, to.ip()) {
            (SocketAddr::V6(_), IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        }
    }

    /// Datagrams of `segment_bytes` each (the last may be shorter), or one.
    fn send(
        &self,
        contents: &[u8],
        segment_bytes: Option<usize>,
        to: SocketAddr,
        ttl: Option<u8>,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.destination(to),
            ecn: None,
            contents,
            segment_size: segment_bytes,
            src_ip: None,
        };
        let _held = self.ttl.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ttl) = ttl {
            self.set_ttl(ttl)?;
        }
        let result = self.udp.try_send(UdpSockRef::from(&self.io), &transmit);
        if ttl.is_some() {
            self.set_ttl(DEFAULT_TTL)?;
        }
        result
    }

    fn try_send(&self, contents: &[u8], segment_bytes: Option<usize>, to: SocketAddr) -> io::Result<()> {
        let send = || self.send(contents, segment_bytes, to, None);
        self.io.try_io(Interest::WRITABLE, send)
    }

    fn set_ttl(&self, ttl: u8) -> io::Result<()> {
        if self.local.is_ipv6() {
            sockopt::set_ipv6_unicast_hops(&self.io, Some(ttl))?;
        }
        // Also of a socket of IPv6, for what it sends over IPv4; one that is for IPv6 only refuses.
        match self.io.set_ttl(ttl.into()) {
            Err(error) if self.local.is_ipv4() => Err(error),
            _ => Ok(()),
        }
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.guard, &other.guard)
    }
}

impl Eq for Socket {}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.local_addr()).finish()
    }
}
