//! A relay: passes packets between peers that meet at it, without being able to read them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_core::link::Link;
use hyper_core::mux::{ChannelId, ChannelSpec, Event, Input, Mux};
use tokio::sync::mpsc;

use super::messages::{PROTOCOL, Pair, RelayMessage, Token};
use super::pairings::{Cancelled, ClientId, End, Pairings};
use crate::dht::Dht;
use crate::dht::connect::{PeerConnection, RawStream};
use crate::udx::StreamHandle;

/// So long both ends of a pair have to send their first packets.
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers that wait for a client that does not take them; with more it is dropped.
const WAITING_ANSWERS: usize = 256;

/// A relay on a node. Cheap to clone. Give it the connections of a server ([`serve`](Self::serve)).
#[derive(Clone)]
pub struct Relay {
    dht: Dht,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    next_client: ClientId,
    pairings: Pairings,
    clients: HashMap<ClientId, mpsc::Sender<Pair>>,
    /// The streams of those who have met.
    streams: HashMap<Token, [StreamHandle; 2]>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs = self.lock().streams.len();
        f.debug_struct("Relay")
            .field("pairs", &pairs)
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay that nobody has come to.
    #[must_use]
    pub fn new(dht: &Dht) -> Self {
        Self {
            dht: dht.clone(),
            state: Arc::default(),
        }
    }

    /// How many pairs are relayed now.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.lock().streams.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one client until it goes.
    pub async fn serve(&self, connection: PeerConnection) {
        let (answers, waiting) = mpsc::channel(WAITING_ANSWERS);
        let client = {
            let mut state = self.lock();
            state.next_client += 1;
            let client = state.next_client;
            state.clients.insert(client, answers);
            client
        };
        // Also when this future is dropped, the client is gone.
        let _leaving = Leaving { relay: self, client };
        let mut session = Session {
            relay: self,
            client,
            mux: Mux::default(),
            channel: None,
        };
        session.run(connection.connection.link, waiting).await;
    }

    fn pair(&self, client: ClientId, pair: &Pair) {
        let mut state = self.lock();
        let Some(ends) = state.pairings.pair(client, pair) else {
            return;
        };
        if self.bring_together(&mut state, pair.token, ends).is_none() {
            state.pairings.part(&pair.token);
        }
    }

    /// Makes a stream for each end, each passing on to the other, and tells both.
    fn bring_together(&self, state: &mut State, token: Token, ends: [End; 2]) -> Option<()> {
        let streams = [RawStream::new(&self.dht).ok()?, RawStream::new(&self.dht).ok()?];
        let handles = [streams[0].handle(), streams[1].handle()];
        handles[0].relay_to(&handles[1]).ok()?;
        handles[1].relay_to(&handles[0]).ok()?;
        for (end, handle) in ends.iter().zip(&handles) {
            let answer = Pair {
                is_initiator: end.is_initiator,
                token,
                stream_id: handle.local_id(),
                seq: 0,
            };
            state.clients.get(&end.client)?.try_send(answer).ok()?;
        }
        state.streams.insert(token, handles);
        let relay = self.clone();
        tokio::spawn(async move {
            relayed(streams, ends).await;
            relay.part(&token);
        });
        Some(())
    }

    fn part(&self, token: &Token) {
        let mut state = self.lock();
        state.pairings.part(token);
        let streams = state.streams.remove(token);
        drop(state);
        streams.iter().flatten().for_each(StreamHandle::destroy);
    }

    fn unpair(&self, client: ClientId, token: &Token) {
        let cancelled = self.lock().pairings.unpair(client, token);
        if cancelled == Cancelled::Met {
            self.part(token);
        }
    }
}

struct Leaving<'a> {
    relay: &'a Relay,
    client: ClientId,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.relay.lock();
        state.clients.remove(&self.client);
        let met = state.pairings.leave(self.client);
        drop(state);
        met.iter().for_each(|token| self.relay.part(token));
    }
}

/// Connects each stream to where its end's first packet comes from, and waits for the end of either.
async fn relayed(streams: [RawStream; 2], ends: [End; 2]) {
    let [mut first, mut second] = streams;
    let handles = [first.handle(), second.handle()];
    let both = async { tokio::join!(first.arrive(ends[0].stream_id), second.arrive(ends[1].stream_id)) };
    if let Ok((true, true)) = tokio::time::timeout(PATIENCE, both).await {
        tokio::select! {
            _ = handles[0].closed() => {}
            _ = handles[1].closed() => {}
        }
    }
}

struct Session<'a> {
    relay: &'a Relay,
    client: ClientId,
    mux: Mux,
    channel: Option<ChannelId>,
}

impl Session<'_> {
    async fn run(&mut self, mut link: Link, mut answers: mpsc::Receiver<Pair>) {
        self.mux.pair(PROTOCOL, &link.remote_public_key);
        loop {
            while let Some(frame) = self.mux.poll_frame() {
                if link.outgoing.send(frame).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                frame = link.incoming.recv() => match frame {
                    Some(frame) if self.take(&frame) => {}
                    _ => return,
                },
                Some(answer) = answers.recv() => {
                    let message = RelayMessage::Pair(answer);
                    if let Some(channel) = self.channel {
                        // A channel that was closed meanwhile needs no answer.
                        let _ = self.mux.send(channel, message.kind(), &message.encode());
                    }
                }
            }
        }
    }

    /// Takes a frame; `false`: the client breaks the protocol.
    fn take(&mut self, frame: &[u8]) -> bool {
        let mut input = Input::new(frame);
        loop {
            match self.mux.next_event(&mut input) {
                Ok(Some(Event::Requested { protocol, id })) => {
                    let (protocol, id) = (protocol.to_owned(), id.to_vec());
                    let spec = ChannelSpec {
                        id: &id,
                        ..ChannelSpec::new(&protocol)
                    };
                    match self.mux.open(spec, b"") {
                        Ok(channel) => self.channel = Some(channel),
                        Err(_) => self.mux.reject(&protocol, &id),
                    }
                }
                Ok(Some(Event::Message { kind, payload, .. })) => {
                    match RelayMessage::decode(kind, &payload) {
                        Ok(Some(RelayMessage::Pair(pair))) => self.relay.pair(self.client, &pair),
                        Ok(Some(RelayMessage::Unpair { token })) => self.relay.unpair(self.client, &token),
                        Ok(None) => {}
                        Err(_) => return false,
                    }
                }
                Ok(Some(Event::Closed { .. })) => return false,
                Ok(Some(Event::Opened { .. })) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}
