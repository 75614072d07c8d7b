//! The streams of a program, whichever sockets they go by.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::handle::UdxError;
use super::io::UdxStream;
use super::packet::Seq;
use super::shared::Shared;
use super::socket::{Arrival, Datagram, Scratch, Socket};
use super::stream::{Config, Stream};

/// First packets from elsewhere that wait to be looked at; further ones are not told.
const ARRIVALS: usize = 8;
/// Buffers that are kept between two uses. Not one for each socket: most of them wait most of the time.
const KEPT_SCRATCHES: usize = 2;

/// How a stream starts. Both ends must agree on the first numbers; HyperDHT's are 0.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    /// Number of our first packet.
    pub first_seq: u32,
    /// Number of the peer's first packet.
    pub peers_first_seq: u32,
    /// Most bytes that wait here to be read, and as many that came early.
    pub receive_window_bytes: u32,
    /// Most bytes that are written and not acknowledged.
    pub send_buffer_bytes: usize,
    /// How long nothing may be under way before the peer is asked for a sign of life, which also keeps the way through a NAT
    /// open. Its answer is not waited for.
    pub keep_alive: Option<Duration>,
}

impl Default for StreamOptions {
    fn default() -> Self {
        let config = Config::new(0);
        Self {
            first_seq: 0,
            peers_first_seq: 0,
            receive_window_bytes: config.receive_window_bytes,
            send_buffer_bytes: config.send_buffer_bytes,
            keep_alive: None,
        }
    }
}

/// Gives streams their numbers, which count for all of its sockets. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Udx {
    pub(super) registry: Arc<Registry>,
}

/// What all sockets share.
#[derive(Debug, Default)]
pub(super) struct Registry {
    streams: Mutex<HashMap<u32, Arc<Shared>>>,
    scratches: Mutex<Vec<Scratch>>,
}

impl Udx {
    /// Without sockets and streams.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a UDP socket, and starts its task in the running tokio runtime. A socket of IPv6's unspecified address carries
    /// IPv4 too. The datagrams that are no packets of known streams come out of the channel; when it is full or dropped,
    /// they are lost.
    ///
    /// The socket is closed when its last clone and the last stream that goes by it are gone.
    ///
    /// # Errors
    /// Those of the operating system, as when the port is taken.
    pub fn bind(&self, address: SocketAddr) -> io::Result<(Socket, mpsc::Receiver<Datagram>)> {
        Socket::bind(self.registry.clone(), address)
    }

    /// Makes a stream, with a number that no other stream here has. It can be written at once; what is written goes out when
    /// it is connected. What the peer sends is taken before.
    ///
    /// The channel tells of packets for this stream that came before it was connected, or by another socket than it is
    /// connected to: how a hole was punched from the other side. If it is dropped, such packets are dropped too.
    ///
    /// # Errors
    /// [`UdxError::Random`].
    pub fn create_stream(
        &self,
        options: &StreamOptions,
    ) -> Result<(UdxStream, mpsc::Receiver<Arrival>), UdxError> {
        let (sender, receiver) = mpsc::channel(ARRIVALS);
        let mut streams = self.registry.lock();
        let local_id = loop {
            let id = getrandom::u32().map_err(|source| UdxError::Random { source })?;
            // 0 stands for none at some places of the peers.
            if id != 0 && !streams.contains_key(&id) {
                break id;
            }
        };
        let config = Config {
            local_id,
            first_seq: Seq(options.first_seq),
            peers_first_seq: Seq(options.peers_first_seq),
            receive_window_bytes: options.receive_window_bytes,
            send_buffer_bytes: options.send_buffer_bytes,
            keep_alive: options.keep_alive,
        };
        let machine = Stream::new(&config, Instant::now());
        let shared = Arc::new(Shared::new(
            local_id,
            Arc::downgrade(&self.registry),
            machine,
            sender,
        ));
        streams.insert(local_id, shared.clone());
        drop(streams);
        Ok((UdxStream::new(shared), receiver))
    }

    /// How many streams there are, also those that are over and still answer a peer that missed the last packet.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.registry.lock().len()
    }

    /// Waits until every stream that was finished and dropped has brought the peer what was written, or is given up; a
    /// program that ends before loses it.
    pub async fn drained(&self) {
        loop {
            let draining = {
                let streams = self.registry.lock();
                streams.values().find(|shared| shared.is_draining()).cloned()
            };
            match draining {
                Some(shared) => shared.drained().await,
                None => return,
            }
            // The last answer is on its way out.
            tokio::task::yield_now().await;
        }
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Shared>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, local_id: u32) -> Option<Arc<Shared>> {
        self.lock().get(&local_id).cloned()
    }

    pub(super) fn remove(&self, local_id: u32) {
        let removed = self.lock().remove(&local_id);
        // Its last socket may go with it, outside of the lock.
        drop(removed);
    }

    /// Buffers for a while; to be given back.
    pub(super) fn scratch(&self) -> Scratch {
        let mut kept = self.scratches.lock().unwrap_or_else(PoisonError::into_inner);
        kept.pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, scratch: Scratch) {
        let mut kept = self.scratches.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_SCRATCHES {
            kept.push(scratch);
        }
    }
}
