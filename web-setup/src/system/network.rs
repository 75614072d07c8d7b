//! Interfaces and addresses, from the kernel: true even when no network service runs.

use std::net::IpAddr;

use super::{Reading, Root};

/// What an interface is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Cable.
    Wired,
    /// Wi-Fi.
    Wireless,
}

/// One interface of the appliance; loopback and tunnels without a device are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Kernel's name.
    pub name: String,
    /// Cable or Wi-Fi.
    pub kind: Kind,
    /// True when the link is there (cable plugged, joined).
    pub link: bool,
    /// Megabits a second, when the driver says.
    pub megabits: Option<u32>,
    /// Addresses, those that work from elsewhere in the home first.
    pub addresses: Vec<IpAddr>,
}

/// All interfaces.
pub fn interfaces(root: &Root) -> Reading<Vec<Interface>> {
    let known = if_addrs::get_if_addrs().map_err(|e| format!("the kernel's list of addresses: {e}"))?;
    let known: Vec<(String, IpAddr)> = known.into_iter().map(|i| (i.name.clone(), i.ip())).collect();
    Ok(combine(root, &known))
}

/// Joins the kernel's list of addresses with what `/sys` says about each interface.
pub fn combine(root: &Root, known: &[(String, IpAddr)]) -> Vec<Interface> {
    let mut found: Vec<Interface> = root
        .list("/sys/class/net")
        .into_iter()
        .filter_map(|name| {
            let folder = format!("/sys/class/net/{name}");
            let read = |file: &str| {
                root.read(format!("{folder}/{file}"))
                    .ok()
                    .map(|t| t.trim().to_owned())
            };
            // ARPHRD_ETHER, include/uapi/linux/if_arp.h: Ethernet and Wi-Fi both.
            if read("type").as_deref() != Some("1") {
                return None;
            }
            let mut addresses: Vec<IpAddr> = known
                .iter()
                .filter(|(of, _)| *of == name)
                .map(|(_, address)| *address)
                .collect();
            addresses.sort_by_key(|address| (rank(address), *address));
            let wireless = root.join(format!("{folder}/wireless")).exists()
                || root.join(format!("{folder}/phy80211")).exists();
            Some(Interface {
                kind: if wireless { Kind::Wireless } else { Kind::Wired },
                link: read("carrier").as_deref() == Some("1"),
                megabits: read("speed")
                    .and_then(|s| s.parse().ok())
                    .filter(|speed| (1..=400_000).contains(speed)),
                addresses,
                name,
            })
        })
        .collect();
    found.sort_by_key(|i| (!i.link, i.addresses.is_empty(), i.name.clone()));
    found
}

/// 0 for what one types into a browser, 1 for other global addresses, 2 for those that only the neighbour sees.
fn rank(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) if v4.is_link_local() => 2,
        IpAddr::V4(_) => 0,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => 2,
        IpAddr::V6(_) => 1,
    }
}

/// The first address that a person can type into a browser on another device.
pub fn reachable(interfaces: &[Interface]) -> Option<IpAddr> {
    interfaces
        .iter()
        .filter(|i| i.link)
        .flat_map(|i| &i.addresses)
        .find(|a| rank(a) < 2)
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::sample;

    #[test]
    fn addresses_that_work_come_first_and_loopback_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        sample::write(&root).unwrap();
        let known: Vec<(String, IpAddr)> = [
            ("lo", "127.0.0.1"),
            ("eth0", "fe80::1"),
            ("eth0", "2001:db8::7"),
            ("eth0", "192.168.1.20"),
        ]
        .map(|(name, a)| (name.to_owned(), a.parse().unwrap()))
        .to_vec();
        let found = combine(&root, &known);
        assert_eq!(
            found.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(),
            ["eth0", "wlan0"]
        );
        assert_eq!(found[0].addresses[0].to_string(), "192.168.1.20");
        assert_eq!(found[0].addresses[2].to_string(), "fe80::1");
        assert_eq!((found[0].link, found[0].megabits), (true, Some(1000)));
        assert_eq!((found[1].kind, found[1].link), (Kind::Wireless, false));
        assert_eq!(reachable(&found), Some("192.168.1.20".parse().unwrap()));
    }
}
