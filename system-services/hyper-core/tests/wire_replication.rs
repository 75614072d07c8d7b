//! Everything that two real cores told each other (`tests/interop/vectors-wire.mjs` lets them replicate): upgrade, manifest, blocks, a
//! cleared range, a seek, an extension, a fork. We read it and would have sent the same bytes.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;

use hyper_core::messages::{Message, Open, PROTOCOL, PROTOCOL_ALIASES};
use hyper_core::mux::{ChannelId, ChannelSpec, Event, Input, Mux};
use serde_json::Value;

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap().as_bytes();
    text.chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// One direction: what comes in, and an end of ours that says the same.
struct Direction {
    receiver: Mux,
    sender: Mux,
    channel: Option<ChannelId>,
    kinds: BTreeSet<u64>,
    parts: BTreeSet<&'static str>,
}

impl Direction {
    fn new() -> Self {
        let mut receiver = Mux::default();
        receiver.pair(PROTOCOL, b"");
        Self {
            receiver,
            sender: Mux::default(),
            channel: None,
            kinds: BTreeSet::new(),
            parts: BTreeSet::new(),
        }
    }

    /// Reads a frame and gives back the one that our sender makes of it.
    fn repeat(&mut self, frame: &[u8]) -> Vec<u8> {
        let batch = frame.starts_with(&[0, 0]);
        if batch {
            self.sender.cork();
        }
        let mut input = Input::new(frame);
        let mut name = Vec::new();
        while let Some(event) = self.receiver.next_event(&mut input).unwrap() {
            match event {
                Event::Requested { protocol, id } => {
                    assert_eq!((protocol, id.len()), (PROTOCOL, 32));
                    name = id.to_vec();
                    self.receiver.open(core_channel(id), b"").unwrap();
                }
                Event::Opened { handshake, .. } => {
                    let open = Open::decode(&handshake).unwrap();
                    assert!(open.seeks);
                    self.channel = Some(self.sender.open(core_channel(&name), &open.encode()).unwrap());
                }
                Event::Message { kind, payload, .. } => {
                    let message = Message::decode(kind, &payload).unwrap().unwrap();
                    self.note(&message);
                    let again = message.encode();
                    self.sender
                        .send(self.channel.unwrap(), message.kind(), &again)
                        .unwrap();
                }
                Event::Closed { .. } => panic!("nobody closes"),
            }
        }
        if batch {
            self.sender.uncork();
        }
        self.sender.poll_frame().unwrap()
    }

    fn note(&mut self, message: &Message) {
        self.kinds.insert(message.kind());
        if let Message::Data(data) = message {
            let parts = [
                (data.block.is_some(), "block"),
                (data.seek.is_some(), "seek"),
                (data.upgrade.is_some(), "upgrade"),
                (data.manifest.is_some(), "manifest"),
            ];
            self.parts
                .extend(parts.iter().filter(|part| part.0).map(|part| part.1));
        }
    }
}

fn core_channel(id: &[u8]) -> ChannelSpec<'_> {
    ChannelSpec {
        aliases: &PROTOCOL_ALIASES,
        id,
        ..ChannelSpec::new(PROTOCOL)
    }
}

#[test]
fn a_replication_of_real_cores_is_read_and_repeated_byte_for_byte() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/wire-replication.json")).unwrap();
    let mut directions = [Direction::new(), Direction::new()];
    for entry in vectors["replication"].as_array().unwrap() {
        let from = entry["from"].as_u64().unwrap() as usize;
        let frame = bytes(&entry["frame"]);
        assert_eq!(directions[from].repeat(&frame), frame, "{entry}");
    }
    let [writer, reader] = directions;
    // Sync, Data, Bitfield, Range; and Sync, Request, Want, Range, Extension: the recording holds what it is for.
    assert_eq!(writer.kinds, BTreeSet::from([0, 3, 7, 8]));
    assert_eq!(reader.kinds, BTreeSet::from([0, 1, 5, 8, 9]));
    assert_eq!(
        writer.parts,
        BTreeSet::from(["block", "manifest", "seek", "upgrade"])
    );
}
