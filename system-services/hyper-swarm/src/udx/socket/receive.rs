//! To which stream a packet belongs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use quinn_udp::RecvMeta;

use super::task::Task;
use super::{Arrival, Carrier, Datagram, Socket};
use crate::udx::packet::{self, HEADER_BYTES, Packet};
use crate::udx::shared::{Path, Shared, State};
use crate::udx::stream::CloseReason;

impl Task {
    /// Datagrams of one sender, each of `meta.stride` bytes but for the last.
    pub(super) fn take_group(&mut self, bytes: &mut [u8], meta: RecvMeta, now: Instant) {
        let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
        let stride = meta.stride.max(1);
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(shared) = self.find(&rest[..stride.min(rest.len())]) else {
                let (datagram, after) = rest.split_at_mut(stride.min(rest.len()));
                self.take_datagram(datagram, from);
                rest = after;
                continue;
            };
            let taken = self.take_run(&shared, rest, stride, from, now);
            rest = &mut rest[taken..];
        }
        if meta.len == 0 {
            self.take_datagram(&[], from);
        }
    }

    /// The stream that a datagram names, if it is a packet.
    fn find(&self, datagram: &[u8]) -> Option<Arc<Shared>> {
        let id = stream_id(datagram)?;
        self.carrier.registry.find(id)
    }

    /// As many datagrams off the front as are for the same stream. Says how many bytes they were.
    fn take_run(
        &mut self,
        shared: &Arc<Shared>,
        bytes: &mut [u8],
        stride: usize,
        from: SocketAddr,
        now: Instant,
    ) -> usize {
        let run: usize = bytes
            .chunks(stride)
            .take_while(|datagram| stream_id(datagram) == Some(shared.local_id))
            .map(<[u8]>::len)
            .sum();
        let bytes = &mut bytes[..run];
        let mut state = shared.lock();
        if !self.is_expected(&state, from) {
            return run;
        }
        if let Some(destination) = state.relay_to.clone() {
            self.note_relayed(&mut state, bytes, stride);
            drop(state);
            match destination.upgrade().map(|to| to.lock().path.clone()) {
                Some(Some(path)) => self.pass_on(bytes, stride, &path),
                // The other end has not come yet: this one sends again what is lost.
                Some(None) => {}
                None => shared.destroy(),
            }
            state = shared.lock();
        } else {
            for datagram in bytes.chunks(stride) {
                // What is no packet is nothing that a peer sent.
                let _ = state.machine.receive(datagram, now);
            }
        }
        let wakers = state.take_events();
        let socket = if state.remote_by(&self.carrier).is_none() {
            state.queue()
        } else {
            if !std::mem::replace(&mut state.is_queued, true) {
                self.touched.push_back(shared.clone());
            }
            None
        };
        drop(state);
        if let Some(socket) = socket {
            socket.serve(shared);
        }
        shared.wake(wakers);
        run
    }

    /// Whether packets by this socket are to be taken. Those of a stream that goes another way are told to whoever wants to
    /// know, and are taken only if somebody does.
    fn is_expected(&self, state: &State, from: SocketAddr) -> bool {
        if state.remote_by(&self.carrier).is_some() {
            return true;
        }
        if state.arrivals.is_closed() || from.port() == 0 {
            return false;
        }
        if let Some(guard) = self.guard.upgrade() {
            let socket = Socket { guard };
            // It is told of often enough.
            let _ = state.arrivals.try_send(Arrival { socket, from });
        }
        true
    }

    /// What a relay has to know of the packets that it passes on.
    fn note_relayed(&self, state: &mut State, bytes: &[u8], stride: usize) {
        for datagram in bytes.chunks(stride) {
            if let Ok(packet) = Packet::decode(datagram) {
                state.machine.note_relayed(&packet.header);
            }
        }
    }

    fn pass_on(&self, bytes: &mut [u8], stride: usize, path: &Path) {
        for datagram in bytes.chunks_mut(stride) {
            // The run consists of packets.
            let _ = packet::readdress(datagram, path.remote_id);
        }
        let carrier = &path.socket.guard.carrier;
        let most = stride * carrier.udp.max_gso_segments().max(1);
        for part in bytes.chunks(most) {
            if let Err(error) = carrier.try_send(part, Some(stride), path.remote) {
                // The ends send again what is lost.
                tracing::trace!(to = %path.remote, %error, "packets for a relayed stream are lost");
            }
        }
    }

    fn take_datagram(&self, datagram: &[u8], from: SocketAddr) {
        let bytes = datagram.to_vec();
        if self.datagrams.try_send(Datagram { bytes, from }).is_err() {
            tracing::trace!(%from, "a datagram is lost: too many wait to be taken");
        }
    }
}

/// The stream that a packet is for; `None` if it is no packet.
fn stream_id(datagram: &[u8]) -> Option<u32> {
    let header = datagram.first_chunk::<HEADER_BYTES>()?;
    let [255, 1, _, _, a, b, c, d, ..] = *header else {
        return None;
    };
    Some(u32::from_le_bytes([a, b, c, d]))
}

impl State {
    /// The peer's address, if the stream goes by this socket.
    pub(super) fn remote_by(&self, carrier: &Arc<Carrier>) -> Option<SocketAddr> {
        let path = self.path.as_ref()?;
        path.socket.is_of(carrier).then_some(path.remote)
    }
}

/// Ends the streams whose packets were passed on to `state`'s peer.
pub(super) fn end_relayed(state: &mut State) -> Vec<Arc<Shared>> {
    match state.outcome {
        Some(CloseReason::Finished) | None => Vec::new(),
        Some(_) => state
            .relayed
            .drain(..)
            .filter_map(|source| source.upgrade())
            .collect(),
    }
}
