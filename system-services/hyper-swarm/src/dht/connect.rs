//! Connections between two peers that know each other's keys.

mod addresses;
mod handshake;
#[cfg(test)]
mod tests;

pub use addresses::{is_bogon, is_private, is_reserved, on_the_same_network};
pub use handshake::{Agreed, ClientHandshake, HandshakeError, ServerHandshake};
