//! Acknowledgements, and which packets are lost: RACK and tail-loss probes (RFC 8985) with the figures of libudx.

use std::time::{Duration, Instant};

use super::sender::Sender;
use crate::udx::congestion::Acked;
use crate::udx::packet::{Header, SackBlock};

/// What the peer may wait before it acknowledges.
const MAX_ACK_DELAY: Duration = Duration::from_millis(2);
/// Before anything was measured.
const FIRST_TAIL_PROBE: Duration = Duration::from_secs(1);
/// Timers are not finer.
const GRANULARITY: Duration = Duration::from_millis(1);
/// Timeouts of one packet before the peer is given up.
const MAX_TIMEOUTS: u8 = 6;

/// The latest transmission that is known to have arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rack {
    newest: Option<(u64, Duration)>,
    /// The highest number that has arrived, plus one.
    highest: u64,
    reordering_seen: bool,
}

/// When something is to be done about packets that do not come back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timers {
    timeout: Option<Instant>,
    reordering: Option<Instant>,
    tail_probe: Option<Instant>,
    /// One tail-loss probe per measured round trip.
    probe_is_permitted: bool,
    probe_is_due: bool,
}

impl Timers {
    pub(super) fn on_sent(&mut self, now: Instant, rto: Duration) {
        self.timeout.get_or_insert(now + rto);
    }

    pub(super) fn take_probe(&mut self) -> bool {
        std::mem::take(&mut self.probe_is_due)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        [self.timeout, self.reordering, self.tail_probe]
            .into_iter()
            .flatten()
            .min()
    }
}

/// The peer does not answer any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct GivenUp;

fn due(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

impl Sender {
    /// What a packet says about ours. Numbers that were never sent are not believed.
    pub(super) fn on_ack(&mut self, header: &Header, blocks: impl Iterator<Item = SackBlock>, now: Instant) {
        let first = self.outstanding.first();
        let Some(ack) = self.numbers.near(first, header.ack) else {
            return;
        };
        if ack > self.outstanding.next() {
            return;
        }
        self.update_window(header, ack);
        let mut arrivals = Arrivals::default();
        for number in first..ack {
            self.on_arrived(number, now, &mut arrivals);
        }
        let released = self.outstanding.forget_before(ack);
        self.buffer.release(released);
        self.on_blocks(blocks, now, &mut arrivals);
        if let Some(sample) = arrivals.sample {
            self.rtt.on_sample(sample, now);
            self.timers.probe_is_permitted = true;
        }
        if self.recovery.is_some_and(|until| ack >= until) {
            self.recovery = None;
        }
        if arrivals.count == 0 {
            return;
        }
        self.timers.timeout = (self.outstanding.len() > 0).then(|| now + self.rtt.rto());
        self.detect_losses(now);
        self.arm_tail_probe(now);
        self.update_model(&arrivals, now);
    }

    fn update_model(&mut self, arrivals: &Arrivals, now: Instant) {
        let min_rtt = self.rtt.min().unwrap_or_default();
        let acked = Acked {
            packets: arrivals.count,
            lost: std::mem::take(&mut self.lost),
            in_flight: self.outstanding.in_flight(),
            rtt: arrivals.sample,
            in_recovery: self.recovery.is_some(),
            sample: self.delivery.take_sample(min_rtt, now),
        };
        self.bbr.on_acked(&acked, self.delivery.delivered(), now);
    }

    /// RFC 9293, section 3.10.7.4: an older packet does not change the window.
    fn update_window(&mut self, header: &Header, ack: u64) {
        let (seq, acked) = self.window_from;
        let is_newer = seq.is_before(header.seq) || (seq == header.seq && acked <= ack);
        if ack >= self.outstanding.first() && is_newer {
            self.window = header.window as usize;
            self.window_from = (header.seq, ack);
        }
    }

    /// Blocks are taken as long as each comes after the one before: no peer can make us walk the same packets twice.
    fn on_blocks(&mut self, blocks: impl Iterator<Item = SackBlock>, now: Instant, arrivals: &mut Arrivals) {
        let mut from = self.outstanding.first();
        for block in blocks {
            let (acked, next) = (self.numbers.seq(from), self.next_seq());
            if !block.is_within(acked, next) {
                continue;
            }
            let ends = [block.start, block.end].map(|seq| self.numbers.near(from, seq));
            let [Some(start), Some(end)] = ends else { continue };
            for number in start..end {
                self.on_arrived(number, now, arrivals);
            }
            from = end;
        }
    }

    fn on_arrived(&mut self, number: u64, now: Instant, arrivals: &mut Arrivals) {
        let Some(sent) = self.outstanding.arrive(number) else {
            return;
        };
        arrivals.count += 1;
        let rtt = now.saturating_duration_since(sent.sent_at);
        let (serial, sent_again, was_probe) = (sent.serial, sent.sent_again, sent.padding > 0);
        self.delivery.on_arrived(&sent.stamp, sent.sent_at, now);
        if was_probe {
            self.mtu.on_probe_acked();
        }
        self.mtu.on_acked();
        if !sent_again {
            arrivals.sample = Some(rtt);
        }
        // An answer that came too soon was to an earlier transmission.
        if (!sent_again || self.rtt.min().is_some_and(|min| rtt >= min))
            && self.rack.newest.is_none_or(|(newest, _)| serial > newest)
        {
            self.rack.newest = Some((serial, rtt));
        }
        if number < self.rack.highest && !sent_again {
            self.rack.reordering_seen = true;
        }
        self.rack.highest = self.rack.highest.max(number + 1);
    }

    /// How much later than its successors a packet may come.
    fn reordering_window(&self) -> Duration {
        if !self.rack.reordering_seen && (self.recovery.is_some() || self.outstanding.has_gap()) {
            return Duration::ZERO;
        }
        let quarter = self.rtt.min().unwrap_or_default() / 4;
        quarter
            .max(GRANULARITY)
            .min(self.rtt.smoothed().unwrap_or_default())
    }

    /// Takes as lost what was sent before something that arrived, and should have come since.
    fn detect_losses(&mut self, now: Instant) {
        self.timers.reordering = None;
        let Some((newest, rtt)) = self.rack.newest else {
            return;
        };
        let patience = rtt + self.reordering_window();
        let mut congestion = false;
        while let Some((number, sent)) = self.outstanding.oldest_transmission() {
            if sent.serial >= newest {
                break;
            }
            let expires = sent.sent_at + patience;
            if expires > now {
                self.timers.reordering = Some(expires);
                break;
            }
            self.outstanding.lose(number);
            let was_probe = self.drop_padding(number);
            self.lost += usize::from(!was_probe);
            congestion |= !was_probe;
        }
        if congestion && self.recovery.is_none() {
            self.recovery = Some(self.outstanding.next());
        }
    }

    /// RFC 8985, section 7.2.
    pub(super) fn arm_tail_probe(&mut self, now: Instant) {
        self.timers.tail_probe = None;
        let is_calm = self.recovery.is_none() && !self.outstanding.has_gap();
        if self.outstanding.len() == 0 || !is_calm || !self.timers.probe_is_permitted {
            return;
        }
        let mut wait = self.rtt.smoothed().map_or(FIRST_TAIL_PROBE, |rtt| 2 * rtt);
        wait = wait.max(GRANULARITY);
        if self.outstanding.len() == 1 {
            wait += MAX_ACK_DELAY;
        }
        self.timers.tail_probe = Some(now + wait);
    }

    /// Does what is due.
    pub(super) fn on_timer(&mut self, now: Instant) -> Result<(), GivenUp> {
        if due(&mut self.timers.reordering, now) {
            self.detect_losses(now);
        }
        if due(&mut self.timers.tail_probe, now) && self.recovery.is_none() {
            self.timers.probe_is_permitted = false;
            self.timers.probe_is_due = true;
            self.timers.timeout = Some(now + self.rtt.rto());
        }
        if due(&mut self.timers.timeout, now) && self.outstanding.len() > 0 {
            self.on_timeout(now)?;
        }
        Ok(())
    }

    /// RFC 8985, section 6.3: the oldest packet is lost, and all that are as late.
    fn on_timeout(&mut self, now: Instant) -> Result<(), GivenUp> {
        let oldest = self.outstanding.first();
        if let Some(sent) = self.outstanding.get_mut(oldest) {
            sent.timeouts += 1;
            if sent.timeouts > MAX_TIMEOUTS {
                return Err(GivenUp);
            }
        }
        let rtt = self.rack.newest.map_or(Duration::ZERO, |(_, rtt)| rtt);
        let patience = rtt + self.reordering_window();
        while let Some((number, sent)) = self.outstanding.oldest_transmission() {
            if number != oldest && sent.sent_at + patience > now {
                break;
            }
            self.outstanding.lose(number);
            self.drop_padding(number);
        }
        self.outstanding.lose(oldest);
        self.drop_padding(oldest);
        self.bbr.on_timeout(self.outstanding.in_flight());
        self.recovery = Some(self.outstanding.next());
        self.rtt.on_timeout();
        self.timers.tail_probe = None;
        self.timers.reordering = None;
        self.timers.probe_is_due = false;
        self.timers.timeout = Some(now + self.rtt.rto());
        Ok(())
    }
}

/// What one packet acknowledged.
#[derive(Default)]
struct Arrivals {
    count: usize,
    /// Of the newest that was sent once.
    sample: Option<Duration>,
}
