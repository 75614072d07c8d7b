//! How fast packets arrive at the peer, as acknowledgements tell (draft-cheng-iccrg-delivery-rate-estimation-00).

use std::time::{Duration, Instant};

/// What was known when a packet was sent.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    is_app_limited: bool,
}

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateSample {
    /// Packets per second.
    pub rate: f64,
    /// How many packets had arrived when the one was sent by which this is known.
    pub delivered_before: u64,
    /// There was not enough to send: the way may be faster.
    pub is_app_limited: bool,
}

/// Counts what arrives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery {
    delivered: u64,
    delivered_at: Option<Instant>,
    first_sent_at: Option<Instant>,
    /// Until so many have arrived, there was not enough to send.
    app_limited_until: u64,
    newest: Option<Newest>,
}

/// The packet acknowledged last that was sent latest.
#[derive(Clone, Copy, Debug)]
struct Newest {
    stamp: Stamp,
    send_time: Duration,
}

impl Delivery {
    /// How many packets have arrived.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// For a packet that is sent now. `is_first`: nothing else is under way.
    pub fn stamp(&mut self, is_first: bool, now: Instant) -> Stamp {
        if is_first {
            (self.first_sent_at, self.delivered_at) = (Some(now), Some(now));
        }
        Stamp {
            delivered: self.delivered,
            delivered_at: *self.delivered_at.get_or_insert(now),
            first_sent_at: *self.first_sent_at.get_or_insert(now),
            is_app_limited: self.app_limited_until > 0,
        }
    }

    /// There is less to send than might be under way.
    pub fn set_app_limited(&mut self, in_flight: usize) {
        self.app_limited_until = (self.delivered + in_flight as u64).max(1);
    }

    /// A packet has arrived.
    pub fn on_arrived(&mut self, stamp: &Stamp, sent_at: Instant, now: Instant) {
        self.delivered += 1;
        self.delivered_at = Some(now);
        if self
            .newest
            .is_none_or(|newest| stamp.delivered >= newest.stamp.delivered)
        {
            self.first_sent_at = Some(sent_at);
            self.newest = Some(Newest {
                stamp: *stamp,
                send_time: sent_at.saturating_duration_since(stamp.first_sent_at),
            });
        }
    }

    /// The rate since the last time. It is the slower one of sending and acknowledging, so that acknowledgements in a lump
    /// do not look like a fast way; one taken within less than the way's shortest delay means nothing.
    pub fn take_sample(&mut self, min_rtt: Duration, now: Instant) -> Option<RateSample> {
        if self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        let Newest { stamp, send_time } = self.newest.take()?;
        let interval = send_time.max(now.saturating_duration_since(stamp.delivered_at));
        if interval < min_rtt || interval.is_zero() {
            return None;
        }
        Some(RateSample {
            rate: (self.delivered - stamp.delivered) as f64 / interval.as_secs_f64(),
            delivered_before: stamp.delivered,
            is_app_limited: stamp.is_app_limited,
        })
    }
}
