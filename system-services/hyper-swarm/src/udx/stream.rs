//! A reliable stream of bytes in both directions: a machine without socket and clock.
//!
//! Hand in what comes ([`Stream::receive`]), what is written and the time; after every call send what
//! [`Stream::poll_transmit`] gives until it gives nothing, and call [`Stream::handle_timeout`] when [`Stream::poll_timeout`]
//! says. Packets are found lost as libudx finds them (RACK, tail-loss probes), and sent as fast as libudx's BBR would. Memory is bounded by [`Config`], whatever the peer sends.
//!
//! Addresses are not known here. Whoever sits on the path can forge packets: what the bytes say is for the layer above.

mod buffer;
mod fuzz;
mod loss;
mod numbers;
mod outstanding;
mod receiver;
mod sender;
mod transmit;
mod types;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use fuzz::fuzz_stream;
pub use types::{CloseReason, Config, Event};

use self::receiver::Receiver;
use self::sender::Sender;
use super::mtu::MtuSearch;
use super::packet::{Flags, Header, Packet, PacketError};

/// Messages beside the stream that wait in each direction; further ones are dropped.
const MAX_MESSAGES: usize = 64;
/// How long a finished stream still answers a peer that did not hear the last acknowledgement, from its last attempt on:
/// the longest time between two of those.
const LINGER: Duration = super::rtt::MAX_RTO;
/// What passes every way in one packet.
const MAX_MESSAGE_BYTES: usize = 1200 - 48 - 20;
/// No peer's message is longer, as no packet is.
const MAX_PEERS_MESSAGE_BYTES: usize = super::mtu::MAX_MTU as usize;
/// A peer says 4 MiB before it is heard.
const FIRST_PEER_WINDOW: u32 = 4 << 20;
/// Questions whether the peer takes something again that may go unanswered.
const MAX_QUESTIONS: u32 = 8;

/// One end of a stream.
#[derive(Debug)]
pub struct Stream {
    local_id: u32,
    remote_id: Option<u32>,
    receiver: Receiver,
    sender: Sender,
    state: State,
    events: VecDeque<Event>,
    write_was_refused: bool,
    owes_ack: bool,
    owes_heartbeat: bool,
    messages_in: VecDeque<Box<[u8]>>,
    messages_out: VecDeque<Box<[u8]>>,
    keep_alive: Option<Duration>,
    sent_at: Instant,
    /// When to ask again for a window, and how often nothing came back.
    question_at: Option<Instant>,
    questions: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Over, but for the answer to a peer that did not hear the last acknowledgement.
    Lingering {
        until: Instant,
    },
    /// Over, and the peer is to hear it.
    Destroying,
    Closed,
}

impl Stream {
    /// A stream that takes packets at once and sends when it is connected.
    #[must_use]
    pub fn new(config: &Config, now: Instant) -> Self {
        let sender = Sender::new(
            config.first_seq,
            config.peers_first_seq,
            FIRST_PEER_WINDOW,
            config.send_buffer_bytes,
        );
        Self {
            local_id: config.local_id,
            remote_id: None,
            receiver: Receiver::new(config.peers_first_seq, config.receive_window_bytes),
            sender,
            state: State::Open,
            events: VecDeque::new(),
            write_was_refused: false,
            owes_ack: false,
            owes_heartbeat: false,
            messages_in: VecDeque::new(),
            messages_out: VecDeque::new(),
            keep_alive: config.keep_alive,
            sent_at: now,
            question_at: None,
            questions: 0,
        }
    }

    /// The peer's number of the stream is known. Again, when it is reached another way now: the search for the length of
    /// packets starts anew.
    pub fn connect(&mut self, remote_id: u32, over_ipv6: bool) {
        self.remote_id = Some(remote_id);
        self.sender.ipv6 = over_ipv6;
        self.sender.mtu = MtuSearch::default();
    }

    /// A datagram came. One for another stream is ignored.
    ///
    /// # Errors
    /// [`PacketError`]: it is not UDX. Nothing has changed.
    pub fn receive(&mut self, datagram: &[u8], now: Instant) -> Result<(), PacketError> {
        let packet = Packet::decode(datagram)?;
        let Header {
            flags, stream, seq, ..
        } = packet.header;
        if stream != self.local_id {
            return Ok(());
        }
        if self.state != State::Open {
            if matches!(self.state, State::Lingering { .. }) && flags.is_sequenced() {
                self.owes_ack = true;
                self.state = State::Lingering { until: now + LINGER };
            }
            return Ok(());
        }
        self.questions = 0;
        if flags.has(Flags::HEARTBEAT) {
            self.owes_ack = true;
            return Ok(());
        }
        if flags.has(Flags::DESTROY) {
            if !seq.is_before(self.receiver.next()) {
                self.close(CloseReason::Reset, State::Closed);
            }
            return Ok(());
        }
        if flags.is_sequenced() {
            self.owes_ack = true;
            self.take(&packet);
        } else if flags.has(Flags::MESSAGE) {
            self.take_message(packet.payload);
        }
        self.sender.on_ack(&packet.header, packet.sack_blocks(), now);
        self.after_ack(now);
        Ok(())
    }

    fn take(&mut self, packet: &Packet<'_>) {
        let Header { seq, flags, .. } = packet.header;
        let had_ended = self.receiver.has_ended();
        if self.receiver.take(seq, flags, packet.payload) {
            self.tell(Event::Readable);
        }
        if !had_ended && self.receiver.has_ended() {
            self.tell(Event::PeerFinished);
        }
    }

    fn take_message(&mut self, message: &[u8]) {
        if self.messages_in.len() < MAX_MESSAGES && message.len() <= MAX_PEERS_MESSAGE_BYTES {
            self.messages_in.push_back(message.into());
            self.tell(Event::Message);
        }
    }

    fn after_ack(&mut self, now: Instant) {
        if self.sender.is_finished() && self.receiver.has_ended() {
            self.close(CloseReason::Finished, State::Lingering { until: now + LINGER });
        }
        self.ask_if_stuck(now);
    }

    fn ask_if_stuck(&mut self, now: Instant) {
        if !self.sender.is_stuck() || self.state != State::Open {
            self.question_at = None;
        } else if self.question_at.is_none() {
            self.question_at = Some(now + self.sender.rtt.rto());
        }
    }

    fn close(&mut self, reason: CloseReason, state: State) {
        self.state = state;
        self.messages_out.clear();
        self.sender.discard();
        self.tell(Event::Closed(reason));
    }

    fn tell(&mut self, event: Event) {
        if !self.events.contains(&event) {
            self.events.push_back(event);
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.write_was_refused && self.state == State::Open && self.sender.has_much_room() {
            self.write_was_refused = false;
            self.tell(Event::Writable);
        }
        self.events.pop_front()
    }

    /// Queues bytes and says how many; fewer than given when the buffer is full ([`Event::Writable`] follows), none after
    /// [`Stream::finish`] or the close.
    pub fn write(&mut self, bytes: &[u8], now: Instant) -> usize {
        if self.state != State::Open {
            return 0;
        }
        let taken = self.sender.write(bytes);
        self.write_was_refused |= taken < bytes.len();
        self.ask_if_stuck(now);
        taken
    }

    /// Nothing more will be written. The peer may go on.
    pub fn finish(&mut self, now: Instant) {
        self.sender.finish();
        self.ask_if_stuck(now);
    }

    /// Ends the stream at once, in both directions, and tells the peer.
    pub fn destroy(&mut self) {
        match self.state {
            State::Open if self.remote_id.is_none() => self.close(CloseReason::Destroyed, State::Closed),
            State::Open => self.close(CloseReason::Destroyed, State::Destroying),
            State::Lingering { .. } => self.state = State::Closed,
            State::Destroying | State::Closed => {}
        }
    }

    /// Ends the stream at once, without a word to the peer.
    pub fn abandon(&mut self) {
        if matches!(self.state, State::Open | State::Destroying) {
            self.close(CloseReason::Destroyed, State::Closed);
        }
    }

    /// Moves bytes out in order; 0 when there are none at present.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        let len = self.receiver.read(out);
        self.owes_ack |= self.receiver.should_tell() && self.state == State::Open;
        len
    }

    /// The peer has finished, and everything was read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.receiver.is_drained()
    }

    /// Sends a message beside the stream, which may be lost. `false`: it is too long for a packet, or too many wait.
    pub fn send_message(&mut self, message: &[u8]) -> bool {
        let fits = message.len() <= MAX_MESSAGE_BYTES && self.messages_out.len() < MAX_MESSAGES;
        let is_taken = fits && self.state == State::Open;
        if is_taken {
            self.messages_out.push_back(message.into());
        }
        is_taken
    }

    /// The next message that came beside the stream.
    pub fn read_message(&mut self) -> Option<Box<[u8]>> {
        self.messages_in.pop_front()
    }

    /// A packet of the peer is passed on to another, as a relay does, instead of being received here.
    pub fn note_relayed(&mut self, header: &Header) {
        if header.flags.has(Flags::DESTROY) && self.state == State::Open {
            self.close(CloseReason::Reset, State::Closed);
        }
    }

    /// Whether [`Stream::finish`] was called.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        self.sender.has_finished()
    }

    /// Finished, and the peer has everything.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.sender.is_finished()
    }

    /// How many packets with a number of their own were sent, those sent again not counted.
    #[must_use]
    pub fn sent_packets(&self) -> u64 {
        self.sender.outstanding.next()
    }

    /// How many of them are acknowledged, up to the first that is not.
    #[must_use]
    pub fn acknowledged_packets(&self) -> u64 {
        self.sender.outstanding.first()
    }

    /// After [`Stream::read`]: the peer shall hear that there is room again.
    #[must_use]
    pub fn wants_to_tell(&self) -> bool {
        self.owes_ack
    }

    /// Nothing is to be sent or answered any more: the number may be given to another stream.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.state == State::Closed
    }

    /// Bytes that are held for both directions.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.receiver.held_bytes() + self.sender.held_bytes()
    }

    /// The longest packet that is known to reach the peer, in bytes, with the headers of IP and UDP.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.sender.mtu.mtu()
    }

    /// The smoothed round-trip time, if something has come back.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.sender.rtt.smoothed()
    }
}

#[cfg(test)]
mod tests;
