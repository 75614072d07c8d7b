//! Connections between two peers that know each other's keys.

mod handshake;
#[cfg(test)]
mod tests;

pub use handshake::{Agreed, ClientHandshake, HandshakeError, ServerHandshake};
