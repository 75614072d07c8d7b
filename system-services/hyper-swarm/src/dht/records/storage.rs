//! What a persistent node keeps for others (hyperdht `lib/persistent.js`), without sockets and without a clock.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use hyper_core::crypto::{self, Hash};
use hyper_core::messages::codec::Reader;

use super::cache::{Cache, CacheLimits, SetCache};
use super::messages::{Announcement, LookupAnswer, MutableRecord, PeerRecord};
use super::signing::{Place, Purpose};
use crate::dht::rpc::address::{NodeId, Target};
use crate::dht::rpc::command::Command;
use crate::dht::rpc::node::{Answer, Incoming};
use crate::dht::rpc::random::Random;

/// Another value was stored under this number already.
pub const ERROR_SEQ_REUSED: u64 = 16;

/// A value with a greater number is stored.
pub const ERROR_SEQ_TOO_LOW: u64 = 17;

/// Peers in an answer to a lookup.
const MAX_LOOKUP_PEERS: usize = 20;

/// Relays that are kept of a peer.
const MAX_RELAYS: usize = 3;

/// A bump may be so far in the future: clocks differ.
const MAX_BUMP_DRIFT: Duration = Duration::from_secs(60);

/// Entries of a kind, as HyperDHT has them by default.
const MAX_ENTRIES: usize = 1 << 16;

/// Bytes of the values of a kind in one generation. HyperDHT counts values only, however long.
const MAX_BYTES: usize = 16 << 20;

const ANNOUNCEMENTS: CacheLimits = CacheLimits {
    entries: MAX_ENTRIES,
    bytes: MAX_BYTES,
    age: Duration::from_secs(20 * 60),
};

const VALUES: CacheLimits = CacheLimits {
    entries: MAX_ENTRIES / 2,
    bytes: MAX_BYTES,
    age: Duration::from_secs(48 * 60 * 60),
};

/// A way to a peer that announced itself under the hash of its own key: requests for it are passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Where the peer announced itself from. `None`: it is served by this node itself.
    pub relay: Option<SocketAddrV4>,
    /// The record that is given to who looks for it.
    pub record: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Refresh {
    target: Target,
    public_key: Hash,
    record: Vec<u8>,
    is_own: bool,
}

/// Announcements and values of others, and who is served here.
#[derive(Debug)]
pub struct Storage {
    announcements: SetCache,
    forwards: Cache<Forward>,
    served: HashMap<Target, Forward>,
    bumps: Cache<u64>,
    refreshes: Cache<Refresh>,
    mutables: Cache<MutableRecord>,
    immutables: Cache<Vec<u8>>,
    random: Random,
}

impl Storage {
    /// Nothing yet.
    pub fn new(seed: u64, now: Instant) -> Self {
        Self {
            announcements: SetCache::new(ANNOUNCEMENTS, now),
            forwards: Cache::new(ANNOUNCEMENTS, now),
            served: HashMap::new(),
            bumps: Cache::new(ANNOUNCEMENTS, now),
            refreshes: Cache::new(ANNOUNCEMENTS, now),
            mutables: Cache::new(VALUES, now),
            immutables: Cache::new(VALUES, now),
            random: Random::new(seed),
        }
    }

    /// Forgets what is too old.
    pub fn age(&mut self, now: Instant) {
        self.announcements.age(now);
        self.forwards.age(now);
        self.bumps.age(now);
        self.refreshes.age(now);
        self.mutables.age(now);
        self.immutables.age(now);
    }

    /// The way to the peer whose key has this hash.
    pub fn forward(&self, target: &Target) -> Option<&Forward> {
        self.served.get(target).or_else(|| self.forwards.get(target))
    }

    /// This node itself serves a peer: it is found here, whatever others announce.
    pub fn serve(&mut self, target: Target, record: Vec<u8>) {
        self.served.insert(target, Forward { relay: None, record });
    }

    /// This node does not serve that peer any more.
    pub fn stop_serving(&mut self, target: &Target) {
        self.served.remove(target);
    }

    /// The answer to a request; `None` if there is to be none. `own_id` is the node's, which is persistent; `since_1970` is
    /// the wall clock's time.
    pub fn answer(
        &mut self,
        request: &Incoming,
        own_id: NodeId,
        now: Instant,
        since_1970: Duration,
    ) -> Option<Answer> {
        let target = request.target?;
        let value = request.value.as_deref();
        let place = request.token.map(|token| Place {
            target,
            node: own_id,
            token,
        });
        match request.command {
            Command::FindPeer => {
                let record = self.forward(&target).map(|forward| forward.record.clone());
                Some(Answer::value(record))
            }
            Command::Lookup => Some(Answer::value(self.lookup(&target))),
            Command::Announce => {
                let answer = self.announce(&place?, value?, request.from, now)?;
                self.bump(target, value?, now, since_1970);
                Some(answer)
            }
            Command::Unannounce => self.unannounce(&place?, value?),
            Command::MutableGet => self.mutable_get(&target, value?),
            Command::MutablePut => place.and_then(|_| self.mutable_put(target, value?, now)),
            Command::ImmutableGet => Some(Answer::value(self.immutables.get(&target).cloned())),
            Command::ImmutablePut => place.and_then(|_| self.immutable_put(target, value?, now)),
            _ => None,
        }
    }

    fn lookup(&mut self, target: &Target) -> Option<Vec<u8>> {
        let forward = self.served.get(target).or_else(|| self.forwards.get(target));
        let mut records = self
            .announcements
            .some(target, MAX_LOOKUP_PEERS, &mut self.random);
        if let Some(forward) = forward.filter(|_| records.len() < MAX_LOOKUP_PEERS) {
            records.push(&forward.record);
        }
        let bump = self.bumps.get(target).copied().unwrap_or_default();
        (!records.is_empty()).then(|| LookupAnswer::encode(&records, bump))
    }

    fn announce(&mut self, place: &Place, value: &[u8], from: SocketAddrV4, now: Instant) -> Option<Answer> {
        let announcement = Announcement::decode(value).ok()?;
        let Some(peer) = &announcement.peer else {
            return self.refresh(announcement.refresh?, from, now);
        };
        if !place.verify(Purpose::Announce, &announcement) {
            return None;
        }
        let is_own = crypto::hash(&[&peer.public_key]) == place.target;
        let record = PeerRecord {
            public_key: peer.public_key,
            relay_addresses: peer.relay_addresses.iter().take(MAX_RELAYS).copied().collect(),
        };
        let entry = Refresh {
            target: place.target,
            public_key: peer.public_key,
            record: record.encode(),
            is_own,
        };
        self.keep(&entry, from, now);
        if let Some(refresh) = announcement.refresh {
            let bytes = entry.record.len();
            self.refreshes.set(refresh, entry, bytes, now);
        }
        Some(Answer::done())
    }

    fn keep(&mut self, entry: &Refresh, from: SocketAddrV4, now: Instant) {
        if entry.is_own {
            let forward = Forward {
                relay: Some(from),
                record: entry.record.clone(),
            };
            self.forwards.set(entry.target, forward, entry.record.len(), now);
            self.announcements.remove(&entry.target, &entry.public_key);
        } else {
            self.announcements
                .set(entry.target, entry.public_key, entry.record.clone(), now);
        }
    }

    /// Notes when an announced peer asks for attention, unless it is announced under its own key.
    fn bump(&mut self, target: Target, announcement: &[u8], now: Instant, since_1970: Duration) {
        let Ok(announcement) = Announcement::decode(announcement) else {
            return;
        };
        let is_own = |peer: &PeerRecord| crypto::hash(&[&peer.public_key]) == target;
        let is_own = announcement.peer.is_none_or(|peer| is_own(&peer));
        let current = self.bumps.get(&target).copied().unwrap_or_default();
        let latest = (since_1970 + MAX_BUMP_DRIFT).as_millis();
        if !is_own && announcement.bump > current && u128::from(announcement.bump) <= latest {
            self.bumps.set(target, announcement.bump, 8, now);
        }
    }

    /// Each refresh is the hash of the next one: only who announced knows it.
    fn refresh(&mut self, refresh: Hash, from: SocketAddrV4, now: Instant) -> Option<Answer> {
        let entry = self.refreshes.remove(&crypto::hash(&[&refresh]))?;
        self.keep(&entry, from, now);
        let bytes = entry.record.len();
        self.refreshes.set(refresh, entry, bytes, now);
        Some(Answer::done())
    }

    fn unannounce(&mut self, place: &Place, value: &[u8]) -> Option<Answer> {
        let announcement = Announcement::decode(value).ok()?;
        if !place.verify(Purpose::Unannounce, &announcement) {
            return None;
        }
        self.forget(&place.target, &announcement.peer?.public_key);
        Some(Answer::done())
    }

    /// Forgets that a peer is under a target.
    pub fn forget(&mut self, target: &Target, public_key: &Hash) {
        if crypto::hash(&[public_key]) == *target {
            self.forwards.remove(target);
        }
        self.announcements.remove(target, public_key);
    }

    fn mutable_get(&self, target: &Target, value: &[u8]) -> Option<Answer> {
        let wanted = Reader::new("mutable get", value).uint("seq").ok()?;
        let record = self.mutables.get(target).filter(|record| record.seq >= wanted);
        Some(Answer::value(record.map(MutableRecord::encode)))
    }

    fn mutable_put(&mut self, target: Target, value: &[u8], now: Instant) -> Option<Answer> {
        let (public_key, record) = MutableRecord::decode_put(value).ok()?;
        if crypto::hash(&[&public_key]) != target || !record.verify(&public_key) {
            return None;
        }
        if let Some(stored) = self.mutables.get(&target) {
            if stored.seq == record.seq && stored.value != record.value {
                return Some(Answer::error(ERROR_SEQ_REUSED));
            }
            if stored.seq > record.seq {
                return Some(Answer::error(ERROR_SEQ_TOO_LOW));
            }
        }
        self.mutables.set(target, record, value.len(), now);
        Some(Answer::value(None))
    }

    fn immutable_put(&mut self, target: Target, value: &[u8], now: Instant) -> Option<Answer> {
        if crypto::hash(&[value]) != target {
            return None;
        }
        self.immutables.set(target, value.to_vec(), value.len(), now);
        Some(Answer::value(None))
    }
}

#[cfg(test)]
mod tests;
