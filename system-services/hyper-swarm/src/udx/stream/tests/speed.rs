//! How fast streams are over simulated networks.

use super::network::{Bottleneck, Network, Path};
use super::*;

const BYTES: usize = 12 << 20;

/// Bytes per second of the second half.
fn rate(path: Path) -> f64 {
    let now = Instant::now();
    let ends = [0, 1].map(|id| connected(&config(id), now));
    let mut network = Network::new(path, ends, [vec![7; BYTES], Vec::new()], 1 << 16, now);
    let half = network.run_until_received(BYTES / 2);
    let whole = network.run_until_received(BYTES);
    BYTES as f64 / 2.0 / (whole - half).as_secs_f64()
}

#[test]
fn a_link_is_used_whatever_its_delay_even_if_packets_are_lost_by_chance() {
    for (delay_ms, loss_permille, mbit_per_s, queue_ms, share) in [
        (10, 0, 100, 50, 0.9),
        (10, 10, 100, 50, 0.8),
        (10, 50, 100, 50, 0.7),
        (50, 20, 50, 100, 0.5),
        (25, 0, 100, 10, 0.5),
    ] {
        let bytes_per_s = mbit_per_s * 1_000_000 / 8;
        let bottleneck = Bottleneck {
            bytes_per_s,
            queue_bytes: bytes_per_s * queue_ms / 1000,
        };
        let rate = rate(Path {
            loss_permille,
            duplication_permille: 0,
            delay: Duration::from_millis(delay_ms),
            jitter: Duration::from_micros(20),
            mtu: 1500,
            seed: 77,
            dead_after: None,
            back_after: None,
            bottleneck: Some(bottleneck),
        });
        let used = rate / bytes_per_s as f64;
        assert!(
            used > share,
            "{used:.2} of {mbit_per_s} Mbit/s are used at {delay_ms} ms each way and {loss_permille} lost of 1000"
        );
    }
}

#[test]
fn a_link_that_was_down_for_a_while_is_soon_used_again() {
    let now = Instant::now();
    let ends = [0, 1].map(|id| connected(&config(id), now));
    let path = Path {
        loss_permille: 0,
        duplication_permille: 0,
        delay: Duration::from_millis(10),
        jitter: Duration::from_micros(20),
        mtu: 1500,
        seed: 7,
        dead_after: Some(Duration::from_millis(500)),
        back_after: Some(Duration::from_millis(12_500)),
        bottleneck: Some(Bottleneck {
            bytes_per_s: 12_500_000,
            queue_bytes: 500_000,
        }),
    };
    let mut network = Network::new(path, ends, [vec![7; BYTES], Vec::new()], 1 << 16, now);
    // A second for the bytes, and what the last timeout in the dark waits for.
    let took = network.run_until_received(BYTES);
    assert!(took < Duration::from_secs(19), "{took:?}");
}
