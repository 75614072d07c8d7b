//! Against a recorded conversation (`tests/interop/vectors-udx.mjs`), and properties.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::noise::tests::hex;
use crate::secret_stream::tests::pattern;

fn recorded() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/udx.json")).unwrap()
}

/// Who sent it, whether it was lost, and its bytes.
fn packets(recorded: &Value) -> Vec<(usize, bool, Vec<u8>)> {
    let packets = recorded["packets"].as_array().unwrap().iter();
    let packets = packets.map(|packet| {
        let from = usize::try_from(packet["from"].as_u64().unwrap()).unwrap();
        (from, packet["lost"].as_bool().unwrap(), hex(&packet["bytes"]))
    });
    packets.collect()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[test]
fn every_recorded_packet_encodes_to_the_same_bytes() {
    for (from, _, bytes) in packets(&recorded()) {
        fuzz_packet(&bytes);
        let packet = Packet::decode(&bytes).unwrap();
        assert_eq!(
            u64::from(packet.header.stream),
            recorded()["ids"][1 - from].as_u64().unwrap()
        );
        assert_eq!(packet.header.window, 4 << 20);
        if matches!(packet.header.flags, Flags::NONE | Flags::SACK) {
            let mut ack = Vec::new();
            packet.header.encode_ack(packet.sack_blocks(), &mut ack);
            assert_eq!(ack, bytes);
        }
    }
}

#[test]
fn the_recorded_packets_hold_what_was_written_and_every_kind_of_packet() {
    let recorded = recorded();
    let mut data = BTreeMap::new();
    let mut seen = Flags::NONE;
    let mut padded = 0;
    let mut message = Vec::new();
    let first = Seq(0xffff_fffb);
    for (from, lost, bytes) in packets(&recorded) {
        let packet = Packet::decode(&bytes).unwrap();
        seen = seen | packet.header.flags;
        if packet.header.flags.has(Flags::DATA) && !packet.extension.is_empty() {
            padded += 1;
            assert!(packet.extension.iter().all(|byte| *byte == 0));
        }
        match (from, lost) {
            (0, false) if packet.header.flags.has(Flags::DATA) => {
                data.insert(packet.header.seq.since(first), packet.payload.to_vec());
            }
            (0, false) if packet.header.flags.has(Flags::MESSAGE) => message = packet.payload.to_vec(),
            _ => {}
        }
    }
    assert_eq!(seen, Flags::from_bits(63));
    assert!(padded > 0, "the path was probed");
    assert!(
        data.keys().copied().eq(0..i32::try_from(data.len()).unwrap()),
        "no number is left out"
    );
    assert_eq!(
        data.into_values().flatten().collect::<Vec<_>>(),
        pattern(number(&recorded["written"]))
    );
    assert_eq!(message, pattern(number(&recorded["message"])));
}

#[test]
fn the_recorded_blocks_tell_which_packets_came_after_the_lost_one() {
    let packets = packets(&recorded());
    let lost = packets
        .iter()
        .find(|(_, lost, _)| *lost)
        .map(|(_, _, bytes)| Packet::decode(bytes).unwrap());
    let lost = lost.unwrap().header.seq;
    let mut blocks = 0;
    for (_, _, bytes) in packets.iter().filter(|(from, ..)| *from == 1) {
        let packet = Packet::decode(bytes).unwrap();
        for block in packet.sack_blocks() {
            blocks += 1;
            assert_eq!(packet.header.ack, lost);
            assert_eq!(block.start, lost.next());
            assert!(block.is_within(lost, lost.plus(3)));
        }
    }
    assert!(blocks > 0);
}

#[test]
fn what_is_not_udx_is_left_to_others() {
    let header = Header {
        flags: Flags::NONE,
        stream: 1,
        window: 2,
        seq: Seq(3),
        ack: Seq(4),
    };
    let good = header.encode(0);
    assert_eq!(Packet::decode(&good).map(|packet| packet.header), Ok(header));
    assert_eq!(Packet::decode(&good[..19]), Err(PacketError::NotUdx));
    for at in [0, 1] {
        let mut bytes = good;
        bytes[at] ^= 1;
        assert_eq!(Packet::decode(&bytes), Err(PacketError::NotUdx));
        assert_eq!(readdress(&mut bytes, 9), Err(PacketError::NotUdx));
    }
    assert_eq!(
        Packet::decode(&header.encode(1)),
        Err(PacketError::Extension { offset: 1, rest: 0 })
    );
}

#[test]
fn blocks_are_read_from_the_extension_before_data_and_from_everything_without_one() {
    let blocks = [1u32, 2, 5, 9].map(u32::to_le_bytes).concat();
    let flags = Flags::SACK | Flags::DATA;
    let header = Header {
        flags,
        stream: 1,
        window: 2,
        seq: Seq(3),
        ack: Seq(0),
    };
    let with_data = [&header.encode(16)[..], &blocks, &[7; 40]].concat();
    let packet = Packet::decode(&with_data).unwrap();
    assert_eq!((packet.payload, packet.sack_blocks().count()), (&[7; 40][..], 2));
    let alone = [&header.encode(0)[..], &blocks, &[7; 7]].concat();
    let packet = Packet::decode(&alone).unwrap();
    let expected = [
        SackBlock {
            start: Seq(1),
            end: Seq(2),
        },
        SackBlock {
            start: Seq(5),
            end: Seq(9),
        },
    ];
    assert!(packet.sack_blocks().eq(expected), "half a block is none");
}

#[test]
fn no_more_blocks_are_written_or_read_than_a_peer_takes() {
    let block = SackBlock {
        start: Seq(1),
        end: Seq(2),
    };
    let header = Header {
        flags: Flags::NONE,
        stream: 1,
        window: 2,
        seq: Seq(3),
        ack: Seq(0),
    };
    let mut ack = Vec::new();
    header.encode_ack(std::iter::repeat(block), &mut ack);
    assert_eq!(ack.len(), HEADER_BYTES + 8 * MAX_SACK_BLOCKS);
    ack.extend_from_slice(&[0; 800]);
    assert_eq!(
        Packet::decode(&ack).unwrap().sack_blocks().count(),
        MAX_SACK_BLOCKS
    );
}

#[test]
fn blocks_outside_of_what_is_under_way_are_told_apart() {
    let block = |start, end| SackBlock {
        start: Seq(start),
        end: Seq(end),
    };
    // Under way: the five packets from two before the round's end.
    let (acked, next) = (Seq(u32::MAX - 1), Seq(3));
    assert!(block(u32::MAX - 1, 3).is_within(acked, next));
    assert!(block(0, 1).is_within(acked, next));
    for (start, end) in [
        (u32::MAX - 2, 1),
        (0, 4),
        (1, 1),
        (2, 1),
        (3, 4),
        (0, 0x8000_0000),
        (100, 200),
    ] {
        assert!(!block(start, end).is_within(acked, next), "{start} {end}");
    }
}

proptest! {
    #[test]
    fn numbers_keep_their_order_when_they_come_round(start: u32, ahead in 1u32..0x8000_0000) {
        let (start, later) = (Seq(start), Seq(start).plus(ahead));
        prop_assert!(start.is_before(later) && !later.is_before(start));
        prop_assert_eq!(later.since(start), i32::try_from(ahead).unwrap());
    }

    #[test]
    fn a_header_decodes_to_itself(bits: u8, stream: u32, window: u32, seq: u32, ack: u32, padding: u8) {
        let flags = Flags::from_bits(bits);
        let header = Header { flags, stream, window, seq: Seq(seq), ack: Seq(ack) };
        let mut bytes = header.encode(padding).to_vec();
        bytes.resize(HEADER_BYTES + usize::from(padding), 0);
        bytes.extend_from_slice(b"payload");
        let packet = Packet::decode(&bytes).unwrap();
        prop_assert_eq!((packet.header, packet.payload), (header, &b"payload"[..]));
    }

    #[test]
    fn foreign_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), udx: bool) {
        if udx && bytes.len() > 2 {
            bytes[..2].copy_from_slice(&[MAGIC, VERSION]);
        }
        fuzz_packet(&bytes);
    }
}
