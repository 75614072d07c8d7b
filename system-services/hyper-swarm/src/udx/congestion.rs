//! How much may be under way: CUBIC (RFC 9438), which shares a link fairly with TCP. libudx has BBR; the two need not agree.
//! Windows count packets, as libudx's do.
//!
//! What that costs: a packet lost by chance, as by radio, counts as congestion. At 20 ms and 1 % of such loss, CUBIC brings about
//! 0.7 MiB/s where BBR brings several; without loss they are alike.

use std::time::{Duration, Instant};

/// Window at the start, in packets (RFC 6928).
const INITIAL_WINDOW: f64 = 10.0;
const MIN_WINDOW: f64 = 2.0;
/// More than any receive window holds.
const MAX_WINDOW: f64 = 65536.0;
/// The RFC's C and beta, and the growth in its Reno-friendly region that goes with beta.
const C: f64 = 0.4;
const BETA: f64 = 0.7;
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// The congestion window.
#[derive(Clone, Copy, Debug)]
pub struct Cubic {
    window: f64,
    threshold: f64,
    /// The window when it was last reduced (the RFC's W_max).
    before_loss: f64,
    epoch: Option<Epoch>,
}

/// Growth since the last reduction.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Instant,
    /// Seconds until the window is what it was before the loss (K).
    until_plateau: f64,
    plateau: f64,
    /// What Reno would have.
    reno: f64,
}

impl Default for Cubic {
    fn default() -> Self {
        Self {
            window: INITIAL_WINDOW,
            threshold: f64::INFINITY,
            before_loss: 0.0,
            epoch: None,
        }
    }
}

impl Cubic {
    /// How many packets may be under way.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window as usize
    }

    /// How long to wait after each packet, so that a window is spread over its round trip. Faster than the window allows,
    /// as it grows: twice in slow start, else by a quarter.
    #[must_use]
    pub fn packet_interval(&self, smoothed_rtt: Duration) -> Duration {
        let gain = if self.window < self.threshold { 2.0 } else { 1.25 };
        smoothed_rtt.div_f64(self.window * gain)
    }

    /// So many packets were acknowledged, outside of a recovery and while the window was in use.
    pub fn on_acked(&mut self, packets: usize, now: Instant, smoothed_rtt: Duration) {
        let packets = f64::from(u32::try_from(packets).unwrap_or(u32::MAX));
        if self.window < self.threshold {
            self.window = (self.window + packets).min(MAX_WINDOW);
            return;
        }
        let window = self.window;
        let before_loss = self.before_loss;
        let epoch = self.epoch.get_or_insert_with(|| Epoch {
            start: now,
            until_plateau: ((before_loss - window).max(0.0) / C).cbrt(),
            plateau: before_loss.max(window),
            reno: window,
        });
        epoch.reno += ALPHA * packets / window;
        let elapsed = now.saturating_duration_since(epoch.start) + smoothed_rtt;
        let cubic = C * (elapsed.as_secs_f64() - epoch.until_plateau).powi(3) + epoch.plateau;
        let target = cubic.clamp(window, 1.5 * window);
        let grown = window + (target - window) * (packets / window).min(1.0);
        self.window = grown.max(epoch.reno).min(MAX_WINDOW);
    }

    /// Packets were lost for the first time in this round trip.
    pub fn on_loss(&mut self) {
        // Fast convergence: one who has less than before leaves room for others.
        self.before_loss = if self.window < self.before_loss {
            self.window * (1.0 + BETA) / 2.0
        } else {
            self.window
        };
        self.window = (self.window * BETA).max(MIN_WINDOW);
        self.threshold = self.window;
        self.epoch = None;
    }

    /// Nothing came back within the retransmission timeout.
    pub fn on_timeout(&mut self, already_in_recovery: bool) {
        if !already_in_recovery {
            self.on_loss();
        }
        self.window = 1.0;
        self.epoch = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    #[test]
    fn the_window_doubles_each_round_until_a_loss_then_comes_back_to_where_it_was() {
        let start = Instant::now();
        let mut cubic = Cubic::default();
        for _ in 0..4 {
            cubic.on_acked(cubic.window(), start, RTT);
        }
        assert_eq!(cubic.window(), 160);
        cubic.on_loss();
        assert_eq!(cubic.window(), 112);
        // K = cbrt(48 / 0.4), about 4.9 s.
        let mut now = start;
        while now < start + Duration::from_millis(4900) {
            now += RTT;
            cubic.on_acked(cubic.window(), now, RTT);
        }
        assert!((158..=165).contains(&cubic.window()), "{}", cubic.window());
    }

    #[test]
    fn it_never_leaves_its_bounds() {
        let now = Instant::now();
        let mut cubic = Cubic::default();
        for round in 0..1000_u32 {
            match round % 7 {
                0 => cubic.on_loss(),
                1 => cubic.on_timeout(round % 2 == 0),
                _ => cubic.on_acked(1 << (round % 20), now + round * RTT, RTT),
            }
            assert!((1..=65536).contains(&cubic.window()));
            assert!(cubic.packet_interval(RTT) <= RTT);
        }
    }
}
