//! Two swarms agree, and what one of them does is bounded.

mod driver;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const TOPIC: Topic = [7; 32];

fn key(number: u8) -> PublicKey {
    [number; 32]
}

fn machine(own: u8) -> Machine {
    let mut machine = Machine::new(key(own), Limits::default(), u64::from(own));
    machine.join(TOPIC);
    machine
}

fn actions(machine: &mut Machine) -> Vec<Action> {
    std::iter::from_fn(|| machine.poll_action()).collect()
}

fn attempts(actions: &[Action]) -> Vec<(ConnectionId, PublicKey)> {
    let attempt = |action: &Action| match action {
        Action::Connect { connection, peer, .. } => Some((*connection, *peer)),
        _ => None,
    };
    actions.iter().filter_map(attempt).collect()
}

#[test]
fn only_so_many_attempts_run_at_a_time_and_the_next_begins_when_one_ends() {
    let (mut swarm, now) = (machine(1), Instant::now());
    for number in 10..20 {
        swarm.found(key(number), &[], TOPIC);
    }
    let begun = attempts(&actions(&mut swarm));
    assert_eq!(begun.len(), 3);
    swarm.closed(begun[0].0, Ended::Usual, now);
    swarm.opened(begun[1].0, now);
    assert_eq!(attempts(&actions(&mut swarm)).len(), 2);
}

#[test]
fn a_swarm_that_is_full_begins_no_attempt_but_accepts() {
    let now = Instant::now();
    let limits = Limits {
        peers: 2,
        ..Limits::default()
    };
    let mut swarm = Machine::new(key(1), limits, 0);
    for number in 10..20 {
        swarm.found(key(number), &[], TOPIC);
    }
    assert_eq!(attempts(&actions(&mut swarm)).len(), 2);
    let connection = swarm.number();
    swarm.incoming(connection, key(30), false, now);
    assert!(matches!(
        &actions(&mut swarm)[..],
        [Action::Hand { by_us: false, .. }]
    ));
}

#[test]
fn who_comes_when_enough_have_come_is_refused_unless_it_is_there_already() {
    let now = Instant::now();
    let limits = Limits {
        incoming: 2,
        ..Limits::default()
    };
    let mut swarm = Machine::new(key(1), limits, 0);
    for number in 10..12 {
        let connection = swarm.number();
        swarm.incoming(connection, key(number), false, now);
        assert!(matches!(actions(&mut swarm)[..], [Action::Hand { .. }]));
    }
    assert!(swarm.refuses(&key(12)) && !swarm.refuses(&key(11)));
    let connection = swarm.number();
    swarm.incoming(connection, key(12), false, now);
    assert_eq!(actions(&mut swarm), [Action::Close { connection }]);
}

#[test]
fn who_answers_lookups_with_ever_new_peers_does_not_fill_the_memory() {
    let mut swarm = machine(1);
    for number in 0..MAX_KNOWN_PEERS as u64 + 100 {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        swarm.found(key, &[], TOPIC);
    }
    assert_eq!(swarm.peers_known(), MAX_KNOWN_PEERS);
    let mut swarm = machine(1);
    let relays = vec![SocketAddrV4::new([127, 0, 0, 1].into(), 1); 500];
    for number in 0..=u8::MAX {
        swarm.found(key(9), &relays, [number; 32]);
    }
    assert_eq!(swarm.topics_of(&key(9)).count(), MAX_TOPICS_PER_PEER);
    assert!(matches!(
        &actions(&mut swarm)[0],
        Action::Connect { relay_addresses, .. } if relay_addresses.len() == MAX_RELAYS_PER_PEER
    ));
}

#[test]
fn of_two_attempts_that_cross_both_ends_keep_the_same() {
    let now = Instant::now();
    let (mut small, mut great) = (machine(1), machine(2));
    small.found(key(2), &[], TOPIC);
    great.found(key(1), &[], TOPIC);
    let ours = attempts(&actions(&mut small))[0].0;
    let theirs = attempts(&actions(&mut great))[0].0;
    // Both arrive.
    let at_small = small.number();
    small.incoming(at_small, key(2), false, now);
    let at_great = great.number();
    great.incoming(at_great, key(1), false, now);
    let close = |connection| Action::Close { connection };
    let hand = |connection, peer| Action::Hand {
        connection,
        peer,
        by_us: false,
    };
    assert_eq!(actions(&mut small), [close(ours), hand(at_small, key(2))]);
    assert_eq!(actions(&mut great), [close(at_great)]);
    great.opened(theirs, now);
    assert_eq!(great.connected().count(), 1);
}

/// The one's attempt is a connection for it before the other's arrives, and the other does not know it yet.
#[test]
fn of_two_connections_that_cross_both_ends_keep_the_same() {
    let now = Instant::now();
    let (mut small, mut great) = (machine(1), machine(2));
    small.found(key(2), &[], TOPIC);
    great.found(key(1), &[], TOPIC);
    let ours = attempts(&actions(&mut small))[0].0;
    let theirs = attempts(&actions(&mut great))[0].0;
    small.opened(ours, now);
    great.opened(theirs, now);
    actions(&mut small);
    actions(&mut great);
    let at_small = small.number();
    small.incoming(at_small, key(2), false, now);
    let at_great = great.number();
    great.incoming(at_great, key(1), false, now);
    let close = |connection| Action::Close { connection };
    assert_eq!(actions(&mut small)[0], close(ours));
    assert_eq!(actions(&mut great), [close(at_great)]);
}

#[test]
fn an_attempt_that_gave_way_is_made_again_if_the_other_connection_does_not_last() {
    let (mut swarm, now) = (machine(1), Instant::now());
    swarm.found(key(2), &[], TOPIC);
    actions(&mut swarm);
    let theirs = swarm.number();
    swarm.incoming(theirs, key(2), false, now);
    actions(&mut swarm);
    swarm.closed(theirs, Ended::Usual, now);
    let at = swarm.poll_timeout().expect("another attempt");
    swarm.handle_timeout(at);
    assert_eq!(attempts(&actions(&mut swarm)).len(), 1);
}

#[test]
fn a_peer_that_connects_again_has_lost_its_connection() {
    let (mut swarm, now) = (machine(9), Instant::now());
    let first = swarm.number();
    swarm.incoming(first, key(1), false, now);
    actions(&mut swarm);
    let second = swarm.number();
    swarm.incoming(second, key(1), true, now);
    let did = actions(&mut swarm);
    assert_eq!(did[0], Action::Close { connection: first });
    assert!(matches!(did[1], Action::Hand { connection, .. } if connection == second));
}

#[test]
fn a_peer_that_cannot_be_reached_is_tried_three_times_more_and_then_forgotten() {
    let (mut swarm, mut now) = (machine(1), Instant::now());
    swarm.found(key(2), &[], TOPIC);
    let mut tried = 0;
    while let Some((connection, _)) = attempts(&actions(&mut swarm)).first().copied() {
        tried += 1;
        swarm.closed(connection, Ended::Usual, now);
        let Some(at) = swarm.poll_timeout() else { break };
        now = at;
        swarm.handle_timeout(now);
    }
    assert_eq!(tried, 4);
    assert!(swarm.peers_known() == 0);
}

#[test]
fn where_no_hole_can_be_punched_the_next_attempt_is_for_a_relay() {
    let (mut swarm, now) = (machine(1), Instant::now());
    swarm.found(key(2), &[], TOPIC);
    let (connection, _) = attempts(&actions(&mut swarm))[0];
    swarm.closed(connection, Ended::NotPunchable, now);
    let at = swarm.poll_timeout().expect("a further attempt");
    swarm.handle_timeout(at);
    assert!(matches!(
        actions(&mut swarm)[0],
        Action::Connect {
            force_relay: true,
            ..
        }
    ));
}

#[test]
fn a_banned_peer_is_cut_off_and_stays_out() {
    let (mut swarm, now) = (machine(1), Instant::now());
    let connection = swarm.number();
    swarm.incoming(connection, key(2), false, now);
    actions(&mut swarm);
    swarm.ban(key(2), now);
    assert_eq!(actions(&mut swarm), [Action::Close { connection }]);
    assert!(swarm.refuses(&key(2)));
    swarm.found(key(2), &[], TOPIC);
    assert_eq!(actions(&mut swarm), []);
}

#[test]
fn a_swarm_that_rests_has_no_connection_and_comes_back_to_who_was_asked_for() {
    let (mut swarm, now) = (machine(1), Instant::now());
    swarm.join_peer(key(2));
    let (connection, _) = attempts(&actions(&mut swarm))[0];
    swarm.opened(connection, now);
    actions(&mut swarm);
    swarm.suspend(now);
    assert_eq!(actions(&mut swarm), [Action::Close { connection }]);
    assert!(swarm.refuses(&key(3)));
    swarm.resume();
    assert_eq!(attempts(&actions(&mut swarm)).len(), 1);
}

#[test]
fn a_flush_ends_when_everybody_was_tried() {
    let (mut swarm, now) = (machine(1), Instant::now());
    for number in 10..14 {
        swarm.found(key(number), &[], TOPIC);
    }
    let mut begun: VecDeque<_> = attempts(&actions(&mut swarm)).into();
    let flush = swarm.flush();
    let mut flushed = 0;
    while let Some((connection, _)) = begun.pop_front() {
        assert_eq!(flushed, 0);
        swarm.opened(connection, now);
        let did = actions(&mut swarm);
        begun.extend(attempts(&did));
        flushed += did.iter().filter(|a| **a == Action::Flushed(flush)).count();
    }
    assert_eq!(flushed, 1);
    swarm.flush();
    assert!(matches!(actions(&mut swarm)[..], [Action::Flushed(_)]));
}

/// What the outside does to a swarm.
#[derive(Debug, Clone)]
enum Event {
    Found(u8),
    JoinPeer(u8),
    LeavePeer(u8),
    Incoming(u8, bool),
    Opened(u8),
    Closed(u8, bool),
    Ban(u8),
    Wait(u16),
    Suspend,
    Resume,
    Flush,
}

fn event() -> impl Strategy<Value = Event> {
    let peer = 0..12u8;
    prop_oneof![
        4 => peer.clone().prop_map(Event::Found),
        1 => peer.clone().prop_map(Event::JoinPeer),
        1 => peer.clone().prop_map(Event::LeavePeer),
        4 => (peer.clone(), any::<bool>()).prop_map(|(n, is_heard)| Event::Incoming(n, is_heard)),
        6 => any::<u8>().prop_map(Event::Opened),
        6 => any::<(u8, bool)>().prop_map(|(which, relay)| Event::Closed(which, relay)),
        1 => peer.prop_map(Event::Ban),
        3 => any::<u16>().prop_map(Event::Wait),
        1 => Just(Event::Suspend),
        1 => Just(Event::Resume),
        1 => Just(Event::Flush),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_a_peer_has_one_connection_and_no_one_waits_for_ever(
        events in prop::collection::vec(event(), 0..200),
    ) {
        let limits = Limits { peers: 6, parallel: 2, incoming: 4 };
        let mut swarm = Machine::new(key(5), limits, 1);
        swarm.join(TOPIC);
        let mut now = Instant::now();
        let (mut opening, mut open) = (Vec::new(), HashMap::new());
        let (mut flushes, mut flushed) = (HashSet::new(), HashSet::new());
        for event in events {
            match event {
                Event::Found(n) => swarm.found(key(n), &[], TOPIC),
                Event::JoinPeer(n) => swarm.join_peer(key(n)),
                Event::LeavePeer(n) => swarm.leave_peer(&key(n)),
                Event::Incoming(n, is_heard) => {
                    let connection = swarm.number();
                    swarm.incoming(connection, key(n), is_heard, now);
                }
                Event::Opened(which) if !opening.is_empty() => {
                    let connection = opening.swap_remove(usize::from(which) % opening.len());
                    swarm.opened(connection, now);
                }
                Event::Closed(which, relay) if !opening.is_empty() => {
                    let connection = opening.swap_remove(usize::from(which) % opening.len());
                    swarm.closed(connection, if relay { Ended::NotPunchable } else { Ended::Usual }, now);
                }
                Event::Closed(which, _) if !open.is_empty() => {
                    let peers: Vec<PublicKey> = open.keys().copied().collect();
                    let connection = open.remove(&peers[usize::from(which) % peers.len()]);
                    swarm.closed(connection.expect("one of them"), Ended::Usual, now);
                }
                Event::Ban(n) => swarm.ban(key(n), now),
                Event::Wait(ms) => {
                    now += Duration::from_millis(u64::from(ms));
                    swarm.handle_timeout(now);
                }
                Event::Suspend => swarm.suspend(now),
                Event::Resume => swarm.resume(),
                Event::Flush => drop(flushes.insert(swarm.flush())),
                Event::Opened(_) | Event::Closed(..) => {}
            }
            while let Some(action) = swarm.poll_action() {
                match action {
                    Action::Connect { connection, peer, .. } => {
                        prop_assert!(peer != key(5) && !open.contains_key(&peer));
                        opening.push(connection);
                    }
                    Action::Hand { connection, peer, .. } => {
                        prop_assert!(open.insert(peer, connection).is_none(), "two connections to one peer");
                    }
                    Action::Close { connection } => {
                        opening.retain(|c| *c != connection);
                        open.retain(|_, c| *c != connection);
                    }
                    Action::Flushed(flush) => prop_assert!(flushed.insert(flush)),
                }
            }
            prop_assert!(opening.len() <= 2);
            let mut connected: Vec<_> = swarm.connected().copied().collect();
            let mut expected: Vec<_> = open.keys().copied().collect();
            connected.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(connected, expected);
        }
        // When everything under way has come to its end, nobody waits.
        while let Some(connection) = opening.pop() {
            swarm.closed(connection, Ended::Usual, now);
            while let Some(action) = swarm.poll_action() {
                match action {
                    Action::Connect { connection, .. } => opening.push(connection),
                    Action::Flushed(flush) => drop(flushed.insert(flush)),
                    _ => {}
                }
            }
        }
        prop_assert_eq!(flushes, flushed);
    }
}
