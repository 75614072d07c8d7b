//! Hypercore in Rust: append-only logs that are signed, replicated and verified block by block, wire-compatible with the
//! JavaScript stack (hypercore 11). Nothing here knows of the appliance.

pub mod bitfield;
pub mod core;
pub mod corestore;
pub mod crypto;
pub mod encryption;
pub mod flat_tree;
pub mod key;
pub mod link;
mod live;
pub mod manifest;
pub mod merkle;
pub mod messages;
pub mod mux;
pub mod replicate;
mod replicator;
pub mod session;
pub mod store;
