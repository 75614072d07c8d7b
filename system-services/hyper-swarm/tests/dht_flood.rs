//! A node of the DHT under a flood. A program of its own, because what is measured is its memory.
#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use hyper_swarm::dht::{Dht, DhtOptions};

const DATAGRAMS: u32 = 60_000;
const MAX_GROWTH_KIB: u64 = 12 * 1024;

/// Resident memory of this program.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Not for secrets.
fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    *random >> 33
}

/// Bytes by chance, made to look like a request, a response, a packet of UDX, or as they are. Every request claims a node
/// and a target of its own.
fn garbage(random: &mut u64) -> Vec<u8> {
    let len = next(random) % 200;
    let mut datagram: Vec<u8> = (0..len).map(|_| next(random) as u8).collect();
    let kinds: [&[u8]; 4] = [&[0x03, 0x1d], &[0x13, 0x05], &[0xff, 0x01], &[]];
    let kind = kinds[next(random) as usize % 4];
    let at = kind.len().min(datagram.len());
    datagram[..at].copy_from_slice(&kind[..at]);
    datagram
}

#[tokio::test]
async fn a_flood_of_garbage_neither_stops_a_node_nor_fills_its_memory() {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
    let options = DhtOptions {
        ephemeral: Some(false),
        firewalled: false,
        address: Some(address),
        ..DhtOptions::loopback([])
    };
    let node = Dht::bind(options).await.unwrap();
    let to = node.local_address();
    let asker = Dht::bind(DhtOptions::loopback([to])).await.unwrap();
    asker.bootstrapped().await;
    let before = resident_kib().unwrap();
    let attacker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut random = 1;
    for number in 0..DATAGRAMS {
        attacker.send_to(&garbage(&mut random), to).unwrap();
        if number % 128 == 0 {
            tokio::task::yield_now().await;
        }
    }
    // What waits in the socket may have pushed the first ping out.
    let pong = tokio::time::timeout(Duration::from_secs(8), asker.ping(to))
        .await
        .unwrap();
    assert_eq!(pong.unwrap().from, to);
    let growth = resident_kib().unwrap().saturating_sub(before);
    println!("{growth} KiB more");
    assert!(growth < MAX_GROWTH_KIB, "{growth} KiB more than before");
}
