//! What a hostile peer can do.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::extensions::MOST_WAITING_BYTES;
use super::node::Node;
use super::{ExtensionId, MAX_EXTENSION_BYTES, MOST_ASKED, MOST_WORK_BYTES, Message, PeerId, Request};
use crate::core::{Core, CoreOptions};
use crate::crypto::KeyPair;
use crate::messages::{Bitfield, Extension, Priority, Range, RequestNode, RequestSeek, Sync};
use crate::replicate::answer::answer;
use crate::store::Store;

/// Blocks of the honest core.
const BLOCKS: u64 = 40;
/// What the reader's program listens to.
const EXTENSION: &str = "chat";
/// Requests of ours that may be answered.
const MOST_OPEN: usize = 64;

/// The core as its writer has it.
fn writer() -> Option<&'static Core> {
    static WRITER: OnceLock<Option<Core>> = OnceLock::new();
    let make = || {
        let options = CoreOptions::from_key_pair(KeyPair::from_seed(&[6; 32]));
        let core = Store::in_memory().ok()?.core(options).ok()?;
        let blocks: Vec<_> = (0..BLOCKS).map(|number| format!("block {number}")).collect();
        core.append(&blocks).ok()?;
        Some(core)
    };
    WRITER.get_or_init(make).as_ref()
}

/// Bytes as choices.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Small numbers mostly, and some of each size.
    fn number(&mut self) -> u64 {
        let byte = self.byte();
        match byte {
            0..=223 => u64::from(byte % 48),
            224..=239 => u64::from(self.byte()) << (byte % 16 * 3),
            _ => (1 << 53) - 1 - u64::from(byte % 4),
        }
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

/// For fuzzing: `bytes` are what a peer does, and what happens here meanwhile. Must not panic, nor store what the writer did not sign,
/// nor keep more than the limits allow. Says whether anything was stored.
pub fn fuzz_replicator(bytes: &[u8]) -> bool {
    let Some(mut hostile) = writer().and_then(Hostile::new) else {
        return false;
    };
    let mut choices = Choices(bytes);
    while !choices.0.is_empty() {
        hostile.step(&mut choices);
        hostile.check();
    }
    hostile.check_blocks()
}

struct Hostile {
    writer: &'static Core,
    reader: Node,
    peers: Vec<PeerId>,
    open: Vec<(PeerId, Request)>,
    extension: ExtensionId,
    now: Instant,
}

impl Hostile {
    fn new(writer: &'static Core) -> Option<Self> {
        let core = Store::in_memory()
            .ok()?
            .core(CoreOptions::from_key(*writer.key()))
            .ok()?;
        let mut reader = Node::new(core, 3).ok()?;
        let now = Instant::now();
        reader.replicator.session_began();
        reader.replicator.want_range(0, None, false, now);
        let extension = reader.replicator.register_extension(EXTENSION)?;
        let peers = vec![reader.replicator.add_peer([0; 32], now)];
        Some(Self {
            writer,
            reader,
            peers,
            open: Vec::new(),
            extension,
            now,
        })
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let kind = choices.byte();
        let Some(peer) = self
            .peers
            .get(usize::from(kind / 16) % self.peers.len().max(1))
            .copied()
        else {
            return self.join(kind);
        };
        match kind % 16 {
            0 => {
                let (kind, len) = (u64::from(choices.byte() % 11), choices.byte());
                if let Ok(Some(message)) = Message::decode(kind, &choices.take(len.into())) {
                    self.receive(peer, message);
                }
            }
            1 => self.receive(peer, sync(choices)),
            2 => self.receive(peer, whole_core(BLOCKS, self.reader.replicator.state().length)),
            3 => self.receive(peer, range(choices)),
            4 => {
                let (start, len) = (choices.number(), choices.byte() % 9);
                let words = (0..len)
                    .map(|_| u32::from(choices.byte()) * 0x0101_0101)
                    .collect();
                self.receive(peer, Message::Bitfield(Bitfield { start, words }));
            }
            5 | 6 => self.answer(choices, false),
            7 => self.answer(choices, true),
            8 => {
                let _ = self.reader.store(1 << (choices.byte() % 16), self.now);
            }
            9 => {
                self.now += Duration::from_secs(choices.byte().into());
                self.reader.replicator.tick(self.now);
            }
            10 => self.wish(choices),
            11 => self.receive(peer, request(choices)),
            12 => drop(self.reader.answer(peer)),
            13 if self.peers.len() < 4 => self.join(kind / 32),
            14 => self.leave(peer),
            15 => self.talk(peer, choices),
            _ => {}
        }
        self.act();
    }

    /// Some peers have the same key.
    fn join(&mut self, key: u8) {
        let peer = self.reader.replicator.add_peer([key; 32], self.now);
        self.peers.push(peer);
    }

    /// Messages of programs, short and long, to and from peers, and read now and then.
    fn talk(&mut self, peer: PeerId, choices: &mut Choices<'_>) {
        let (what, len) = (choices.byte(), choices.number());
        let name = match what % 8 {
            0 | 1 => EXTENSION.to_owned(),
            2 | 3 => String::new(),
            4 => "other".into(),
            _ => "x".repeat(2 * usize::from(what)),
        };
        let len = usize::try_from(len << 12)
            .unwrap_or(0)
            .min(MAX_EXTENSION_BYTES + 1);
        match what / 64 {
            0 => drop(self.reader.replicator.next_heard(self.extension)),
            1 => {
                let message: Arc<[u8]> = vec![0; len].into();
                self.reader
                    .replicator
                    .say(&[what; 32], &name.as_str().into(), &message);
                self.reader.replicator.say_to_all(&name.into(), &message);
            }
            _ => {
                let message = vec![0; len];
                self.receive(peer, Message::Extension(Extension { name, message }));
            }
        }
        let heard = self.reader.replicator.take_heard();
        assert!(heard.iter().all(|id| *id == self.extension));
    }

    fn receive(&mut self, peer: PeerId, message: Message) {
        if self.reader.replicator.receive(peer, message, self.now).is_err() {
            self.leave(peer);
        }
    }

    fn leave(&mut self, peer: PeerId) {
        self.reader.replicator.remove_peer(peer, self.now);
        self.peers.retain(|other| *other != peer);
        self.open.retain(|(other, _)| *other != peer);
    }

    fn act(&mut self) {
        for peer in self.peers.clone() {
            let Ok((messages, ends)) = self.reader.act(peer) else {
                continue;
            };
            for message in messages {
                if let Message::Request(request) = message
                    && self.open.len() < MOST_OPEN
                {
                    self.open.push((peer, request));
                }
            }
            if !ends.is_empty() {
                self.leave(peer);
            }
        }
    }

    /// Answers a request of ours out of the writer's core, or with one byte of that changed.
    fn answer(&mut self, choices: &mut Choices<'_>, lie: bool) {
        if self.open.is_empty() {
            return;
        }
        let at = usize::from(choices.byte()) % self.open.len();
        let (peer, request) = self.open.swap_remove(at);
        let Ok(snapshot) = self.writer.snapshot() else {
            return;
        };
        let message = answer(self.writer, &snapshot, &request).message;
        if !lie {
            return self.receive(peer, message);
        }
        let mut bytes = message.encode();
        let place = usize::from(choices.byte()) * 7 % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= choices.byte() | 1;
        }
        if let Ok(Some(message)) = Message::decode(message.kind(), &bytes) {
            self.receive(peer, message);
        }
    }

    fn wish(&mut self, choices: &mut Choices<'_>) {
        let (replicator, now) = (&mut self.reader.replicator, self.now);
        let (a, b) = (choices.number(), choices.number());
        let waiter = match a % 4 {
            0 => replicator.want_block(b, now),
            1 => replicator.want_range(b, Some(b + 9), true, now),
            2 => {
                let seek = RequestSeek { bytes: b, padding: 0 };
                replicator.want_seek(0..32, seek, now)
            }
            _ => replicator.want_update(now),
        };
        if b.is_multiple_of(5) {
            replicator.cancel(waiter, now);
        }
        drop(replicator.take_outcomes());
    }

    fn check(&self) {
        let replicator = &self.reader.replicator;
        assert!(replicator.most_waiting() <= MOST_WAITING_BYTES);
        assert!(replicator.work_bytes <= MOST_WORK_BYTES + (1 << 20));
        for peer in replicator.peers.values() {
            assert!(peer.asked.len() <= MOST_ASKED);
        }
        // The writer signs but one tree.
        assert!(replicator.conflict().is_none());
        let state = replicator.state();
        assert!(state.length <= BLOCKS && state.fork == 0);
    }

    fn check_blocks(&self) -> bool {
        let mut any = false;
        for block in 0..BLOCKS {
            if let Ok(Some(stored)) = self.reader.core().get(block) {
                assert_eq!(stored, format!("block {block}").into_bytes());
                any = true;
            }
        }
        any
    }
}

/// The sync of a peer that has a whole core and heard that `acked` of its blocks are known.
pub(super) fn whole_core(length: u64, acked: u64) -> Message {
    Message::Sync(Sync {
        fork: 0,
        length,
        remote_length: acked,
        can_upgrade: true,
        uploading: true,
        downloading: true,
        has_manifest: true,
        allow_push: false,
    })
}

fn sync(choices: &mut Choices<'_>) -> Message {
    let flags = choices.byte();
    Message::Sync(Sync {
        fork: choices.number() % 3,
        length: choices.number(),
        remote_length: choices.number(),
        can_upgrade: flags & 1 != 0,
        uploading: flags & 2 != 0,
        downloading: flags & 4 != 0,
        has_manifest: flags & 8 != 0,
        allow_push: flags & 16 != 0,
    })
}

fn range(choices: &mut Choices<'_>) -> Message {
    Message::Range(Range {
        drop: choices.byte().is_multiple_of(4),
        start: choices.number(),
        length: choices.number(),
    })
}

fn request(choices: &mut Choices<'_>) -> Message {
    let flags = choices.byte();
    let node = |choices: &mut Choices<'_>| RequestNode {
        index: choices.number(),
        nodes: choices.number(),
    };
    Message::Request(Request {
        id: choices.number(),
        fork: 0,
        block: (flags & 1 != 0).then(|| node(choices)),
        hash: (flags & 2 != 0).then(|| node(choices)),
        seek: None,
        upgrade: None,
        manifest: flags & 4 != 0,
        priority: Priority(u64::from(flags & 8 != 0)),
    })
}
