//! A connection to one peer, as replication wants it: whole messages in order, encrypted and authenticated below.

use tokio::sync::mpsc;

use crate::crypto;

/// Messages that wait in each direction of a link. Few: who sends waits, so that memory per peer is bounded.
pub const LINK_MESSAGES: usize = 8;

/// One end of a connection. Both ends know the same secret of the handshake, and each knows who the other is.
///
/// Dropping it ends the connection; when the peer ended it, `incoming` gives `None`. A slow reader of `incoming` slows the peer down.
#[derive(Debug)]
pub struct Link {
    /// The peer's static key.
    pub remote_public_key: [u8; 32],
    /// Hash of the handshake: the same at both ends, known to nobody else.
    pub handshake_hash: [u8; 64],
    /// Whether this end began the handshake.
    pub is_initiator: bool,
    /// What the peer sends.
    pub incoming: mpsc::Receiver<Vec<u8>>,
    /// What is sent to the peer.
    pub outgoing: mpsc::Sender<Vec<u8>>,
}

impl Link {
    /// Both ends of a connection within this process, for tests and for programs that are their own peer.
    pub fn pair() -> (Self, Self) {
        let (to_b, from_a) = mpsc::channel(LINK_MESSAGES);
        let (to_a, from_b) = mpsc::channel(LINK_MESSAGES);
        let mut handshake_hash = [0; 64];
        handshake_hash[..32].copy_from_slice(&crypto::tree_hash([]));
        let end = |key: u8, is_initiator, incoming, outgoing| Self {
            remote_public_key: [key; 32],
            handshake_hash,
            is_initiator,
            incoming,
            outgoing,
        };
        (end(2, true, from_b, to_b), end(1, false, from_a, to_a))
    }
}
