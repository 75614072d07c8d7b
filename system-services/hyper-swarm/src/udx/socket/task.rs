//! The task of a socket: receives, lets streams answer, sends.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Instant;

use tokio::io::Interest;
use tokio::sync::mpsc;

use super::batch::{Batch, Scratch};
use super::receive::end_relayed;
use super::{Carrier, Datagram, Guard};
use crate::udx::shared::Shared;

/// System calls that receive, before streams may answer.
const RECEIVES: usize = 4;
/// Batches that are sent before something is received again.
const BATCHES: usize = 16;

pub(super) struct Task {
    pub(super) carrier: Arc<Carrier>,
    pub(super) guard: Weak<Guard>,
    pub(super) datagrams: mpsc::Sender<Datagram>,
    /// Streams that may have something to send, in the order of their turns.
    pub(super) touched: VecDeque<Arc<Shared>>,
    timers: BTreeMap<(Instant, u32), Arc<Shared>>,
    /// What the kernel had no room for.
    unsent: VecDeque<(SocketAddr, Batch)>,
}

impl Task {
    pub(super) fn new(carrier: Arc<Carrier>, guard: Weak<Guard>, datagrams: mpsc::Sender<Datagram>) -> Self {
        Self {
            carrier,
            guard,
            datagrams,
            touched: VecDeque::new(),
            timers: BTreeMap::new(),
            unsent: VecDeque::new(),
        }
    }

    /// Until nobody has the socket any more.
    pub(super) async fn run(mut self) {
        let carrier = self.carrier.clone();
        let mut is_closing = false;
        while !is_closing || !self.unsent.is_empty() {
            let deadline = self.timers.first_key_value().map(|((at, _), _)| *at);
            let may_go_on = !self.touched.is_empty() && self.unsent.is_empty();
            tokio::select! {
                _ = carrier.io.readable() => {}
                _ = carrier.io.writable(), if !self.unsent.is_empty() => {}
                () = carrier.queued.notified() => {}
                () = until(deadline) => {}
                () = tokio::task::yield_now(), if may_go_on => {}
                () = carrier.closing.notified() => is_closing = true,
            }
            let mut scratch = carrier.registry.scratch();
            self.turn(&mut scratch);
            carrier.registry.give_back(scratch);
        }
        tracing::debug!(address = %carrier.local, "UDP socket closed");
    }

    fn turn(&mut self, scratch: &mut Scratch) {
        let now = Instant::now();
        self.receive(scratch, now);
        let mut queue = self.carrier.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.touched.extend(queue.drain(..));
        drop(queue);
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let shared = entry.remove();
            shared.lock().armed = None;
            self.touched.push_back(shared);
        }
        self.send_rest();
        for _ in 0..BATCHES {
            if !self.unsent.is_empty() {
                break;
            }
            let Some(shared) = self.touched.pop_front() else {
                break;
            };
            self.serve(shared, &mut scratch.batch);
        }
    }

    fn receive(&mut self, scratch: &mut Scratch, now: Instant) {
        for _ in 0..RECEIVES {
            let received = &mut scratch.received;
            let receive = || received.receive(&self.carrier);
            let carrier = self.carrier.clone();
            match carrier.io.try_io(Interest::READABLE, receive) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::debug!(address = %carrier.local, %error, "a UDP socket failed to receive");
                    return;
                }
            }
            for (bytes, meta) in scratch.received.groups() {
                self.take_group(bytes, meta, now);
            }
        }
    }

    /// Sends a batch of a stream's packets, and sees when it is to be looked at again.
    fn serve(&mut self, shared: Arc<Shared>, batch: &mut Batch) {
        let max_segments = self.carrier.udp.max_gso_segments();
        batch.clear();
        let mut state = shared.lock();
        let Some(remote) = state.remote_by(&self.carrier) else {
            return;
        };
        state.is_queued = false;
        let now = Instant::now();
        state.machine.handle_timeout(now);
        let mut is_done = false;
        while !is_done && !batch.is_full() {
            is_done = !state.machine.poll_transmit(now, &mut batch.bytes);
            if !is_done {
                batch.close_packet(max_segments);
            }
        }
        let wakers = state.take_events();
        self.arm(&shared, &mut state);
        if !is_done {
            state.is_queued = true;
        }
        let relayed = end_relayed(&mut state);
        let is_gone = state.machine.is_gone();
        // A handle on a stream that is over does not keep the socket.
        let left = if is_gone { state.path.take() } else { None };
        drop(state);
        shared.wake(wakers);
        relayed.iter().for_each(|source| source.destroy());
        self.send(remote, batch);
        if is_gone {
            drop(left);
            shared.forget();
        } else if !is_done {
            self.touched.push_back(shared);
        }
    }

    /// Sets the stream's timer.
    fn arm(&mut self, shared: &Arc<Shared>, state: &mut crate::udx::shared::State) {
        let next = state.machine.poll_timeout();
        if state.armed == next {
            return;
        }
        if let Some(at) = state.armed.take() {
            self.timers.remove(&(at, shared.local_id));
        }
        if let Some(at) = next {
            state.armed = Some(at);
            self.timers.insert((at, shared.local_id), shared.clone());
        }
    }

    fn send_rest(&mut self) {
        while let Some((to, mut batch)) = self.unsent.pop_front() {
            if !self.send_groups(to, &mut batch) {
                self.unsent.push_front((to, batch));
                return;
            }
        }
    }

    fn send(&mut self, to: SocketAddr, batch: &mut Batch) {
        if !self.send_groups(to, batch) {
            self.unsent.push_back((to, std::mem::take(batch)));
        }
    }

    /// `false`: the kernel has no room at present, and what is left is in the batch.
    fn send_groups(&self, to: SocketAddr, batch: &mut Batch) -> bool {
        let mut sent = 0;
        for group in &batch.groups {
            let bytes = &batch.bytes[group.range.clone()];
            match self.carrier.try_send(bytes, Some(group.segment_bytes), to) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if group.range.len() > group.segment_bytes => {
                    tracing::debug!(%to, %error, "packets could not be sent together");
                    self.send_singly(to, bytes, group.segment_bytes);
                }
                // A packet that cannot be sent is lost, as any other may be: a probe of the path by its length, for one.
                Err(error) => tracing::trace!(%to, %error, "a packet could not be sent"),
            }
            sent += 1;
        }
        batch.groups.drain(..sent);
        batch.groups.is_empty()
    }

    fn send_singly(&self, to: SocketAddr, bytes: &[u8], segment_bytes: usize) {
        for packet in bytes.chunks(segment_bytes) {
            if let Err(error) = self.carrier.try_send(packet, None, to) {
                tracing::trace!(%to, %error, "a packet could not be sent");
            }
        }
    }
}

/// Waits until `deadline`, or for ever.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
