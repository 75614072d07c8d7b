use std::net::Ipv4Addr;

use hyper_core::crypto::KeyPair;
use serde_json::Value;

use super::*;
use crate::dht::rpc::requests::SocketId;

const OWN_ID: NodeId = [0x22; 32];
const TOKEN: [u8; 32] = [0x21; 32];
const FROM: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1234);

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../tests/vectors/dht.json")).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    let digit = |d: u8| (d as char).to_digit(16).unwrap() as u8;
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn request(command: Command, target: Target, value: Option<Vec<u8>>) -> Incoming {
    Incoming {
        socket: SocketId::SERVER,
        from: FROM,
        from_id: None,
        to: FROM,
        tid: 1,
        token: Some(TOKEN),
        command,
        target: Some(target),
        value,
    }
}

struct Fixture {
    storage: Storage,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        let now = Instant::now();
        let storage = Storage::new(1, now);
        Self { storage, now }
    }

    fn ask(&mut self, request: &Incoming) -> Option<Answer> {
        let since_1970 = Duration::from_millis(1_700_000_000_000);
        self.storage.answer(request, OWN_ID, self.now, since_1970)
    }

    fn get(&mut self, command: Command, target: Target, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        self.ask(&request(command, target, value)).unwrap().value
    }

    fn age(&mut self, minutes: u64) {
        self.now += Duration::from_secs(minutes * 60);
        self.storage.age(self.now);
    }
}

fn key_pair() -> KeyPair {
    KeyPair::from_seed(&[7; 32])
}

fn place(target: Target) -> Place {
    Place {
        target,
        node: OWN_ID,
        token: TOKEN,
    }
}

fn announcement(relays: usize) -> Announcement {
    let relay = |i: usize| SocketAddrV4::new(Ipv4Addr::new(10, 0, i as u8, 1), (1000 + 256 * i) as u16);
    Announcement {
        peer: Some(PeerRecord {
            public_key: key_pair().public_key(),
            relay_addresses: (0..relays).map(relay).collect(),
        }),
        ..Announcement::default()
    }
}

fn signed(purpose: Purpose, target: Target, announcement: Announcement) -> Option<Vec<u8>> {
    Some(place(target).sign(purpose, announcement, &key_pair()).encode())
}

#[test]
fn announcements_are_signed_as_by_the_javascript_node() {
    let vectors = &vectors()["announce"];
    let target = crypto::hash(&[&key_pair().public_key()]);
    assert_eq!(bytes(&vectors["target"]), target);
    for (i, vector) in vectors["announcements"].as_array().unwrap().iter().enumerate() {
        let purpose = match vector["unannounce"].as_bool() {
            Some(true) => Purpose::Unannounce,
            _ => Purpose::Announce,
        };
        let announcement = Announcement {
            refresh: (!vector["refresh"].is_null()).then_some([0x23; 32]),
            bump: vector["bump"].as_u64().unwrap(),
            ..announcement(i & 3)
        };
        let encoded = bytes(&vector["bytes"]);
        let signed = place(target).sign(purpose, announcement, &key_pair());
        assert_eq!(signed.encode(), encoded);
        assert_eq!(Announcement::decode(&encoded), Ok(signed.clone()));
        assert!(place(target).verify(purpose, &signed));
        assert!(!place([1; 32]).verify(purpose, &signed));
    }
    let refresh = Announcement::decode(&bytes(&vectors["refresh"])).unwrap();
    assert_eq!((refresh.peer, refresh.refresh), (None, Some([0x24; 32])));
}

#[test]
fn mutable_values_are_signed_as_by_the_javascript_node() {
    for vector in vectors()["mutables"].as_array().unwrap() {
        let seq = vector["seq"].as_u64().unwrap();
        let record = MutableRecord::sign(seq, bytes(&vector["value"]), &key_pair());
        assert_eq!(record.encode(), bytes(&vector["record"]));
        let public_key = key_pair().public_key();
        assert_eq!(record.encode_put(&public_key), bytes(&vector["put"]));
        assert!(record.verify(&public_key));
        assert_eq!(
            MutableRecord::decode_put(&bytes(&vector["put"])),
            Ok((public_key, record))
        );
    }
}

#[test]
fn answers_to_lookups_are_those_of_the_javascript_node() {
    let vector = &vectors()["lookup"];
    let records: Vec<_> = vector["records"].as_array().unwrap().iter().map(bytes).collect();
    let slices: Vec<_> = records.iter().map(Vec::as_slice).collect();
    let bump = vector["bump"].as_u64().unwrap();
    let encoded = bytes(&vector["bytes"]);
    assert_eq!(LookupAnswer::encode(&slices, bump), encoded);
    let answer = LookupAnswer::decode(&encoded).unwrap();
    assert_eq!(answer.bump, bump);
    let read: Vec<_> = answer.peers.iter().map(PeerRecord::encode).collect();
    assert_eq!(read, records);
    // Nodes from before there were bumps.
    let old = &encoded[..encoded.len() - 9];
    assert_eq!(LookupAnswer::decode(old).unwrap().bump, 0);
}

#[test]
fn who_announces_is_found_until_it_takes_it_back_or_is_silent() {
    let mut node = Fixture::new();
    let topic = [5; 32];
    assert_eq!(node.get(Command::Lookup, topic, None), None);
    let announce = request(
        Command::Announce,
        topic,
        signed(Purpose::Announce, topic, announcement(5)),
    );
    assert_eq!(node.ask(&announce), Some(Answer::done()));
    let found = |node: &mut Fixture| {
        let answer = node.get(Command::Lookup, topic, None)?;
        Some(LookupAnswer::decode(&answer).unwrap().peers)
    };
    let peers = found(&mut node).unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].relay_addresses.len(), MAX_RELAYS);

    let unannounce = |purpose| {
        request(
            Command::Unannounce,
            topic,
            signed(purpose, topic, announcement(0)),
        )
    };
    assert_eq!(
        node.ask(&unannounce(Purpose::Announce)),
        None,
        "signed for something else"
    );
    assert!(found(&mut node).is_some());
    assert_eq!(node.ask(&unannounce(Purpose::Unannounce)), Some(Answer::done()));
    assert_eq!(found(&mut node), None);

    assert_eq!(node.ask(&announce), Some(Answer::done()));
    node.age(14);
    assert!(found(&mut node).is_some());
    node.age(14);
    assert_eq!(found(&mut node), None);
}

#[test]
fn a_peer_under_its_own_key_is_a_way_for_requests() {
    let mut node = Fixture::new();
    let target = crypto::hash(&[&key_pair().public_key()]);
    assert_eq!(node.get(Command::FindPeer, target, None), None);
    let value = signed(Purpose::Announce, target, announcement(2));
    assert!(node.ask(&request(Command::Announce, target, value)).is_some());
    assert_eq!(node.storage.forward(&target).unwrap().relay, Some(FROM));
    let record = node.get(Command::FindPeer, target, None).unwrap();
    assert_eq!(PeerRecord::decode(&record).ok(), announcement(2).peer);
    let lookup = node.get(Command::Lookup, target, None).unwrap();
    assert_eq!(LookupAnswer::decode(&lookup).unwrap().peers.len(), 1);

    node.storage.serve(target, announcement(0).peer.unwrap().encode());
    assert_eq!(node.storage.forward(&target).unwrap().relay, None, "served here");
}

#[test]
fn an_announcement_without_a_good_signature_or_token_is_not_answered() {
    let mut node = Fixture::new();
    let topic = [5; 32];
    let good = signed(Purpose::Announce, topic, announcement(1)).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(
            node.ask(&request(Command::Announce, topic, Some(bad))),
            None,
            "bit {at}"
        );
    }
    let elsewhere = signed(Purpose::Announce, [6; 32], announcement(1));
    assert_eq!(node.ask(&request(Command::Announce, topic, elsewhere)), None);
    let mut without_token = request(Command::Announce, topic, Some(good));
    without_token.token = None;
    assert_eq!(node.ask(&without_token), None);
    assert_eq!(node.get(Command::Lookup, topic, None), None);
}

#[test]
fn only_who_announced_can_refresh() {
    let mut node = Fixture::new();
    let topic = [5; 32];
    let (second, first) = ([9; 32], crypto::hash(&[&[9; 32]]));
    let first_announcement = Announcement {
        refresh: Some(first),
        ..announcement(1)
    };
    let value = signed(Purpose::Announce, topic, first_announcement);
    assert!(node.ask(&request(Command::Announce, topic, value)).is_some());
    let refresh = |refresh| {
        let announcement = Announcement {
            refresh: Some(refresh),
            ..Announcement::default()
        };
        request(Command::Announce, topic, Some(announcement.encode()))
    };
    node.age(14);
    assert_eq!(node.ask(&refresh([8; 32])), None);
    assert_eq!(node.ask(&refresh(second)), Some(Answer::done()));
    assert_eq!(node.ask(&refresh(second)), None, "once");
    node.age(14);
    assert!(node.get(Command::Lookup, topic, None).is_some());
}

#[test]
fn an_owner_replaces_its_value_by_a_later_one_only() {
    let mut node = Fixture::new();
    let public_key = key_pair().public_key();
    let target = crypto::hash(&[&public_key]);
    let mut put = |seq, value: &[u8]| {
        let record = MutableRecord::sign(seq, value.to_vec(), &key_pair());
        let put = request(Command::MutablePut, target, Some(record.encode_put(&public_key)));
        node.ask(&put).map(|answer| answer.error)
    };
    assert_eq!(put(3, b"three"), Some(0));
    assert_eq!(put(3, b"three"), Some(0));
    assert_eq!(put(3, b"other"), Some(ERROR_SEQ_REUSED));
    assert_eq!(put(2, b"two"), Some(ERROR_SEQ_TOO_LOW));
    assert_eq!(put(4, b"four"), Some(0));
    let mut forged = MutableRecord::sign(5, b"five".to_vec(), &key_pair());
    forged.value[0] ^= 1;
    let forged = request(Command::MutablePut, target, Some(forged.encode_put(&public_key)));
    assert_eq!(node.ask(&forged), None);
    let stored = node.get(Command::MutableGet, target, Some(vec![4])).unwrap();
    assert_eq!(MutableRecord::decode(&stored).unwrap().value, b"four");
    assert_eq!(node.get(Command::MutableGet, target, Some(vec![5])), None);
}

#[test]
fn a_value_is_stored_under_its_hash_only() {
    let mut node = Fixture::new();
    let target = crypto::hash(&[b"value"]);
    let put = |target, value: &[u8]| request(Command::ImmutablePut, target, Some(value.to_vec()));
    assert_eq!(node.ask(&put(target, b"other")), None);
    assert_eq!(node.get(Command::ImmutableGet, target, None), None);
    assert_eq!(node.ask(&put(target, b"value")), Some(Answer::value(None)));
    assert_eq!(
        node.get(Command::ImmutableGet, target, None),
        Some(b"value".to_vec())
    );
}

#[test]
fn a_flood_of_values_is_bounded_in_bytes() {
    let mut node = Fixture::new();
    for number in 0..20_000_u32 {
        let mut value = vec![0; 4000];
        value[..4].copy_from_slice(&number.to_le_bytes());
        let target = crypto::hash(&[&value]);
        assert!(
            node.ask(&request(Command::ImmutablePut, target, Some(value)))
                .is_some()
        );
    }
    let kept = node.storage.immutables.len();
    assert!(kept * 4000 <= 2 * MAX_BYTES + 4000, "{kept} values");
}

#[test]
fn bumps_grow_and_are_not_from_the_future() {
    let mut node = Fixture::new();
    let topic = [5; 32];
    let now = 1_700_000_000_000;
    for (bump, known) in [
        (now - 5, now - 5),
        (now - 9, now - 5),
        (now + 3_600_000, now - 5),
        (now, now),
    ] {
        let announcement = Announcement {
            bump,
            ..announcement(0)
        };
        let value = signed(Purpose::Announce, topic, announcement);
        assert!(node.ask(&request(Command::Announce, topic, value)).is_some());
        let answer = node.get(Command::Lookup, topic, None).unwrap();
        assert_eq!(LookupAnswer::decode(&answer).unwrap().bump, known);
    }
}
