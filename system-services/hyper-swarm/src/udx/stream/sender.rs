//! The sending half: cuts what is written into packets, and says which packet goes out when.

use std::time::{Duration, Instant};

use super::buffer::SendBuffer;
use super::loss::{Rack, Timers};
use super::numbers::Numbers;
use super::outstanding::Outstanding;
use crate::udx::congestion::{Bbr, Delivery};
use crate::udx::mtu::MtuSearch;
use crate::udx::packet::{Flags, HEADER_BYTES, Seq};
use crate::udx::rtt::RttEstimator;

/// Most packets from the oldest that is not acknowledged to the newest.
const MAX_OUTSTANDING: usize = 16384;
/// Most bytes that wait to be sent for the first time, whatever is under way. libudx's figure.
const MAX_UNSENT_BYTES: usize = 256 << 10;
/// So much may be sent at once that the pace would have let out before.
const BURST: Duration = Duration::from_millis(2);
const IPV4_AND_UDP_BYTES: u16 = 28;
const IPV6_AND_UDP_BYTES: u16 = 48;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Wanted,
    Sent,
}

#[derive(Debug)]
pub(super) struct Sender {
    pub(super) numbers: Numbers,
    pub(super) outstanding: Outstanding,
    /// Written, and not acknowledged.
    pub(super) buffer: SendBuffer,
    capacity: usize,
    end: End,
    /// What the peer would take, and the numbers (of its packet, acknowledged) by which that is known.
    pub(super) window: usize,
    pub(super) window_from: (Seq, u64),
    pub(super) rtt: RttEstimator,
    pub(super) bbr: Bbr,
    pub(super) delivery: Delivery,
    /// Packets that were found lost since the last acknowledgement.
    pub(super) lost: usize,
    pub(super) mtu: MtuSearch,
    pub(super) rack: Rack,
    pub(super) timers: Timers,
    /// Losses until this packet is acknowledged are one event.
    pub(super) recovery: Option<u64>,
    pub(super) ipv6: bool,
    next_send: Option<Instant>,
}

/// A packet to put on the wire.
pub(super) struct Transmission<'a> {
    pub(super) seq: Seq,
    pub(super) flags: Flags,
    pub(super) padding: u8,
    pub(super) payload: [&'a [u8]; 2],
}

impl Sender {
    pub(super) fn new(first: Seq, peers_first: Seq, peers_window: u32, capacity: usize) -> Self {
        Self {
            numbers: Numbers::new(first),
            outstanding: Outstanding::default(),
            buffer: SendBuffer::default(),
            capacity,
            end: End::Open,
            window: peers_window as usize,
            window_from: (peers_first, 0),
            rtt: RttEstimator::default(),
            bbr: Bbr::default(),
            delivery: Delivery::default(),
            lost: 0,
            mtu: MtuSearch::default(),
            rack: Rack::default(),
            timers: Timers::default(),
            recovery: None,
            ipv6: false,
            next_send: None,
        }
    }

    /// Queues as much as there is room for.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        if self.end != End::Open {
            return 0;
        }
        let len = bytes.len().min(self.room());
        self.buffer.write(&bytes[..len]);
        len
    }

    pub(super) fn room(&self) -> usize {
        let unsent = MAX_UNSENT_BYTES.saturating_sub(self.buffer.unsent());
        self.capacity.saturating_sub(self.held_bytes()).min(unsent)
    }

    /// There is enough room again to wake a writer.
    pub(super) fn has_much_room(&self) -> bool {
        self.room() >= (self.capacity.min(MAX_UNSENT_BYTES) / 4).max(1)
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Nothing will be sent any more.
    pub(super) fn discard(&mut self) {
        self.buffer = SendBuffer::default();
        self.outstanding.clear();
        self.timers = Timers::default();
    }

    pub(super) fn finish(&mut self) {
        if self.end == End::Open {
            self.end = End::Wanted;
        }
    }

    pub(super) fn has_finished(&self) -> bool {
        self.end != End::Open
    }

    /// The end was sent and everything is acknowledged.
    pub(super) fn is_finished(&self) -> bool {
        self.end == End::Sent && self.outstanding.len() == 0
    }

    /// Something new waits to be sent.
    pub(super) fn has_new(&self) -> bool {
        self.buffer.unsent() > 0 || self.end == End::Wanted
    }

    /// Everything sent is acknowledged and the peer takes nothing: only a question helps.
    pub(super) fn is_stuck(&self) -> bool {
        self.has_new() && self.window == 0 && self.outstanding.len() == 0
    }

    /// The next packet's number.
    pub(super) fn next_seq(&self) -> Seq {
        self.numbers.seq(self.outstanding.next())
    }

    fn max_payload(&self) -> usize {
        let below = if self.ipv6 {
            IPV6_AND_UDP_BYTES
        } else {
            IPV4_AND_UDP_BYTES
        };
        usize::from(self.mtu.mtu() - below) - HEADER_BYTES
    }

    fn may_send_new(&self) -> bool {
        self.has_new() && self.outstanding.bytes() < self.window && self.outstanding.len() < MAX_OUTSTANDING
    }

    /// When something could go out, but for the pace.
    pub(super) fn paced_until(&self) -> Option<Instant> {
        let has_room = self.outstanding.in_flight() < self.bbr.window();
        let waits = self.outstanding.first_lost().is_some() || self.may_send_new();
        self.next_send.filter(|_| has_room && waits)
    }

    /// The packet that goes out now, if one may.
    pub(super) fn transmit(&mut self, now: Instant) -> Option<Transmission<'_>> {
        let probe = if self.timers.take_probe() {
            self.transmit_probe(now)
        } else {
            None
        };
        let number = match probe {
            Some(number) => number,
            None => self.transmit_within_window(now)?,
        };
        self.pace(now);
        self.timers.on_sent(now, self.rtt.rto());
        let seq = self.numbers.seq(number);
        let sent = self.outstanding.get_mut(number)?;
        Some(Transmission {
            seq,
            flags: sent.flags,
            padding: sent.padding,
            payload: self.buffer.slices(sent.start, sent.len),
        })
    }

    fn transmit_within_window(&mut self, now: Instant) -> Option<u64> {
        let is_early = self.next_send.is_some_and(|at| now < at);
        if is_early || self.outstanding.in_flight() >= self.bbr.window() {
            return None;
        }
        if let Some(number) = self.outstanding.first_lost() {
            self.send_again(number, now);
            return Some(number);
        }
        if self.may_send_new() {
            return Some(self.push_new(now, true));
        }
        if !self.has_new() {
            self.delivery.set_app_limited(self.outstanding.in_flight());
        }
        None
    }

    fn send_again(&mut self, number: u64, now: Instant) {
        let stamp = self.delivery.stamp(self.outstanding.in_flight() == 0, now);
        self.outstanding.send_again(number, stamp, now);
    }

    /// A tail-loss probe (RFC 8985, section 7.3): something new, or else the last packet again, whatever the window.
    fn transmit_probe(&mut self, now: Instant) -> Option<u64> {
        if self.may_send_new() {
            return Some(self.push_new(now, false));
        }
        let number = self.outstanding.last_in_flight()?;
        self.send_again(number, now);
        self.drop_padding(number);
        Some(number)
    }

    /// A probe of the path that is given up.
    pub(super) fn drop_padding(&mut self, number: u64) -> bool {
        let Some(sent) = self.outstanding.get_mut(number) else {
            return false;
        };
        let was_probe = std::mem::take(&mut sent.padding) > 0;
        if was_probe {
            self.mtu.on_probe_lost();
        }
        was_probe
    }

    /// Cuts the next packet off the queue.
    fn push_new(&mut self, now: Instant, may_probe: bool) -> u64 {
        let max = self.max_payload();
        let (start, len) = self.buffer.cut(max);
        let mut flags = Flags::NONE;
        if len > 0 {
            flags = flags | Flags::DATA;
        }
        if self.buffer.unsent() == 0 && self.end == End::Wanted {
            flags = flags | Flags::END;
            self.end = End::Sent;
        }
        let wanted = self.mtu.wanted_padding();
        let padding = wanted.filter(|_| may_probe && len == max).unwrap_or(0);
        if padding > 0 {
            self.mtu.on_probe_sent();
        }
        let is_first = self.outstanding.in_flight() == 0;
        if is_first {
            self.bbr.on_restart(now);
        }
        let stamp = self.delivery.stamp(is_first, now);
        let number = self.outstanding.push(flags, start, len, padding, stamp, now);
        self.arm_tail_probe(now);
        number
    }

    fn pace(&mut self, now: Instant) {
        if let Some(interval) = self.bbr.packet_interval() {
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            self.next_send = Some(self.next_send.map_or(earliest, |at| at.max(earliest)) + interval);
        }
    }
}
