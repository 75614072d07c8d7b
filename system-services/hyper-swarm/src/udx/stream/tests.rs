//! Two streams over a simulated network: whatever it does, the bytes arrive in order or the stream says that it is over.

mod network;
mod speed;

use proptest::prelude::*;

use self::network::{Bottleneck, Network, Outcome, Path};
use super::*;
use crate::udx::packet::{SackBlock, Seq};

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn connected(config: &Config, now: Instant) -> Stream {
    let mut stream = Stream::new(config, now);
    stream.connect(1 - config.local_id, false);
    stream
}

fn next_packet(stream: &mut Stream, now: Instant) -> Option<Vec<u8>> {
    let mut datagram = Vec::new();
    stream.poll_transmit(now, &mut datagram).then_some(datagram)
}

fn config(local_id: u32) -> Config {
    Config::new(local_id)
}

/// How a path may be.
fn paths() -> impl Strategy<Value = Path> {
    (
        0..200_u32,
        0..60_u32,
        0..20_000_u64,
        0..30_000_u64,
        1200..1600_usize,
        any::<u64>(),
        prop::option::of((50_000..50_000_000_u64, 4000..500_000_u64)),
    )
        .prop_map(|(loss, duplication, delay, jitter, mtu, seed, bottleneck)| Path {
            loss_permille: loss,
            duplication_permille: duplication,
            delay: Duration::from_micros(delay),
            jitter: Duration::from_micros(jitter),
            mtu,
            seed,
            dead_after: None,
            back_after: None,
            bottleneck: bottleneck.map(|(bytes_per_s, queue_bytes)| Bottleneck {
                bytes_per_s,
                queue_bytes,
            }),
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_bytes_arrive_in_order_in_both_directions_and_both_ends_close(
        path in paths(),
        lengths in (0..200_000_usize, 0..60_000_usize),
        windows in (2000..300_000_u32, 2000..5_000_000_u32),
        buffer in 1..300_000_usize,
        chunk in 1..20_000_usize,
        first in (any::<u32>(), any::<u32>()),
    ) {
        let now = Instant::now();
        let ends = [0, 1].map(|id| {
            let firsts = if id == 0 { first } else { (first.1, first.0) };
            let config = Config {
                first_seq: Seq(firsts.0),
                peers_first_seq: Seq(firsts.1),
                receive_window_bytes: if id == 0 { windows.0 } else { windows.1 },
                send_buffer_bytes: buffer,
                ..config(id)
            };
            connected(&config, now)
        });
        let sent = [pattern(lengths.0), pattern(lengths.1)];
        let mut network = Network::new(path, ends, sent.clone(), chunk, now);
        let outcome = network.run();
        let limit = buffer + 2 * windows.0.max(windows.1) as usize + 4096;
        prop_assert!(network.most_held <= limit, "{} of {limit} bytes", network.most_held);
        prop_assert_eq!(outcome, [Outcome::Closed(CloseReason::Finished); 2]);
        prop_assert!(network.received[1] == sent[0] && network.received[0] == sent[1], "bytes differ");
        let mtus = network.mtus();
        prop_assert!(mtus.iter().all(|mtu| usize::from(*mtu) <= path.mtu), "{mtus:?}");
    }

    #[test]
    fn a_way_that_goes_dead_ends_the_stream(path in paths(), dead in 0..200_000_u64, len in 500_000..800_000_usize) {
        let now = Instant::now();
        let path = Path { dead_after: Some(Duration::from_micros(dead)), ..path };
        let ends = [0, 1].map(|id| connected(&config(id), now));
        let mut network = Network::new(path, ends, [pattern(len), Vec::new()], 1000, now);
        let outcome = network.run();
        let got = &network.received[1];
        prop_assert!(pattern(len).starts_with(got), "no byte that was not sent");
        // Who has brought everything there has nothing to say any more, and hears nothing.
        prop_assert!(outcome[0] != Outcome::Waits || got.len() == len);
    }

    #[test]
    fn hostile_packets_neither_panic_nor_grow_memory(
        steps in prop::collection::vec(
            (any::<u8>(), 0..64_u8, 0..40_i32, -3..40_i32, any::<u32>(), prop::collection::vec((0..60_u32, 0..60_u32), 0..6)),
            0..120,
        )
    ) {
        let mut bytes = Vec::new();
        for (step, flags, seq, ack, window, blocks) in steps {
            let header = Header {
                flags: Flags::from_bits(flags),
                stream: 1,
                window: window >> (window % 32),
                seq: Seq(seq as u32),
                ack: Seq(ack as u32),
            };
            let mut datagram = header.encode(0).to_vec();
            for (start, end) in blocks {
                datagram.extend(start.to_le_bytes());
                datagram.extend(end.to_le_bytes());
            }
            bytes.extend([step, datagram.len() as u8]);
            bytes.extend(datagram);
        }
        fuzz_stream(&bytes);
    }

    #[test]
    fn any_bytes_neither_panic_nor_grow_memory(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        fuzz_stream(&bytes);
    }
}

fn data(seq: u32, flags: Flags, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        flags,
        stream: 0,
        window: 1 << 20,
        seq: Seq(seq),
        ack: Seq(0),
    };
    [&header.encode(0)[..], payload].concat()
}

#[test]
fn a_gap_is_told_in_blocks_and_closed_in_order() {
    let now = Instant::now();
    let mut stream = connected(&config(0), now);
    for seq in [0, 2, 3, 6, 2] {
        stream
            .receive(&data(seq, Flags::DATA, &[seq as u8]), now)
            .unwrap();
    }
    let ack = next_packet(&mut stream, now).unwrap();
    let ack = Packet::decode(&ack).unwrap();
    assert_eq!((ack.header.flags, ack.header.ack), (Flags::SACK, Seq(1)));
    let blocks: Vec<_> = ack.sack_blocks().collect();
    let block = |start, end| SackBlock {
        start: Seq(start),
        end: Seq(end),
    };
    assert_eq!(blocks, [block(2, 4), block(6, 7)]);
    assert!(next_packet(&mut stream, now).is_none(), "one answer is enough");
    for seq in [1, 5, 4] {
        stream
            .receive(&data(seq, Flags::DATA, &[seq as u8]), now)
            .unwrap();
    }
    let mut out = [0; 9];
    assert_eq!(
        (stream.read(&mut out), &out[..7]),
        (7, &[0, 1, 2, 3, 4, 5, 6][..])
    );
}

#[test]
fn a_destroyed_stream_says_so_once_and_the_peer_believes_it() {
    let now = Instant::now();
    let mut ends = [0, 1].map(|id| connected(&config(id), now));
    ends[0].destroy();
    let datagram = next_packet(&mut ends[0], now).unwrap();
    assert!(ends[0].is_gone() && next_packet(&mut ends[0], now).is_none());
    ends[1].receive(&datagram, now).unwrap();
    assert_eq!(ends[1].poll_event(), Some(Event::Closed(CloseReason::Reset)));
    assert_eq!(ends[1].write(b"late", now), 0);
}

#[test]
fn nothing_is_sent_before_the_peer_is_known_and_everything_after() {
    let now = Instant::now();
    let mut stream = Stream::new(&config(0), now);
    stream.write(b"early", now);
    stream.receive(&data(0, Flags::DATA, b"x"), now).unwrap();
    assert_eq!(
        (next_packet(&mut stream, now), stream.poll_timeout()),
        (None, None)
    );
    stream.connect(7, true);
    let sent = next_packet(&mut stream, now).unwrap();
    let sent = Packet::decode(&sent).unwrap();
    assert_eq!(
        (sent.header.stream, sent.header.ack, sent.payload),
        (7, Seq(1), &b"early"[..])
    );
}

#[test]
fn messages_go_beside_the_stream_and_a_flood_of_them_is_dropped() {
    let now = Instant::now();
    let mut ends = [0, 1].map(|id| connected(&config(id), now));
    assert!(!ends[0].send_message(&[0; 1300]), "longer than every way carries");
    for n in 0..3 {
        assert!(ends[0].send_message(&[n]));
    }
    while let Some(datagram) = next_packet(&mut ends[0], now) {
        for _ in 0..100 {
            ends[1].receive(&datagram, now).unwrap();
        }
    }
    let got = std::iter::from_fn(|| ends[1].read_message()).count();
    assert_eq!(got, MAX_MESSAGES);
    let giant = data(0, Flags::MESSAGE, &[0; 9000]);
    ends[0].receive(&giant, now).unwrap();
    assert_eq!(ends[0].read_message(), None, "no packet is so long");
}

#[test]
fn an_idle_stream_gives_a_sign_of_life_when_asked_to() {
    let now = Instant::now();
    let keep_alive = Some(Duration::from_secs(5));
    let mut stream = connected(
        &Config {
            keep_alive,
            ..config(0)
        },
        now,
    );
    let later = stream.poll_timeout().unwrap();
    assert_eq!(later, now + Duration::from_secs(5));
    stream.handle_timeout(later);
    let sign = next_packet(&mut stream, later).unwrap();
    assert_eq!(Packet::decode(&sign).unwrap().header.flags, Flags::HEARTBEAT);
    assert_eq!(stream.poll_timeout(), Some(later + Duration::from_secs(5)));
}
