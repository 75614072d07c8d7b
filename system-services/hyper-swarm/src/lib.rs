//! Hyperswarm in Rust: encrypted streams over UDP between peers that find each other by topic, wire-compatible with the
//! JavaScript stack (hyperswarm 4, hyperdht 6, udx). Nothing here knows of the appliance.

pub mod connection;
pub mod dht;
pub mod noise;
pub mod secret_stream;
pub mod swarm;
pub mod udx;
