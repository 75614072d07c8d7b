//! Many channels over one stream of frames, wire-compatible with protomux 3.12.
//!
//! A channel has a protocol and an id within it. It is open when both ends have opened it; which end was first does
//! not matter. Messages have
//! a number and bytes; what they mean is the protocol's affair ([`crate::messages`] for a core).
//!
//! [`Mux`] does no I/O: give it each frame of the peer as an [`Input`], take the events out of it, and send what
//! [`Mux::poll_frame`] has.
//!
//! ```
//! use hyper_core::mux::{ChannelSpec, Event, Input, Mux};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut here, mut there) = (Mux::default(), Mux::default());
//! let channel = here.open(ChannelSpec::new("chat"), b"hello")?;
//! here.send(channel, 0, b"how are you?")?;
//!
//! there.pair("chat", b"");
//! while let Some(frame) = here.poll_frame() {
//!     let mut input = Input::new(&frame);
//!     while let Some(event) = there.next_event(&mut input)? {
//!         match event {
//!             Event::Requested { protocol, .. } => drop(there.open(ChannelSpec::new(protocol), b"")?),
//!             Event::Opened { handshake, .. } => assert_eq!(&*handshake, b"hello"),
//!             Event::Message { payload, .. } => assert_eq!(&*payload, b"how are you?"),
//!             Event::Closed { .. } => {}
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What a peer can make us keep is limited ([`Limits`]): messages are handed on without a copy, and only those for a
//! channel that we have not
//! yet accepted are kept. An error means that the peer breaks the protocol: close the connection.

mod input;
mod output;
mod table;
#[cfg(test)]
mod tests;
mod types;

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};

pub use input::Input;
pub use types::{ChannelId, ChannelSpec, Event, Limits, MuxError, OpenError, SendError};

use crate::messages::codec::{Reader, put_bytes, put_uint};
use input::{CONTROL, Packet};
use output::{FRAME_OVERHEAD_BYTES, Output};
use table::{Answered, Buffered, Name, Remote, Table, Waiting};

/// The longest frame: what the secret stream below can carry in one message (2^24 - 1, less its 17 bytes).
pub const MAX_FRAME_BYTES: usize = (1 << 24) - 1 - 17;

/// The longest payload of one message.
pub const MAX_PAYLOAD_BYTES: usize = MAX_FRAME_BYTES - FRAME_OVERHEAD_BYTES;

/// The longest name of a protocol and the longest id, in bytes, in both directions. The peer knows no limit; real
/// ones have some twenty and 32.
pub const MAX_NAME_BYTES: usize = 256;

/// Control messages: 0 is a batch, see `input`.
const OPEN: u64 = 1;
const REJECT: u64 = 2;
const CLOSE: u64 = 3;

/// What a kept message costs beside its bytes.
const BUFFERED_OVERHEAD_BYTES: usize = 64;

/// One end of a connection with many channels.
#[derive(Debug, Default)]
pub struct Mux {
    limits: Limits,
    pairs: HashSet<Name>,
    table: Table,
    output: Output,
    /// Channels of the peer that were accepted, with what had come for them.
    accepted: VecDeque<Accepted>,
    waiting_channels: usize,
    buffered_bytes: usize,
    rejections: usize,
    failed: Option<MuxError>,
}

#[derive(Debug)]
struct Accepted {
    channel: ChannelId,
    /// Taken when the channel's opening has been told.
    handshake: Option<Box<[u8]>>,
    messages: VecDeque<Buffered>,
    closed: bool,
}

impl Mux {
    /// With other limits than the usual ones.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Lets the peer ask for channels of this protocol and id; with an empty id, for any id of it. All others are
    /// rejected at once.
    pub fn pair(&mut self, protocol: &str, id: &[u8]) {
        self.pairs.insert(Name::new(protocol, id));
    }

    /// Takes [`Mux::pair`] back.
    pub fn unpair(&mut self, protocol: &str, id: &[u8]) {
        self.pairs.remove(&Name::new(protocol, id));
    }

    /// Opens our end of a channel. If the peer waits for it, the next event is [`Event::Opened`].
    ///
    /// Messages may be sent at once; the peer keeps a few of them until it opens its end, or drops them if it rejects.
    pub fn open(&mut self, spec: ChannelSpec<'_>, handshake: &[u8]) -> Result<ChannelId, OpenError> {
        let protocols = std::iter::once(spec.protocol).chain(spec.aliases.iter().copied());
        let long = |name: &[u8]| name.len() > MAX_NAME_BYTES;
        if protocols.clone().any(|p| long(p.as_bytes())) || long(spec.id) {
            return Err(OpenError::TooLong);
        }
        if handshake.len() > MAX_PAYLOAD_BYTES / 2 {
            return Err(OpenError::TooLong);
        }
        let names: Vec<_> = protocols.map(|protocol| Name::new(protocol, spec.id)).collect();
        if spec.unique && names.first().is_some_and(|name| self.table.is_live(name)) {
            return Err(OpenError::AlreadyOpen);
        }
        let (channel, local, waiting) = self.table.open(names);
        if let Some(waiting) = waiting {
            self.waiting_channels -= 1;
            self.accepted.push_back(Accepted {
                channel,
                handshake: Some(waiting.handshake),
                messages: waiting.messages,
                closed: waiting.closed,
            });
        }
        let mut head = Vec::new();
        put_uint(&mut head, local);
        put_bytes(&mut head, spec.protocol.as_bytes());
        put_bytes(&mut head, spec.id);
        self.output.push(CONTROL, OPEN, &[&head, handshake]);
        Ok(channel)
    }

    /// A channel of this name is open on our end.
    pub fn is_open(&self, protocol: &str, id: &[u8]) -> bool {
        self.table.is_live(&Name::new(protocol, id))
    }

    /// The channels that are open on our end, in no order.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> {
        self.table.channels()
    }

    /// Refuses all channels of this name that the peer has asked for.
    pub fn reject(&mut self, protocol: &str, id: &[u8]) {
        let name = Name::new(protocol, id);
        while let Some((remote, waiting)) = self.table.pop_incoming(&name) {
            self.waiting_channels -= 1;
            self.buffered_bytes -= buffered_bytes(&waiting.handshake, &waiting.messages);
            self.send_reject(remote);
        }
    }

    /// Queues a message.
    pub fn send(&mut self, channel: ChannelId, kind: u64, payload: &[u8]) -> Result<(), SendError> {
        self.send_pieces(channel, kind, &[payload])
    }

    /// Queues a message whose payload comes in pieces.
    pub fn send_pieces(&mut self, channel: ChannelId, kind: u64, payload: &[&[u8]]) -> Result<(), SendError> {
        let local = self.table.channel(channel).ok_or(SendError::Closed)?.local;
        let bytes = payload
            .iter()
            .fold(0usize, |bytes, piece| bytes.saturating_add(piece.len()));
        if bytes > MAX_PAYLOAD_BYTES {
            return Err(SendError::TooLong);
        }
        self.output.push(local, kind, payload);
        Ok(())
    }

    /// Closes a channel; there are no more events of it. Closing what is closed does nothing.
    pub fn close(&mut self, channel: ChannelId) {
        if let Some(local) = self.table.close(channel) {
            let mut payload = Vec::new();
            put_uint(&mut payload, local);
            self.output.push(CONTROL, CLOSE, &[&payload]);
        }
    }

    /// From now on messages are gathered, until as many [`Mux::uncork`] have come; then they are sent as one frame.
    pub fn cork(&mut self) {
        self.output.cork();
    }

    /// Ends a [`Mux::cork`].
    pub fn uncork(&mut self) {
        self.output.uncork();
    }

    /// The next frame for the peer.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        let frame = self.output.pop();
        if self.output.bytes() == 0 {
            self.rejections = 0;
        }
        frame
    }

    /// Bytes that wait to be sent, corked ones included: while there are many, make no more.
    pub fn queued_bytes(&self) -> usize {
        self.output.bytes()
    }

    /// `false`: the peer is ahead of what was accepted; read no further frames until [`Event::Requested`] has been
    /// answered.
    pub fn wants_input(&self) -> bool {
        self.buffered_bytes <= self.limits.pause_bytes
    }

    /// The next event: first those that wait, then those of the frame. `None`: the frame is used up.
    ///
    /// # Errors
    /// The peer breaks the protocol. The same error comes again at every further call.
    pub fn next_event<'a>(&mut self, input: &mut Input<'a>) -> Result<Option<Event<'a>>, MuxError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.advance(input);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    fn advance<'a>(&mut self, input: &mut Input<'a>) -> Result<Option<Event<'a>>, MuxError> {
        loop {
            if let Some(event) = self.next_accepted() {
                return Ok(Some(event));
            }
            let Some(packet) = input.next()? else {
                return Ok(None);
            };
            let event = match packet.channel {
                CONTROL => self.on_control(packet)?,
                _ => self.on_message(packet)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// What had come for channels before they were accepted.
    fn next_accepted(&mut self) -> Option<Event<'static>> {
        loop {
            let front = self.accepted.front_mut()?;
            let channel = front.channel;
            if self.table.channel(channel).is_some() {
                if let Some(handshake) = front.handshake.take() {
                    self.buffered_bytes -= handshake.len();
                    let handshake = Cow::Owned(handshake.into_vec());
                    return Some(Event::Opened { channel, handshake });
                }
                if let Some(Buffered { kind, payload }) = front.messages.pop_front() {
                    self.buffered_bytes -= payload.len() + BUFFERED_OVERHEAD_BYTES;
                    let payload = Cow::Owned(payload.into_vec());
                    return Some(Event::Message {
                        channel,
                        kind,
                        payload,
                    });
                }
            }
            let rest = self.accepted.pop_front()?;
            self.buffered_bytes -= buffered_bytes(rest.handshake.as_deref().unwrap_or(&[]), &rest.messages);
            if rest.closed && self.table.close(channel).is_some() {
                return Some(Event::Closed {
                    channel,
                    rejected: false,
                });
            }
        }
    }

    fn on_message<'a>(&mut self, packet: Packet<'a>) -> Result<Option<Event<'a>>, MuxError> {
        match self.table.remote(packet.channel) {
            // Closed by us, and the peer did not know yet.
            None => Ok(None),
            Some(Remote::Open(channel)) => Ok(Some(Event::Message {
                channel: *channel,
                kind: packet.kind,
                payload: Cow::Borrowed(packet.payload),
            })),
            Some(Remote::Waiting(waiting)) => {
                if waiting.closed {
                    return Ok(None);
                }
                let limit = self.limits.buffered_bytes;
                let bytes = self.buffered_bytes + packet.payload.len() + BUFFERED_OVERHEAD_BYTES;
                if bytes > limit {
                    return Err(MuxError::TooMuchBuffered { limit });
                }
                self.buffered_bytes = bytes;
                waiting.messages.push_back(Buffered {
                    kind: packet.kind,
                    payload: packet.payload.into(),
                });
                Ok(None)
            }
        }
    }

    fn on_control<'a>(&mut self, packet: Packet<'a>) -> Result<Option<Event<'a>>, MuxError> {
        match packet.kind {
            OPEN => self.on_open(Reader::new("mux open", packet.payload)),
            REJECT => {
                let local = Reader::new("mux reject", packet.payload).uint("channel")?;
                let refused = self.table.refused(local);
                match refused.ok_or(MuxError::InvalidReject { channel: local })? {
                    Answered::Abandoned => Ok(None),
                    Answered::Opened(channel) => Ok(Some(Event::Closed {
                        channel,
                        rejected: true,
                    })),
                }
            }
            CLOSE => {
                let remote = Reader::new("mux close", packet.payload).uint("channel")?;
                Ok(self.on_close(remote))
            }
            // Of a newer mux.
            _ => Ok(None),
        }
    }

    fn on_open<'a>(&mut self, mut reader: Reader<'a>) -> Result<Option<Event<'a>>, MuxError> {
        let remote = reader.uint("channel")?;
        let protocol = reader.text("protocol")?;
        let id = reader.bytes("id")?;
        let handshake = reader.take_rest();
        if protocol.len() > MAX_NAME_BYTES || id.len() > MAX_NAME_BYTES {
            return Err(MuxError::NameTooLong);
        }
        if !self.table.claim_remote(remote) {
            return Err(MuxError::InvalidOpen { channel: remote });
        }
        let name = Name::new(protocol, id);
        match self.table.answer(&name, remote) {
            Some(Answered::Opened(channel)) => {
                let handshake = Cow::Borrowed(handshake);
                return Ok(Some(Event::Opened { channel, handshake }));
            }
            Some(Answered::Abandoned) => return Ok(None),
            None => {}
        }
        let known = self.pairs.contains(&name) || self.pairs.contains(&Name::new(protocol, &[]));
        let room = self.waiting_channels < self.limits.waiting_channels
            && self.buffered_bytes + handshake.len() <= self.limits.buffered_bytes;
        if !known || !room {
            let limit = self.limits.rejections;
            if self.rejections >= limit {
                return Err(MuxError::TooManyRejections { limit });
            }
            self.send_reject(remote);
            return Ok(None);
        }
        self.waiting_channels += 1;
        self.buffered_bytes += handshake.len();
        let waiting = Waiting {
            handshake: handshake.into(),
            ..Waiting::default()
        };
        self.table.wait(name, remote, waiting);
        Ok(Some(Event::Requested { protocol, id }))
    }

    fn on_close(&mut self, remote: u64) -> Option<Event<'static>> {
        match self.table.remote(remote)? {
            // What came before may still be wanted; the peer keeps its id until we answer.
            Remote::Waiting(waiting) => {
                waiting.closed = true;
                None
            }
            Remote::Open(channel) => {
                let channel = *channel;
                self.table.close(channel)?;
                Some(Event::Closed {
                    channel,
                    rejected: false,
                })
            }
        }
    }

    fn send_reject(&mut self, remote: u64) {
        self.rejections += 1;
        let mut payload = Vec::new();
        put_uint(&mut payload, remote);
        self.output.push(CONTROL, REJECT, &[&payload]);
    }
}

fn buffered_bytes(handshake: &[u8], messages: &VecDeque<Buffered>) -> usize {
    let message = |message: &Buffered| message.payload.len() + BUFFERED_OVERHEAD_BYTES;
    handshake.len() + messages.iter().map(message).sum::<usize>()
}
