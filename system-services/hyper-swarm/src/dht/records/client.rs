//! Asking the DHT, and storing with it.

use std::net::SocketAddrV4;

use hyper_core::crypto::{self, Hash, KeyPair};
use hyper_core::messages::codec;

use super::messages::{Announcement, LookupAnswer, MutableRecord, PeerRecord};
use super::signing::{Place, Purpose};
use super::storage::Forward;
use crate::dht::handle::Dht;
use crate::dht::queries::{QueryError, QueryStream};
use crate::dht::rpc::address::Target;
use crate::dht::rpc::command::Command;
use crate::dht::rpc::node::Outgoing;
use crate::dht::rpc::query::{QueryOptions, Reply};

/// With so many peers in an answer there may be more that it does not name.
const FULL_ANSWER: usize = 20;

/// Replies of a query, read. Dropping it ends the query.
#[derive(Debug)]
pub struct Replies<T> {
    stream: QueryStream,
    read: fn(Reply) -> Option<T>,
}

impl<T> Replies<T> {
    /// The next reply that says something; `None` when the query is over.
    pub async fn next(&mut self) -> Option<T> {
        loop {
            let reply = self.stream.next().await?;
            if let Some(read) = (self.read)(reply) {
                return Some(read);
            }
        }
    }

    /// Waits for the end: the closest nodes that answered, the closest first.
    pub async fn finish(self) -> Vec<Reply> {
        self.stream.finish().await
    }
}

/// What one node knows of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupReply {
    /// The node.
    pub from: SocketAddrV4,
    /// How it sees us.
    pub to: SocketAddrV4,
    /// Some of those who announced themselves.
    pub peers: Vec<PeerRecord>,
    /// When somebody last asked for attention, in milliseconds since 1970; 0 for never.
    pub bump: u64,
}

/// A node that knows a way to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPeer {
    /// The node.
    pub from: SocketAddrV4,
    /// How it sees us.
    pub to: SocketAddrV4,
    /// The peer.
    pub peer: PeerRecord,
}

/// A signed value that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutableValue {
    /// Its number: grows with each value.
    pub seq: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// How something is announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnnounceOptions {
    /// Nodes that know a way to the peer; the first three count.
    pub relay_addresses: Vec<SocketAddrV4>,
    /// Asks for attention, with the time in milliseconds since 1970; 0: does not.
    pub bump: u64,
    /// Takes announcements back that are with nodes which are not among the closest any more.
    pub clear: bool,
}

impl Dht {
    /// Who announced themselves under a topic?
    pub fn lookup(&self, topic: Target) -> Replies<LookupReply> {
        self.lookup_with(topic, QueryOptions::default())
    }

    /// As [`lookup`](Self::lookup), for example with the nodes of an earlier one.
    pub fn lookup_with(&self, topic: Target, options: QueryOptions) -> Replies<LookupReply> {
        let stream = self.query(topic, Command::Lookup, None, options);
        Replies {
            stream,
            read: read_lookup,
        }
    }

    /// Which nodes know a way to a peer?
    pub fn find_peer(&self, public_key: &Hash) -> Replies<FoundPeer> {
        self.find_target(crypto::hash(&[public_key]), QueryOptions::default())
    }

    /// As [`find_peer`](Self::find_peer), by the hash of the peer's key.
    pub fn find_target(&self, target: Target, options: QueryOptions) -> Replies<FoundPeer> {
        let stream = self.query(target, Command::FindPeer, None, options);
        Replies {
            stream,
            read: read_peer,
        }
    }

    /// Announces a peer under a topic, with the nodes that are closest to it. Gives those that took it. They forget it after
    /// some 20 minutes.
    pub async fn announce(
        &self,
        topic: Target,
        key_pair: &KeyPair,
        options: &AnnounceOptions,
    ) -> Result<Vec<Reply>, QueryError> {
        let closest = if options.clear {
            self.lookup_and_unannounce(topic, key_pair).await
        } else {
            self.lookup(topic).finish().await
        };
        self.announce_to(topic, key_pair, options, &closest).await
    }

    /// The second half of [`announce`](Self::announce), with the closest nodes of a lookup that was made for other reasons too.
    pub async fn announce_to(
        &self,
        topic: Target,
        key_pair: &KeyPair,
        options: &AnnounceOptions,
        closest: &[Reply],
    ) -> Result<Vec<Reply>, QueryError> {
        let peer = PeerRecord {
            public_key: key_pair.public_key(),
            relay_addresses: options.relay_addresses.clone(),
        };
        let announcement = Announcement {
            peer: Some(peer),
            bump: options.bump,
            ..Announcement::default()
        };
        let request = |reply: &Reply| signed(reply, topic, Purpose::Announce, announcement.clone(), key_pair);
        self.commit(topic, closest, request).await
    }

    /// Takes an announcement back, wherever it is found.
    pub async fn unannounce(&self, topic: Target, key_pair: &KeyPair) {
        self.lookup_and_unannounce(topic, key_pair).await;
    }

    /// Looks a topic up and takes the own announcement back, wherever it is found (or may be). Gives the closest nodes.
    pub async fn lookup_and_unannounce(&self, topic: Target, key_pair: &KeyPair) -> Vec<Reply> {
        let public_key = key_pair.public_key();
        self.forget_announcement(&topic, &public_key);
        let mut query = self.query(topic, Command::Lookup, None, QueryOptions::default());
        let mut requests = tokio::task::JoinSet::new();
        while let Some(reply) = query.next().await {
            let answer = reply.value.as_deref().map(LookupAnswer::decode);
            let Some(Ok(answer)) = answer else { continue };
            let is_named = answer.peers.iter().any(|peer| peer.public_key == public_key);
            let is_there = is_named || answer.peers.len() >= FULL_ANSWER;
            let request = signed(&reply, topic, Purpose::Unannounce, bare(public_key), key_pair);
            if let Some(request) = request.filter(|_| is_there) {
                let dht = self.clone();
                requests.spawn(async move { dht.request(request).await });
            }
        }
        while requests.join_next().await.is_some() {}
        query.finish().await
    }

    /// Takes the announcement of a peer back from one node. `target` is the topic, or the hash of the peer's key.
    pub(super) async fn unannounce_from(&self, node: SocketAddrV4, target: Target, key_pair: &KeyPair) {
        let mut outgoing = Outgoing::new(node, Command::FindPeer);
        outgoing.target = Some(target);
        let Ok(reply) = self.request(outgoing).await else {
            return;
        };
        let announcement = bare(key_pair.public_key());
        let request = signed(&reply, target, Purpose::Unannounce, announcement, key_pair);
        if let Some(request) = request.filter(|_| reply.value.is_some()) {
            // If it does not answer, it forgets by itself.
            let _ = self.request(request).await;
        }
    }

    /// Stores a value under its hash. Nodes keep it for some two days.
    pub async fn immutable_put(&self, value: &[u8]) -> Result<Hash, QueryError> {
        let target = crypto::hash(&[value]);
        let query = self.query(target, Command::ImmutableGet, None, QueryOptions::default());
        let closest = query.finish().await;
        let request = |reply: &Reply| storing(reply, target, Command::ImmutablePut, value.to_vec());
        self.commit(target, &closest, request).await?;
        Ok(target)
    }

    /// The value of a hash.
    pub async fn immutable_get(&self, hash: Hash) -> Option<Vec<u8>> {
        let mut query = self.query(hash, Command::ImmutableGet, None, QueryOptions::default());
        while let Some(reply) = query.next().await {
            let value = reply.value.filter(|value| crypto::hash(&[value]) == hash);
            if value.is_some() {
                return value;
            }
        }
        None
    }

    /// Stores a signed value under the key of who signs. `seq` has to be greater than that of the value before.
    pub async fn mutable_put(&self, key_pair: &KeyPair, value: &[u8], seq: u64) -> Result<(), QueryError> {
        let public_key = key_pair.public_key();
        let target = crypto::hash(&[&public_key]);
        let put = MutableRecord::sign(seq, value.to_vec(), key_pair).encode_put(&public_key);
        let query = self.query(
            target,
            Command::MutableGet,
            Some(seq_value(0)),
            QueryOptions::default(),
        );
        let closest = query.finish().await;
        let request = |reply: &Reply| storing(reply, target, Command::MutablePut, put.clone());
        self.commit(target, &closest, request).await?;
        Ok(())
    }

    /// The signed value of a key, the latest that any of the closest nodes has; none below `seq`.
    pub async fn mutable_get(&self, public_key: &Hash, seq: u64) -> Option<MutableValue> {
        let target = crypto::hash(&[public_key]);
        let value = Some(seq_value(seq));
        let mut query = self.query(target, Command::MutableGet, value, QueryOptions::default());
        let mut latest: Option<MutableValue> = None;
        while let Some(reply) = query.next().await {
            let Some(Ok(record)) = reply.value.as_deref().map(MutableRecord::decode) else {
                continue;
            };
            let is_newer = latest.as_ref().is_none_or(|latest| record.seq > latest.seq);
            if is_newer && record.seq >= seq && record.verify(public_key) {
                let MutableRecord { seq, value, .. } = record;
                latest = Some(MutableValue { seq, value });
            }
        }
        latest
    }

    /// The way to the peer whose key has this hash, if it announced itself here or is served here.
    pub fn forward(&self, target: &Target) -> Option<Forward> {
        self.with_storage(|storage| storage.forward(target).cloned())
    }

    fn forget_announcement(&self, target: &Target, public_key: &Hash) {
        self.with_storage(|storage| storage.forget(target, public_key));
    }
}

/// An announcement without relays, as it is taken back.
pub(super) fn bare(public_key: Hash) -> Announcement {
    Announcement {
        peer: Some(PeerRecord {
            public_key,
            relay_addresses: Vec::new(),
        }),
        ..Announcement::default()
    }
}

/// The request that makes an announcement, or takes it back, with the node that replied. Only a node that shows its id
/// stores anything.
pub(super) fn signed(
    reply: &Reply,
    target: Target,
    purpose: Purpose,
    announcement: Announcement,
    key_pair: &KeyPair,
) -> Option<Outgoing> {
    let place = Place {
        target,
        node: reply.from_id?,
        token: reply.token?,
    };
    let command = match purpose {
        Purpose::Unannounce => Command::Unannounce,
        _ => Command::Announce,
    };
    let signed = place.sign(purpose, announcement, key_pair);
    storing(reply, target, command, signed.encode())
}

fn storing(reply: &Reply, target: Target, command: Command, value: Vec<u8>) -> Option<Outgoing> {
    Some(Outgoing {
        to: reply.from,
        command,
        target: Some(target),
        token: Some(reply.token?),
        value: Some(value),
    })
}

fn seq_value(seq: u64) -> Vec<u8> {
    let mut out = Vec::new();
    codec::put_uint(&mut out, seq);
    out
}

fn read_lookup(reply: Reply) -> Option<LookupReply> {
    let LookupAnswer { peers, bump } = LookupAnswer::decode(reply.value.as_deref()?).ok()?;
    Some(LookupReply {
        from: reply.from,
        to: reply.to,
        peers,
        bump,
    })
}

fn read_peer(reply: Reply) -> Option<FoundPeer> {
    let peer = PeerRecord::decode(reply.value.as_deref()?).ok()?;
    Some(FoundPeer {
        from: reply.from,
        to: reply.to,
        peer,
    })
}
