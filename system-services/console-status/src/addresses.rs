//! Which of the machine's addresses a person can use.

use std::net::IpAddr;

/// One address of one interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Interface, such as `end0` or `wlan0`.
    pub interface: String,
}

/// The addresses that the kernel has now; an error reads as none, the next look comes soon.
pub fn current() -> Vec<Address> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    usable(
        all.into_iter()
            .map(|found| Address {
                ip: found.ip(),
                interface: found.name,
            })
            .collect(),
    )
}

/// Without loopback, and without link-local ones unless there is nothing else; IPv4 first, then by address.
pub fn usable(mut all: Vec<Address>) -> Vec<Address> {
    all.retain(|address| !address.ip.is_loopback() && !address.ip.is_unspecified());
    if all.iter().any(|address| !is_link_local(address.ip)) {
        all.retain(|address| !is_link_local(address.ip));
    }
    all.sort();
    all.dedup();
    all
}

/// The address for the QR code: the first that a browser takes. An IPv6 link-local one needs a zone, which browsers refuse.
pub fn url(addresses: &[Address]) -> Option<String> {
    addresses.iter().find_map(|address| match address.ip {
        IpAddr::V4(ip) => Some(format!("http://{ip}/")),
        IpAddr::V6(ip) if !ip.is_unicast_link_local() => Some(format!("http://[{ip}]/")),
        IpAddr::V6(_) => None,
    })
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ips: &[&str]) -> Vec<Address> {
        ips.iter()
            .map(|ip| Address {
                ip: ip.parse().unwrap(),
                interface: "end0".into(),
            })
            .collect()
    }

    #[test]
    fn link_local_counts_only_when_there_is_nothing_else() {
        let ips = |all: &[&str]| {
            usable(list(all))
                .iter()
                .map(|a| a.ip.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            ips(&["::1", "127.0.0.1", "fe80::1", "fd00::7", "192.168.1.20"]),
            ["192.168.1.20", "fd00::7"]
        );
        assert_eq!(
            ips(&["127.0.0.1", "fe80::1", "169.254.3.4"]),
            ["169.254.3.4", "fe80::1"]
        );
        assert!(ips(&["127.0.0.1", "::1"]).is_empty());
    }

    #[test]
    fn the_url_is_one_that_a_browser_takes() {
        assert_eq!(
            url(&usable(list(&["fd00::7", "10.0.2.15"]))).unwrap(),
            "http://10.0.2.15/"
        );
        assert_eq!(url(&usable(list(&["fd00::7"]))).unwrap(), "http://[fd00::7]/");
        assert_eq!(url(&usable(list(&["fe80::1"]))), None);
    }
}
