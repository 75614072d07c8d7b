//! What is signed (hyperdht `lib/persistent.js`, `lib/constants.js`): 64 bytes, the namespace of the purpose and a hash.

use std::sync::LazyLock;

use hyper_core::crypto::{self, Hash, KeyPair};
use hyper_core::messages::codec;

use super::messages::{Announcement, MutableRecord, Signature};
use crate::dht::rpc::address::{NodeId, Target};
use crate::dht::rpc::message::Token;

/// What a signature is for. The numbers are those of the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// To be found under a target.
    Announce = 4,
    /// Not to be found any more.
    Unannounce = 5,
    /// A value that its owner may replace.
    MutablePut = 6,
}

impl Purpose {
    fn namespace(self) -> &'static Hash {
        static ALL: LazyLock<[Hash; 3]> =
            LazyLock::new(|| [4, 5, 6].map(|id| crypto::namespace(b"hyperswarm/dht", id)));
        &ALL[self as usize - 4]
    }

    fn signable(self, parts: &[&[u8]]) -> [u8; 64] {
        let mut out = [0; 64];
        out[..32].copy_from_slice(self.namespace());
        out[32..].copy_from_slice(&crypto::hash(parts));
        out
    }
}

/// Where an announcement is made: it holds for one node and for as long as its token does, so that nobody can repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Under which key.
    pub target: Target,
    /// With which node.
    pub node: NodeId,
    /// The token that the node gave.
    pub token: Token,
}

impl Place {
    fn signable(&self, purpose: Purpose, announcement: &Announcement) -> Option<[u8; 64]> {
        let peer = announcement.peer.as_ref()?.encode();
        let refresh = announcement.refresh.as_ref().map_or(&[][..], |refresh| refresh);
        Some(purpose.signable(&[&self.target, &self.node, &self.token, &peer, refresh]))
    }

    /// Signs an announcement, or its opposite.
    pub fn sign(&self, purpose: Purpose, mut announcement: Announcement, key_pair: &KeyPair) -> Announcement {
        let signable = self.signable(purpose, &announcement);
        announcement.signature = signable.map(|signable| key_pair.sign(&signable));
        announcement
    }

    /// Whether its peer signed the announcement, for here and now.
    pub fn verify(&self, purpose: Purpose, announcement: &Announcement) -> bool {
        let Some(signable) = self.signable(purpose, announcement) else {
            return false;
        };
        let (Some(peer), Some(signature)) = (&announcement.peer, &announcement.signature) else {
            return false;
        };
        crypto::verify(&signable, signature, &peer.public_key)
    }
}

fn mutable_signable(seq: u64, value: &[u8]) -> [u8; 64] {
    let mut encoded = Vec::with_capacity(value.len() + 18);
    codec::put_uint(&mut encoded, seq);
    codec::put_bytes(&mut encoded, value);
    Purpose::MutablePut.signable(&[&encoded])
}

impl MutableRecord {
    /// Signs a value. `seq` has to be greater than that of the value before.
    pub fn sign(seq: u64, value: Vec<u8>, key_pair: &KeyPair) -> Self {
        let signature: Signature = key_pair.sign(&mutable_signable(seq, &value));
        Self {
            seq,
            value,
            signature,
        }
    }

    /// Whether the owner of the key signed it.
    pub fn verify(&self, public_key: &Hash) -> bool {
        crypto::verify(
            &mutable_signable(self.seq, &self.value),
            &self.signature,
            public_key,
        )
    }
}
