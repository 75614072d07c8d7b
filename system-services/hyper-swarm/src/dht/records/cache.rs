//! Memory that forgets: entries live between two thirds and four thirds of an age, and there is never more than so much.
//!
//! As the peer's `xache` and `record-cache`: two generations. When the age is over, or the younger one is full, the older one
//! goes and the younger one takes its place.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hyper_core::crypto::Hash;

use crate::dht::rpc::random::Random;

/// How much is remembered, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Entries of one generation.
    pub entries: usize,
    /// Bytes of the values of one generation.
    pub bytes: usize,
    /// Average age at which an entry is forgotten.
    pub age: Duration,
}

#[derive(Debug)]
struct Clock {
    limits: CacheLimits,
    turned: Instant,
}

impl Clock {
    fn is_due(&mut self, entries: usize, bytes: usize, now: Instant) -> bool {
        let aged = now.saturating_duration_since(self.turned) >= self.limits.age * 2 / 3;
        let is_due = aged || entries > self.limits.entries || bytes > self.limits.bytes;
        if is_due {
            self.turned = now;
        }
        is_due
    }
}

/// One value for each key.
#[derive(Debug)]
pub struct Cache<V> {
    young: HashMap<Hash, V>,
    old: HashMap<Hash, V>,
    young_bytes: usize,
    clock: Clock,
}

impl<V> Cache<V> {
    /// Nothing yet.
    pub fn new(limits: CacheLimits, now: Instant) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            clock: Clock { limits, turned: now },
        }
    }

    /// How many entries there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Forgets what is too old.
    pub fn age(&mut self, now: Instant) {
        if self.clock.is_due(self.young.len(), self.young_bytes, now) {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &Hash) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Remembers a value of so many bytes.
    pub fn set(&mut self, key: Hash, value: V, bytes: usize, now: Instant) {
        self.old.remove(&key);
        self.young.insert(key, value);
        self.young_bytes += bytes;
        self.age(now);
    }

    /// Forgets a value.
    pub fn remove(&mut self, key: &Hash) -> Option<V> {
        let young = self.young.remove(key);
        young.or_else(|| self.old.remove(key))
    }
}

/// Some values for each key, each under a name of its own.
#[derive(Debug)]
pub struct SetCache {
    young: Sets,
    old: Sets,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Sets {
    sets: HashMap<Hash, Set>,
    len: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Set {
    list: Vec<(Hash, Box<[u8]>)>,
    places: HashMap<Hash, usize>,
}

impl Sets {
    fn set(&mut self, key: Hash, name: Hash, value: Box<[u8]>) {
        let set = self.sets.entry(key).or_default();
        self.bytes += value.len();
        if let Some(place) = set.places.get(&name) {
            set.list[*place].1 = value;
        } else {
            set.places.insert(name, set.list.len());
            set.list.push((name, value));
            self.len += 1;
        }
    }

    fn remove(&mut self, key: &Hash, name: &Hash) {
        let Some(set) = self.sets.get_mut(key) else {
            return;
        };
        let Some(place) = set.places.remove(name) else {
            return;
        };
        set.list.swap_remove(place);
        if let Some((moved, _)) = set.list.get(place) {
            set.places.insert(*moved, place);
        }
        self.len -= 1;
        if set.list.is_empty() {
            self.sets.remove(key);
        }
    }

    fn get(&self, key: &Hash) -> &[(Hash, Box<[u8]>)] {
        self.sets.get(key).map_or(&[], |set| &set.list)
    }
}

impl SetCache {
    /// Nothing yet.
    pub fn new(limits: CacheLimits, now: Instant) -> Self {
        Self {
            young: Sets::default(),
            old: Sets::default(),
            clock: Clock { limits, turned: now },
        }
    }

    /// How many values there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.len + self.old.len
    }

    /// Forgets what is too old.
    pub fn age(&mut self, now: Instant) {
        if self.clock.is_due(self.young.len, self.young.bytes, now) {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// Remembers a value under a key and a name, instead of the one that was there.
    pub fn set(&mut self, key: Hash, name: Hash, value: Vec<u8>, now: Instant) {
        self.old.remove(&key, &name);
        self.young.set(key, name, value.into_boxed_slice());
        self.age(now);
    }

    /// Forgets a value.
    pub fn remove(&mut self, key: &Hash, name: &Hash) {
        self.young.remove(key, name);
        self.old.remove(key, name);
    }

    /// Up to `count` values of a key, chosen by chance.
    pub fn some(&self, key: &Hash, count: usize, random: &mut Random) -> Vec<&[u8]> {
        let (young, old) = (self.young.get(key), self.old.get(key));
        let total = young.len() + old.len();
        let at = |place: usize| match young.get(place) {
            Some(entry) => &*entry.1,
            None => &*old[place - young.len()].1,
        };
        if total <= count {
            return (0..total).map(at).collect();
        }
        // Floyd's way to choose some of many, each as likely as the others, without a list of all.
        let mut chosen = Vec::with_capacity(count);
        for last in total - count..total {
            let place = random.below(last + 1);
            chosen.push(if chosen.contains(&place) { last } else { place });
        }
        chosen.into_iter().map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: CacheLimits = CacheLimits {
        entries: 100,
        bytes: 1000,
        age: Duration::from_secs(60),
    };

    #[test]
    fn what_is_not_renewed_is_forgotten_and_what_is_renewed_stays() {
        let mut now = Instant::now();
        let mut cache = Cache::new(LIMITS, now);
        cache.set([1; 32], 1, 1, now);
        cache.set([2; 32], 2, 1, now);
        for _ in 0..3 {
            now += Duration::from_secs(40);
            cache.age(now);
            cache.set([2; 32], 2, 1, now);
        }
        assert_eq!((cache.get(&[1; 32]), cache.get(&[2; 32])), (None, Some(&2)));
        assert_eq!(cache.remove(&[2; 32]), Some(2));
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn a_flood_takes_no_more_memory_than_there_is_for_it() {
        let now = Instant::now();
        let mut random = Random::new(1);
        let (mut one, mut sets) = (Cache::new(LIMITS, now), SetCache::new(LIMITS, now));
        for number in 0..5000_u32 {
            let bytes = (number % 50) as usize;
            one.set(random.key(), vec![0; bytes], bytes, now);
            sets.set([number as u8 & 1; 32], random.key(), vec![0; bytes], now);
            assert!(one.len() <= 2 * LIMITS.entries && sets.len() <= 2 * LIMITS.entries);
        }
    }

    #[test]
    fn some_of_many_are_different_ones_and_all_have_their_turn() {
        let now = Instant::now();
        let mut random = Random::new(1);
        let mut sets = SetCache::new(LIMITS, now);
        for name in 0..50 {
            sets.set([9; 32], [name; 32], vec![name], now);
        }
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            let mut some: Vec<_> = sets
                .some(&[9; 32], 20, &mut random)
                .iter()
                .map(|v| v[0])
                .collect();
            some.sort_unstable();
            some.dedup();
            assert_eq!(some.len(), 20);
            seen.extend(some);
        }
        assert_eq!(seen.len(), 50);
        sets.set([9; 32], [7; 32], vec![77], now);
        assert_eq!(sets.len(), 50, "replaced");
        for name in 0..50 {
            sets.remove(&[9; 32], &[name; 32]);
        }
        assert_eq!((sets.len(), sets.some(&[9; 32], 20, &mut random).len()), (0, 0));
    }
}
