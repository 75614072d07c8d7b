//! Wrong passwords by address: after a few, each further one waits twice as long.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong answers that cost nothing: people mistype.
pub const FREE: u32 = 3;
/// Longest wait.
pub const LONGEST: Duration = Duration::from_secs(5 * 60);
/// A quiet address is forgotten after this.
pub const FORGET: Duration = Duration::from_secs(30 * 60);
/// Addresses that are remembered; the one that was quiet longest goes first. The provisioner's own limit over all callers
/// stands behind this one, so forgetting an address opens no door.
pub const MAX: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Record {
    wrong: u32,
    last: Instant,
}

impl Record {
    fn wait(&self) -> Duration {
        match self.wrong.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(1 << over.min(16)).min(LONGEST),
        }
    }
}

/// Who failed how often.
#[derive(Debug, Default)]
pub struct Attempts {
    by_address: HashMap<IpAddr, Record>,
}

impl Attempts {
    /// How long this address still has to wait, if it has to.
    pub fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let record = self.by_address.get(&household(address))?;
        let left = record
            .wait()
            .saturating_sub(now.saturating_duration_since(record.last));
        (!left.is_zero()).then_some(left)
    }

    /// A wrong password came from here. It is counted before the check and taken back by [`Attempts::right`], so that many
    /// at the same moment do not all pass.
    pub fn wrong(&mut self, address: IpAddr, now: Instant) {
        self.by_address
            .retain(|_, record| now.saturating_duration_since(record.last) < FORGET);
        let address = household(address);
        if self.by_address.len() >= MAX
            && !self.by_address.contains_key(&address)
            && let Some(oldest) = self
                .by_address
                .iter()
                .min_by_key(|(_, r)| r.last)
                .map(|(a, _)| *a)
        {
            self.by_address.remove(&oldest);
        }
        let record = self
            .by_address
            .entry(address)
            .or_insert(Record { wrong: 0, last: now });
        record.wrong = record.wrong.saturating_add(1);
        record.last = now;
    }

    /// The right password came from here.
    pub fn right(&mut self, address: IpAddr) {
        self.by_address.remove(&household(address));
    }

    /// The check could not be made: the attempt does not count.
    pub fn undone(&mut self, address: IpAddr) {
        if let Some(record) = self.by_address.get_mut(&household(address)) {
            record.wrong = record.wrong.saturating_sub(1);
        }
    }
}

/// IPv6 hosts choose among 2^64 addresses of their network: the network is what counts.
fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => {
                let s = v6.segments();
                IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0))
            }
        },
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_right_password() {
        let now = Instant::now();
        let mut attempts = Attempts::default();
        for _ in 0..FREE - 1 {
            attempts.wrong(HOME, now);
            assert_eq!(attempts.wait(HOME, now), None);
        }
        attempts.wrong(HOME, now);
        assert_eq!(attempts.wait(HOME, now), Some(Duration::from_secs(1)));
        attempts.wrong(HOME, now);
        assert_eq!(attempts.wait(HOME, now), Some(Duration::from_secs(2)));
        assert_eq!(attempts.wait(HOME, now + Duration::from_secs(2)), None);
        for _ in 0..40 {
            attempts.wrong(HOME, now);
        }
        assert_eq!(attempts.wait(HOME, now), Some(LONGEST));
        attempts.right(HOME);
        assert_eq!(attempts.wait(HOME, now), None);
    }

    #[test]
    fn one_household_is_one_address_and_memory_is_bounded() {
        let now = Instant::now();
        let mut attempts = Attempts::default();
        for n in 1..=4u16 {
            attempts.wrong(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, n)), now);
        }
        assert!(attempts.wait("2001:db8:1:2::99".parse().unwrap(), now).is_some());
        attempts.wrong("::ffff:192.168.1.7".parse().unwrap(), now);
        assert!(attempts.by_address.contains_key(&HOME));
        for n in 0..1000u32 {
            attempts.wrong(IpAddr::V4(n.into()), now);
        }
        assert!(attempts.by_address.len() <= MAX);
    }
}
