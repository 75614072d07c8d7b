//! Properties: two ends over a pipe that cuts anywhere, and one end against anything.

use std::collections::{HashMap, HashSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// An end that knows what it sent and saw.
#[derive(Default)]
struct End {
    mux: Mux,
    /// Numbers of our channels, told to the peer in the handshake.
    numbers: HashMap<ChannelId, u32>,
    live: Vec<ChannelId>,
    /// Our channels that are open at both ends: the peer's number.
    partner: HashMap<ChannelId, u32>,
    sent: HashMap<u32, u32>,
    /// How many messages came from the peer's channel of that number.
    received: HashMap<u32, u32>,
    closed_here: HashSet<u32>,
    /// Bytes that are on their way to this end.
    pipe: VecDeque<u8>,
}

#[derive(Debug, Clone)]
enum Step {
    Open {
        name: u8,
        unique: bool,
    },
    Send(prop::sample::Index),
    Close(prop::sample::Index),
    Cork,
    Uncork,
    /// The other end reads so many bytes at most.
    Carry(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => (0u8..4, any::<bool>()).prop_map(|(name, unique)| Step::Open { name, unique }),
        4 => index().prop_map(Step::Send),
        1 => index().prop_map(Step::Close),
        1 => Just(Step::Cork),
        2 => Just(Step::Uncork),
        6 => (0u16..60).prop_map(Step::Carry),
    ]
}

impl End {
    fn new() -> Self {
        let mut end = Self::default();
        // "0" has no pairing and is rejected, "1" is accepted by its name, the others by the wildcard.
        end.mux.pair("named", b"1");
        end.mux.pair("any", b"");
        end
    }

    fn open(&mut self, protocol: &str, id: &[u8], unique: bool) -> bool {
        let mut spec = ChannelSpec::new(protocol);
        (spec.id, spec.unique) = (id, unique);
        let number = self.numbers.len() as u32;
        let Ok(channel) = self.mux.open(spec, &number.to_le_bytes()) else {
            return false;
        };
        self.numbers.insert(channel, number);
        self.live.push(channel);
        true
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Open { name, unique } => {
                let protocol = if *name < 2 { "named" } else { "any" };
                self.open(protocol, name.to_string().as_bytes(), *unique);
            }
            Step::Send(which) if !self.live.is_empty() => {
                let channel = *which.get(&self.live);
                let number = self.numbers[&channel];
                let sent = self.sent.entry(number).or_default();
                let payload = [number.to_le_bytes(), sent.to_le_bytes()].concat();
                *sent += 1;
                self.mux.send(channel, 3, &payload).unwrap();
            }
            Step::Close(which) if !self.live.is_empty() => {
                let channel = self.live.swap_remove(which.index(self.live.len()));
                self.closed_here.insert(self.numbers[&channel]);
                self.partner.remove(&channel);
                self.mux.close(channel);
                assert_eq!(self.mux.send(channel, 0, b""), Err(SendError::Closed));
            }
            Step::Cork => self.mux.cork(),
            Step::Uncork => self.mux.uncork(),
            _ => {}
        }
    }

    /// Puts what waits into the other end's pipe, each frame behind its length.
    fn flush(&mut self, other: &mut End) {
        while let Some(frame) = self.mux.poll_frame() {
            other.pipe.extend(&(frame.len() as u32).to_le_bytes()[..3]);
            other.pipe.extend(frame);
        }
    }

    /// Takes a frame out of the first `seen` bytes of the pipe, if it is there whole.
    fn frame(&mut self, seen: usize) -> Option<Vec<u8>> {
        let head: Vec<u8> = self.pipe.iter().copied().take(3.min(seen)).collect();
        let len = u32::from_le_bytes([*head.first()?, *head.get(1)?, *head.get(2)?, 0]) as usize;
        (seen >= 3 + len && self.pipe.len() >= 3 + len).then(|| self.pipe.drain(..3 + len).skip(3).collect())
    }

    fn feed(&mut self, frame: &[u8]) {
        let mut input = Input::new(frame);
        while let Some(event) = self.mux.next_event(&mut input).unwrap() {
            match event {
                Event::Requested { protocol, id } => {
                    if !self.open(protocol, id, true) {
                        self.mux.reject(protocol, id);
                    }
                }
                Event::Opened { channel, handshake } => {
                    let number = u32::from_le_bytes((*handshake).try_into().unwrap());
                    assert!(self.partner.insert(channel, number).is_none(), "opened twice");
                }
                Event::Message {
                    channel,
                    kind,
                    payload,
                } => {
                    assert_eq!(kind, 3);
                    let number = u32::from_le_bytes(payload[..4].try_into().unwrap());
                    assert_eq!(self.partner[&channel], number, "a message of another channel");
                    let received = self.received.entry(number).or_default();
                    assert_eq!(
                        payload[4..],
                        received.to_le_bytes(),
                        "a message is missing or came twice"
                    );
                    *received += 1;
                }
                Event::Closed { channel, rejected } => {
                    assert_eq!(self.partner.remove(&channel).is_none(), rejected);
                    self.live.retain(|live| *live != channel);
                }
            }
        }
    }
}

/// Both ends agree, and nothing is left of what is closed.
fn check_settled(a: &End, b: &End) {
    let partners = |end: &End| -> HashSet<(u32, u32)> {
        let pair = |(channel, number): (&ChannelId, &u32)| (end.numbers[channel], *number);
        end.partner.iter().map(pair).collect()
    };
    let mirrored: HashSet<_> = partners(b)
        .into_iter()
        .map(|(ours, theirs)| (theirs, ours))
        .collect();
    assert_eq!(partners(a), mirrored);
    for (from, to) in [(a, b), (b, a)] {
        assert_eq!(
            from.live.len(),
            from.partner.len(),
            "a channel that nobody answered"
        );
        for (number, _) in partners(from) {
            assert_eq!(from.sent.get(&number), to.received.get(&number));
        }
        assert_eq!(
            (
                from.mux.buffered_bytes,
                from.mux.waiting_channels,
                from.mux.accepted.len()
            ),
            (0, 0, 0)
        );
        let (groups, remotes, _) = from.mux.table.sizes();
        assert_eq!(remotes, from.live.len());
        assert!(groups <= from.live.len());
    }
}

proptest! {
    #[test]
    fn two_ends_agree_and_lose_no_message_wherever_the_pipe_cuts(steps in prop::collection::vec((any::<bool>(), step()), 0..150)) {
        let (mut a, mut b) = (End::new(), End::new());
        for (first, step) in &steps {
            let (end, other) = if *first { (&mut a, &mut b) } else { (&mut b, &mut a) };
            end.run(step);
            end.flush(other);
            if let Step::Carry(bytes) = step
                && let Some(frame) = other.frame(usize::from(*bytes))
            {
                other.feed(&frame);
                other.flush(end);
            }
        }
        for end in [&mut a, &mut b] {
            (0..steps.len()).for_each(|_| end.mux.uncork());
        }
        a.flush(&mut b);
        b.flush(&mut a);
        while a.pipe.len() + b.pipe.len() > 0 {
            for (end, other) in [(&mut a, &mut b)] {
                while let Some(frame) = end.frame(usize::MAX) {
                    end.feed(&frame);
                    end.flush(other);
                }
                while let Some(frame) = other.frame(usize::MAX) {
                    other.feed(&frame);
                    other.flush(end);
                }
            }
        }
        check_settled(&a, &b);
    }
}

/// Frames that are nearly right, so that they come far.
fn hostile_frame() -> impl Strategy<Value = Vec<u8>> {
    let id = || prop_oneof![0u8..8, any::<u8>()];
    let open = (id(), 0u8..6, prop::collection::vec(any::<u8>(), 0..80))
        .prop_map(|(id, name, tail)| [&[0, 1, id, 1, b'p', 1, b'0' + name][..], &tail].concat());
    let short = (0u8..5, id()).prop_map(|(kind, id)| vec![0, kind, id]);
    let message = (id(), 0u8..4, prop::collection::vec(any::<u8>(), 0..100))
        .prop_map(|(id, kind, tail)| [&[id, kind][..], &tail].concat());
    let noise = prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..40);
    let single = prop_oneof![4 => open, 4 => short, 4 => message, 1 => noise].boxed();
    let batch = prop::collection::vec((single.clone(), id()), 1..8).prop_map(|entries| {
        let mut frame = vec![0, 0, entries[0].0.first().copied().unwrap_or(0)];
        for (entry, id) in entries {
            put_bytes(&mut frame, entry.get(1..).unwrap_or(&[]));
            frame.extend([0, entry.first().copied().unwrap_or(id)]);
        }
        frame
    });
    prop_oneof![3 => single, 1 => batch]
}

const TIGHT: Limits = Limits {
    waiting_channels: 3,
    pause_bytes: 200,
    buffered_bytes: 500,
    rejections: 5,
};

/// What an application might do in between.
fn answer(mux: &mut Mux, what: u8, ours: &mut Vec<ChannelId>) {
    let id = [b'0' + what % 6];
    let spec = ChannelSpec {
        protocol: "p",
        aliases: &["q"],
        id: &id,
        unique: what < 128,
    };
    match what % 7 {
        0 | 1 if ours.len() < 10 => ours.extend(mux.open(spec, b"")),
        2 => mux.reject("p", &id),
        3 => ours.pop().into_iter().for_each(|channel| mux.close(channel)),
        4 => while mux.poll_frame().is_some() {},
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn a_hostile_peer_cannot_make_us_panic_or_keep_more_than_the_limits(
        frames in prop::collection::vec((hostile_frame(), any::<u8>()), 0..60)
    ) {
        let mut mux = Mux::new(TIGHT);
        mux.pair("p", b"");
        let mut ours = Vec::new();
        'frames: for (frame, what) in &frames {
            answer(&mut mux, *what, &mut ours);
            let mut input = Input::new(frame);
            loop {
                match mux.next_event(&mut input) {
                    Ok(Some(Event::Closed { channel, .. })) => ours.retain(|open| *open != channel),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        prop_assert_eq!(mux.next_event(&mut Input::default()), Err(error));
                        break 'frames;
                    }
                }
            }
            prop_assert!(mux.waiting_channels <= TIGHT.waiting_channels);
            prop_assert!(mux.buffered_bytes <= TIGHT.buffered_bytes);
            prop_assert!(mux.rejections <= TIGHT.rejections || mux.queued_bytes() > 0);
            prop_assert!(mux.accepted.is_empty());
            let (groups, remotes, locals) = mux.table.sizes();
            prop_assert!(remotes <= TIGHT.waiting_channels + ours.len());
            // Channels that we closed before the answer still have their names.
            prop_assert!(groups <= TIGHT.waiting_channels + 2 * locals);
            prop_assert_eq!(mux.channels().count(), ours.len());
        }
    }

    #[test]
    fn bytes_of_any_kind_are_taken_apart_without_panic(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut input = Input::new(&frame);
        let _ = input.has_many();
        while let Ok(Some(_)) = input.next() {}
    }
}

fn feed(mux: &mut Mux, frame: &[u8]) -> Result<usize, MuxError> {
    let mut input = Input::new(frame);
    let mut events = 0;
    while mux.next_event(&mut input)?.is_some() {
        events += 1;
    }
    Ok(events)
}

#[test]
fn messages_before_the_acceptance_pause_the_peer_and_end_its_connection_when_they_flood() {
    let mut mux = Mux::new(TIGHT);
    mux.pair("p", b"");
    assert_eq!(feed(&mut mux, &[0, 1, 1, 1, b'p', 0]), Ok(1));
    let message = [&[1, 0][..], &[7; 140]].concat();
    assert_eq!(feed(&mut mux, &message), Ok(0));
    assert!(!mux.wants_input());
    assert_eq!(feed(&mut mux, &message), Ok(0));
    let flood = MuxError::TooMuchBuffered { limit: 500 };
    assert_eq!(feed(&mut mux, &message), Err(flood));
}

#[test]
fn what_waited_comes_after_the_acceptance_even_when_the_peer_has_closed() {
    let mut mux = Mux::default();
    mux.pair("p", b"");
    for frame in [&[0, 1, 1, 1, b'p', 0][..], &[1, 9, 7], &[0, 3, 1], &[1, 9, 8]] {
        feed(&mut mux, frame).unwrap();
    }
    let channel = mux.open(ChannelSpec::new("p"), b"").unwrap();
    let mut events = std::iter::from_fn(|| mux.next_event(&mut Input::default()).unwrap());
    assert!(matches!(events.next(), Some(Event::Opened { .. })));
    assert!(matches!(events.next(), Some(Event::Message { kind: 9, payload, .. }) if *payload == [7]));
    let rejected = false;
    assert_eq!(events.next(), Some(Event::Closed { channel, rejected }));
    assert_eq!(events.next(), None);
    assert_eq!(mux.table.sizes().0, 0);
}

#[test]
fn more_waiting_channels_than_allowed_are_rejected_and_the_rest_lives_on() {
    let mut mux = Mux::new(TIGHT);
    mux.pair("p", b"");
    for id in 1..=4 {
        assert_eq!(
            feed(&mut mux, &[0, 1, id, 1, b'p', 1, id]),
            Ok(usize::from(id < 4))
        );
    }
    assert_eq!(mux.poll_frame(), Some(vec![0, 2, 4]));
    let unknown = |id: u8| [0, 1, id, 1, b'u', 0];
    (0..5).for_each(|_| assert_eq!(feed(&mut mux, &unknown(4)), Ok(0)));
    let limit = TIGHT.rejections;
    assert_eq!(
        feed(&mut mux, &unknown(4)),
        Err(MuxError::TooManyRejections { limit })
    );
}

#[test]
fn batches_that_the_peer_never_writes_are_refused() {
    let mut mux = Mux::default();
    assert_eq!(
        feed(&mut mux, &[0, 0, 0, 4, 0, 1, 1, 0]),
        Err(MuxError::NestedBatch)
    );
    let mut mux = Mux::default();
    // An entry beyond the end of its frame.
    assert!(matches!(
        feed(&mut mux, &[0, 0, 1, 5, 0, 1]),
        Err(MuxError::Malformed(_))
    ));
}
