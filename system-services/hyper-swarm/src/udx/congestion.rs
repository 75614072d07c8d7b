//! How much may be under way, and how fast: BBR, version 1, as libudx has it (draft-cardwell-iccrg-bbr-congestion-control-00).
//!
//! From what is acknowledged and when, it knows the bottleneck's bandwidth and the way's delay without a queue, and keeps about
//! twice their product under way. Packets that are lost by chance, as by radio, say nothing about either: at 20 ms and 1 % of such
//! loss CUBIC brought a fifteenth of what a link of 100 Mbit/s can carry (`docs/decisions/0018-udx-congestion.md`).
//!
//! Windows count packets, as libudx's do; rates are packets per second.

mod delivery;
mod filter;

use std::time::{Duration, Instant};

pub use delivery::{Delivery, RateSample, Stamp};
use filter::{ExtraAcked, MaxFilter};

/// Window at the start, in packets (RFC 6928).
const INITIAL_WINDOW: usize = 10;
/// What keeps the acknowledgements coming.
const MIN_WINDOW: usize = 4;
/// More than any receive window holds.
const MAX_WINDOW: usize = 65536;
/// 2 / ln 2: doubles what is sent each round.
const HIGH_GAIN: f64 = 2.885;
const WINDOW_GAIN: f64 = 2.0;
/// One round of more, to see whether there is more; one of less, to drain what that queued; then six of the same.
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// A little below the bandwidth, so that no queue builds up by rounding.
const MARGIN: f64 = 0.99;
/// How long a measured delay counts, and how long the way is emptied to measure it again.
const DELAY_COUNTS: Duration = Duration::from_secs(10);
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
/// Growth that shows that the pipe is not full, and rounds without it that show that it is.
const FULL_GROWTH: f64 = 1.25;
const FULL_ROUNDS: u32 = 3;
/// Timers and batches are not finer: shorter delays and rounds are taken as this long.
const GRANULARITY: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Doubles the rate each round until that brings no more.
    Startup,
    /// Lets the queue run empty that `Startup` made.
    Drain,
    /// Stays at the bandwidth, and tries for more now and then.
    ProbeBandwidth { step: usize, since: Instant },
    /// Empties the way to measure its delay.
    ProbeRtt { until: Option<Instant>, round: u64 },
}

/// What an acknowledgement told.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    /// Packets that it acknowledged for the first time.
    pub packets: usize,
    /// Packets that were found lost since the last one.
    pub lost: usize,
    /// Packets that are under way now.
    pub in_flight: usize,
    /// The round trip of a packet, if it is known.
    pub rtt: Option<Duration>,
    /// Whether losses are being repaired.
    pub in_recovery: bool,
    /// The rate at which packets arrived, if it is known.
    pub sample: Option<RateSample>,
}

/// The model of the way, and what follows from it.
#[derive(Clone, Debug)]
pub struct Bbr {
    phase: Phase,
    window: usize,
    /// To come back to after a recovery or a measurement of the delay.
    window_before: usize,
    pacing_rate: Option<f64>,
    bandwidth: MaxFilter,
    min_rtt: Option<(Duration, Instant)>,
    round: Round,
    full: FullPipe,
    extra_acked: ExtraAcked,
    was_in_recovery: bool,
    /// In the first round of a recovery: send no more than what arrives.
    conserves: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Round {
    count: u64,
    ends_at_delivered: u64,
    since: Option<Instant>,
    has_begun: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct FullPipe {
    bandwidth: f64,
    rounds: u32,
    is_reached: bool,
}

impl Default for Bbr {
    fn default() -> Self {
        Self {
            phase: Phase::Startup,
            window: INITIAL_WINDOW,
            window_before: 0,
            pacing_rate: None,
            bandwidth: MaxFilter::default(),
            min_rtt: None,
            round: Round::default(),
            full: FullPipe::default(),
            extra_acked: ExtraAcked::default(),
            was_in_recovery: false,
            conserves: false,
        }
    }
}

impl Bbr {
    /// How many packets may be under way.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window
    }

    /// How long to wait after each packet; none before anything is known.
    #[must_use]
    pub fn packet_interval(&self) -> Option<Duration> {
        self.pacing_rate.map(|rate| Duration::from_secs_f64(1.0 / rate))
    }

    /// Something is sent although nothing was under way.
    pub fn on_restart(&mut self, now: Instant) {
        self.extra_acked.restart(now);
        if matches!(self.phase, Phase::ProbeBandwidth { .. }) {
            self.set_pacing_rate(1.0);
        }
    }

    /// Packets were acknowledged. `delivered` counts all that ever were.
    pub fn on_acked(&mut self, acked: &Acked, delivered: u64, now: Instant) {
        self.update_round(acked, delivered, now);
        if let Some(sample) = acked.sample
            && (!sample.is_app_limited || sample.rate >= self.bandwidth.get())
        {
            self.bandwidth.update(self.round.count, sample.rate);
        }
        let rate = self.bandwidth.get();
        let begins = self.round.has_begun;
        self.extra_acked
            .update(acked.packets, rate, self.window, begins, now);
        self.advance_cycle(acked, now);
        self.check_full_pipe(acked);
        self.check_drain(acked, now);
        self.update_min_rtt(acked, now);
        self.start_pacing(acked);
        self.set_pacing_rate(self.pacing_gain());
        self.set_window(acked, delivered);
    }

    /// Nothing came back within the retransmission timeout.
    pub fn on_timeout(&mut self, in_flight: usize) {
        self.save_window();
        self.was_in_recovery = true;
        self.conserves = true;
        self.full.bandwidth = 0.0;
        self.window = (in_flight + 1).min(self.window);
    }

    fn update_round(&mut self, acked: &Acked, delivered: u64, now: Instant) {
        self.round.has_begun = false;
        let Some(sample) = acked.sample else { return };
        let since = *self.round.since.get_or_insert(now);
        let is_long = now.saturating_duration_since(since) >= GRANULARITY;
        if sample.delivered_before >= self.round.ends_at_delivered && is_long {
            self.round.ends_at_delivered = delivered;
            self.round.count += 1;
            self.round.since = Some(now);
            self.round.has_begun = true;
            self.conserves = false;
        }
    }

    fn delay(&self) -> Option<Duration> {
        self.min_rtt.map(|(rtt, _)| rtt.max(GRANULARITY))
    }

    /// So many packets fill the way `gain` times.
    fn packets_to_fill(&self, gain: f64) -> usize {
        match self.delay() {
            Some(delay) if self.bandwidth.get() > 0.0 => {
                (self.bandwidth.get() * delay.as_secs_f64() * gain).ceil() as usize
            }
            _ => INITIAL_WINDOW,
        }
    }

    fn pacing_gain(&self) -> f64 {
        match self.phase {
            Phase::Startup => HIGH_GAIN,
            Phase::Drain => 1.0 / HIGH_GAIN,
            Phase::ProbeBandwidth { step, .. } => CYCLE[step % CYCLE.len()],
            Phase::ProbeRtt { .. } => 1.0,
        }
    }

    fn window_gain(&self) -> f64 {
        match self.phase {
            Phase::Startup | Phase::Drain => HIGH_GAIN,
            Phase::ProbeBandwidth { .. } => WINDOW_GAIN,
            Phase::ProbeRtt { .. } => 1.0,
        }
    }

    fn advance_cycle(&mut self, acked: &Acked, now: Instant) {
        let Phase::ProbeBandwidth { step, since } = self.phase else {
            return;
        };
        let gain = self.pacing_gain();
        let has_lasted = self
            .delay()
            .is_none_or(|delay| now.saturating_duration_since(since) > delay);
        let is_over = if gain > 1.0 {
            // Long enough for the queue to show, if there is one.
            has_lasted && (acked.lost > 0 || acked.in_flight >= self.packets_to_fill(gain))
        } else if gain < 1.0 {
            has_lasted || acked.in_flight <= self.packets_to_fill(1.0)
        } else {
            has_lasted
        };
        if is_over {
            self.phase = Phase::ProbeBandwidth {
                step: (step + 1) % CYCLE.len(),
                since: now,
            };
        }
    }

    fn check_full_pipe(&mut self, acked: &Acked) {
        let is_app_limited = acked.sample.is_some_and(|sample| sample.is_app_limited);
        if self.full.is_reached || !self.round.has_begun || is_app_limited {
            return;
        }
        if self.bandwidth.get() >= self.full.bandwidth * FULL_GROWTH {
            self.full.bandwidth = self.bandwidth.get();
            self.full.rounds = 0;
            return;
        }
        self.full.rounds += 1;
        self.full.is_reached = self.full.rounds >= FULL_ROUNDS;
    }

    fn check_drain(&mut self, acked: &Acked, now: Instant) {
        if self.phase == Phase::Startup && self.full.is_reached {
            self.phase = Phase::Drain;
        }
        if self.phase == Phase::Drain && acked.in_flight <= self.packets_to_fill(1.0) {
            self.probe_bandwidth(now);
        }
    }

    /// Starts where nothing is tried, at another place each time, so that streams do not all try at once.
    fn probe_bandwidth(&mut self, now: Instant) {
        let step = 2 + (self.round.count % 6) as usize;
        self.phase = Phase::ProbeBandwidth { step, since: now };
    }

    fn update_min_rtt(&mut self, acked: &Acked, now: Instant) {
        let is_old = self
            .min_rtt
            .is_some_and(|(_, at)| now.saturating_duration_since(at) > DELAY_COUNTS);
        if let Some(rtt) = acked.rtt
            && (is_old || self.min_rtt.is_none_or(|(min, _)| rtt <= min))
        {
            self.min_rtt = Some((rtt, now));
        }
        if is_old && !matches!(self.phase, Phase::ProbeRtt { .. }) {
            self.save_window();
            self.phase = Phase::ProbeRtt {
                until: None,
                round: self.round.count,
            };
        }
        let Phase::ProbeRtt { until, round } = self.phase else {
            return;
        };
        match until {
            None if acked.in_flight <= MIN_WINDOW => {
                self.phase = Phase::ProbeRtt {
                    until: Some(now + PROBE_RTT_TIME),
                    round: self.round.count,
                };
            }
            Some(until) if now >= until && self.round.count > round => self.end_probe_rtt(now),
            _ => {}
        }
    }

    fn end_probe_rtt(&mut self, now: Instant) {
        if let Some((_, at)) = &mut self.min_rtt {
            *at = now;
        }
        self.window = self.window.max(self.window_before);
        if self.full.is_reached {
            self.probe_bandwidth(now);
        } else {
            self.phase = Phase::Startup;
        }
    }

    fn save_window(&mut self) {
        let is_undisturbed = !self.was_in_recovery && !matches!(self.phase, Phase::ProbeRtt { .. });
        self.window_before = if is_undisturbed {
            self.window
        } else {
            self.window_before.max(self.window)
        };
    }

    /// A first pace, as soon as the delay is known.
    fn start_pacing(&mut self, acked: &Acked) {
        if self.pacing_rate.is_none()
            && let Some(rtt) = acked.rtt
        {
            let rate = self.window as f64 / rtt.max(GRANULARITY).as_secs_f64();
            self.pacing_rate = Some(rate * HIGH_GAIN);
        }
    }

    fn set_pacing_rate(&mut self, gain: f64) {
        let Some(delay) = self.delay() else { return };
        // The least window may always go out within a delay: else a way that was slow once would be found to be slow for long.
        let least = MIN_WINDOW as f64 / delay.as_secs_f64();
        let rate = (self.bandwidth.get() * gain * MARGIN).max(least);
        if self.bandwidth.get() > 0.0
            && (self.full.is_reached || self.pacing_rate.is_some_and(|before| rate > before))
        {
            self.pacing_rate = Some(rate);
        }
    }

    fn set_window(&mut self, acked: &Acked, delivered: u64) {
        if acked.packets > 0 && !self.recover(acked) {
            let target = self.packets_to_fill(self.window_gain()) + self.extra_acked();
            if self.full.is_reached {
                self.window = (self.window + acked.packets).min(target);
            } else if self.window < target || delivered < INITIAL_WINDOW as u64 {
                self.window += acked.packets;
            }
            self.window = self.window.clamp(MIN_WINDOW, MAX_WINDOW);
        }
        if matches!(self.phase, Phase::ProbeRtt { .. }) {
            self.window = self.window.min(MIN_WINDOW);
        }
    }

    /// What is added for acknowledgements that come in lumps, once the pipe is full.
    fn extra_acked(&self) -> usize {
        if self.full.is_reached {
            self.extra_acked.get(self.bandwidth.get())
        } else {
            0
        }
    }

    /// `true`: losses say how large the window is now.
    fn recover(&mut self, acked: &Acked) -> bool {
        if acked.lost > 0 {
            self.window = self.window.saturating_sub(acked.lost).max(1);
        }
        let floor = acked.in_flight + acked.packets;
        if acked.in_recovery && !self.was_in_recovery {
            self.window_before = self.window_before.max(self.window + acked.lost);
            self.conserves = true;
            self.window = floor;
        } else if !acked.in_recovery && self.was_in_recovery {
            self.window = self.window.max(self.window_before);
            self.window_before = 0;
            self.conserves = false;
        }
        self.was_in_recovery = acked.in_recovery;
        if self.conserves {
            self.window = self.window.max(floor).min(MAX_WINDOW);
        }
        self.conserves
    }
}

#[cfg(test)]
mod tests;
