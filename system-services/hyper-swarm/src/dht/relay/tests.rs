//! The messages, against what the JavaScript peers write.

use super::messages::{Pair, RelayMessage, fuzz_blind_relay};
use crate::dht::messages::tests::{array, bytes, vectors};

#[test]
fn messages_are_what_the_peers_write() {
    let relay = &vectors()["relay"];
    let pairs = relay["pair"].as_array().unwrap().iter().map(|vector| {
        let fields = &vector["fields"];
        let pair = Pair {
            is_initiator: fields["isInitiator"].as_bool().unwrap(),
            token: array(&fields["token"]),
            stream_id: fields["id"].as_u64().unwrap() as u32,
            seq: fields["seq"].as_u64().unwrap(),
        };
        (RelayMessage::Pair(pair), vector)
    });
    let unpairs = relay["unpair"].as_array().unwrap().iter().map(|vector| {
        let token = array(&vector["fields"]["token"]);
        (RelayMessage::Unpair { token }, vector)
    });
    for (message, vector) in pairs.chain(unpairs) {
        let wire = bytes(&vector["bytes"]);
        assert_eq!(message.encode(), wire);
        assert_eq!(RelayMessage::decode(message.kind(), &wire), Ok(Some(message)));
    }
}

proptest::proptest! {
    #[test]
    fn garbage_is_read_the_same_again_or_refused(bytes in proptest::prelude::any::<Vec<u8>>()) {
        fuzz_blind_relay(&bytes);
    }
}
