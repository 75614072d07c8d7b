//! The handshakes of a server that are under way or were lately: bounded, each with a number that the client names when
//! it punches, and found again by its request, which a client sends through several nodes.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Handshakes at a time, each of which may have a socket, or a connection to a client that was not heard of yet. The peer has no
/// limit.
pub const MAX_SESSIONS: usize = 512;

/// Of them, those of one host: whoever floods takes no more from the others. Programs on the same machine are trusted.
pub const MAX_SESSIONS_OF_HOST: usize = 64;

/// Handshakes that may begin at once, and per second for long: each costs some curve multiplications.
const BURST: u32 = 512;
const PER_SECOND: u32 = 256;

/// The hash of a request.
pub type RequestHash = [u8; 32];

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<'a, T> {
    /// It is known: this is its session.
    Known(&'a T),
    /// It is new, and may have this number.
    New(usize),
    /// There are too many.
    Refused,
}

#[derive(Debug)]
struct Slot<T> {
    request: RequestHash,
    host: Ipv4Addr,
    session: T,
}

/// All sessions of a server.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Option<Slot<T>>>,
    by_request: HashMap<RequestHash, usize>,
    allowance: u32,
    filled: Instant,
}

impl<T> Table<T> {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        Self {
            slots: Vec::new(),
            by_request: HashMap::new(),
            allowance: BURST,
            filled: now,
        }
    }

    /// What becomes of a request.
    pub fn admit(&mut self, request: &RequestHash, host: Ipv4Addr, now: Instant) -> Admission<'_, T> {
        if let Some(id) = self.by_request.get(request) {
            let known = self.slots.get(*id).and_then(Option::as_ref);
            return known.map_or(Admission::Refused, |slot| Admission::Known(&slot.session));
        }
        let of_host = self
            .slots
            .iter()
            .flatten()
            .filter(|slot| slot.host == host)
            .count();
        if of_host >= MAX_SESSIONS_OF_HOST && !host.is_loopback() {
            return Admission::Refused;
        }
        self.fill(now);
        let Some(left) = self.allowance.checked_sub(1) else {
            return Admission::Refused;
        };
        let free = self.slots.iter().position(Option::is_none);
        let id = free.unwrap_or(self.slots.len());
        if id >= MAX_SESSIONS {
            return Admission::Refused;
        }
        self.allowance = left;
        Admission::New(id)
    }

    fn fill(&mut self, now: Instant) {
        let second = Duration::from_secs(1) / PER_SECOND;
        let more = now.saturating_duration_since(self.filled).as_nanos() / second.as_nanos();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(BURST);
            self.allowance = self.allowance.saturating_add(more).min(BURST);
            self.filled = now;
        }
    }

    /// Keeps a session under a number that [`admit`](Self::admit) gave.
    pub fn insert(&mut self, id: usize, request: RequestHash, host: Ipv4Addr, session: T) {
        if self.slots.len() <= id {
            self.slots.resize_with(id + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(id) {
            *slot = Some(Slot {
                request,
                host,
                session,
            });
            self.by_request.insert(request, id);
        }
    }

    /// The session of a number.
    pub fn get(&self, id: u64) -> Option<&T> {
        let slot = self.slots.get(usize::try_from(id).ok()?)?;
        slot.as_ref().map(|slot| &slot.session)
    }

    /// Changes the session of a number.
    pub fn update(&mut self, id: usize, change: impl FnOnce(&mut T)) {
        if let Some(slot) = self.slots.get_mut(id).and_then(Option::as_mut) {
            change(&mut slot.session);
        }
    }

    /// The session is over; the number is free.
    pub fn remove(&mut self, id: usize) {
        if let Some(slot) = self.slots.get_mut(id).and_then(Option::take) {
            self.by_request.remove(&slot.request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn request(n: u32) -> RequestHash {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_le_bytes());
        hash
    }

    #[test]
    fn the_same_request_is_the_same_session_and_numbers_are_used_again() {
        let now = Instant::now();
        let mut table = Table::new(now);
        assert_eq!(table.admit(&request(1), HOST, now), Admission::New(0));
        table.insert(0, request(1), HOST, 'a');
        assert_eq!(table.admit(&request(1), HOST, now), Admission::Known(&'a'));
        assert_eq!(table.admit(&request(2), HOST, now), Admission::New(1));
        table.insert(1, request(2), HOST, 'b');
        assert_eq!(
            (table.get(0), table.get(1), table.get(2)),
            (Some(&'a'), Some(&'b'), None)
        );
        table.remove(0);
        assert_eq!(table.admit(&request(3), HOST, now), Admission::New(0));
        assert_eq!(
            table.admit(&request(1), HOST, now),
            Admission::New(0),
            "it is forgotten"
        );
        assert_eq!(table.get(u64::MAX), None);
    }

    /// As many requests as would be taken, each of another host out of `hosts`.
    fn flood(table: &mut Table<()>, from: u32, hosts: u32, now: Instant) -> u32 {
        let mut admitted = 0;
        for n in from..from + 1000 {
            let host = Ipv4Addr::from_bits(0x0a00_0000 + n % hosts);
            if let Admission::New(id) = table.admit(&request(n), host, now) {
                table.insert(id, request(n), host, ());
                admitted += 1;
            }
        }
        admitted
    }

    #[test]
    fn a_flood_is_cut_off_and_time_heals_it() {
        let now = Instant::now();
        let mut table = Table::new(now);
        assert_eq!(flood(&mut table, 0, 1000, now), BURST);
        (0..BURST as usize).for_each(|id| table.remove(id));
        let now = now + Duration::from_secs(1);
        assert_eq!(flood(&mut table, 1000, 1000, now), PER_SECOND);
        let now = now + Duration::from_secs(60);
        assert_eq!(
            flood(&mut table, 2000, 1000, now) + PER_SECOND,
            MAX_SESSIONS as u32
        );
    }

    #[test]
    fn one_host_that_floods_leaves_room_for_others() {
        let now = Instant::now();
        let mut table = Table::new(now);
        assert_eq!(flood(&mut table, 0, 1, now), MAX_SESSIONS_OF_HOST as u32);
        assert!(flood(&mut table, 1000, 1000, now) > 300);
    }
}
