//! Which of the addresses that a peer names can be tried.

use std::net::{Ipv4Addr, SocketAddrV4};

/// An address of a network of one's own (RFC 1918, 6598, 3927), or of the host itself.
#[must_use]
pub fn is_private(host: &Ipv4Addr) -> bool {
    let [a, b, ..] = host.octets();
    host.is_private() || host.is_loopback() || host.is_link_local() || (a == 100 && (64..128).contains(&b))
}

/// An address that no host has (RFC 6890).
#[must_use]
pub fn is_reserved(host: &Ipv4Addr) -> bool {
    match host.octets() {
        [0, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] | [224..=255, ..] => true,
        _ => host.is_documentation(),
    }
}

/// An address that is not one of the public internet.
#[must_use]
pub fn is_bogon(host: &Ipv4Addr) -> bool {
    is_private(host) || is_reserved(host)
}

/// Of the addresses that the peer has on its own network, the one that most looks as if it were on ours, too: by the
/// bytes that it begins with, of which at least one must be the same. Three of four are enough to take the first such.
#[must_use]
pub fn on_the_same_network(ours: &[SocketAddrV4], theirs: &[SocketAddrV4]) -> Option<SocketAddrV4> {
    let common = |a: &SocketAddrV4, b: &SocketAddrV4| {
        let pairs = a.ip().octets().into_iter().zip(b.ip().octets()).take(3);
        pairs.take_while(|(a, b)| a == b).count()
    };
    let mut best = (0, None);
    for our in ours {
        for their in theirs {
            let same = common(our, their);
            if same > best.0 {
                best = (same, Some(*their));
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddrV4 {
        SocketAddrV4::new(text.parse().unwrap(), 1)
    }

    #[test]
    fn the_address_with_the_longest_common_beginning_is_taken() {
        let ours = [at("10.0.0.2"), at("192.168.122.238")];
        let theirs = [
            at("192.1.1.1"),
            at("192.168.0.23"),
            at("192.168.122.1"),
            at("192.168.122.2"),
        ];
        assert_eq!(on_the_same_network(&ours, &theirs), Some(theirs[2]));
        assert_eq!(on_the_same_network(&ours, &theirs[..2]), Some(theirs[1]));
        assert_eq!(on_the_same_network(&ours, &[at("172.16.0.1")]), None);
        assert_eq!(on_the_same_network(&ours, &[]), None);
    }

    #[test]
    fn addresses_are_told_apart_by_their_networks() {
        for private in [
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.9.9",
            "172.31.0.1",
            "192.168.1.1",
        ] {
            assert!(
                is_private(at(private).ip()) && is_bogon(at(private).ip()),
                "{private}"
            );
        }
        for reserved in [
            "0.1.2.3",
            "192.0.2.9",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "203.0.113.7",
        ] {
            assert!(
                is_reserved(at(reserved).ip()) && !is_private(at(reserved).ip()),
                "{reserved}"
            );
        }
        for public in ["100.128.0.1", "172.32.0.1", "8.8.8.8", "198.20.0.1"] {
            assert!(!is_bogon(at(public).ip()), "{public}");
        }
    }
}
