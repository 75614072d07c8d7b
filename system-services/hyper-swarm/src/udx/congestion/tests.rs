//! A way of constant bandwidth and delay, on which acknowledgements come one by one.

use proptest::prelude::*;

use super::*;

/// Sends as the model says for so long. Says how many packets were delivered in the second half, and the longest queue then.
fn run(bbr: &mut Bbr, rate: f64, delay: Duration, time: Duration) -> (f64, usize) {
    let start = Instant::now();
    let mut delivery = Delivery::default();
    // By arrival of the acknowledgement.
    let mut on_the_way = std::collections::VecDeque::new();
    let (mut now, mut next_send, mut free_at) = (start, start, start);
    let (mut late, mut queue) = (0_u32, 0);
    while now < start + time {
        let may_send = on_the_way.len() < bbr.window();
        let arrival = on_the_way.front().map(|(at, _, _)| *at);
        if may_send && arrival.is_none_or(|at| next_send <= at) {
            now = next_send.max(now);
            let stamp = delivery.stamp(on_the_way.is_empty(), now);
            free_at = free_at.max(now) + Duration::from_secs_f64(1.0 / rate);
            on_the_way.push_back((free_at + delay, now, stamp));
            next_send = now + bbr.packet_interval().unwrap_or_default();
            continue;
        }
        let Some((at, sent_at, stamp)) = on_the_way.pop_front() else {
            continue;
        };
        now = at;
        delivery.on_arrived(&stamp, sent_at, now);
        let acked = Acked {
            packets: 1,
            lost: 0,
            in_flight: on_the_way.len(),
            rtt: Some(now - sent_at),
            in_recovery: false,
            sample: delivery.take_sample(delay, now),
        };
        bbr.on_acked(&acked, delivery.delivered(), now);
        if now > start + time / 2 {
            late += 1;
            queue = queue.max(on_the_way.len());
        }
    }
    (f64::from(late) / (time / 2).as_secs_f64(), queue)
}

#[test]
fn a_way_is_filled_and_no_long_queue_is_kept() {
    for (rate, delay_ms) in [
        (100.0, 100),
        (8000.0, 20),
        (8000.0, 1),
        (80_000.0, 5),
        (1000.0, 300),
    ] {
        let delay = Duration::from_millis(delay_ms);
        let (got, queue) = run(&mut Bbr::default(), rate, delay, Duration::from_secs(9));
        assert!(
            got > 0.9 * rate,
            "{got} of {rate} packets per second at {delay:?}"
        );
        let fills = rate * delay.as_secs_f64();
        assert!(
            queue as f64 <= 2.9 * fills + 8.0,
            "{queue} packets are under way where {fills} fill the way"
        );
    }
}

#[test]
fn the_delay_is_measured_again_on_an_empty_way_and_the_window_comes_back() {
    let mut bbr = Bbr::default();
    let delay = Duration::from_millis(20);
    let (got, _) = run(&mut bbr, 8000.0, delay, Duration::from_secs(24));
    assert!(got > 0.9 * 8000.0, "{got}");
}

proptest! {
    #[test]
    fn whatever_is_acknowledged_the_window_and_the_pace_keep_their_bounds(
        steps in prop::collection::vec((0..500_usize, 0..300_usize, 0..2000_usize, any::<u32>(), any::<bool>(), 0..4_u8), 0..200)
    ) {
        let mut now = Instant::now();
        let mut bbr = Bbr::default();
        let mut delivered = 0;
        let mut longest = GRANULARITY;
        for (packets, lost, in_flight, number, flag, kind) in steps {
            let rtt = flag.then(|| Duration::from_micros(number.into()));
            longest = longest.max(rtt.unwrap_or_default());
            now += Duration::from_micros(u64::from(number % 50_000));
            delivered += packets as u64;
            match kind {
                0 => bbr.on_timeout(in_flight),
                1 => bbr.on_restart(now),
                _ => bbr.on_acked(&Acked {
                    packets,
                    lost,
                    in_flight,
                    rtt,
                    in_recovery: kind == 2,
                    sample: (packets > 0).then(|| RateSample {
                        rate: f64::from(number % 1_000_000) + 1.0,
                        delivered_before: delivered - packets as u64,
                        is_app_limited: flag,
                    }),
                }, delivered, now),
            }
            prop_assert!((1..=MAX_WINDOW).contains(&bbr.window()), "{}", bbr.window());
            prop_assert!(bbr.packet_interval().is_none_or(|interval| interval <= longest));
        }
    }
}
