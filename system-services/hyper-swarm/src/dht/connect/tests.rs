//! The handshake and what is sealed after it, against what the JavaScript peers say with the same keys.

use crate::dht::connect::handshake::{ClientHandshake, ServerHandshake};
use crate::dht::holepunch::Sealer;
use crate::dht::messages::ReadPayload;
use crate::dht::messages::tests::{array, bytes, holepunch_payloads, noise_payloads, vectors};
use crate::noise::{KeyPair, Role};
use crate::secret_stream::stream_id;

#[test]
fn the_handshake_is_the_peers_from_both_sides() {
    let vectors = vectors();
    let noise = &vectors["noise"];
    let payloads = noise_payloads(&vectors);
    let (asked, answered) = (&payloads[1], &payloads[4]);
    let (client_keys, server_keys) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));

    let client = ClientHandshake::new(&client_keys, *server_keys.public_key(), [3; 32], asked).unwrap();
    assert_eq!(client.request(), bytes(&noise["request"]));
    let server = ServerHandshake::read_request(&server_keys, client.request(), [4; 32]).unwrap();
    assert_eq!(server.client(), client_keys.public_key());
    assert_eq!(server.payload(), &ReadPayload::Known(Box::new(asked.clone())));
    let (reply, server) = server.reply(answered).unwrap();
    assert_eq!(reply, bytes(&noise["reply"]));

    assert!(
        client.read_reply(&[7; 100]).is_err(),
        "a forged reply spoils nothing"
    );
    let (payload, client) = client.read_reply(&reply).unwrap();
    assert_eq!(payload, ReadPayload::Known(Box::new(answered.clone())));
    let hash = array(&noise["hash"]);
    assert_eq!((client.session.hash, server.session.hash), (hash, hash));
    assert_eq!(*client.session.tx, array(&noise["client_tx"]));
    assert_eq!(*client.session.rx, array(&noise["client_rx"]));
    assert_eq!(client.session.tx, server.session.rx);
    for holepunch_key in [&client.holepunch_key, &server.holepunch_key] {
        assert_eq!(**holepunch_key, array(&noise["holepunch_secret"]));
    }
    assert_eq!(
        stream_id(&hash, Role::Responder),
        array(&noise["server_stream_id"])
    );
    assert_eq!(
        stream_id(&hash, Role::Initiator),
        array(&noise["client_stream_id"])
    );
}

#[test]
fn what_is_sealed_is_the_peers_and_a_changed_byte_is_refused() {
    let vectors = vectors();
    let key = array(&vectors["noise"]["holepunch_secret"]);
    let sealer = Sealer::new(key.into(), array(&vectors["token"]["local_secret"]));
    let payloads = holepunch_payloads(&vectors);
    for vector in vectors["sealed"].as_array().unwrap() {
        let payload = &payloads[vector["payload"].as_u64().unwrap() as usize];
        let mut sealed = bytes(&vector["bytes"]);
        assert_eq!(sealer.seal(payload, array(&vector["nonce"])), sealed);
        assert_eq!(sealer.open(&sealed).as_ref(), Some(payload));
        for at in 0..sealed.len() {
            sealed[at] ^= 1;
            assert_eq!(sealer.open(&sealed), None);
            sealed[at] ^= 1;
            assert_eq!(sealer.open(&sealed[..at]), None);
        }
    }
    let host = vectors["token"]["host"].as_str().unwrap().parse().unwrap();
    assert_eq!(sealer.token(&host), array(&vectors["token"]["token"]));
}
