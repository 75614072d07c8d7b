//! Round-trip time and the retransmission timeout (RFC 6298), with the bounds of libudx.

use std::time::{Duration, Instant};

/// Shortest retransmission timeout, and the one before anything was measured.
pub const MIN_RTO: Duration = Duration::from_secs(1);
/// Longest retransmission timeout, also after backing off.
pub const MAX_RTO: Duration = Duration::from_secs(30);
/// How long a minimum counts.
const MIN_WINDOW: Duration = Duration::from_mins(5);
/// A sample that is longer than this and far from the others was taken by a machine that slept.
const SUSPICIOUS: Duration = Duration::from_secs(5);

/// What is known of the way's delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct RttEstimator {
    measured: Option<Measured>,
    backoff: u32,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    smoothed: Duration,
    variation: Duration,
    min: Duration,
    min_at: Instant,
}

impl RttEstimator {
    /// A packet that was sent once came back acknowledged after `sample`. Ends all backing off.
    pub fn on_sample(&mut self, sample: Duration, now: Instant) {
        self.backoff = 0;
        let Some(known) = &mut self.measured else {
            let smoothed = sample.min(MAX_RTO);
            self.measured = Some(Measured {
                smoothed,
                variation: smoothed / 2,
                min: smoothed,
                min_at: now,
            });
            return;
        };
        let outlier = known.smoothed + 5 * known.variation;
        let sample = if sample > outlier.max(SUSPICIOUS) {
            outlier.min(MAX_RTO)
        } else {
            sample.min(MAX_RTO)
        };
        known.variation = (3 * known.variation + known.smoothed.abs_diff(sample)) / 4;
        known.smoothed = (7 * known.smoothed + sample) / 8;
        if sample <= known.min || now.saturating_duration_since(known.min_at) > MIN_WINDOW {
            (known.min, known.min_at) = (sample, now);
        }
    }

    /// The timeout passed without an answer: the next one is twice as long.
    pub fn on_timeout(&mut self) {
        self.backoff = (self.backoff + 1).min(16);
    }

    /// The smoothed round-trip time.
    #[must_use]
    pub fn smoothed(&self) -> Option<Duration> {
        self.measured.map(|known| known.smoothed)
    }

    /// The shortest of late.
    #[must_use]
    pub fn min(&self) -> Option<Duration> {
        self.measured.map(|known| known.min)
    }

    /// How long to wait for an acknowledgement before everything is taken as lost.
    #[must_use]
    pub fn rto(&self) -> Duration {
        let first = self.measured.map_or(MIN_RTO, |known| {
            (known.smoothed + 4 * known.variation).clamp(MIN_RTO, MAX_RTO)
        });
        first.saturating_mul(1 << self.backoff).min(MAX_RTO)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_sample_counts_whole_and_a_slept_through_one_hardly() {
        let now = Instant::now();
        let mut rtt = RttEstimator::default();
        assert_eq!(rtt.rto(), MIN_RTO);
        rtt.on_sample(Duration::from_millis(800), now);
        assert_eq!(rtt.rto(), Duration::from_millis(2400));
        rtt.on_timeout();
        assert_eq!(rtt.rto(), Duration::from_millis(4800));
        rtt.on_sample(Duration::from_hours(8), now);
        assert!(rtt.smoothed() < Some(Duration::from_secs(2)), "{rtt:?}");
    }

    proptest! {
        #[test]
        fn the_timeout_keeps_its_bounds(samples in prop::collection::vec(any::<u32>(), 0..50), timeouts in 0..40_u32) {
            let now = Instant::now();
            let mut rtt = RttEstimator::default();
            for sample in samples {
                rtt.on_sample(Duration::from_micros(sample.into()), now);
                prop_assert!(rtt.min() <= rtt.smoothed());
            }
            for _ in 0..timeouts {
                rtt.on_timeout();
                prop_assert!((MIN_RTO..=MAX_RTO).contains(&rtt.rto()));
            }
        }
    }
}
