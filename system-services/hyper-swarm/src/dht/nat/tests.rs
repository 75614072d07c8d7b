//! The judgements, case by case.

use super::*;

/// The samples as (last byte of the host, port), each of another witness.
fn judged(samples: &[(u8, u16)]) -> NatSamples {
    let mut nat = NatSamples::new(true);
    for (n, (host, port)) in samples.iter().enumerate() {
        nat.add(seen(*host, *port), witness(n));
    }
    nat
}

fn seen(host: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, host), port)
}

fn witness(n: usize) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, n as u8), 1)
}

#[test]
fn three_times_the_same_port_is_consistent() {
    let nat = judged(&[(1, 5), (1, 5), (1, 5)]);
    assert_eq!(nat.firewall(), Firewall::Consistent);
    assert_eq!(nat.addresses(), Some(&[seen(1, 5)][..]));
    assert!(nat.is_settled());
}

#[test]
fn another_port_each_time_is_random_and_only_the_host_is_told() {
    let nat = judged(&[(1, 5), (1, 6), (1, 7)]);
    assert_eq!(nat.firewall(), Firewall::Random);
    assert_eq!(nat.addresses(), Some(&[seen(1, 0)][..]));
    assert!(!nat.is_settled(), "a fourth sample may still change it");
}

#[test]
fn two_of_four_on_one_host_are_random() {
    assert_eq!(
        judged(&[(1, 5), (1, 5), (1, 6), (1, 7)]).firewall(),
        Firewall::Random
    );
    assert_eq!(judged(&[(1, 5), (1, 5), (1, 6)]).firewall(), Firewall::Unknown);
}

#[test]
fn two_hosts_with_one_port_each_are_consistent() {
    let nat = judged(&[(1, 5), (2, 6), (1, 5), (2, 6)]);
    assert_eq!(nat.firewall(), Firewall::Consistent);
    assert_eq!(nat.addresses(), Some(&[seen(1, 5), seen(2, 6)][..]));
}

#[test]
fn two_samples_are_no_judgement() {
    let nat = judged(&[(1, 5), (1, 5)]);
    assert_eq!((nat.firewall(), nat.addresses()), (Firewall::Unknown, None));
}

#[test]
fn a_witness_counts_once_and_a_frozen_judgement_stands() {
    let mut nat = NatSamples::new(true);
    for _ in 0..10 {
        nat.add(seen(1, 5), witness(0));
    }
    assert_eq!(nat.firewall(), Firewall::Unknown);
    nat.add(seen(1, 5), witness(1));
    nat.add(seen(1, 5), witness(2));
    nat.freeze();
    for n in 3..200 {
        nat.add(seen(1, n as u16), witness(n));
    }
    assert_eq!(nat.firewall(), Firewall::Consistent);
    assert!(nat.witnesses.len() <= MAX_SAMPLES);
}

#[test]
fn who_is_not_firewalled_is_open() {
    let mut nat = NatSamples::new(false);
    assert!(nat.is_settled());
    nat.add(seen(1, 5), witness(0));
    assert_eq!(nat.firewall(), Firewall::Open);
}
