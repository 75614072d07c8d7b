//! Against what the JavaScript peers said (`tests/interop/vectors-stream.mjs`), and properties.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// The recorded vectors.
pub(crate) fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/stream.json")).unwrap()
}

pub(crate) fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

fn pair(vector: &Value) -> [Handshake; 2] {
    let prologue = hex(&vector["prologue"]);
    let (alice, bob) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
    match vector["pattern"].as_str() {
        Some("XX") => [
            Handshake::xx_initiator(&alice, &prologue, [3; 32]).unwrap(),
            Handshake::xx_responder(&bob, &prologue, [4; 32]).unwrap(),
        ],
        _ => [
            Handshake::ik_initiator(&alice, bob.public_key(), &prologue, [3; 32]).unwrap(),
            Handshake::ik_responder(&bob, &prologue, [4; 32]).unwrap(),
        ],
    }
}

#[test]
fn every_message_hash_and_key_is_the_peers() {
    for vector in vectors()["noise"].as_array().unwrap() {
        let mut sides = pair(vector);
        let messages = vector["messages"].as_array().unwrap();
        let payloads = vector["payloads"].as_array().unwrap();
        for (i, (message, payload)) in messages.iter().zip(payloads).enumerate() {
            assert!(sides[i % 2].is_our_turn() && !sides[(i + 1) % 2].is_our_turn());
            assert_eq!(sides[i % 2].write(&hex(payload)).unwrap(), hex(message));
            assert_eq!(sides[(i + 1) % 2].read(&hex(message)).unwrap(), hex(payload));
        }
        let [alice, bob] = sides.map(|side| side.finish().unwrap());
        assert_eq!(alice.hash.to_vec(), hex(&vector["hash"]));
        assert_eq!(alice.hash, bob.hash);
        assert_eq!(alice.tx.to_vec(), hex(&vector["initiator_tx"]));
        assert_eq!(alice.rx.to_vec(), hex(&vector["initiator_rx"]));
        assert_eq!((&*bob.tx, &*bob.rx), (&*alice.rx, &*alice.tx));
        assert_eq!(alice.remote_public_key.to_vec(), hex(&vector["responder_key"]));
        assert_eq!(bob.remote_public_key.to_vec(), hex(&vector["initiator_key"]));
    }
}

#[test]
fn the_same_public_keys_are_refused_as_by_libsodium() {
    let keys = KeyPair::from_seed(&[1; 32]);
    for vector in vectors()["multiplication"]["keys"].as_array().unwrap() {
        let key = hex(&vector["key"]).try_into().unwrap();
        let shared = keys::shared_point(keys.scalar(), &key).map(|shared| shared.to_vec());
        let expected = vector["shared"].as_str().map(|_| hex(&vector["shared"]));
        assert_eq!(shared, expected, "{key:?}");
    }
}

#[test]
fn a_tweaked_key_shakes_hands_like_the_seed_it_could_have_come_from() {
    let seeded = KeyPair::from_seed(&[1; 32]);
    let tweaked = KeyPair::from_scalar(Zeroizing::new(*seeded.scalar()));
    assert_eq!(seeded.public_key(), tweaked.public_key());
    let mut handshakes = [&seeded, &tweaked].map(|keys| {
        Handshake::ik_initiator(keys, KeyPair::from_seed(&[2; 32]).public_key(), b"", [3; 32]).unwrap()
    });
    let [one, other] = &mut handshakes;
    assert_eq!(one.write(b"").unwrap(), other.write(b"").unwrap());
}

#[test]
fn a_wrong_prologue_or_remote_key_is_not_authentic() {
    let (alice, bob) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
    for (remote, prologue) in [(alice.public_key(), &b"same"[..]), (bob.public_key(), b"other")] {
        let mut first = Handshake::ik_initiator(&alice, remote, prologue, [3; 32]).unwrap();
        let mut second = Handshake::ik_responder(&bob, b"same", [4; 32]).unwrap();
        let message = first.write(b"").unwrap();
        assert_eq!(second.read(&message), Err(NoiseError::NotAuthentic));
        assert_eq!(
            second.write(b""),
            Err(NoiseError::OutOfTurn),
            "a failure is final"
        );
        assert_eq!(second.finish().unwrap_err(), NoiseError::OutOfTurn);
    }
}

#[test]
fn a_remote_key_outside_the_group_is_named_as_such() {
    let keys = KeyPair::from_seed(&[1; 32]);
    let mut handshake = Handshake::ik_initiator(&keys, &[0; 32], b"", [3; 32]).unwrap();
    assert_eq!(handshake.write(b""), Err(NoiseError::WeakKey));
}

#[test]
fn a_message_longer_than_noise_allows_is_refused_at_both_ends() {
    let keys = KeyPair::from_seed(&[1; 32]);
    let mut handshake = Handshake::xx_initiator(&keys, b"", [3; 32]).unwrap();
    assert!(matches!(
        handshake.write(&vec![0; 65_535]),
        Err(NoiseError::Length { .. })
    ));
    let mut handshake = Handshake::xx_responder(&keys, b"", [3; 32]).unwrap();
    assert_eq!(
        handshake.read(&vec![0; 65_536]),
        Err(NoiseError::Length { bytes: 65_536 })
    );
}

#[test]
fn steps_out_of_turn_are_refused() {
    let keys = KeyPair::from_seed(&[1; 32]);
    let mut responder = Handshake::xx_responder(&keys, b"", [3; 32]).unwrap();
    assert_eq!(responder.write(b""), Err(NoiseError::OutOfTurn));
    let initiator = Handshake::xx_initiator(&keys, b"", [3; 32]).unwrap();
    assert_eq!(initiator.finish().unwrap_err(), NoiseError::OutOfTurn);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_flipped_bit_anywhere_ends_the_handshake(
        which in 0usize..5, at in 0usize..1000, bit in 0u8..8, vector in 0usize..4,
    ) {
        let vectors = vectors();
        let vector = &vectors["noise"][vector];
        let mut sides = pair(vector);
        let count = vector["messages"].as_array().unwrap().len();
        let mut failed = false;
        for i in 0..count {
            // A changed ephemeral key may be no point: then the answer fails.
            let Ok(mut message) = sides[i % 2].write(b"") else {
                failed = true;
                break;
            };
            if i == which % count {
                let at = at % message.len();
                message[at] ^= 1 << bit;
            }
            if sides[(i + 1) % 2].read(&message).is_err() {
                failed = true;
                break;
            }
        }
        prop_assert!(failed);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_handshake(&bytes);
    }
}
