//! Who waits for whom at a relay, and who has met. Pure: clients and streams are numbers here.

use std::collections::HashMap;

use super::messages::{Pair, Token};

/// A client's channel to the relay.
pub type ClientId = u64;

/// Pairs of one client, waiting and met; further ones are ignored.
const MAX_PAIRS: usize = 128;
/// Pairs of all clients that have met: each has two streams.
const MAX_MET: usize = 4096;
/// Ends of all clients that wait.
const MAX_WAITING: usize = 16_384;

/// One end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Through which client it came.
    pub client: ClientId,
    /// The number of its own stream.
    pub stream_id: u32,
    /// As it says.
    pub is_initiator: bool,
}

/// What became of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// Nothing of that name.
    Unknown,
    /// It still waited.
    Waiting,
    /// The two have met: their streams are to be ended.
    Met,
}

/// All pairs of a relay.
#[derive(Debug, Default)]
pub struct Pairings {
    waiting: HashMap<Token, End>,
    met: HashMap<Token, [End; 2]>,
    pairs: HashMap<ClientId, usize>,
}

impl Pairings {
    /// A client wants to meet somebody. If that one is there already, both ends are returned, the initiator last.
    pub fn pair(&mut self, client: ClientId, pair: &Pair) -> Option<[End; 2]> {
        let end = End {
            client,
            stream_id: pair.stream_id,
            is_initiator: pair.is_initiator,
        };
        if self.met.contains_key(&pair.token) {
            return None;
        }
        let other = self.waiting.get(&pair.token).copied();
        let count = self.pairs.entry(client).or_default();
        let is_full = match other {
            Some(_) => self.met.len() >= MAX_MET,
            None => self.waiting.len() >= MAX_WAITING,
        };
        let is_there = other.is_some_and(|other| other.is_initiator == end.is_initiator);
        if is_there || is_full || *count >= MAX_PAIRS {
            return None;
        }
        *count += 1;
        let Some(other) = other else {
            self.waiting.insert(pair.token, end);
            return None;
        };
        self.waiting.remove(&pair.token);
        let ends = if end.is_initiator {
            [other, end]
        } else {
            [end, other]
        };
        self.met.insert(pair.token, ends);
        Some(ends)
    }

    /// A client does not want to meet any more. Only its own pairs are its affair.
    pub fn unpair(&mut self, client: ClientId, token: &Token) -> Cancelled {
        if self.waiting.get(token).is_some_and(|end| end.client == client) {
            self.waiting.remove(token);
            self.release(client);
            return Cancelled::Waiting;
        }
        let is_of = |ends: &[End; 2]| ends.iter().any(|end| end.client == client);
        if self.met.get(token).is_some_and(is_of) {
            self.part(token);
            return Cancelled::Met;
        }
        Cancelled::Unknown
    }

    /// The streams of two that had met are gone.
    pub fn part(&mut self, token: &Token) {
        for end in self.met.remove(token).into_iter().flatten() {
            self.release(end.client);
        }
    }

    /// A client is gone; its pairs that had met are returned: their streams are to be ended.
    pub fn leave(&mut self, client: ClientId) -> Vec<Token> {
        self.waiting.retain(|_, end| end.client != client);
        let is_of = |ends: &[End; 2]| ends.iter().any(|end| end.client == client);
        let met: Vec<_> = self
            .met
            .iter()
            .filter(|(_, ends)| is_of(ends))
            .map(|(token, _)| *token)
            .collect();
        met.iter().for_each(|token| self.part(token));
        self.pairs.remove(&client);
        met
    }

    fn release(&mut self, client: ClientId) {
        if let Some(count) = self.pairs.get_mut(&client) {
            *count = count.saturating_sub(1);
        }
    }

    /// Every client is charged for its ends, no more and no less.
    #[cfg(test)]
    pub(super) fn is_consistent(&self) -> bool {
        let ends = || self.waiting.values().chain(self.met.values().flatten());
        let of = |client: ClientId| ends().filter(|end| end.client == client).count();
        let charged = self.pairs.iter().all(|(client, count)| *count == of(*client));
        let is_known = |end: &End| self.pairs.contains_key(&end.client);
        charged && ends().all(is_known) && self.met.values().all(|[a, b]| !a.is_initiator && b.is_initiator)
    }
}
