//! The messages, against what the JavaScript peers write.

use super::messages::{Pair, RelayMessage, fuzz_blind_relay};
use super::pairings::{Cancelled, Pairings};
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

fn pair(token: u8, is_initiator: bool) -> Pair {
    Pair {
        is_initiator,
        token: [token; 32],
        stream_id: u32::from(token),
        seq: 0,
    }
}

#[test]
fn two_ends_meet_under_their_token() {
    let mut pairings = Pairings::default();
    assert_eq!(pairings.pair(1, &pair(7, true)), None);
    assert_eq!(pairings.pair(2, &pair(8, false)), None);
    assert_eq!(pairings.pair(2, &pair(7, true)), None, "there is an initiator");
    let [listener, initiator] = pairings.pair(2, &pair(7, false)).unwrap();
    assert_eq!((listener.client, initiator.client), (2, 1));
    assert_eq!(pairings.pair(3, &pair(7, false)), None, "they have met");
    assert_eq!(pairings.unpair(3, &[7; 32]), Cancelled::Unknown, "not its affair");
    assert_eq!(pairings.unpair(3, &[8; 32]), Cancelled::Unknown, "not its affair");
    assert_eq!(pairings.unpair(2, &[8; 32]), Cancelled::Waiting);
    assert_eq!(pairings.unpair(1, &[7; 32]), Cancelled::Met);
}

#[test]
fn who_leaves_takes_its_pairs_along() {
    let mut pairings = Pairings::default();
    pairings.pair(1, &pair(7, true));
    pairings.pair(2, &pair(7, false));
    pairings.pair(1, &pair(8, true));
    assert_eq!(pairings.leave(1), [[7; 32]]);
    assert_eq!(pairings.pair(2, &pair(8, false)), None, "nobody waits any more");
}

#[test]
fn a_client_has_so_many_pairs_at_most() {
    let mut pairings = Pairings::default();
    for token in 0..=255 {
        pairings.pair(1, &pair(token, true));
    }
    assert!(pairings.pair(2, &pair(0, false)).is_some());
    assert!(pairings.pair(2, &pair(255, false)).is_none());
}

proptest::proptest! {
    #[test]
    fn whoever_comes_and_goes_is_charged_for_what_it_has(
        events in proptest::collection::vec((0..4_u8, 0..3_u64, 0..4_u8, proptest::bool::ANY), 0..60),
    ) {
        let mut pairings = Pairings::default();
        for (event, client, token, is_initiator) in events {
            match event {
                0 | 1 => drop(pairings.pair(client, &pair(token, is_initiator))),
                2 => drop(pairings.unpair(client, &[token; 32])),
                _ => drop(pairings.leave(client)),
            }
            proptest::prop_assert!(pairings.is_consistent());
        }
    }
}
