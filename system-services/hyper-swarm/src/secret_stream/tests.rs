//! Against what the JavaScript peers said (`tests/interop/vectors-stream.mjs`), and properties.

use std::time::{Duration, Instant};

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use proptest::prelude::*;
use serde_json::Value;

use super::frame::LARGEST_ADVANCE;
use super::*;
use crate::noise::KeyPair;
use crate::noise::tests::{hex, vectors};

/// The generator's messages.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 7 + (i >> 8)) & 255) as u8).collect()
}

pub(crate) fn digest(bytes: &[u8]) -> Vec<u8> {
    Blake2b::<U32>::digest(bytes).to_vec()
}

/// Both sides' handshakes with the generator's keys.
fn handshakes(pattern: &str) -> [Handshake; 2] {
    let (alice, bob) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
    match pattern {
        "XX" => [
            Handshake::xx_initiator(&alice, b"", [3; 32]).unwrap(),
            Handshake::xx_responder(&bob, b"", [4; 32]).unwrap(),
        ],
        _ => [
            Handshake::ik_initiator(&alice, bob.public_key(), b"", [3; 32]).unwrap(),
            Handshake::ik_responder(&bob, b"", [4; 32]).unwrap(),
        ],
    }
}

fn random(side: u8) -> Random {
    Random {
        header: [7 + side; 24],
        datagram_counter: [9 + side; 8],
    }
}

/// Two streams after their handshake, and what each has still to hear.
fn connected() -> [(SecretStream, Vec<u8>); 2] {
    let mut out = [Vec::new(), Vec::new()];
    let mut id = 0;
    let [mut alice, mut bob] = handshakes("XX").map(|handshake| {
        id += 1;
        Connecting::new(
            handshake,
            random(id),
            Options::default(),
            &mut out[usize::from(id - 1)],
        )
        .unwrap()
    });
    let [mut to_bob, mut to_alice] = out;
    assert!(
        bob.receive(&mut to_bob.as_slice(), &mut to_alice)
            .unwrap()
            .is_none()
    );
    to_bob.clear();
    let alice = alice
        .receive(&mut to_alice.as_slice(), &mut to_bob)
        .unwrap()
        .unwrap();
    to_alice.clear();
    let mut input = to_bob.as_slice();
    let bob = bob.receive(&mut input, &mut to_alice).unwrap().unwrap();
    assert_eq!(alice.handshake_hash, bob.handshake_hash);
    [(alice, to_alice), (bob, input.to_vec())]
}

/// Plays `side` of a recorded conversation: hears what the other side said, and says what the peer said.
fn replay(vector: &Value, side: usize) {
    let heard = hex(&vector["said"][1 - side]);
    let mut said = Vec::new();
    let handshake = handshakes(vector["pattern"].as_str().unwrap())
        .into_iter()
        .nth(side)
        .unwrap();
    let random = Random {
        header: hex(&vector["headers"][side]).try_into().unwrap(),
        datagram_counter: hex(&vector["counters"][side]).try_into().unwrap(),
    };
    let mut connecting = Connecting::new(handshake, random, Options::default(), &mut said).unwrap();
    let mut input = heard.as_slice();
    let mut stream = connecting.receive(&mut input, &mut said).unwrap().unwrap();
    assert_eq!(stream.handshake_hash.to_vec(), hex(&vector["hash"]));

    let lengths = |side: usize| {
        vector["lengths"][side]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l.as_u64().unwrap())
    };
    for length in lengths(side) {
        stream.sender.send(&pattern(length as usize), &mut said).unwrap();
    }
    assert_eq!(said, hex(&vector["said"][side]));
    for length in lengths(1 - side) {
        let message = stream.receiver.receive(&mut input).unwrap().unwrap();
        assert_eq!(message, pattern(length as usize));
    }
    assert_eq!(stream.receiver.receive(&mut input), Ok(None));
    assert_eq!(stream.receiver.end(), Ok(()));

    for (i, message) in [pattern(40), Vec::new()].into_iter().enumerate() {
        let datagram = stream.datagram_sender.seal(&message).unwrap();
        assert_eq!(datagram, hex(&vector["datagrams"][side][i]));
        let other = hex(&vector["datagrams"][1 - side][i]);
        assert_eq!(stream.datagram_receiver.open(&other), Some(message));
        assert_eq!(
            stream.datagram_receiver.open(&datagram),
            None,
            "our own comes back"
        );
    }
}

#[test]
fn a_recorded_conversation_is_the_same_byte_for_byte_from_either_side() {
    for vector in vectors()["streams"].as_array().unwrap() {
        replay(vector, 0);
        replay(vector, 1);
    }
}

#[test]
fn stream_ids_are_the_peers() {
    for vector in vectors()["streams"].as_array().unwrap() {
        let hash = hex(&vector["hash"]).try_into().unwrap();
        assert_eq!(stream_id(&hash, Role::Initiator).to_vec(), hex(&vector["ids"][0]));
        assert_eq!(stream_id(&hash, Role::Responder).to_vec(), hex(&vector["ids"][1]));
    }
}

#[test]
fn messages_can_be_sent_before_the_other_ends_first_frame_came() {
    let [(mut alice, _), (mut bob, mut to_bob)] = connected();
    alice.sender.send(b"early", &mut to_bob).unwrap();
    let message = bob.receiver.receive(&mut to_bob.as_slice()).unwrap();
    assert_eq!(message.as_deref(), Some(&b"early"[..]));
}

#[test]
fn our_own_bytes_sent_back_are_refused() {
    let [(mut alice, _), (_, to_bob)] = connected();
    let error = alice.receiver.receive(&mut to_bob.as_slice()).unwrap_err();
    assert_eq!(error, StreamError::OtherStream);
}

#[test]
fn a_repeated_or_dropped_message_is_refused_and_nothing_comes_after() {
    for skip in [false, true] {
        let [(mut alice, _), (mut bob, mut wire)] = connected();
        bob.receiver.receive(&mut wire.as_slice()).unwrap();
        wire.clear();
        alice.sender.send(b"one", &mut wire).unwrap();
        if skip {
            wire.clear();
            alice.sender.send(b"two", &mut wire).unwrap();
        } else {
            bob.receiver.receive(&mut wire.as_slice()).unwrap();
        }
        assert_eq!(
            bob.receiver.receive(&mut wire.as_slice()),
            Err(StreamError::NotAuthentic)
        );
        assert_eq!(bob.receiver.receive(&mut &[][..]), Err(StreamError::NotAuthentic));
        assert_eq!(bob.receiver.end(), Err(StreamError::NotAuthentic));
    }
}

#[test]
fn an_end_within_a_frame_is_told_from_one_between_messages() {
    let [(mut alice, _), (mut bob, mut wire)] = connected();
    assert_eq!(
        bob.receiver.end(),
        Err(StreamError::BrokeOff),
        "the first frame is missing"
    );
    alice.sender.send(b"message", &mut wire).unwrap();
    let (most, last) = wire.split_at(wire.len() - 1);
    assert_eq!(bob.receiver.receive(&mut &*most), Ok(None));
    assert_eq!(bob.receiver.end(), Err(StreamError::BrokeOff));
    assert_eq!(bob.receiver.receive(&mut &*last), Ok(Some(b"message".to_vec())));
    assert_eq!(bob.receiver.end(), Ok(()));
}

#[test]
fn empty_messages_are_swallowed_only_when_asked_for() {
    let [(mut alice, _), (mut bob, mut wire)] = connected();
    for message in [&b""[..], b"", b"x"] {
        alice.sender.send(message, &mut wire).unwrap();
    }
    let mut input = wire.as_slice();
    assert_eq!(bob.receiver.receive(&mut input), Ok(Some(Vec::new())));
    bob.receiver.set_skip_empty(true);
    assert_eq!(bob.receiver.receive(&mut input), Ok(Some(b"x".to_vec())));
}

#[test]
fn lengths_outside_the_limits_are_refused_before_anything_is_kept() {
    let [(mut alice, _), (mut bob, mut wire)] = connected();
    let bytes = MAX_MESSAGE_BYTES + 1;
    let before = wire.clone();
    assert_eq!(
        alice.sender.send(&vec![0; bytes], &mut wire),
        Err(StreamError::MessageLength { bytes })
    );
    assert_eq!(wire, before);
    bob.receiver.receive(&mut wire.as_slice()).unwrap();
    bob.receiver.options.max_message_bytes = 100;
    let error = bob.receiver.receive(&mut &[118, 0, 0][..]).unwrap_err();
    assert_eq!(
        error,
        StreamError::FrameLength {
            bytes: 118,
            min: 17,
            max: 117
        }
    );

    for bytes in [0u16, 1025] {
        let [_, handshake] = handshakes("XX");
        let mut out = Vec::new();
        let mut stranger = Connecting::new(handshake, random(0), Options::default(), &mut out).unwrap();
        let [low, high] = bytes.to_le_bytes();
        let error = stranger.receive(&mut &[low, high, 0][..], &mut out).err();
        let expected = StreamError::FrameLength {
            bytes: bytes.into(),
            min: 1,
            max: 1024,
        };
        assert_eq!(error, Some(expected));
        assert_eq!(
            stranger.receive(&mut &[][..], &mut out).err(),
            Some(expected),
            "once failed, always"
        );
    }
}

#[test]
fn the_longest_frame_is_put_together_from_pieces() {
    let mut frames = Frames::default();
    let mut wire = vec![255; LENGTH_BYTES + MAX_FRAME_BYTES];
    wire.extend_from_slice(b"rest");
    let (one, mut other) = wire.split_at(9_000_001);
    assert!(frames.next(&mut &*one, 1..=MAX_FRAME_BYTES).unwrap().is_none());
    let frame = frames.next(&mut other, 1..=MAX_FRAME_BYTES).unwrap().unwrap();
    assert_eq!(
        (frame.first, frame.rest.len(), other),
        (255, MAX_FRAME_BYTES - 1, &b"rest"[..])
    );
    assert!(!frames.is_within_frame());
}

#[test]
fn memory_follows_what_came_in_and_not_what_was_announced() {
    let [_, (mut bob, wire)] = connected();
    bob.receiver.receive(&mut wire.as_slice()).unwrap();
    bob.receiver.receive(&mut &[255, 255, 255, 1, 2, 3][..]).unwrap();
    assert!(bob.receiver.frames.capacity() < 100);
}

#[test]
fn the_counter_of_datagrams_comes_round_but_never_meets_its_start() {
    let key = Zeroizing::new([1; 32]);
    let mut sender = DatagramSender::new(key.clone(), u64::MAX);
    assert_eq!(sender.seal(b"").unwrap()[..8], [0; 8]);
    let mut sender = DatagramSender::new(key, 0);
    sender.set_counter(u64::MAX - 1);
    sender.seal(b"").unwrap();
    assert_eq!(sender.seal(b""), Err(StreamError::NonceExhausted));
    assert_eq!(sender.seal(b""), Err(StreamError::NonceExhausted));
}

#[test]
fn keep_alive_follows_what_is_sent_and_the_timeout_what_is_heard() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let mut idle = Idle::new(seconds(5), seconds(12), start);
    assert_eq!((idle.poll(at(4)), idle.deadline()), (None, Some(at(5))));
    idle.sent(at(4));
    assert_eq!((idle.poll(at(8)), idle.deadline()), (None, Some(at(9))));
    assert_eq!((idle.poll(at(9)), idle.poll(at(9))), (Some(Due::KeepAlive), None));
    assert_eq!(idle.deadline(), Some(at(12)));
    idle.heard(at(11));
    idle.sent(at(22));
    assert_eq!((idle.poll(at(22)), idle.poll(at(23))), (None, Some(Due::Timeout)));
    assert_eq!(Idle::new(None, None, start).deadline(), None);
    assert_eq!(Idle::new(None, None, start).poll(at(1_000_000)), None);
}

/// A pipe that hands on what is in it in pieces of the given lengths.
fn pieces<'a>(mut wire: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut cuts = cuts.iter().cycle();
    std::iter::from_fn(move || {
        let length = (*cuts.next()?).clamp(1, wire.len().max(1));
        wire.split_off(..length)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_arrive_whole_and_in_order_however_the_pipe_cuts_them(
        ik in any::<bool>(),
        lengths in proptest::collection::vec(prop_oneof![0usize..40, 0usize..3000], 0..12),
        cuts in proptest::collection::vec(1usize..700, 1..20),
    ) {
        let mut wires = [Vec::new(), Vec::new()];
        let mut index = 0;
        let mut connecting = handshakes(if ik { "IK" } else { "XX" }).map(|handshake| {
            index += 1;
            let out = &mut wires[index - 1];
            Connecting::new(handshake, random(index as u8), Options::default(), out).unwrap()
        });
        let mut streams: [Option<SecretStream>; 2] = [None, None];
        let mut heard: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];
        let mut told = [false; 2];
        for _ in 0..6 {
            for side in [0, 1] {
                let wire = std::mem::take(&mut wires[1 - side]);
                for mut piece in pieces(&wire, &cuts) {
                    if streams[side].is_none() {
                        streams[side] = connecting[side].receive(&mut piece, &mut wires[side]).unwrap();
                    }
                    if let Some(stream) = &mut streams[side] {
                        while let Some(message) = stream.receiver.receive(&mut piece).unwrap() {
                            heard[side].push(message);
                        }
                    }
                    prop_assert!(piece.is_empty());
                }
                if let (Some(stream), false) = (&mut streams[side], told[side]) {
                    told[side] = true;
                    for length in &lengths {
                        stream.sender.send(&pattern(*length), &mut wires[side]).unwrap();
                    }
                }
            }
        }
        let expected: Vec<_> = lengths.iter().map(|length| pattern(*length)).collect();
        prop_assert_eq!(&heard[0], &expected);
        prop_assert_eq!(&heard[1], &expected);
    }

    #[test]
    fn a_flipped_bit_is_never_delivered(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let [(mut alice, _), (mut bob, mut wire)] = connected();
        let sent = [b"first".to_vec(), Vec::new(), pattern(200)];
        for message in &sent {
            alice.sender.send(message, &mut wire).unwrap();
        }
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        let mut input = wire.as_slice();
        let mut heard = Vec::new();
        while let Ok(Some(message)) = bob.receiver.receive(&mut input) {
            heard.push(message);
        }
        prop_assert!(heard.len() < sent.len());
        prop_assert_eq!(&heard[..], &sent[..heard.len()]);
        prop_assert!(bob.receiver.end().is_err());
    }

    #[test]
    fn a_changed_datagram_is_dropped(at in any::<prop::sample::Index>(), bit in 0u8..8, length in 0usize..100) {
        let [(mut alice, _), (bob, _)] = connected();
        let mut datagram = alice.datagram_sender.seal(&pattern(length)).unwrap();
        prop_assert_eq!(bob.datagram_receiver.open(&datagram), Some(pattern(length)));
        let at = at.index(datagram.len());
        datagram[at] ^= 1 << bit;
        prop_assert_eq!(bob.datagram_receiver.open(&datagram), None);
        prop_assert_eq!(bob.datagram_receiver.open(&datagram[..at]), None);
    }

    #[test]
    fn foreign_bytes_never_panic_nor_take_more_memory_than_they_have(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        cuts in proptest::collection::vec(1usize..50, 1..5),
    ) {
        fuzz_secret_stream(&bytes);
        let [_, (mut bob, wire)] = connected();
        bob.receiver.receive(&mut wire.as_slice()).unwrap();
        for mut piece in pieces(&bytes, &cuts) {
            let _ = bob.receiver.receive(&mut piece);
            prop_assert!(bob.receiver.frames.capacity() <= LARGEST_ADVANCE * bytes.len() + 64);
        }
    }
}
