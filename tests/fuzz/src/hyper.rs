//! What a peer of the swarm sends, layer by layer: datagrams, the handshake, the encrypted stream, channels, a core's messages.

use std::net::{Ipv4Addr, SocketAddrV4};

use hyper_core::manifest::{Manifest, MultiSignature, Verifier};
use hyper_core::merkle::{Proof, verify_alone};
use hyper_core::messages::{EncodedManifest, Message, Open};
use hyper_core::mux::{ChannelSpec, Event, Input, Mux};
use hyper_core::replicate::fuzz_replicator;
use hyper_drive::bee::fuzz_block;
use hyper_swarm::dht::holepunch::{BIRTHDAY_SOCKETS, Plan, Remote, Rounds};
use hyper_swarm::dht::messages::{
    Firewall, HandshakeMessage, HolepunchMessage, HolepunchPayload, NoisePayload, fuzz_dht_handshake,
    fuzz_dht_holepunch,
};
use hyper_swarm::dht::records::{Announcement, LookupAnswer, MutableRecord, fuzz_records};
use hyper_swarm::dht::relay::messages::{RelayMessage, fuzz_blind_relay};
use hyper_swarm::dht::router::{self, Route, Step};
use hyper_swarm::dht::rpc::message::{Message as DhtMessage, fuzz_message};
use hyper_swarm::dht::rpc::node::fuzz_node;
use hyper_swarm::noise::{Handshake, KeyPair, fuzz_handshake};
use hyper_swarm::secret_stream::{Connecting, Options, Random, fuzz_secret_stream};
use hyper_swarm::udx::packet::{Packet, fuzz_packet};
use hyper_swarm::udx::stream::fuzz_stream;

use crate::accept;

/// The number of the message that carries a proof.
const DATA: u64 = 3;
/// A node of the DHT.
const NODE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 49737);
/// More than the frames of a seed.
const MAX_FRAMES: usize = 256;

/// A message of a Noise handshake, in any role. Accepted is what may begin one.
pub fn noise(bytes: &[u8]) {
    fuzz_handshake(bytes);
    let keys = KeyPair::from_seed(&[7; 32]);
    if Handshake::xx_responder(&keys, b"", [8; 32]).is_ok_and(|mut handshake| handshake.read(bytes).is_ok()) {
        accept();
    }
}

/// The encrypted stream, from the peer's first byte on. Accepted is what gets an answer to its handshake.
pub fn secret_stream(bytes: &[u8]) {
    fuzz_secret_stream(bytes);
    let random = Random {
        header: [1; 24],
        datagram_counter: [2; 8],
    };
    let keys = KeyPair::from_seed(&[7; 32]);
    let Ok(handshake) = Handshake::xx_responder(&keys, b"", [8; 32]) else {
        return;
    };
    let mut out = Vec::new();
    if let Ok(mut connecting) = Connecting::new(handshake, random, Options::default(), &mut out) {
        let _ = connecting.receive(&mut &*bytes, &mut out);
    }
    if !out.is_empty() {
        accept();
    }
}

/// A UDX datagram.
pub fn udx_packet(bytes: &[u8]) {
    fuzz_packet(bytes);
    if Packet::decode(bytes).is_ok() {
        accept();
    }
}

/// Datagrams to one stream, each after what happens besides and its length. Accepted is a first one that is UDX.
pub fn udx_stream(bytes: &[u8]) {
    fuzz_stream(bytes);
    if let [_, len, rest @ ..] = bytes
        && rest
            .get(..usize::from(*len))
            .is_some_and(|first| Packet::decode(first).is_ok())
    {
        accept();
    }
}

/// What a peer of a core says and does, and what happens here meanwhile. Accepted is what gets a block stored.
pub fn replicator(bytes: &[u8]) {
    if fuzz_replicator(bytes) {
        accept();
    }
}

/// A core's manifest.
pub fn core_manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::decode(bytes) else {
        return;
    };
    accept();
    assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
}

/// The signatures of several signers, in both versions.
pub fn core_signature(bytes: &[u8]) {
    if let Ok(signature) = MultiSignature::decode(bytes) {
        accept();
        assert_eq!(MultiSignature::decode(&signature.encode()), Ok(signature));
    }
    if MultiSignature::decode_version_0(bytes).is_ok() {
        accept();
    }
}

/// A message on a core's channel after a byte with its number, and the channel's handshake.
pub fn core_message(bytes: &[u8]) {
    if let Ok(open) = Open::decode(bytes) {
        assert_eq!(Open::decode(&open.encode()), Ok(open));
    }
    let Some((&kind, rest)) = bytes.split_first() else {
        return;
    };
    let kind = u64::from(kind);
    if let Ok(Some(message)) = Message::decode(kind, rest) {
        accept();
        assert_eq!(Message::decode(kind, &message.encode()), Ok(Some(message)));
    }
}

/// A proof that stands alone, with the manifest in it. Accepted is what holds.
pub fn core_proof(bytes: &[u8]) {
    let Ok(Some(Message::Data(data))) = Message::decode(DATA, bytes) else {
        return;
    };
    let Ok(proof) = Proof::try_from(data.clone()) else {
        return;
    };
    let verifier = match &data.manifest {
        Some(EncodedManifest(manifest)) => match Manifest::decode(manifest) {
            Ok(manifest) => Verifier::of_manifest(manifest),
            Err(_) => return,
        },
        None => Verifier::compat([1; 32]),
    };
    let value = data.block.as_ref().map(|block| block.value.as_slice());
    if verify_alone(&verifier, &proof, value).is_ok() {
        accept();
    }
}

/// Frames for the mux, each after its length in two bytes. Every second channel that is asked for is opened.
pub fn mux(bytes: &[u8]) {
    let mut mux = Mux::default();
    for protocol in ["chat", "hypercore/alpha"] {
        mux.pair(protocol, b"");
    }
    let mut asked = 0_u32;
    let mut rest = bytes;
    for _ in 0..MAX_FRAMES {
        let Some((len, after)) = rest.split_first_chunk::<2>() else {
            break;
        };
        let (frame, after) = after.split_at(after.len().min(usize::from(u16::from_le_bytes(*len))));
        rest = after;
        let mut input = Input::new(frame);
        loop {
            match mux.next_event(&mut input) {
                Ok(None) => break,
                Ok(Some(Event::Requested { protocol, id })) => {
                    asked += 1;
                    if asked.is_multiple_of(2) {
                        mux.reject(protocol, id);
                    } else {
                        let spec = ChannelSpec {
                            id,
                            unique: false,
                            ..ChannelSpec::new(protocol)
                        };
                        assert!(mux.open(spec, b"").is_ok(), "what is asked for can be opened");
                    }
                }
                Ok(Some(_)) => accept(),
                Err(error) => {
                    assert_eq!(
                        mux.next_event(&mut Input::default()),
                        Err(error),
                        "an error stays"
                    );
                    return;
                }
            }
        }
    }
    let mut queued = mux.queued_bytes();
    while mux.poll_frame().is_some() {
        assert!(
            mux.queued_bytes() < queued,
            "every frame leaves the queue shorter"
        );
        queued = mux.queued_bytes();
    }
}

/// A handshake between peers as the DHT carries it, or what is in it. Accepted is either.
pub fn dht_handshake(bytes: &[u8]) {
    fuzz_dht_handshake(bytes);
    if let Ok(message) = HandshakeMessage::decode(bytes) {
        for route in [Route::Here, Route::Announced(NODE), Route::Unknown] {
            if let Step::Serve(serve) = router::handshake(message.clone(), NODE, route) {
                let _ = serve.answer(Vec::new(), NODE);
            }
        }
    }
    if HandshakeMessage::decode(bytes).is_ok() || NoisePayload::decode(bytes).is_ok() {
        accept();
    }
}

/// A step of a holepunch as the DHT carries it, or what is sealed in it. Accepted is the former.
pub fn dht_holepunch(bytes: &[u8]) {
    fuzz_dht_holepunch(bytes);
    if let Ok(message) = HolepunchMessage::decode(bytes) {
        for route in [Route::Here, Route::Announced(NODE), Route::Unknown] {
            if let Step::Serve(serve) = router::holepunch(message.clone(), NODE, route) {
                let _ = serve.answer(Vec::new(), NODE);
            }
        }
    }
    if let Ok(step) = HolepunchPayload::decode(bytes) {
        punch(&step);
    }
    if HolepunchMessage::decode(bytes).is_ok() {
        accept();
    }
}

/// Whatever the other end says of its NAT, a punch has an end and sends no more than its figures say.
fn punch(step: &HolepunchPayload) {
    let mut remote = Remote::new(Firewall::Unknown);
    remote.update(
        step,
        step.addresses
            .iter()
            .flatten()
            .next()
            .map(|address| *address.ip()),
    );
    for local in [Firewall::Consistent, Firewall::Random] {
        let Some(plan) = Plan::new(local, &remote) else {
            continue;
        };
        let mut rounds = Rounds::new(plan, true);
        let shots: usize = std::iter::from_fn(|| rounds.next(&remote, || 7))
            .map(|round| round.shots.len())
            .sum();
        assert!(shots <= 1750 + BIRTHDAY_SOCKETS, "{shots} packets for one punch");
    }
}

/// A message to or from a relay, behind its number.
pub fn blind_relay(bytes: &[u8]) {
    fuzz_blind_relay(bytes);
    if let [kind, rest @ ..] = bytes
        && matches!(RelayMessage::decode(u64::from(*kind), rest), Ok(Some(_)))
    {
        accept();
    }
}

/// A block of a bee behind its number in two bytes. Accepted is what has a key and tree nodes.
pub fn bee_block(bytes: &[u8]) {
    if fuzz_block(bytes) {
        accept();
    }
}

/// A datagram of the DHT.
pub fn dht_message(bytes: &[u8]) {
    fuzz_message(bytes);
    if matches!(DhtMessage::decode(bytes), Some(Ok(_))) {
        accept();
    }
}

/// What nodes of the DHT store for others, and how they are asked for it.
pub fn dht_records(bytes: &[u8]) {
    fuzz_records(bytes);
    if Announcement::decode(bytes).is_ok()
        || LookupAnswer::decode(bytes).is_ok()
        || MutableRecord::decode_put(bytes).is_ok()
    {
        accept();
    }
}

/// Datagrams to a node of the DHT, each after what happens besides and its length. Accepted is a first one of the DHT.
pub fn dht_node(bytes: &[u8]) {
    fuzz_node(bytes);
    if let [_, len, rest @ ..] = bytes
        && let Some(first) = rest.get(..usize::from(*len))
        && matches!(DhtMessage::decode(first), Some(Ok(_)))
    {
        accept();
    }
}
