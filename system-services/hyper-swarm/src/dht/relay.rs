//! Relays for peers between which no direct way is found: blind-relay 1.6, wire-compatible.
//!
//! Each of the two connects to the relay and names the same token; the relay makes a stream for each and passes what comes by
//! one on to the other's end, unread. What it passes on is the two peers' own encrypted connection.

mod client;
pub mod messages;
pub mod pairings;
mod server;
#[cfg(test)]
mod tests;

pub use client::{MeetError, Meeting, meet};
pub use server::Relay;
