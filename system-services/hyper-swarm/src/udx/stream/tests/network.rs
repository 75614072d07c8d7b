//! A network between two streams, in simulated time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::{CloseReason, Event, Stream};

/// Headers of IPv4 and UDP.
const BELOW_BYTES: usize = 28;
/// Something is wrong when it takes longer: six timeouts of at most 30 s for one packet, and many packets.
const LONGEST: Duration = Duration::from_hours(2);
const MOST_STEPS: u32 = 4_000_000;

/// What the way does to packets, in both directions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) loss_permille: u32,
    pub(super) duplication_permille: u32,
    pub(super) delay: Duration,
    /// Up to so much is added, by which packets overtake each other.
    pub(super) jitter: Duration,
    /// Longer packets vanish.
    pub(super) mtu: usize,
    pub(super) seed: u64,
    /// From then on everything vanishes.
    pub(super) dead_after: Option<Duration>,
    /// Until then.
    pub(super) back_after: Option<Duration>,
    /// The narrowest place, if there is one.
    pub(super) bottleneck: Option<Bottleneck>,
}

/// A link that takes packets one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bottleneck {
    pub(super) bytes_per_s: u64,
    /// What waits before it at most; what comes then vanishes.
    pub(super) queue_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Closed(CloseReason),
    /// Neither over nor with anything to wait for.
    Waits,
}

pub(super) struct Network {
    path: Path,
    ends: [Stream; 2],
    unsent: [Vec<u8>; 2],
    written: [usize; 2],
    chunk: usize,
    pub(super) received: [Vec<u8>; 2],
    closed: [Option<CloseReason>; 2],
    /// By time, then by order of sending: for whom, and what.
    on_the_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    count: u64,
    /// When the bottleneck has sent what waits before it.
    free_at: [Instant; 2],
    start: Instant,
    now: Instant,
    pub(super) most_held: usize,
}

impl Network {
    pub(super) fn new(
        path: Path,
        ends: [Stream; 2],
        unsent: [Vec<u8>; 2],
        chunk: usize,
        now: Instant,
    ) -> Self {
        Self {
            path,
            ends,
            unsent,
            written: [0; 2],
            chunk,
            received: Default::default(),
            closed: [None; 2],
            on_the_way: BTreeMap::new(),
            count: 0,
            free_at: [now; 2],
            start: now,
            now,
            most_held: 0,
        }
    }

    pub(super) fn mtus(&self) -> [u16; 2] {
        [self.ends[0].mtu(), self.ends[1].mtu()]
    }

    /// xorshift*.
    fn random(&mut self) -> u64 {
        let mut x = self.path.seed | 1;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.path.seed = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Until both are over, or nothing can happen any more.
    pub(super) fn run(&mut self) -> [Outcome; 2] {
        for _ in 0..MOST_STEPS {
            for end in 0..2 {
                self.use_stream(end);
                self.transmit(end);
                self.most_held = self.most_held.max(self.ends[end].held_bytes());
            }
            if self.ends.iter().all(Stream::is_gone) || !self.advance() {
                break;
            }
        }
        self.closed
            .map(|closed| closed.map_or(Outcome::Waits, Outcome::Closed))
    }

    /// Until the second end has so many bytes.
    pub(super) fn run_until_received(&mut self, bytes: usize) -> Duration {
        while self.received[1].len() < bytes {
            for end in 0..2 {
                self.use_stream(end);
                self.transmit(end);
            }
            assert!(self.advance(), "nothing can happen any more");
        }
        self.elapsed()
    }

    fn use_stream(&mut self, end: usize) {
        let stream = &mut self.ends[end];
        while let Some(event) = stream.poll_event() {
            if let Event::Closed(reason) = event {
                assert_eq!(self.closed[end].replace(reason), None, "told once");
            }
        }
        let mut buffer = vec![0; self.chunk];
        loop {
            let len = stream.read(&mut buffer);
            self.received[end].extend(&buffer[..len]);
            if len < buffer.len() {
                break;
            }
        }
        let rest = &self.unsent[end][self.written[end]..];
        self.written[end] += stream.write(&rest[..rest.len().min(self.chunk)], self.now);
        if self.written[end] == self.unsent[end].len() {
            stream.finish(self.now);
        }
    }

    fn transmit(&mut self, end: usize) {
        while let Some(datagram) = super::next_packet(&mut self.ends[end], self.now) {
            let random = self.random();
            let is_lost = random % 1000 < self.path.loss_permille.into()
                || datagram.len() + BELOW_BYTES > self.path.mtu
                || self
                    .path
                    .dead_after
                    .is_some_and(|after| self.now > self.start + after)
                    && self
                        .path
                        .back_after
                        .is_none_or(|after| self.now < self.start + after);
            if is_lost {
                continue;
            }
            let Some(passed) = self.pass_bottleneck(end, datagram.len() + BELOW_BYTES) else {
                continue;
            };
            let copies = 1 + u32::from((random >> 10) % 1000 < self.path.duplication_permille.into());
            for _ in 0..copies {
                let jitter = self.random() % (self.path.jitter.as_micros() as u64 + 1);
                let at = passed + self.path.delay + Duration::from_micros(jitter);
                self.count += 1;
                self.on_the_way
                    .insert((at, self.count), (1 - end, datagram.clone()));
            }
        }
    }

    /// When a packet has passed the narrowest place, if it does.
    fn pass_bottleneck(&mut self, from: usize, bytes: usize) -> Option<Instant> {
        let Some(Bottleneck {
            bytes_per_s,
            queue_bytes,
        }) = self.path.bottleneck
        else {
            return Some(self.now);
        };
        let time = |bytes: u64| Duration::from_nanos(bytes * 1_000_000_000 / bytes_per_s);
        let free_at = self.free_at[from].max(self.now);
        if free_at - self.now > time(queue_bytes) {
            return None;
        }
        self.free_at[from] = free_at + time(bytes as u64);
        Some(self.free_at[from])
    }

    /// What time has passed in the simulation.
    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// To the next thing that happens.
    fn advance(&mut self) -> bool {
        let arrival = self.on_the_way.keys().next().map(|(at, _)| *at);
        let timeouts = self.ends.iter().filter_map(Stream::poll_timeout);
        let Some(next) = timeouts.chain(arrival).min() else {
            return false;
        };
        self.now = next.max(self.now);
        if self.now > self.start + LONGEST {
            return false;
        }
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        while let Some(entry) = self.on_the_way.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, datagram) = entry.remove();
            self.ends[to].receive(&datagram, self.now).unwrap();
        }
        true
    }
}
