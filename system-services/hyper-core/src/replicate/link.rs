//! One connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::answer::{answer, can_upgrade, with_missing_levels};
use super::{Network, Wake};
use crate::crypto::{self, Hash};
use crate::key;
use crate::link::Link;
use crate::live::Live;
use crate::messages::{MalformedMessage, Message, Open, PROTOCOL, PROTOCOL_ALIASES};
use crate::mux::{ChannelId, ChannelSpec, Event, Input, Mux, MuxError};
use crate::replicator::{Action, Asked, Fault, PeerId};
use crate::store::{Snapshot, StoreError};

/// Bytes that wait to be sent: with so many, no further request is answered.
const FULL_OUTPUT_BYTES: usize = 256 << 10;

/// Answers of one core at a time, before it is another one's turn.
const TURN_BYTES: usize = 128 << 10;

/// Bytes that wait to be sent, with which a peer is dropped: it does not read, and there is ever more to say. More than
/// [`FULL_OUTPUT_BYTES`] and the largest answer.
const MOST_OUTPUT_BYTES: usize = 32 << 20;

/// A peer may take so long to open its end of a channel before nobody waits for it.
const OPENING: Duration = Duration::from_secs(5);

/// Cores that one peer may open.
const MOST_CHANNELS: usize = 4096;

/// How often time is told to the cores.
const TICK: Duration = Duration::from_secs(1);

/// Why a connection was ended: its peer is to blame, or the store.
#[derive(Debug, thiserror::Error)]
#[error("the connection to peer {} is ended", key::to_hex(peer))]
pub struct LinkError {
    /// The peer's key.
    pub peer: Hash,
    /// Why.
    #[source]
    pub source: LinkFault,
}

/// See [`LinkError`].
#[derive(Debug, thiserror::Error)]
pub enum LinkFault {
    /// It breaks the protocol of channels.
    #[error(transparent)]
    Mux(#[from] MuxError),
    /// It sent what is no message.
    #[error("core {}", key::to_hex(core))]
    Malformed {
        /// The core's key.
        core: Hash,
        /// What is wrong.
        #[source]
        source: MalformedMessage,
    },
    /// It does not read.
    #[error("it does not read: {bytes} bytes wait to be sent")]
    TakesNothing {
        /// What waits.
        bytes: usize,
    },
    /// It lies, floods, or asks the impossible.
    #[error("core {}", key::to_hex(core))]
    Core {
        /// The core's key.
        core: Hash,
        /// What it did.
        #[source]
        source: Fault,
    },
    /// The store cannot be read.
    #[error("core {}", key::to_hex(core))]
    Store {
        /// The core's key.
        core: Hash,
        /// What is wrong.
        #[source]
        source: StoreError,
    },
}

/// A core on the connection.
struct Channel {
    live: Arc<Live>,
    /// As soon as both ends are open.
    peer: Option<PeerId>,
    /// It is among those that wait for answers.
    hungry: bool,
    /// Since when somebody here waits for the peer to open its end.
    awaited: Option<Instant>,
}

struct Connection {
    network: Arc<Network>,
    remote_key: Hash,
    handshake_hash: [u8; 64],
    is_initiator: bool,
    mux: Mux,
    channels: HashMap<ChannelId, Channel>,
    /// Whose requests are answered in turn.
    hungry: VecDeque<ChannelId>,
    wake: mpsc::UnboundedSender<Wake>,
    /// Nothing is read until a store has room.
    waits: bool,
}

/// Replicates until the connection ends.
pub(super) async fn run(network: Arc<Network>, link: Link) -> Result<(), LinkError> {
    let (wake, woken) = mpsc::unbounded_channel();
    let number = network.add_link(wake.clone());
    let mut mux = Mux::default();
    for protocol in std::iter::once(PROTOCOL).chain(PROTOCOL_ALIASES) {
        mux.pair(protocol, b"");
    }
    let mut connection = Connection {
        network,
        remote_key: link.remote_public_key,
        handshake_hash: link.handshake_hash,
        is_initiator: link.is_initiator,
        mux,
        channels: HashMap::new(),
        hungry: VecDeque::new(),
        wake,
        waits: false,
    };
    let ended = connection.run(link, woken).await;
    connection.network.remove_link(number);
    for channel in connection.channels.values() {
        channel.leave();
    }
    ended.map_err(|source| {
        let error = LinkError {
            peer: connection.remote_key,
            source,
        };
        tracing::warn!(error = with_sources(&error), "a connection is ended");
        error
    })
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

impl Channel {
    /// Says whether the core is to be opened again.
    fn leave(&self) -> bool {
        match self.peer {
            Some(peer) => self.live.remove_peer(peer),
            None => {
                if self.awaited.is_some() {
                    self.live.opening(false);
                }
                false
            }
        }
    }

    fn tick(&mut self) {
        if self.awaited.take_if(|since| since.elapsed() >= OPENING).is_some() {
            self.live.opening(false);
        }
        self.live.tick();
    }

    fn fault(&self, source: Fault) -> LinkFault {
        LinkFault::Core {
            core: *self.live.core().key(),
            source,
        }
    }
}

impl Connection {
    async fn run(
        &mut self,
        mut link: Link,
        mut woken: mpsc::UnboundedReceiver<Wake>,
    ) -> Result<(), LinkFault> {
        self.mux.cork();
        for live in self.network.wanted() {
            self.open(live);
        }
        self.mux.uncork();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut frame = None;
        loop {
            self.answer_some()?;
            let bytes = self.mux.queued_bytes();
            if bytes > MOST_OUTPUT_BYTES {
                return Err(LinkFault::TakesNothing { bytes });
            }
            frame = frame.or_else(|| self.mux.poll_frame());
            let reads = !self.waits && self.mux.wants_input();
            tokio::select! {
                permit = link.outgoing.reserve(), if frame.is_some() => match (permit, frame.take()) {
                    (Ok(permit), Some(frame)) => permit.send(frame),
                    _ => return Ok(()),
                },
                input = link.incoming.recv(), if reads => match input {
                    Some(input) => self.read(&input)?,
                    None => return Ok(()),
                },
                Some(wake) = woken.recv() => {
                    self.mux.cork();
                    let mut next = Some(wake);
                    while let Some(wake) = next {
                        self.woken(wake)?;
                        next = woken.try_recv().ok();
                    }
                    self.mux.uncork();
                },
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn tick(&mut self) {
        self.channels.values_mut().for_each(Channel::tick);
        // The core that was waited for may be closed by now.
        let behind = |channel: &Channel| channel.peer.is_some_and(|peer| channel.live.waits_for_room(peer));
        self.waits = self.waits && self.channels.values().any(behind);
    }

    /// Opens our end of a core's channel, unless the core is frozen.
    fn open(&mut self, live: Arc<Live>) {
        if live.conflict().is_some() {
            return;
        }
        let core = live.core();
        let open = Open {
            seeks: true,
            capability: crypto::capability(self.is_initiator, core.key(), &self.handshake_hash),
        };
        let id = core.discovery_key();
        let spec = ChannelSpec {
            aliases: &PROTOCOL_ALIASES,
            id: &id,
            ..ChannelSpec::new(PROTOCOL)
        };
        // One that is open already stays.
        if let Ok(channel) = self.mux.open(spec, &open.encode()) {
            live.opening(true);
            let entry = Channel {
                live,
                peer: None,
                hungry: false,
                awaited: Some(Instant::now()),
            };
            self.channels.insert(channel, entry);
        }
    }

    fn woken(&mut self, wake: Wake) -> Result<(), LinkFault> {
        match wake {
            Wake::Ready(channel) => self.act(channel),
            Wake::Open(live) => {
                self.open(live);
                Ok(())
            }
            Wake::Room => {
                self.waits = false;
                Ok(())
            }
        }
    }

    /// Takes a frame of the peer.
    fn read(&mut self, frame: &[u8]) -> Result<(), LinkFault> {
        let mut input = Input::new(frame);
        let many = input.has_many();
        if many {
            self.mux.cork();
        }
        loop {
            let event = self.mux.next_event(&mut input)?;
            match event {
                None => break,
                Some(Event::Requested { protocol, id }) => {
                    let (protocol, id) = (protocol.to_owned(), id.to_vec());
                    self.requested(&protocol, &id);
                }
                Some(Event::Opened { channel, handshake }) => self.opened(channel, &handshake)?,
                Some(Event::Message {
                    channel,
                    kind,
                    payload,
                }) => self.message(channel, kind, &payload)?,
                Some(Event::Closed { channel, .. }) => self.closed(channel),
            }
        }
        if many {
            self.mux.uncork();
        }
        Ok(())
    }

    fn requested(&mut self, protocol: &str, id: &[u8]) {
        let found = match <&Hash>::try_from(id) {
            Ok(key) if self.channels.len() < MOST_CHANNELS => self.network.find(key),
            _ => Ok(None),
        };
        match found {
            Ok(Some(live)) => self.open(live),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a core that a peer asks for cannot be opened"),
        }
        // Whoever was answered waits no longer: only the others are refused.
        self.mux.reject(protocol, id);
    }

    fn opened(&mut self, channel: ChannelId, handshake: &[u8]) -> Result<(), LinkFault> {
        let Some(entry) = self.channels.get_mut(&channel) else {
            return Ok(());
        };
        let core = *entry.live.core().key();
        let open = Open::decode(handshake).map_err(|source| LinkFault::Malformed { core, source })?;
        let expected = crypto::capability(!self.is_initiator, &core, &self.handshake_hash);
        if !bool::from(open.capability.ct_eq(&expected)) {
            return Err(entry.fault(Fault::Capability));
        }
        let added = entry.live.add_peer(self.remote_key, self.wake.clone(), channel);
        let peer = added.map_err(|source| store_fault(&entry.live, source))?;
        entry.peer = Some(peer);
        if entry.awaited.take().is_some() {
            entry.live.opening(false);
        }
        Ok(())
    }

    fn closed(&mut self, channel: ChannelId) {
        if let Some(entry) = self.channels.remove(&channel)
            && entry.leave()
        {
            self.open(entry.live);
        }
    }

    fn message(&mut self, channel: ChannelId, kind: u64, payload: &[u8]) -> Result<(), LinkFault> {
        let Some(entry) = self.channels.get_mut(&channel) else {
            return Ok(());
        };
        let Some(peer) = entry.peer else { return Ok(()) };
        let core = *entry.live.core().key();
        let decoded =
            Message::decode(kind, payload).map_err(|source| LinkFault::Malformed { core, source })?;
        let Some(message) = decoded else { return Ok(()) };
        let asks = matches!(message, Message::Request(_) | Message::Want(_));
        let gives = matches!(message, Message::Data(_));
        let taken = entry.live.receive(peer, message);
        taken.map_err(|source| entry.fault(source))?;
        if gives && entry.live.waits_for_room(peer) {
            self.waits = true;
        }
        if asks {
            self.is_hungry(channel);
        }
        Ok(())
    }

    /// There is something to be sent as fast as the peer takes it.
    fn is_hungry(&mut self, channel: ChannelId) {
        if let Some(entry) = self.channels.get_mut(&channel)
            && !entry.hungry
        {
            entry.hungry = true;
            self.hungry.push_back(channel);
        }
    }

    /// Does what the replicator of a channel's core says.
    fn act(&mut self, channel: ChannelId) -> Result<(), LinkFault> {
        let Some(entry) = self.channels.get(&channel) else {
            return Ok(());
        };
        let Some(peer) = entry.peer else { return Ok(()) };
        let live = Arc::clone(&entry.live);
        let mut snapshot = None;
        for action in live.take_actions(peer) {
            match action {
                Action::Send(message) => self.send(channel, &message),
                Action::Ask(mut request) => {
                    if request.block.is_some() {
                        let snapshot = snapshot_of(&live, &mut snapshot)?;
                        let filled = with_missing_levels(snapshot, &mut request);
                        filled.map_err(|source| store_fault(&live, source))?;
                    }
                    self.send(channel, &Message::Request(request));
                }
                Action::Check(check) => {
                    let can = can_upgrade(snapshot_of(&live, &mut snapshot)?, check);
                    live.checked(peer, check, can);
                }
                Action::Show(request) => {
                    let answer = answer(live.core(), snapshot_of(&live, &mut snapshot)?, &request);
                    self.send(channel, &answer.message);
                }
                Action::Say => self.is_hungry(channel),
                Action::Close => {
                    self.mux.close(channel);
                    self.closed(channel);
                    return Ok(());
                }
                Action::Drop(source) => {
                    let core = *live.core().key();
                    return Err(LinkFault::Core { core, source });
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, channel: ChannelId, message: &Message) {
        // A channel that is closed by now needs nothing.
        let _ = self
            .mux
            .send_pieces(channel, message.kind(), &message.encode_in_pieces().pieces());
    }

    /// Answers requests and sends messages of extensions, cores in turn, until enough waits to be sent.
    fn answer_some(&mut self) -> Result<(), LinkFault> {
        if self.hungry.is_empty() || self.mux.queued_bytes() >= FULL_OUTPUT_BYTES {
            return Ok(());
        }
        self.mux.cork();
        while self.mux.queued_bytes() < FULL_OUTPUT_BYTES {
            let Some(channel) = self.hungry.pop_front() else {
                break;
            };
            if self.answer_turn(channel)? {
                self.hungry.push_back(channel);
            } else if let Some(entry) = self.channels.get_mut(&channel) {
                entry.hungry = false;
            }
        }
        self.mux.uncork();
        Ok(())
    }

    /// Answers some requests for one core. Says whether there are more.
    fn answer_turn(&mut self, channel: ChannelId) -> Result<bool, LinkFault> {
        let Some(entry) = self.channels.get(&channel) else {
            return Ok(false);
        };
        let Some(peer) = entry.peer else { return Ok(false) };
        let live = Arc::clone(&entry.live);
        let mut snapshot = None;
        let enough = self.mux.queued_bytes() + TURN_BYTES;
        while let Some(message) = live.next_said(peer) {
            self.send(channel, &message);
            if self.mux.queued_bytes() >= enough {
                return Ok(true);
            }
        }
        loop {
            let (asked, more) = live.next_asked(peer);
            match asked {
                None => return Ok(false),
                Some(Asked::Have(want)) => {
                    if let Some(message) = live.answer_want(want) {
                        self.send(channel, &message);
                    }
                }
                Some(Asked::Proof(request)) => {
                    let snapshot = snapshot_of(&live, &mut snapshot)?;
                    let answer = answer(live.core(), snapshot, &request);
                    self.send(channel, &answer.message);
                    if answer.invalid {
                        let core = *live.core().key();
                        let noted = live.was_invalid(peer);
                        noted.map_err(|source| LinkFault::Core { core, source })?;
                    }
                }
            }
            if !more || self.mux.queued_bytes() >= enough {
                return Ok(more);
            }
        }
    }
}

fn store_fault(live: &Live, source: StoreError) -> LinkFault {
    let core = *live.core().key();
    LinkFault::Store { core, source }
}

/// One snapshot for all that is done at a time.
fn snapshot_of<'a>(live: &Live, slot: &'a mut Option<Snapshot>) -> Result<&'a Snapshot, LinkFault> {
    match slot {
        Some(snapshot) => Ok(snapshot),
        None => {
            let taken = live.core().snapshot();
            Ok(slot.insert(taken.map_err(|source| store_fault(live, source))?))
        }
    }
}
