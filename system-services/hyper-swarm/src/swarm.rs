//! Peers that find each other by topic, and stay connected (hyperswarm 4.17).

mod machine;
mod peer;
#[cfg(test)]
mod tests;

pub use machine::{Action, ConnectionId, Ended, FlushId, Machine};

/// A peer's public key.
pub type PublicKey = [u8; 32];

/// What peers meet by.
pub type Topic = [u8; 32];

/// Peers of whom something is remembered. Whoever answers lookups decides whom we are told of: beyond this, new ones are not heard of.
pub const MAX_KNOWN_PEERS: usize = 4096;

/// Topics that are remembered of one peer.
const MAX_TOPICS_PER_PEER: usize = 64;

/// How many connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// With so many connections, no more attempts are begun.
    pub peers: usize,
    /// Attempts at a time.
    pub parallel: usize,
    /// Connections that peers began.
    pub incoming: usize,
}

impl Default for Limits {
    /// The peer's, but for the last: it knows no limit there.
    fn default() -> Self {
        Self {
            peers: 64,
            parallel: 3,
            incoming: 256,
        }
    }
}
