//! What a hostile peer can do.

use std::time::{Duration, Instant};

use super::{Config, Stream};
use crate::udx::packet::HEADER_BYTES;

/// More than a header and what it is charged.
const SLACK_BYTES: usize = 4096;
const WINDOW_BYTES: u32 = 1 << 14;
/// Packets for one packet of the peer: those that it lets go, and an answer.
const MAX_PACKETS: usize = 1 << 14;

/// For fuzzing: `bytes` are a peer's datagrams, each after its length in one byte and after another with what happens besides.
/// Must not panic, nor hold more than the limits allow, nor send without end.
pub fn fuzz_stream(bytes: &[u8]) {
    let mut now = Instant::now();
    let config = Config {
        receive_window_bytes: WINDOW_BYTES,
        send_buffer_bytes: WINDOW_BYTES as usize,
        keep_alive: Some(Duration::from_secs(5)),
        ..Config::new(1)
    };
    let mut stream = Stream::new(&config, now);
    stream.connect(2, false);
    let mut rest = bytes;
    while let [step, len, after @ ..] = rest {
        let (datagram, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        // Nearly every mutation of these four bytes would be for another stream.
        let mut datagram = datagram.to_vec();
        if let Some(head) = datagram.first_chunk_mut::<HEADER_BYTES>() {
            head[..2].copy_from_slice(&[255, 1]);
            head[4..8].copy_from_slice(&1_u32.to_le_bytes());
        }
        let _ = stream.receive(&datagram, now);
        match step % 8 {
            0 => now += Duration::from_micros(300),
            1 => now += Duration::from_millis(40),
            2 => now = stream.poll_timeout().unwrap_or(now).max(now),
            3 => drop(stream.write(&[7; 5000], now)),
            4 => drop(stream.read(&mut [0; 3000])),
            5 => drop(stream.send_message(b"message")),
            6 => stream.finish(now),
            _ => drop(stream.read_message()),
        }
        stream.handle_timeout(now);
        let mut sent = Vec::new();
        let packets = (0..MAX_PACKETS).take_while(|_| stream.poll_transmit(now, &mut sent));
        assert!(packets.count() < MAX_PACKETS, "a packet is answered by a few");
        while stream.poll_event().is_some() {}
        let limit = 3 * WINDOW_BYTES as usize + SLACK_BYTES;
        assert!(
            stream.held_bytes() <= limit,
            "{} bytes are held",
            stream.held_bytes()
        );
    }
    stream.destroy();
    while stream.poll_transmit(now, &mut Vec::new()) {}
    assert!(stream.is_gone(), "what is destroyed is gone");
}
