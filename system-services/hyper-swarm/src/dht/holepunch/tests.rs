//! Who punches how.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::plan::*;
use crate::dht::messages::{Firewall, HolepunchPayload};

const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const ADDRESS: SocketAddrV4 = SocketAddrV4::new(HOST, 5000);

fn remote(firewall: Firewall, verified: bool) -> Remote {
    let mut remote = Remote::new(Firewall::Unknown);
    let payload = HolepunchPayload {
        firewall,
        punching: true,
        addresses: Some(vec![ADDRESS]),
        ..HolepunchPayload::default()
    };
    remote.update(&payload, verified.then_some(HOST));
    remote
}

#[test]
fn the_plan_follows_from_both_nats() {
    use Firewall::{Consistent, Open, Random, Unknown};
    let plan = |local, other| Plan::new(local, &remote(other, true));
    for (local, other) in [(Consistent, Consistent), (Open, Consistent), (Consistent, Open)] {
        assert_eq!(plan(local, other), Some(Plan::Probe));
    }
    assert_eq!(plan(Consistent, Random), Some(Plan::Guess(HOST)));
    assert_eq!(plan(Random, Consistent), Some(Plan::Birthday(ADDRESS)));
    for (local, other) in [(Random, Random), (Unknown, Consistent), (Consistent, Unknown)] {
        assert_eq!(plan(local, other), None);
    }
}

#[test]
fn who_has_not_proved_where_it_is_gets_no_thousand_packets() {
    assert_eq!(
        Plan::new(Firewall::Consistent, &remote(Firewall::Random, false)),
        None
    );
    assert_eq!(
        Plan::new(Firewall::Random, &remote(Firewall::Consistent, false)),
        None
    );
    let mut probes = Rounds::new(Plan::Probe, true);
    let unverified = remote(Firewall::Consistent, false);
    let rounds: Vec<_> = std::iter::from_fn(|| probes.next(&unverified, || 0)).collect();
    let sent: Vec<_> = rounds.iter().map(|round| round.shots.len()).collect();
    assert_eq!(sent, [0, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn an_address_stays_verified_as_long_as_it_is_named() {
    let mut remote = remote(Firewall::Random, true);
    let mut payload = HolepunchPayload {
        firewall: Firewall::Random,
        addresses: Some(vec![SocketAddrV4::new(HOST, 1)]),
        ..HolepunchPayload::default()
    };
    remote.update(&payload, None);
    assert!(Plan::new(Firewall::Consistent, &remote).is_some());
    payload.addresses = Some(vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1)]);
    remote.update(&payload, None);
    payload.addresses = Some(vec![ADDRESS]);
    remote.update(&payload, None);
    assert_eq!(Plan::new(Firewall::Consistent, &remote), None);
}

#[test]
fn a_guess_hits_every_port_from_1000_on_and_ends_after_half_a_minute() {
    let remote = remote(Firewall::Random, true);
    let mut rounds = Rounds::new(Plan::Guess(HOST), true);
    let mut random = 0u16;
    let mut took = Duration::ZERO;
    let mut ports = HashSet::new();
    while let Some(round) = rounds.next(&remote, || random) {
        random = random.wrapping_add(37);
        took += round.wait;
        ports.extend(round.shots.iter().map(|shot| shot.to.port()));
    }
    assert_eq!(took, Duration::from_secs(35));
    assert!(ports.iter().all(|port| *port >= 1000) && ports.len() > 1700);
}

#[test]
fn many_sockets_are_opened_quietly_and_then_kept_open_in_turn() {
    let remote = remote(Firewall::Consistent, true);
    let mut rounds = Rounds::new(Plan::Birthday(ADDRESS), true);
    let burst = rounds.next(&remote, || 0).unwrap();
    assert_eq!(burst.shots.len(), BIRTHDAY_SOCKETS - 1);
    assert!(burst.shots.iter().all(|shot| shot.low_ttl));
    let rest: Vec<_> = std::iter::from_fn(|| rounds.next(&remote, || 0)).collect();
    assert_eq!(rest.len(), 1750);
    assert!(rest[BIRTHDAY_SOCKETS - 1].shots[0].low_ttl && !rest[BIRTHDAY_SOCKETS].shots[0].low_ttl);
    assert!(
        rest.iter()
            .flat_map(|round| &round.shots)
            .all(|shot| shot.socket < BIRTHDAY_SOCKETS)
    );
}

#[test]
fn a_node_makes_one_random_punch_at_a_time_and_rests_then() {
    let mut punches = RandomPunches::default();
    let now = Instant::now();
    assert!(punches.begin(now) && !punches.begin(now));
    punches.end(now);
    assert!(!punches.begin(now + Duration::from_secs(19)));
    assert!(punches.begin(now + Duration::from_secs(20)));
}
