//! Packets that were sent and are not acknowledged.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use crate::udx::congestion::Stamp;
use crate::udx::packet::Flags;

/// For so many there is room even if none is out.
const KEPT_PACKETS: usize = 64;

/// A packet that was sent at least once. Its payload never changes, as its number counts for it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) flags: Flags,
    /// Where its payload starts, counted from the stream's first byte.
    pub(super) start: u64,
    pub(super) len: usize,
    /// Zeros that make it a probe of the path.
    pub(super) padding: u8,
    pub(super) state: SentState,
    /// Which transmission the last one was, of all packets.
    pub(super) serial: u64,
    pub(super) sent_at: Instant,
    pub(super) sent_again: bool,
    pub(super) timeouts: u8,
    /// What was known of the way when it was sent last.
    pub(super) stamp: Stamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentState {
    InFlight,
    /// Waits to be sent again.
    Lost,
    /// Acknowledged, one before it is not.
    Arrived,
}

/// All of them, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// The oldest packet's number.
    first: u64,
    packets: VecDeque<Sent>,
    lost: BTreeSet<u64>,
    in_flight: usize,
    arrived: usize,
    bytes: usize,
    /// Transmissions in the order of time, with the packet's number; those that are overtaken by another of the same packet
    /// are passed over.
    order: VecDeque<(u64, u64)>,
    serial: u64,
}

impl Outstanding {
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next new packet.
    pub(super) fn next(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether some have overtaken others.
    pub(super) fn has_gap(&self) -> bool {
        self.arrived > 0
    }

    /// Payload from the oldest to the newest.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first_lost(&self) -> Option<u64> {
        self.lost.first().copied()
    }

    /// The newest, if it is on its way.
    pub(super) fn last_in_flight(&self) -> Option<u64> {
        let last = self.packets.back()?;
        (last.state == SentState::InFlight).then(|| self.next() - 1)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Sent> {
        let at = number.checked_sub(self.first)?;
        self.packets.get_mut(usize::try_from(at).ok()?)
    }

    /// A new packet goes out.
    pub(super) fn push(
        &mut self,
        flags: Flags,
        start: u64,
        len: usize,
        padding: u8,
        stamp: Stamp,
        now: Instant,
    ) -> u64 {
        let number = self.next();
        self.serial += 1;
        self.bytes += len;
        self.in_flight += 1;
        self.packets.push_back(Sent {
            flags,
            start,
            len,
            padding,
            state: SentState::InFlight,
            serial: self.serial,
            sent_at: now,
            sent_again: false,
            timeouts: 0,
            stamp,
        });
        self.order.push_back((self.serial, number));
        number
    }

    /// One that was lost, or is taken as a probe, goes out again.
    pub(super) fn send_again(&mut self, number: u64, stamp: Stamp, now: Instant) {
        let serial = self.serial + 1;
        let Some(sent) = self.get_mut(number) else { return };
        (sent.serial, sent.sent_at, sent.sent_again) = (serial, now, true);
        sent.stamp = stamp;
        if sent.state == SentState::Lost {
            sent.state = SentState::InFlight;
            self.in_flight += 1;
            self.lost.remove(&number);
        }
        self.serial = serial;
        self.order.push_back((serial, number));
    }

    /// Takes a packet as lost, if it is on its way.
    pub(super) fn lose(&mut self, number: u64) {
        let Some(sent) = self.get_mut(number) else { return };
        if sent.state == SentState::InFlight {
            sent.state = SentState::Lost;
            self.in_flight -= 1;
            self.lost.insert(number);
        }
    }

    /// Marks a packet as arrived; `None` if it was before.
    pub(super) fn arrive(&mut self, number: u64) -> Option<&mut Sent> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let sent = self.packets.get_mut(at)?;
        match sent.state {
            SentState::Arrived => return None,
            SentState::InFlight => self.in_flight -= 1,
            SentState::Lost => {
                self.lost.remove(&number);
            }
        }
        sent.state = SentState::Arrived;
        self.arrived += 1;
        Some(sent)
    }

    /// Forgets those before `number`, which have all arrived. Says how many bytes they were.
    pub(super) fn forget_before(&mut self, number: u64) -> usize {
        let before = self.bytes;
        while self.first < number
            && let Some(sent) = self.packets.pop_front()
        {
            self.arrived -= 1;
            self.bytes -= sent.len;
            self.first += 1;
        }
        if self.packets.is_empty() {
            self.order.clear();
            // Many streams wait most of the time.
            self.packets.shrink_to(KEPT_PACKETS);
            self.order.shrink_to(KEPT_PACKETS);
        }
        before - self.bytes
    }

    /// Forgets all of them; none is waited for any more.
    pub(super) fn clear(&mut self) {
        *self = Self {
            first: self.next(),
            ..Self::default()
        };
    }

    /// The earliest transmission that still counts: its packet is on its way since then.
    pub(super) fn oldest_transmission(&mut self) -> Option<(u64, &mut Sent)> {
        while let Some(&(serial, number)) = self.order.front() {
            let is_current = self
                .get_mut(number)
                .is_some_and(|sent| sent.serial == serial && sent.state == SentState::InFlight);
            if is_current {
                return self.get_mut(number).map(|sent| (number, sent));
            }
            self.order.pop_front();
        }
        None
    }
}
