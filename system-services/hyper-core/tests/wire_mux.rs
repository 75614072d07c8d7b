//! The mux against transcripts of real protomux ends (`tests/interop/vectors-wire.mjs` writes them): told the same, it must send the
//! same bytes and report the same.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::HashMap;

use common::hex as bytes;
use data_encoding::HEXLOWER;
use hyper_core::mux::{ChannelId, ChannelSpec, Event, Input, Mux, MuxError};
use serde_json::{Value, json};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/wire-mux.json")).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

/// One end, with the names that the transcript gives its channels.
#[derive(Default)]
struct End {
    mux: Mux,
    names: HashMap<ChannelId, String>,
    /// Whether a pairing accepts, by protocol and id.
    accepts: HashMap<(String, String), bool>,
}

impl End {
    fn open(&mut self, spec: ChannelSpec<'_>, handshake: &[u8]) -> Option<String> {
        let channel = self.mux.open(spec, handshake).ok()?;
        let id = std::str::from_utf8(spec.id).unwrap();
        let name = format!("{}/{id}#{}", spec.protocol, self.names.len());
        self.names.insert(channel, name.clone());
        Some(name)
    }

    fn channel(&self, step: &Value) -> ChannelId {
        let of_name = |entry: &(&ChannelId, &String)| entry.1 == text(step, "channel");
        *self.names.iter().find(of_name).unwrap().0
    }

    fn step(&mut self, step: &Value) -> Result<Vec<Value>, MuxError> {
        let (protocol, id) = (text(step, "protocol"), text(step, "id"));
        match text(step, "op") {
            "pair" => {
                let accept = step["accept"].as_bool().unwrap();
                self.accepts.insert((protocol.to_owned(), id.to_owned()), accept);
                self.mux.pair(protocol, id.as_bytes());
            }
            "open" => {
                let aliases = step["aliases"].as_array().into_iter().flatten();
                let aliases: Vec<_> = aliases.map(|alias| alias.as_str().unwrap()).collect();
                let spec = ChannelSpec {
                    protocol,
                    aliases: &aliases,
                    id: id.as_bytes(),
                    unique: step["unique"].as_bool().unwrap_or(true),
                };
                let opened = self.open(spec, text(step, "handshake").as_bytes());
                assert_eq!(json!(opened), step["opened"], "{step}");
            }
            "send" => {
                let (channel, kind) = (self.channel(step), step["kind"].as_u64().unwrap());
                self.mux.send(channel, kind, &bytes(&step["payload"])).unwrap();
            }
            "close" => self.mux.close(self.channel(step)),
            "cork" => self.mux.cork(),
            "uncork" => self.mux.uncork(),
            "feed" => return self.feed(&bytes(&step["frame"])),
            other => panic!("a step {other}"),
        }
        Ok(Vec::new())
    }

    fn feed(&mut self, frame: &[u8]) -> Result<Vec<Value>, MuxError> {
        let mut input = Input::new(frame);
        let many = input.has_many();
        if many {
            self.mux.cork();
        }
        let mut events = Vec::new();
        while let Some(event) = self.mux.next_event(&mut input)? {
            events.push(self.on_event(event));
        }
        if many {
            self.mux.uncork();
        }
        Ok(events)
    }

    fn on_event(&mut self, event: Event<'_>) -> Value {
        match event {
            Event::Requested { protocol, id } => {
                let name = std::str::from_utf8(id).unwrap();
                let accepts = |id: &str| self.accepts.get(&(protocol.to_owned(), id.to_owned()));
                let accept = *accepts(name).or_else(|| accepts("")).unwrap();
                let mut spec = ChannelSpec::new(protocol);
                spec.id = id;
                if !accept || self.open(spec, b"accepted").is_none() {
                    self.mux.reject(protocol, id);
                }
                json!({"event": "requested", "channel": format!("{protocol}/{name}")})
            }
            Event::Opened { channel, handshake } => {
                json!({"event": "opened", "channel": self.names[&channel], "handshake": HEXLOWER.encode(&handshake)})
            }
            Event::Message {
                channel,
                kind,
                payload,
            } => {
                json!({"event": "message", "channel": self.names[&channel], "kind": kind, "payload": HEXLOWER.encode(&payload)})
            }
            Event::Closed { channel, rejected } => {
                json!({"event": "closed", "channel": self.names[&channel], "rejected": rejected})
            }
        }
    }

    fn sent(&mut self) -> Value {
        std::iter::from_fn(|| self.mux.poll_frame())
            .map(|frame| HEXLOWER.encode(&frame))
            .collect()
    }
}

/// Within a frame, the peer reports an accepted channel after the messages of others: only the order in each channel counts.
fn by_channel(mut events: Vec<Value>) -> Vec<Value> {
    events.sort_by_key(|event| text(event, "channel").to_owned());
    events
}

fn replay(end: &mut End, step: &Value, place: &str) {
    let result = end.step(step);
    if step["broken"].as_bool().unwrap() {
        assert!(result.is_err(), "{place}: {step}");
        return;
    }
    let expected = step["events"].as_array().unwrap().clone();
    assert_eq!(
        by_channel(result.unwrap()),
        by_channel(expected),
        "{place}: {step}"
    );
    assert_eq!(end.sent(), step["sends"], "{place}: {step}");
}

#[test]
fn every_transcript_of_the_peer_is_repeated_byte_for_byte() {
    let vectors = vectors();
    let (mut end, mut scene) = (End::default(), "");
    for step in vectors["transcripts"].as_array().unwrap() {
        if let Some(name) = step["name"].as_str() {
            (end, scene) = (End::default(), name);
        } else {
            replay(&mut end, step, scene);
        }
    }
}

#[test]
fn frames_that_end_the_peers_connection_end_ours_and_no_others() {
    let vectors = vectors();
    for vector in vectors["hostile"].as_array().unwrap() {
        let mut end = End::default();
        let open = |end: &mut End, protocol| end.open(ChannelSpec::new(protocol), b"hello").unwrap();
        open(&mut end, "x");
        end.feed(&bytes(&json!("000101017800"))).unwrap();
        open(&mut end, "y");
        let closed = open(&mut end, "z");
        let closed = *end.names.iter().find(|entry| *entry.1 == closed).unwrap().0;
        end.mux.close(closed);
        end.sent();
        for step in vector["steps"].as_array().unwrap() {
            replay(&mut end, step, "hostile");
        }
    }
}
