//! How many requests a host may make.
//!
//! dht-rpc has no such limit. An answer is several times longer than what asked for it, and checking a signature costs
//! more than sending one: so one host gets no more than a busy node needs.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Requests of one host at once: several nodes behind one NAT, all of them beginning.
pub const BURST: u32 = 1000;

/// Requests of one host per second, for long.
pub const PER_SECOND: u32 = 300;

/// Hosts that are remembered. Those beyond share one allowance.
const MAX_HOSTS: usize = 4096;

/// Hosts whose allowance is whole again are forgotten so often,
const SWEEP: Duration = Duration::from_secs(5);

/// and so often when there is no room for others: who forges addresses must not keep them out.
const SWEEP_WHEN_FULL: Duration = Duration::from_millis(50);

/// A bucket of tokens for each host.
#[derive(Debug)]
pub struct HostLimits {
    hosts: HashMap<Ipv4Addr, Bucket>,
    others: Bucket,
    swept: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    filled: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled);
        let more = elapsed.as_millis() * u128::from(PER_SECOND) / 1000;
        if more > 0 {
            self.left = u32::try_from(more).map_or(BURST, |more| self.left.saturating_add(more).min(BURST));
            self.filled = now;
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

impl HostLimits {
    /// Nobody asked yet.
    pub fn new(now: Instant) -> Self {
        Self {
            hosts: HashMap::new(),
            others: Bucket::full(now),
            swept: now,
        }
    }

    /// Whether a request of this host is looked at. Programs on the same machine may ask as often as they like.
    pub fn allows(&mut self, host: Ipv4Addr, now: Instant) -> bool {
        if host.is_loopback() {
            return true;
        }
        let pause = if self.hosts.len() < MAX_HOSTS {
            SWEEP
        } else {
            SWEEP_WHEN_FULL
        };
        if now.saturating_duration_since(self.swept) >= pause {
            self.swept = now;
            self.hosts.retain(|_, bucket| {
                bucket.fill(now);
                bucket.left < BURST
            });
        }
        if let Some(bucket) = self.hosts.get_mut(&host) {
            return bucket.take(now);
        }
        if self.hosts.len() >= MAX_HOSTS {
            return self.others.take(now);
        }
        self.hosts
            .entry(host)
            .or_insert_with(|| Bucket::full(now))
            .take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_asks_too_much_waits_and_others_do_not() {
        let mut now = Instant::now();
        let mut limits = HostLimits::new(now);
        let (loud, quiet) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let passed = (0..3 * BURST).filter(|_| limits.allows(loud, now)).count();
        assert_eq!(passed, BURST as usize);
        assert!(limits.allows(quiet, now));
        now += Duration::from_secs(1);
        let passed = (0..3 * BURST).filter(|_| limits.allows(loud, now)).count();
        assert_eq!(passed, PER_SECOND as usize);
    }

    #[test]
    fn a_flood_of_hosts_takes_no_more_memory_than_there_is_for_it() {
        let now = Instant::now();
        let mut limits = HostLimits::new(now);
        for host in 0..20_000_u32 {
            limits.allows(Ipv4Addr::from(0x0a00_0000 | host), now);
        }
        assert_eq!(limits.hosts.len(), MAX_HOSTS);
        limits.allows(Ipv4Addr::new(192, 0, 2, 1), now + Duration::from_secs(10));
        assert!(limits.hosts.len() <= 1);
    }
}
