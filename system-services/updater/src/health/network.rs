//! How much network there is, as the kernel says.

use std::fs;

use os_io::root::Root;

use crate::state::Network;

/// `RTF_UP` and `RTF_REJECT` (Linux `include/uapi/linux/route.h`).
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

/// Looks now.
pub fn observe(root: &Root) -> Network {
    let read = |path: &str| fs::read_to_string(root.path(path)).unwrap_or_default();
    let carrier = fs::read_dir(root.path("/sys/class/net")).is_ok_and(|cards| {
        cards
            .flatten()
            .filter(|card| card.file_name() != "lo")
            .any(|card| fs::read_to_string(card.path().join("carrier")).is_ok_and(|text| text.trim() == "1"))
    });
    Network {
        carrier,
        default_route: default_route_4(&read("/proc/net/route"))
            || default_route_6(&read("/proc/net/ipv6_route")),
    }
}

/// `/proc/net/route`: interface, destination, gateway, flags, …, mask in the eighth column.
fn default_route_4(text: &str) -> bool {
    text.lines().skip(1).any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is = |at: usize, value: &str| columns.get(at) == Some(&value);
        is(1, "00000000") && is(7, "00000000") && flags(columns.get(3)) & (UP | REJECT) == UP
    })
}

/// `/proc/net/ipv6_route`: destination, its prefix length, …, flags in the ninth column, interface.
fn default_route_6(text: &str) -> bool {
    text.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let any = columns
            .first()
            .is_some_and(|to| to.len() == 32 && to.bytes().all(|b| b == b'0'));
        any && columns.get(1) == Some(&"00")
            && columns.get(9) != Some(&"lo")
            && flags(columns.get(8)) & (UP | REJECT) == UP
    })
}

fn flags(column: Option<&&str>) -> u32 {
    column
        .and_then(|text| u32::from_str_radix(text, 16).ok())
        .unwrap_or(0)
}

/// Is what was there before there again?
pub fn no_worse(before: Network, now: Network) -> Result<(), String> {
    if before.carrier && !now.carrier {
        return Err("No network card has a connection, and before the update one had.".into());
    }
    if before.default_route && !now.default_route {
        return Err("The network was not reached (no default route), and before the update it was.".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t0202000A\t0003\t0\t0\t1024\t00000000\t0\t0\t0\n\
        eth0\t0002000A\t00000000\t0001\t0\t0\t1024\t00FFFFFF\t0\t0\t0\n";

    #[test]
    fn default_routes_of_both_families_are_seen_and_dead_ones_are_not() {
        assert!(default_route_4(ROUTE));
        assert!(!default_route_4(&ROUTE.replace("\t0003\t", "\t0203\t")));
        assert!(!default_route_4(
            &ROUTE.replace("\t00000000\t0202", "\t0000000A\t0202")
        ));
        let any = "0".repeat(32);
        let six = format!("{any} 00 {any} 00 {any} 00000400 00000001 00000000 00000003 eth0\n");
        assert!(default_route_6(&six));
        assert!(!default_route_6(&six.replace("eth0", "lo")));
        assert!(!default_route_6(&six.replace("00000003 ", "00000200 ")));
        assert!(!default_route_6("") && !default_route_4(""));
    }

    #[test]
    fn only_what_was_there_before_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let nothing = observe(&root);
        assert_eq!(nothing, Network::default());
        for (path, text) in [("/sys/class/net/eth0/carrier", "1\n"), ("/proc/net/route", ROUTE)] {
            fs::create_dir_all(root.path(path).parent().unwrap()).unwrap();
            fs::write(root.path(path), text).unwrap();
        }
        let all = observe(&root);
        assert!(all.carrier && all.default_route);
        assert!(
            no_worse(nothing, nothing).is_ok()
                && no_worse(nothing, all).is_ok()
                && no_worse(all, all).is_ok()
        );
        assert!(no_worse(all, nothing).unwrap_err().contains("network card"));
        let cable = Network {
            carrier: true,
            default_route: false,
        };
        assert!(no_worse(all, cable).unwrap_err().contains("default route"));
    }
}
